"""Wrapped calls and calls through the gateway continue inside the reasoning, by token ids."""

import interwhen
import openai
import pytest
from interwhen.testing.server import ScriptedServer
from tests.token_server import Vllm

ASK = {"model": "scripted", "messages": [{"role": "user", "content": "Q"}]}
REPAIR = ["arithmetic:remedy=repair"]


async def answer(client, **options):
    """Return reasoning, content and the facts of a streamed call."""
    stream = await client.chat.completions.create(**ASK, stream=True, **options)
    reasoning, content, facts = "", "", []
    async for chunk in stream:
        facts.append(interwhen.supervision_info(chunk))
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
    assert script.continued == ["Q<think>59 + 1 = 60"]
    assert result.resume == "tokens"
    assert result.reasoning == "59 + 1 = 60\n"
    assert result.answer == "It is 60"
    assert content == "It is 60"


@pytest.mark.anyio
async def test_a_server_without_tokenize_is_asked_once_and_gets_a_turn():
    async with (
        ScriptedServer(Vllm(tokenizes=False), owned_by="vllm") as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as bare,
    ):
        client = interwhen.wrap(bare, REPAIR)
        for _ in range(2):
            _, _, result = await answer(client)
            assert result.resume == "turn"
        assert sum(post.path.endswith("/tokenize") for post in server.posts) == 1


@pytest.mark.anyio
async def test_a_call_with_tools_continues_by_a_turn():
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    async with (
        ScriptedServer(Vllm(), owned_by="vllm") as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="k") as bare,
    ):
        _, _, result = await answer(interwhen.wrap(bare, REPAIR), tools=tools)
        assert result.resume == "turn"
        assert not any(post.path.endswith("/tokenize") for post in server.posts)
