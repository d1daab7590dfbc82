"""Tool calls in a run: those that the server sends in their field, and those after a correction by token ids."""

import json

import interwhen
import pytest
from interwhen import Sampling
from interwhen.models import ChatModel
from interwhen.testing._server_script import data
from interwhen.testing.server import Head, ScriptedServer, Send
from tests.token_server import TOOLS, Caller, LlamaCpp, Vllm

pytestmark = pytest.mark.anyio

WITH_TOOLS = Sampling(extra={"tools": TOOLS})
REPAIR = "arithmetic:remedy=repair"


@interwhen.verifier(name="few", worker="inline")
def few(claim):
    eggs = json.loads(claim.key)["eggs"]
    return interwhen.Violation(why="too many eggs") if eggs > 6 else interwhen.Pass()


def extract(segment):
    for call in segment.calls:
        yield interwhen.Claim(key=call.arguments, span=segment.span)


GATE = interwhen.Monitor(
    name="few",
    trigger=interwhen.ToolCalls(),
    extractor=extract,
    verifier=few,
    delivery="gate_tools",
    remedy=interwhen.Feedback(),
)


def call_deltas(eggs, call_id="c1", extra=None):
    first = {"index": 0, "id": call_id, "type": "function", "function": {"name": "buy", "arguments": ""}}
    if extra is not None:
        first["extra_content"] = extra
    rest = [{"index": 0, "function": {"arguments": part}} for part in ('{"eggs":', f" {eggs}}}")]
    return [{"tool_calls": [piece]} for piece in (first, *rest)]


def stream_of(*deltas, reason="tool_calls"):
    events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    return (
        Head(200, {"content-type": "text/event-stream"}),
        *(Send(data(event)) for event in [*events, last]),
        Send(b"data: [DONE]\n\n"),
    )


async def everything(stream):
    while await stream.receive():
        pass


async def run(model, monitors, sampling=WITH_TOOLS):
    calls = {}
    async with interwhen.run(model, "59 + 1?", monitors=monitors, sampling=sampling) as running:
        async for event in running:
            if isinstance(event, interwhen.Delta) and event.call is not None:
                calls[event.start] = event.call
            elif isinstance(event, interwhen.Retracted):
                calls = {start: call for start, call in calls.items() if start < event.to}
    return list(calls.values()), running.result


async def test_tool_call_fields_reach_the_reader_and_monitors():
    script = lambda _: stream_of({"content": "I buy."}, *call_deltas(6))  # noqa: E731
    async with ScriptedServer(script) as server, ChatModel(server.base_url, "m") as model:
        calls, result = await run(model, [GATE])
    assert [(call.id, call.name, call.values()) for call in calls] == [("c1", "buy", {"eggs": 6})]
    assert result.finish_reason == "tool_calls"
    assert result.answer == "I buy."
    assert result.status == "verified"


async def test_refused_calls_return_with_result_and_extra_content():
    def script(request):
        turns = request.json["messages"]
        return stream_of(*call_deltas(60 if len(turns) == 1 else 6, f"c{len(turns)}", {"google": "signed"}))

    async with ScriptedServer(script) as server, ChatModel(server.base_url, "m") as model:
        calls, result = await run(model, [GATE])
        _, second = server.posts[-2:]
    assert [call.values() for call in calls] == [{"eggs": 6}]
    assert result.resume.mode == "turn"
    assert "tool calls" in result.resume.reason
    *_, made, answer = second.json["messages"]
    assert made["tool_calls"][0] == {
        "id": "c1",
        "type": "function",
        "function": {"name": "buy", "arguments": '{"eggs": 60}'},
        "extra_content": {"google": "signed"},
    }
    assert (answer["role"], answer["tool_call_id"]) == ("tool", "c1")
    assert "too many eggs" in answer["content"]


async def test_malformed_call_pieces_raise_a_stream_protocol_error():
    script = lambda _: stream_of({"content": "Hi"}, {"tool_calls": "x"})  # noqa: E731
    async with ScriptedServer(script) as server, ChatModel(server.base_url, "m") as model:
        stream = await model.stream(interwhen.models.Request("59 + 1?", sampling=WITH_TOOLS))
        with pytest.raises(interwhen.models.StreamProtocolError, match="tool_calls"):
            await everything(stream)
        await stream.aclose()


async def test_a_journal_with_calls_replays_without_differences(tmp_path):
    path = tmp_path / "run.journal"
    script = lambda request: stream_of(*call_deltas(60 if len(request.json["messages"]) == 1 else 6))  # noqa: E731
    async with ScriptedServer(script) as server, ChatModel(server.base_url, "m") as model:
        run = interwhen.run(model, "59 + 1?", monitors=[GATE], sampling=WITH_TOOLS, journal=path)
        async with run as running:
            async for _ in running:
                pass
    assert running.result.violations
    assert interwhen.replay(path).differences == ()


@pytest.mark.parametrize("resume", ["tokens", "auto"])
async def test_calls_after_id_correction_match_the_servers_form(resume):
    script = Caller()
    async with (
        ScriptedServer(script, owned_by="vllm") as server,
        ChatModel(server.base_url, "scripted", resume=resume) as model,
    ):
        calls, result = await run(model, [REPAIR])
        (asked,) = [post.json for post in server.posts if "prompt" in post.json and "tokenize" not in post.path]
    assert script.continued == ["59 + 1?<think>59 + 1 = 60"]
    assert result.resume.mode == "tokens"
    assert (result.reasoning, result.answer) == ("59 + 1 = 60\n", "I buy. ")
    assert [(call.name, call.values()) for call in calls] == [("buy", {"eggs": 60})]
    assert calls[0].id.startswith("call_")
    assert result.finish_reason == "tool_calls"
    assert result.status == "verified"
    assert "tools" not in asked


async def test_a_refused_continuation_call_is_retried_by_turn():
    script = Caller()
    async with (
        ScriptedServer(script, owned_by="vllm") as server,
        ChatModel(server.base_url, "scripted", resume="tokens") as model,
    ):
        calls, result = await run(model, [REPAIR, GATE])
        last = server.posts[-1].json["messages"]
    assert not any(call.values() == {"eggs": 60} for call in calls)
    assert result.resume.mode == "turn"
    assert any("too many eggs" in str(turn.get("content")) for turn in last)


async def test_a_broken_call_of_a_continuation_is_held():
    script = Caller()
    script.said = "\n</think><tool_call>\n{broken\n</tool_call>"
    async with (
        ScriptedServer(script, owned_by="vllm") as server,
        ChatModel(server.base_url, "scripted", resume="tokens") as model,
    ):
        calls, result = await run(model, [REPAIR, GATE])
    assert calls == []
    assert "broken" not in result.answer
    assert result.status != "verified"


@pytest.mark.parametrize(
    "extra",
    [
        {"tools": TOOLS, "tool_choice": "required"},
        {"tools": [{"type": "custom", "custom": {"name": "buy"}}]},
        {"functions": [TOOLS[0]["function"]]},
    ],
)
async def test_server_shaped_calls_prevent_continuation_by_token_ids(extra):
    script = Caller()
    async with (
        ScriptedServer(script, owned_by="vllm") as server,
        ChatModel(server.base_url, "scripted", resume="tokens") as model,
    ):
        _, result = await run(model, [REPAIR], Sampling(extra=extra))
        assert not any("tokenize" in post.path for post in server.posts)
        assert not any("return_token_ids" in post.json for post in server.posts)
    assert result.resume.mode == "turn"
    assert "such tools" in result.resume.reason


async def test_llama_cpp_shows_call_tags_in_the_continuation():
    class Server(LlamaCpp):
        preserved = ()

        def native(self, body):
            self.preserved = body["preserved_tokens"]
            return super().native(body)

        def parts(self, raw):
            return list(Caller.said) if raw.endswith("60") else super().parts(raw)

    script = Server()
    async with (
        ScriptedServer(script, owned_by="llamacpp") as server,
        ChatModel(server.base_url, "scripted", resume="tokens") as model,
    ):
        calls, result = await run(model, [REPAIR])
    assert result.resume.mode == "tokens"
    assert {"<tool_call>", "</tool_call>"} <= set(script.preserved)
    assert [call.values() for call in calls] == [{"eggs": 60}]


async def test_without_tools_a_continuation_call_is_plain_text():
    script = Caller()
    async with (
        ScriptedServer(script, owned_by="vllm") as server,
        ChatModel(server.base_url, "scripted", resume="tokens") as model,
    ):
        calls, result = await run(model, [REPAIR], Sampling())
    assert calls == []
    assert "<tool_call>" in result.answer


async def test_forks_with_tools_start_from_the_streams_ids():
    @interwhen.verifier(name="sure")
    def sure(claim):
        return interwhen.Pass()

    fork = interwhen.Fork("Right?", lambda reply, segment: ())
    monitor = interwhen.Monitor(name="fork", extractor=fork, verifier=sure, delivery="observe")
    script = Vllm()
    async with (
        ScriptedServer(script, owned_by="vllm") as server,
        ChatModel(server.base_url, "scripted", resume="tokens") as model,
    ):
        await run(model, [monitor])
    assert script.continued
    assert all(raw.endswith("Right?") for raw in script.continued)
