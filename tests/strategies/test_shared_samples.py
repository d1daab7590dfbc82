"""Shared text is the text that each would have got alone, and is paid for by each."""

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from interwhen import Sampling
from interwhen.models import Capabilities, Chunk, ReplayModel, Request, Usage
from interwhen.models._replay import Recording
from interwhen.strategies._catalog import load_strategies
from interwhen.strategies._shared_samples import SharedModel
from interwhen.strategies._traces import close
from interwhen.testing import Pause, ScriptedModel
from tests.strategies.test_attempts import babbler
from tests.strategies.worlds import RIGHT, try_out, writer

pytestmark = pytest.mark.anyio

TEXT = "one two three four"


async def read(model, most=None, stop_at=None, **sampling):
    stream = await model.stream(Request("p", sampling=Sampling(max_tokens=most, **sampling)))
    text, reason, usage = "", None, None
    try:
        while chunks := await stream.receive():
            for chunk in chunks:
                text += chunk.text
                reason = chunk.finish_reason or reason
                usage = chunk.usage or usage
            if stop_at is not None and len(text) >= stop_at:
                break
    finally:
        await close(stream)
    return text, reason, usage


def going_on():
    return writer(lambda request: TEXT[len(request.prefix) :])


@settings(max_examples=40)
@example([(None, 18), (18, None)])
@given(st.lists(st.tuples(st.none() | st.integers(1, 25), st.none() | st.integers(1, 20)), min_size=1, max_size=6))
def test_shared_sample_equals_unshared_sample(reads):
    async def play():
        shared = SharedModel(going_on())
        for most, stop_at in reads:
            alone, got = await read(going_on(), most, stop_at), await read(shared, most, stop_at)
            # Whether a text that just fits has ended, or was cut short, is known only to who asked for more.
            told = 1 if most == len(TEXT) else 2
            assert got[:told] == alone[:told]
        return shared.generated

    assert anyio.run(play) <= len(TEXT) + 1


async def test_different_requests_share_no_text():
    model = writer(lambda request: str(request.sampling.seed))
    shared = SharedModel(model)
    assert [(await read(shared, seed=seed))[0] for seed in (1, 2, 1, 2)] == ["1", "2", "1", "2"]
    assert len(model.requests) == 2


async def test_the_prompt_is_counted_for_each():
    class Counting(ScriptedModel):
        async def stream(self, request):
            self.requests.append(request)
            return Read([Chunk("ab", tokens=2), Chunk("", tokens=0, finish_reason="stop"), counted()])

    shared = SharedModel(Counting([""]))
    first, again, cut = await read(shared), await read(shared), await read(shared, 2)
    assert first[2] == counted().usage
    assert again[2] == cut[2] == Usage(prompt_tokens=9, cached_tokens=4)


def counted():
    return Chunk("", tokens=0, usage=Usage(prompt_tokens=9, cached_tokens=4, completion_tokens=3))


class Read:
    def __init__(self, chunks):
        self.chunks = list(chunks)

    async def receive(self):
        return (self.chunks.pop(0),) if self.chunks else ()

    async def aclose(self):
        self.chunks.clear()


async def test_model_resuming_by_turn_is_not_shared():
    model = writer(lambda request: TEXT[len(request.prefix) :], capabilities=Capabilities(resume="turn"))
    shared = SharedModel(model)
    await read(shared, 5)
    assert (await read(shared, 3))[0] == TEXT[:3]
    assert len(model.requests) == 1
    assert (await read(shared))[0] == TEXT
    assert [request.prefix for request in model.requests] == ["", ""]


async def test_saved_time_is_reported_as_borrowed():
    now = [0.0]

    class Slow(ScriptedModel):
        async def stream(self, request):
            now[0] += 2
            return await super().stream(request)

    shared = SharedModel(Slow([["a", Pause(0), "b"]]), clock=lambda: now[0])
    await read(shared)
    assert shared.borrowed == 0
    await read(shared)
    assert shared.borrowed == 2


async def test_refusal_is_raised_at_once():
    from interwhen.models import UpstreamError

    class Refusing(ScriptedModel):
        async def stream(self, request):
            raise UpstreamError("no", status=400)

    with pytest.raises(UpstreamError):
        await SharedModel(Refusing([""])).stream(Request("p"))


@pytest.mark.parametrize("seed", [1, 2])
async def test_sharing_changes_no_outcome(seed):
    strategies = [one for one in load_strategies() if not one.meets_model]
    shared = SharedModel(babbler(seed))
    for strategy in strategies:
        alone = await try_out(strategy, babbler(seed), budget=200, clock=lambda: 0.0)
        assert await try_out(strategy, shared, budget=200, clock=lambda: 0.0) == alone, strategy.name


async def test_samples_of_all_strategies_are_drawn_once():
    model = writer(lambda request: RIGHT)
    shared = SharedModel(model)
    for strategy in load_strategies("best-of-n:n=3,self-consistency:n=3,weighted-vote:n=3"):
        outcome = await try_out(strategy, shared)
        assert outcome.ledger.total_tokens == 3 * len(RIGHT)
    assert len(model.requests) == 3
    assert shared.generated == 3 * len(RIGHT)


async def test_continuing_known_text_pays_only_the_prompt():
    class Counting(ScriptedModel):
        async def stream(self, request):
            self.requests.append(request)
            left = TEXT[len(request.prefix) :][: request.sampling.max_tokens]
            usage = Usage(prompt_tokens=9 + len(request.prefix), cached_tokens=0, completion_tokens=len(left))
            text = [Chunk(char, tokens=1) for char in left]
            return Read([*text, Chunk("", tokens=0, finish_reason="length"), Chunk("", tokens=0, usage=usage)])

    shared = SharedModel(Counting([""]))
    usages = [(await read(shared, most))[2] for most in (5, 10, 10, 4)]
    assert [usage.prompt_tokens for usage in usages] == [9, 9, 9, 9]


async def test_a_token_without_text_is_counted_for_each():
    chunks = (Chunk("one "), Chunk("", tokens=1), Chunk("two"))
    model = ReplayModel([Recording.untimed(chunks, finish_reason="stop")])
    shared = SharedModel(model)
    counts = []
    for _ in range(2):
        stream = await shared.stream(Request("p"))
        counts.append(0)
        while chunks := await stream.receive():
            counts[-1] += sum(chunk.tokens for chunk in chunks)
        await close(stream)
    assert counts == [3, 3]
