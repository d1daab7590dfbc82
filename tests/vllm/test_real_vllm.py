"""What a real vLLM with a reasoning parser does, and that corrections in the reasoning continue on it."""

from __future__ import annotations

import json
import re
import urllib.request

import httpx2
import interwhen
import interwhen.clients
import openai
import pytest
from interwhen import Message, Sampling
from interwhen._types.models import Piece
from interwhen.models import ChatModel, Request, probe
from interwhen.models._questions import check_contract
from tests.contracts.servers import VLLM, assert_diagnosed, assert_kept
from tests.vllm.measure import measure, problems, repairing
from tests.vllm.server import PARSERS

pytestmark = pytest.mark.anyio

GREEDY = Sampling(max_tokens=400, temperature=0.0)


def question(start: int, factor: int, less: int) -> tuple[Message, ...]:
    return (Message("user", f"Take {start}. Multiply by {factor}. Subtract {less}. What do you get?"),)


def post(url: str, body: dict) -> dict:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


async def whole(model, request):
    stream, chunks = await model.stream(request), []
    try:
        while more := await stream.receive():
            chunks += more
    finally:
        await stream.aclose()
    return "".join(chunk.text for chunk in chunks), chunks


async def test_a_streams_token_ids_match_the_servers_tokenizer(url):
    async with ChatModel(url, "tiny", resume="tokens") as model:
        stream = await model.stream(Request(question(59, 12, 63), sampling=GREEDY))
        while await stream.receive():
            pass
        trail = stream.trail
        await stream.aclose()
    root = url.removesuffix("/v1")
    chat = {"model": "tiny", "messages": [{"role": "user", "content": question(59, 12, 63)[0].content}]}
    assert list(trail.prompt) == post(f"{root}/tokenize", {**chat, "add_generation_prompt": True})["tokens"]
    ids = [number for unit in trail.events for number in (*unit.lead, *unit.ids)]
    text = post(f"{root}/detokenize", {"model": "tiny", "tokens": ids})["prompt"]
    assert text.startswith("<think>\n")
    assert "</think>" in text
    assert trail.is_whole


@pytest.mark.parametrize("size", [1, 7, 20])
async def test_kept_reasoning_continues_with_the_text_cut_off(url, size):
    async with ChatModel(url, "tiny") as model:
        await model.capabilities()
        prompt = question(59, 12, 63)
        text, chunks = await whole(model, Request(prompt, sampling=GREEDY))
        assert chunks[0].phase == "reasoning"
        rest, more = await whole(model, Request(prompt, (Piece(text[:size], phase="reasoning"),), GREEDY))
        assert text[:size] + rest == text
        assert more[0].phase == "reasoning"
        assert more[-1].phase == "answer"


@pytest.mark.parametrize("name", VLLM)
async def test_the_contract_holds_as_it_was_recorded(name, servers):
    assert_kept(name, await check_contract(servers[VLLM[name]], "tiny"))


@pytest.mark.parametrize("parser", PARSERS)
async def test_corrected_streams_finish_or_abstain_and_never_loop(parser, servers):
    given = list(problems(24, seed=7))
    tally = await measure(servers[parser], given, at_once=8)
    assert tally.corrected >= 6, tally
    assert tally.ways.keys() == {"tokens"}, tally
    assert tally.loops == 0, tally
    # The tiny model repeats some mistakes however often they are repaired; such a run abstains.
    assert tally.finished + tally.abstained == tally.corrected, tally
    assert tally.right == tally.finished >= 3, tally


@pytest.mark.parametrize("name", VLLM)
async def test_the_doctor_says_that_tokens_continue_the_text(name, servers):
    assert_diagnosed(name, await probe(servers[VLLM[name]], "tiny"))


@pytest.mark.parametrize("parser", PARSERS)
async def test_tool_chats_continued_by_ids_reach_same_call(servers, parser):
    properties = {"item": {"type": "string"}, "quantity": {"type": "integer"}}
    tool = {"name": "order", "parameters": {"type": "object", "properties": properties}}
    sampling = Sampling(max_tokens=300, temperature=0.0, extra={"tools": [{"type": "function", "function": tool}]})
    asked = (
        "Policy: order below 20, fill to 60, at most 30 an order, approval above 150. Item: bolts. Stock: 12. Price: 7."
    )
    async with ChatModel(servers[parser], "tiny", resume="tokens") as model:
        prompt = (Message("user", asked),)
        text, chunks = await whole(model, Request(prompt, sampling=sampling))
        (call,) = [chunk.call for chunk in chunks if chunk.call]
        kept = text[:12]
        rest, more = await whole(model, Request(prompt, (Piece(kept, phase=chunks[0].phase),), sampling))
    assert (call.name, call.values()["quantity"]) == ("order", 30)
    (again,) = [chunk.call for chunk in more if chunk.call]
    assert (again.name, again.values()) == (call.name, call.values())
    assert again.id
    assert (kept + rest).split() == text.split()


@pytest.mark.parametrize("parser", ["parser-on", "parser-off"])
async def test_corrected_calls_of_a_wrapped_client_finish(servers, parser):
    # After the first correction, kept text is never tokenized again, and the reader sees no ids.
    tokenized = []

    async def note(request):
        if request.url.path == "/tokenize":
            tokenized.append(json.loads(request.content))

    corrected = 0
    async with (
        httpx2.AsyncClient(event_hooks={"request": [note]}, timeout=120) as http,
        openai.AsyncOpenAI(base_url=servers[parser], api_key="none", http_client=http) as bare,
    ):
        client = interwhen.wrap(bare, [repairing()])
        for problem in [each for each in problems(16, seed=7) if not each.sampling.temperature]:
            stream = await client.chat.completions.create(
                model="tiny",
                messages=[{"role": turn.role, "content": turn.content} for turn in problem.chat],
                stream=True,
                temperature=0,
                max_tokens=problem.sampling.max_tokens,
            )
            chunks = [chunk async for chunk in stream]
            result = interwhen.clients.supervision_info(chunks[-1]).result
            # vLLM sends these fields to everybody, with null for callers who did not ask.
            assert not re.search(r"token_ids': \[", repr([chunk.model_dump() for chunk in chunks]))
            if not result.violations:
                continue
            corrected += 1
            assert result.resume.mode == "tokens"
            if result.status != "abstained":
                assert result.finish_reason == "stop"
                assert f"Answer: {problem.answer}" in result.answer
            if corrected > 1:
                assert all(len(body["prompt"]) < 12 for body in tokenized), tokenized
            tokenized.clear()
    assert corrected >= 2


async def test_a_fork_has_the_prefix_of_the_stream(url):
    prompt = question(59, 12, 63)
    async with ChatModel(url, "tiny", resume="tokens") as model:
        stream = await model.stream(Request(prompt, sampling=GREEDY))
        text = ""
        while chunks := await stream.receive():
            text += "".join(chunk.text for chunk in chunks if chunk.phase == "reasoning")
        kept = text[: text.index("=") + 2]
        sampling = Sampling(max_tokens=4, temperature=0.0)
        fork = await model.complete(
            Request(prompt, (Piece(kept, phase="reasoning"),), sampling, side="590", trail=stream.trail)
        )
        await stream.aclose()
    assert fork.usage.prompt_tokens is not None
    assert fork.text
