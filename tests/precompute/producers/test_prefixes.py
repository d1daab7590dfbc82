"""Prefixes: warm by the server's own counters, and warmed up again once these say that they are not."""

import msgspec
import pytest
from interwhen import Message, Task, UsageError
from interwhen.models import Capabilities, Chunk, Completion, Usage
from interwhen.precompute import MemoryShelf, Precomputer, Store
from interwhen.precompute.producers.prefixes import Warmed, prefixes, redo_if_cold
from interwhen.testing import ScriptedModel
from interwhen.testing._models import ScriptedStream

pytestmark = pytest.mark.anyio
TEXT = "a long context " * 20


class Stream(ScriptedStream):
    def __init__(self, model, usage):
        super().__init__(model, iter(["x"]), 0.0)
        self.usage = usage

    async def fetch(self):
        chunks = await super().fetch()
        return [Chunk(c.text, tokens=c.tokens, finish_reason=c.finish_reason, usage=self.usage) for c in chunks]


class CachingServer(ScriptedModel):
    """Caches whole blocks of prompts, as vLLM does; a token is a character."""

    def __init__(self, *, counts=True, block=16, on=True):
        super().__init__(["x"], capabilities=Capabilities(resume="prefix", forks=False))
        self.counts, self.block, self.on = counts, block, on
        self.blocks = set()

    async def stream(self, request):
        self.requests.append(request)
        text = Task(request.prompt).text
        starts = [text[: at + self.block] for at in range(0, len(text) - self.block + 1, self.block)]
        cached = self.block * sum(start in self.blocks for start in starts)
        if self.on:
            self.blocks.update(starts)
        return Stream(self, Usage(len(text), cached if self.counts else None, 1))

    async def complete(self, request) -> Completion:
        raise NotImplementedError


async def prepared(server, **options):
    precomputer = Precomputer(Store(MemoryShelf()), server, producers=[prefixes(**options)], debounce=0.0)
    ref = await precomputer.add("context", {"text": TEXT})
    return precomputer, ref, await precomputer.work()


async def ask(precomputer, ref, question="Why?"):
    async with precomputer.run(f"{TEXT}\n{question}\n", context=ref) as run:
        return await run.drain()


async def test_prefix_is_sent_and_confirmed_by_counters():
    server = CachingServer()
    precomputer, ref, (done,) = await prepared(server)
    assert done.outcome == "accepted"
    assert [request.sampling.max_tokens for request in server.requests] == [1, 1]
    (item,) = precomputer.ready(ref)
    assert item.proof.basis == "observed"
    warmed = msgspec.json.decode(item.payload.data, type=Warmed)
    assert (warmed.tokens, warmed.cached) == (len(TEXT) + 1, (len(TEXT) + 1) // 16 * 16)
    result = await ask(precomputer, ref)
    assert result.ledger.cached_tokens >= 0.9 * len(TEXT)


async def test_warm_prefix_is_sent_once():
    server = CachingServer()
    await prepared(server)
    await prepared(server)
    assert len(server.requests) == 3


@pytest.mark.parametrize("turn", ["system", "user"])
async def test_a_chat_begins_with_the_context(turn):
    server = CachingServer()
    await prepared(server, as_=turn)
    assert server.requests[0].prompt == (Message(turn, TEXT),)


async def test_server_without_cache_counters_confirms_nothing():
    precomputer, ref, (done,) = await prepared(CachingServer(counts=False))
    assert done.outcome == "nothing"
    assert "--enable-prompt-tokens-details" in done.why
    assert precomputer.ready(ref) == ()


async def test_server_without_cache_confirms_nothing():
    precomputer, ref, (done,) = await prepared(CachingServer(on=False))
    assert done.outcome == "failed"
    assert "whether its prefix cache is off or full" in done.why
    assert precomputer.ready(ref) == ()


async def test_evicted_prefix_is_warmed_again():
    server = CachingServer()
    precomputer, ref, _ = await prepared(server)
    assert await redo_if_cold(ref, await ask(precomputer, ref)) == ()
    server.blocks.clear()
    lost = await redo_if_cold(ref, await ask(precomputer, ref))
    assert len(lost) == 1
    assert precomputer.ready(ref) == ()
    server.blocks.clear()
    (done,) = await precomputer.work()
    assert done.outcome == "accepted"
    assert await redo_if_cold(ref, await ask(precomputer, ref, "How?")) == ()


async def test_required_share_decides_when_prefix_is_lost():
    server = CachingServer(block=160)  # about half of the prefix
    precomputer, ref, (done,) = await prepared(server, share=0.5)
    assert done.outcome == "accepted"
    assert await redo_if_cold(ref, await ask(precomputer, ref)) == ()
    server.blocks.clear()
    assert len(await redo_if_cold(ref, await ask(precomputer, ref))) == 1


async def test_missing_counters_evict_no_prefix():
    server = CachingServer()
    precomputer, ref, _ = await prepared(server)
    server.counts = False
    server.blocks.clear()
    async with precomputer.run("something else", context=ref) as run:
        result = await run.drain()
    assert await redo_if_cold(ref, result) == ()
    assert len(precomputer.ready(ref)) == 1


@pytest.mark.parametrize("options", [{"as_": "tool"}, {"share": 0.0}, {"share": 1.5}], ids=str)
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(UsageError):
        prefixes(**options)


@pytest.mark.slow
@pytest.mark.usefixtures("loop")
async def test_real_llama_server_confirms_a_warm_prefix():
    from interwhen.models import open_local

    problem = "Start with 64. Add 129. Multiply by 3. Subtract 17. Add 240."
    async with open_local("", slots=1) as model:
        precomputer = Precomputer(Store(MemoryShelf()), model, producers=[prefixes()], debounce=0.0)
        ref = await precomputer.add("total", {"text": problem})
        (done,) = await precomputer.work()
        assert done.outcome == "accepted", done.why
        (item,) = precomputer.ready(ref)
        assert item.payload.data
        async with precomputer.run(f"{problem}\n What is the result?", context=ref) as run:
            result = await run.drain()
        assert result.ledger.cached_tokens >= 0.7 * len(problem)
        assert await redo_if_cold(ref, result) == ()
