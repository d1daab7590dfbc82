"""The model itself: what it promises of its context, its slots and its text, and the ways to reach it."""

from pathlib import Path

import anyio
import interwhen
import pytest
from interwhen import Feedback, Message, Repair, Sampling
from interwhen._types.models import Piece
from interwhen.bench._processes import memory_of
from interwhen.models import ChatModel, ContextOverflow, Request, open_local
from interwhen.models._local_weights import TINY_CONTEXT
from interwhen.models._messages import CONTINUE

from .llamacpp import llama_server
from .support import GREEDY, PROMPT, REPAIR, play, refuting

pytestmark = pytest.mark.anyio

LONG = Request(PROMPT, sampling=Sampling(max_tokens=400, temperature=0.0, extra={"ignore_eos": True}))


@pytest.mark.parametrize("spec", ["local", "local:", "local:tiny"])
async def test_local_means_the_model_shipped_with_the_package(anyio_backend, spec):
    model = interwhen.registry.load_model(spec)
    try:
        assert model.name == "local:tiny"
        reply = await model.complete(Request(PROMPT, sampling=GREEDY))
    finally:
        await model.aclose()
    assert reply.text.startswith("<think>\n")
    assert reply.finish_reason == "stop"


@pytest.mark.parametrize(("asked", "given"), [(None, TINY_CONTEXT), (512, 512), (4096, TINY_CONTEXT)])
async def test_slot_context_never_exceeds_the_models_trained_length(anyio_backend, asked, given):
    async with open_local(context=asked) as model:
        assert (await model.capabilities()).context_tokens == given


async def test_a_prompt_beyond_the_context_raises_context_overflow(anyio_backend):
    async with open_local() as model:
        with pytest.raises(ContextOverflow):
            await model.complete(Request("1 + 1 = 2\n" * 200, sampling=GREEDY))


async def test_all_slots_can_stream_at_the_same_time(anyio_backend):
    async with open_local(slots=3) as model:
        streams = [await model.stream(LONG) for _ in range(3)]
        # None of them has been read to its end.
        for stream in streams:
            assert await stream.receive()
        for stream in streams:
            await stream.aclose()
        with anyio.fail_after(60):
            assert (await model.complete(Request(PROMPT, sampling=GREEDY))).text


@pytest.mark.parametrize("api", ["completions", "chat"])
async def test_any_prefix_is_gone_on_from(anyio_backend, api):
    async with open_local(api=api) as model:
        whole = (await model.complete(Request(PROMPT, sampling=GREEDY))).text
        # (Not from within a tag: it is one token, and two halves of it are others.)
        opened = len("<think>")
        for at in (opened, opened + 1, opened + 6, whole.index("</think>"), len(whole) - 1):
            reply = await model.complete(Request(PROMPT, (Piece(whole[:at]),), GREEDY))
            assert whole[:at] + reply.text == whole, at


@pytest.mark.parametrize("api", ["completions", "chat"])
async def test_both_apis_say_the_same(anyio_backend, api):
    async with open_local(api=api) as model:
        played = await play(model, [])
    async with open_local() as model:
        assert played.result.text == (await model.complete(Request(PROMPT, sampling=GREEDY))).text
    assert played.result.reasoning.strip()
    assert played.result.answer.strip()


@pytest.fixture
async def by_turns(anyio_backend):
    async with (
        llama_server(context=TINY_CONTEXT) as server,
        ChatModel(f"{server.url}/v1", "tiny", api_key=server.api_key, resume="turn") as model,
    ):
        yield model


@pytest.mark.parametrize("remedy", [Repair(), Feedback(), Feedback(place="rewind")])
async def test_a_chat_without_prefix_support_continues_by_turn(by_turns, remedy, monkeypatch):
    sent = []
    body = ChatModel._payload

    def payload(self, request, way):
        sent.append(body(self, request, way))
        return sent[-1]

    monkeypatch.setattr(ChatModel, "_payload", payload)
    played = await play(by_turns, [refuting(remedy=remedy)])
    [violation] = played.result.violations
    assert violation.interrupted
    assert played.result.resume.mode == "turn"
    assert played.shown == played.result.text
    kept = played.result.text[: violation.cut]
    assert len(played.result.text) > len(kept + violation.inserted)
    first, again = (request["messages"] for request in sent)
    assert first == [{"role": "user", "content": PROMPT[0].content}]
    assert [turn["role"] for turn in again] == ["user", "assistant", "user"]
    if isinstance(remedy, Repair):
        assert again[1]["content"] == f"{kept}{REPAIR}\n"
        assert again[2]["content"] == CONTINUE
    else:
        assert again[1]["content"] == kept
        assert again[2]["content"] == violation.inserted


async def test_a_system_turn_is_taken(anyio_backend):
    turns = (Message("system", "Be brief."), *PROMPT)
    async with open_local() as model:
        assert (await model.complete(Request(turns, sampling=GREEDY))).text.startswith("<think>\n")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads the memory of the server from /proc")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_prompts_evicted_from_slots_use_bounded_memory(anyio_backend):
    sizes = []
    async with open_local(slots=1) as model:
        for number in range(26):
            prompt = f"{number:03} " * 240  # 4.3 MB of state each
            await model.complete(Request(prompt, sampling=Sampling(max_tokens=1)))
            sizes.append(memory_of(model.pid).resident)
    assert sizes[5] > sizes[0] + 10, "nothing is remembered, so nothing is tested"
    assert sizes[-1] < sizes[0] + 80, "the memory grew by more than 64 MiB"
