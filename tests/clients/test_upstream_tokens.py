"""Wrapped calls and calls through the gateway continue inside the reasoning, by token ids."""

import json
import re

import interwhen
import interwhen.clients
import openai
import pytest
from interwhen.testing.server import ScriptedServer, events, reply
from tests.token_server import TOOLS, Caller, LlamaCpp, Sglang, Vllm, ids_of, text_of

ASK = {"model": "scripted", "messages": [{"role": "user", "content": "59 + 1?"}]}
REPAIR = ["arithmetic:remedy=repair"]


async def answer(client, seen=None, **options):
    # `seen` gets the chunks.
    stream = await client.chat.completions.create(**ASK, stream=True, **options)
    reasoning, content, facts = "", "", []
    async for chunk in stream:
        if seen is not None:
            seen.append(chunk.model_dump())
        facts.append(interwhen.clients.supervision_info(chunk))
        for choice in chunk.choices:
            reasoning += getattr(choice.delta, "reasoning", None) or ""
            content += choice.delta.content or ""
    return reasoning, content, next(each.result for each in reversed(facts) if each and each.result)


@pytest.mark.anyio
async def test_a_wrapped_call_continues_inside_the_reasoning():
    script = Vllm()
    async with (
        ScriptedServer(script, owned_by="vllm") as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="k") as bare,
    ):
        _, content, result = await answer(interwhen.wrap(bare, REPAIR))
    assert script.continued == ["59 + 1?<think>59 + 1 = 60"]
    assert result.resume.mode == "tokens"
    assert result.reasoning == "59 + 1 = 60\n"
    assert result.answer == "It is 60"
    assert content == "It is 60"


@pytest.mark.anyio
async def test_after_one_failed_tokenize_request_corrections_use_turns():
    async with (
        ScriptedServer(Vllm(tokenizes=False), owned_by="vllm") as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as bare,
    ):
        client = interwhen.wrap(bare, REPAIR)
        for _ in range(2):
            _, _, result = await answer(client)
            assert result.resume.mode == "turn"
        assert sum(post.path.endswith("/tokenize") for post in server.posts) == 1


async def called(script, **options):
    async with (
        ScriptedServer(script, owned_by="vllm") as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="k") as bare,
    ):
        client = interwhen.wrap(bare, REPAIR)
        return await client.chat.completions.create(**ASK, **{"tools": TOOLS, **options}), server


@pytest.mark.anyio
async def test_calls_after_a_correction_keep_the_servers_format():
    script = Caller()
    answer, _ = await called(script)
    choice, result = answer.choices[0], interwhen.clients.supervision_info(answer).result
    assert script.continued == ["59 + 1?<think>59 + 1 = 60"]
    assert result.resume.mode == "tokens"
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "I buy. ")
    (call,) = choice.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("buy", {"eggs": 60})
    assert call.id.startswith("call_")


@pytest.mark.anyio
@pytest.mark.parametrize("said", ["3 < 4, <b>bold</b> [1]", "a <tool_call", "<"])
async def test_text_that_is_no_call_arrives_whole(said):
    script = Caller()
    script.said = f"\n</think>{said}"
    answer, _ = await called(script)
    assert answer.choices[0].message.content == said
    assert not answer.choices[0].message.tool_calls


@pytest.mark.anyio
async def test_a_broken_call_after_a_correction_is_withheld():
    script = Caller()
    script.said = "\n</think><tool_call>\n{broken\n</tool_call>"
    answer, _ = await called(script)
    assert not answer.choices[0].message.tool_calls
    assert "broken" not in (answer.choices[0].message.content or "")
    assert interwhen.clients.supervision_info(answer).result.status != "verified"


@pytest.mark.anyio
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "buy"}}])
async def test_an_enforced_tool_choice_continues_by_a_turn(choice):
    answer, server = await called(Caller(), tool_choice=choice)
    assert interwhen.clients.supervision_info(answer).result.resume.mode == "turn"
    assert not any(post.path.endswith("/tokenize") for post in server.posts)


@pytest.mark.anyio
async def test_refused_calls_in_continuations_are_withheld_with_feedback():
    @interwhen.verifier(name="few")
    def few(claim):
        return interwhen.Violation(why="too many eggs")

    def extract(segment):
        if segment.call is not None:
            yield interwhen.Claim(key=segment.call.arguments, span=segment.span)

    gate = interwhen.Monitor(
        name="few",
        trigger=interwhen.ToolCalls(),
        extractor=extract,
        verifier=few,
        delivery="gate_tools",
        remedy=interwhen.Feedback(),
        unproven="closed",
    )
    script = Caller()
    async with (
        ScriptedServer(script, owned_by="vllm") as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="k") as bare,
    ):
        answer = await interwhen.wrap(bare, [*REPAIR, gate]).chat.completions.create(**ASK, tools=TOOLS)
        last = server.posts[-1].json["messages"]
    assert not answer.choices[0].message.tool_calls
    assert any("too many eggs" in str(turn.get("content")) for turn in last)


def texts_of(script):
    return [text for text in script.tokenized if "<" not in text and "THINK" not in text]


@pytest.mark.anyio
async def test_after_one_correction_kept_text_is_never_tokenized():
    script = Vllm()
    async with (
        ScriptedServer(script, owned_by="vllm") as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="k") as bare,
    ):
        client = interwhen.wrap(bare, REPAIR)
        await answer(client)
        script.tokenized.clear()
        seen = []
        _, content, result = await answer(client, seen)
    assert texts_of(script) == ["\n0"]
    assert script.tokenized == ["\n0"], "the tags are known from the call before"
    assert (content, result.resume.mode) == ("It is 60", "tokens")
    assert not re.search(r"token_ids': \[", repr(seen)), "the caller did not ask for ids"


@pytest.mark.anyio
@pytest.mark.parametrize("resume", ["tokens", "auto"])
async def test_requested_token_ids_are_delivered_from_every_stream(resume):
    script = Vllm()
    async with (
        ScriptedServer(script, owned_by="vllm") as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="k") as bare,
    ):
        seen = []
        await answer(interwhen.wrap(bare, REPAIR, resume=resume), seen, extra_body={"return_token_ids": True})
    ids = [number for chunk in seen for choice in chunk["choices"] for number in choice.get("token_ids") or ()]
    assert text_of(ids).endswith("It is 60")
    assert texts_of(script) == ["\n", "\n0"], "the kept text has the ids that the caller got"
    assert [chunk["prompt_token_ids"] for chunk in seen if chunk.get("prompt_token_ids")] == [ids_of("59 + 1?")]


@pytest.mark.anyio
async def test_an_unstreamed_answer_has_all_requested_token_ids():
    async with (
        ScriptedServer(Vllm(text="<think>so</think>Hi"), owned_by="vllm") as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="k") as bare,
    ):
        client = interwhen.wrap(bare, REPAIR)
        whole = await client.chat.completions.create(**ASK, extra_body={"return_token_ids": True})
        plain = await client.chat.completions.create(**ASK, interwhen={"resume": "tokens"})
    assert text_of(whole.choices[0].model_dump()["token_ids"]) == "<think>so</think>Hi"
    assert plain.choices[0].model_dump().get("token_ids") is None


@pytest.mark.anyio
async def test_servers_refusing_token_ids_are_asked_without_them():
    def script(request):
        if "return_token_ids" in request.json:
            return reply(400, b'{"error":{"message":"unknown","param":"return_token_ids"}}')
        return events(["Hi"], api="chat")

    async with (
        ScriptedServer(script) as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as bare,
    ):
        client = interwhen.wrap(bare, REPAIR, resume="tokens")
        for _ in range(2):
            assert (await answer(client))[1] == "Hi"
        asked = ["return_token_ids" in post.json for post in server.posts]
    assert asked == [True, False, False]


@pytest.mark.anyio
async def test_wrapped_calls_fork_from_the_streams_token_ids():
    @interwhen.verifier(name="sure")
    def sure(claim):
        return interwhen.Pass()

    fork = interwhen.Fork("Right?", lambda reply, segment: ())
    monitor = interwhen.Monitor(name="fork", extractor=fork, verifier=sure, delivery="observe")
    script = Vllm()
    async with (
        ScriptedServer(script, owned_by="vllm") as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="k") as bare,
    ):
        await answer(interwhen.wrap(bare, [monitor], resume="tokens"))
    assert script.continued
    assert all(raw.endswith("Right?") for raw in script.continued)
    assert all(
        "59 + 1?<think>59 + 1 = 61\n</think>It is 61".startswith(raw.removesuffix("Right?")) for raw in script.continued
    )
    assert not [text for text in script.tokenized if "59" in text]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["llamacpp", "sglang"])
async def test_each_server_continues_reasoning_through_its_own_api(kind):
    script = {"llamacpp": LlamaCpp, "sglang": Sglang}[kind]()
    async with (
        ScriptedServer(script, owned_by=kind) as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as bare,
    ):
        client = interwhen.wrap(bare, REPAIR, resume="tokens")
        for _ in range(2):
            _, content, result = await answer(client)
            assert (content, result.resume.mode) == ("It is 60", "tokens")
            assert result.reasoning == "59 + 1 = 60\n"
        assert script.continued == ["59 + 1?<think>59 + 1 = 60"] * 2
        refused = [
            post for post in server.posts if post.path.endswith("chat/completions") and "return_token_ids" in post.json
        ]
        assert len(refused) <= 1, "once the server is known, it is not asked for ids again"
