"""With nothing violated, a wrapped client gives what the bare client gives: chunks, types, responses, exceptions."""

import openai
import pytest
from both import KINDS, outcome, shown
from interwhen import wrap
from interwhen.testing._server_script import chunk, counts, data, delta
from interwhen.testing.server import FAULTS, Disconnect, Send, events, fault, reply, tool_call
from watchers import passing

pytestmark = pytest.mark.anyio

TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
END = Send(b"data: [DONE]\n\n")
LOGPROBS = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}], "refusal": None}
STREAMS = {
    "text": events(["Hel", "lo\n", "wor", "ld"], api="chat"),
    "role first": (delta({"role": "assistant", "content": ""}), *events(["one\n", "two"], api="chat")),
    "finish with text": (delta({"content": "one\n"}), delta({"content": "two"}, finish_reason="stop"), END),
    "length": events(["one\n", "two"], api="chat", finish_reason="length"),
    "filter": events(["one\n"], api="chat", finish_reason="content_filter"),
    "no done": events(["one\n", "two"], api="chat")[:-1],
    "empty": (delta({"role": "assistant", "content": ""}), delta({}, finish_reason="stop"), END),
    "reasoning_content": (
        delta({"role": "assistant", "content": None, "reasoning_content": "think\n"}),
        delta({"reasoning_content": "more"}),
        delta({"content": "answer"}),
        delta({}, finish_reason="stop"),
        END,
    ),
    "reasoning": (delta({"reasoning": "a\n"}), delta({"reasoning": "b", "content": "c"}), *events(["d"], api="chat")),
    "think tags": events(["<thi", "nk>a\n", "b</th", "ink>", "\nanswer"], api="chat"),
    "extras": (
        delta({"content": "a", "odd": {"x": [1]}}, service_tier="default", system_fingerprint="fp", odd_too=[{"y": 1}]),
        delta({"content": "b"}, system_fingerprint="fp"),
        delta({}, finish_reason="stop"),
        END,
    ),
    "logprobs": (
        Send(data(chunk("chat", "a", logprobs=LOGPROBS))),
        Send(data(chunk("chat", "b\n", logprobs=LOGPROBS))),
        delta({}, finish_reason="stop"),
        END,
    ),
    "refusal": (
        delta({"role": "assistant", "content": None, "refusal": "I will not"}),
        delta({}, finish_reason="stop"),
        END,
    ),
    "null text": (delta({"content": None}), *events(["a"], api="chat")),
    "odd spaces": events(["a\u2028b\n", "\x85c", "é", "\U0001f600"], api="chat"),
    "no choices": (delta({"content": "a"}), Send(data({"id": "scripted", "choices": []})), *events(["b"], api="chat")),
    "one call": (*tool_call("look", '{"at": "Paris"}'), delta({}, finish_reason="tool_calls"), END),
    "text and calls": (
        delta({"role": "assistant", "content": "Let me look.\n"}),
        *tool_call("look", '{"at": "Paris"}'),
        *tool_call("look", '{"at": "Rome"}', call_id="call_2", index=1),
        delta({}, finish_reason="tool_calls"),
        END,
    ),
    "call ended by stop": (*tool_call("look", "{}"), delta({}, finish_reason="stop"), END),
    "whole call in one": (
        delta(
            {
                "tool_calls": [
                    {"index": 0, "id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
                ]
            },
            finish_reason="tool_calls",
        ),
        END,
    ),
}


@pytest.fixture(params=KINDS)
def pair(request, clients):
    def make(server, monitors=None, **options):
        bare = clients(KINDS[request.param], server, **options)
        return bare, wrap(bare, [passing()] if monitors is None else monitors)

    return make


async def same(bare, wrapped, api="chat", **options):
    want, wanted = await outcome(bare, api, **options)
    got, error = await outcome(wrapped, api, **options)
    assert type(error) is type(wanted), (wanted, error)
    assert [shown(chunk) for chunk in got] == [shown(chunk) for chunk in want]
    assert got == want
    if error is not None:
        for name in ("message", "status_code", "request_id", "body", "code", "param", "type"):
            assert getattr(error, name, None) == getattr(wanted, name, None), name
    return got, error


@pytest.mark.parametrize("name", STREAMS)
async def test_chunks_are_the_same(name, serve, pair):
    bare, wrapped = pair(serve(STREAMS[name]))
    tools = {"tools": TOOLS} if "call" in name else {}
    await same(bare, wrapped, stream=True, **tools)


UNENDED = {
    "cut": (delta({"role": "assistant", "content": "one\n"}), delta({"content": "two"})),
    "no finish": events(["one\n", "two"], api="chat", finish_reason=None),
    "nothing": (),
}


@pytest.mark.parametrize("name", UNENDED)
async def test_an_unfinished_stream_gets_one_extra_result_chunk(name, serve, pair):
    bare, wrapped = pair(serve(UNENDED[name]))
    want, _ = await outcome(bare, stream=True)
    got, error = await outcome(wrapped, stream=True)
    assert error is None
    assert [shown(chunk) for chunk in got[:-1]] == [shown(chunk) for chunk in want]
    last = got[-1]
    assert last.interwhen.result.status == "unverified"
    assert last.interwhen.result.finish_reason == ("other" if name == "no finish" else "truncated")
    assert not last.choices[0].delta.content
    assert last.choices[0].finish_reason is None
    assert (last.id, last.object) == (want[0].id if want else "interwhen", "chat.completion.chunk")


@pytest.mark.parametrize("counted", [False, True])
async def test_token_counts_come_only_to_those_who_ask(counted, serve, pair):
    def script(request):
        asked = (request.json.get("stream_options") or {}).get("include_usage")
        return (*events(["a\n", "b"], api="chat")[:-1], *([counts(3, 2)] if asked else []), END)

    bare, wrapped = pair(serve(script))
    options = {"stream_options": {"include_usage": True}} if counted else {}
    await same(bare, wrapped, stream=True, **options)


async def test_completion_chunks_are_the_same(serve, pair):
    bare, wrapped = pair(serve(events(["one\n", "two", " three"])))
    await same(bare, wrapped, "completions", stream=True)


@pytest.mark.parametrize("gone", ["tools", "reasoning", "plain", "completion"])
async def test_whole_responses_are_the_same(gone, serve, pair):
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    top = {"id": "scripted", "created": 0, "model": "scripted", "usage": usage}
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "Paris"}'}}
    api, message, streamed = {
        "plain": ("chat", {"content": "one\ntwo"}, events(["one\n", "two"], api="chat")[:-1]),
        "reasoning": (
            "chat",
            {"content": "two", "reasoning_content": "one\n"},
            (delta({"reasoning_content": "one\n"}), *events(["two"], api="chat")[:-1]),
        ),
        "tools": (
            "chat",
            {"content": None, "tool_calls": [call]},
            (*tool_call("look", '{"at": "Paris"}'), delta({}, finish_reason="tool_calls")),
        ),
        "completion": ("completions", None, events(["one\n", "two"])[:-1]),
    }[gone]
    reason = "tool_calls" if gone == "tools" else "stop"
    choice = {
        "index": 0,
        "message": {"role": "assistant", **(message or {})},
        "logprobs": None,
        "finish_reason": reason,
    }
    if api == "completions":
        choice = {"index": 0, "text": "one\ntwo", "logprobs": None, "finish_reason": reason}
    kind = "chat.completion" if api == "chat" else "text_completion"
    whole = {**top, "object": kind, "choices": [choice]}

    def script(request):
        if request.json.get("stream"):
            return (*streamed, counts(3, 2), END)
        import json

        return reply(200, json.dumps(whole).encode(), {"x-request-id": "req_7"})

    bare, wrapped = pair(serve(script))
    got, error = await same(bare, wrapped, api, **({"tools": TOOLS} if gone == "tools" else {}))
    assert error is None
    assert got[0].interwhen.result.finish_reason == reason


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 503])
async def test_refusals_are_the_same(status, streams, serve, pair):
    body = b'{"error": {"message": "no", "type": "t", "code": "c", "param": "p"}}'
    bare, wrapped = pair(serve(reply(status, body, {"x-request-id": "req_1"})))
    _, error = await same(bare, wrapped, stream=streams)
    assert isinstance(error, openai.APIStatusError)
    assert error.response.status_code == status


async def test_the_sdk_retries_as_often_as_it_would(serve, pair):
    refused = reply(429, b'{"error": {"message": "slow down"}}', {"retry-after-ms": "1"})
    server = serve(lambda request: refused if request.number % 3 < 2 else events(["a\n"], api="chat"))
    bare, wrapped = pair(server, max_retries=2)
    await same(bare, wrapped, stream=True)
    assert len(server.posts) == 6
    assert [request.headers["x-stainless-retry-count"] for request in server.posts] == ["0", "1", "2"] * 2


async def test_an_unreachable_server_is_the_same_error(serve, pair):
    server = serve(())
    server.port = 9
    bare, wrapped = pair(server)
    _, error = await same(bare, wrapped, stream=True)
    assert isinstance(error, openai.APIConnectionError)


async def test_server_disconnect_before_answering_gives_the_same_error(serve, pair):
    bare, wrapped = pair(serve((Disconnect(),)))
    _, error = await same(bare, wrapped, stream=True)
    assert isinstance(error, openai.APIConnectionError)


async def test_a_silent_server_is_the_same_error(serve, pair):
    bare, wrapped = pair(serve(fault("stall_headers")), timeout=0.2)
    _, error = await same(bare, wrapped, stream=True)
    assert isinstance(error, openai.APITimeoutError)


@pytest.mark.parametrize("name", ["error_event", "rst_mid", "eof_mid", "stall"])
async def test_broken_streams_give_the_same_chunks_and_error(name, serve, pair):
    assert name in FAULTS
    # Long enough for the first chunk on a busy machine; only the stalled stream waits for it.
    bare, wrapped = pair(serve(fault(name, "chat")), timeout=2.0 if name == "stall" else 60.0)
    _, error = await same(bare, wrapped, stream=True)
    assert isinstance(error, openai.APIError)


async def test_with_no_monitors_a_call_is_not_touched(serve, pair):
    server = serve(events(["a"], api="chat"))
    bare, wrapped = pair(server, monitors=())
    await same(bare, wrapped, stream=True, n=2)
    first, second = (request for request in server.posts)
    assert first.body == second.body


async def test_requests_are_the_same_but_for_the_counts(serve, pair):
    server = serve(events(["a"], api="chat"))
    bare, wrapped = pair(server, default_headers={"x-mine": "1"}, default_query={"q": "1"})
    options = {"temperature": 0.5, "max_tokens": 9, "seed": 4, "stop": ["x"], "extra_headers": {"x-more": "2"}}
    await same(bare, wrapped, stream=True, extra_body={"top_k": 3}, **options)
    first, second = server.posts
    assert second.json.pop("stream_options") == {"include_usage": True}
    assert first.json == second.json
    assert first.path == second.path
    ignored = {"content-length", "x-stainless-async", "user-agent", "x-stainless-idempotency-key", "idempotency-key"}
    assert {k: v for k, v in first.headers.items() if k not in ignored} == {
        k: v for k, v in second.headers.items() if k not in ignored
    }
