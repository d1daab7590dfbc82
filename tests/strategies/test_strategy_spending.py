"""The meter lets nothing through that cannot be afforded, and counts all that is."""

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Sampling
from interwhen.models import Chunk, Completion, Request, Usage
from interwhen.strategies import BudgetSpent, Meter
from interwhen.testing import ScriptedModel
from tests.strategies.worlds import writer

pytestmark = pytest.mark.anyio


async def drain(stream):
    chunks = []
    while more := await stream.receive():
        chunks += more
    await stream.aclose()
    return chunks


async def test_a_stream_may_have_what_is_left_and_no_more():
    model = writer(lambda _: "abcdefgh")
    meter = Meter(model, 10)
    await drain(await meter.stream(Request("", sampling=Sampling(max_tokens=6))))
    last = await drain(await meter.stream(Request("")))
    assert [request.sampling.max_tokens for request in model.requests] == [6, 4]
    assert "".join(chunk.text for chunk in last) == "abcd"
    assert (meter.spent, meter.left, meter.requests) == (10, 0, 2)
    with pytest.raises(BudgetSpent, match="the budget of 10 tokens is spent"):
        await meter.stream(Request(""))


async def test_a_server_that_knows_no_end_is_stopped():
    model = ScriptedModel(["abcdefgh"], size=1)
    meter = Meter(model, 5)
    chunks = await drain(await meter.stream(Request("")))
    assert "".join(chunk.text for chunk in chunks) == "abcde"
    assert chunks[-1].finish_reason == "length"
    assert (meter.spent, meter.wasted, model.closed) == (5, 1, 1)


async def test_a_fork_sets_its_tokens_aside_until_it_has_answered():
    seen = []
    model = ScriptedModel([""], forks=lambda request: seen.append(meter.left) or "one two")
    meter = Meter(model, 10)
    await meter.complete(Request("", sampling=Sampling(max_tokens=7), side="?"))
    assert seen == [3]
    assert (meter.fork_tokens, meter.left, meter.forks) == (2, 8, 1)


async def test_a_fork_that_fails_gives_its_tokens_back():
    meter = Meter(ScriptedModel([""]), 10)
    with pytest.raises(Exception, match="no answers"):
        await meter.complete(Request("", side="?"))
    assert meter.left == 10


async def test_prompts_are_counted_where_the_server_does():
    class Counting(ScriptedModel):
        async def complete(self, request):
            return Completion("x", "stop", Usage(prompt_tokens=9, cached_tokens=3, completion_tokens=1))

    meter = Meter(Counting([["a"]]), 10)
    await drain(await meter.stream(Request("")))
    await meter.complete(Request("", side="?"))
    meter.settle(Usage(prompt_tokens=5, cached_tokens=4))
    ledger = meter.ledger(1)
    assert (ledger.prompt_tokens, ledger.fork_prompt_tokens, ledger.cached_tokens) == (5, 9, 7)
    assert (ledger.kept, ledger.discarded, ledger.fork_tokens, ledger.total_tokens) == (1, 0, 1, 2)


async def test_what_only_some_models_and_streams_have_is_passed_on():
    model = ScriptedModel(["a"])
    assert Meter(model, 1).timeouts is model.timeouts
    with pytest.raises(AttributeError):
        Meter(model, 1).feedback  # noqa: B018
    assert not hasattr(await Meter(model, 1).stream(Request("")), "resumed")


class Reads:
    """A stream that brings reads of chunks, whatever it was asked for."""

    def __init__(self, reads):
        self.reads = list(reads)

    async def receive(self):
        return [Chunk("x" * size, tokens=size) for size in self.reads.pop(0)] if self.reads else ()

    async def aclose(self):
        self.reads.clear()


@settings(max_examples=40)
@given(
    budget=st.integers(1, 30),
    streams=st.lists(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), max_size=5), max_size=5),
)
def test_streams_never_overdraw(budget, streams):
    class Model(ScriptedModel):
        async def stream(self, request):
            return Reads(streams[self.at])

    model = Model([""])

    async def spend():
        meter = Meter(model, budget)
        for model.at in range(len(streams)):
            if not meter.left:
                with pytest.raises(BudgetSpent):
                    await meter.stream(Request(""))
                break
            await drain(await meter.stream(Request("")))
        assert meter.spent <= budget
        return meter

    meter = anyio.run(spend)
    assert meter.spent + meter.left == budget


def test_no_fewer_tokens_than_none_are_discarded():
    meter = Meter(ScriptedModel([""]), 10)
    assert meter.take(3)
    ledger = meter.ledger(4)  # a run that was told of the token which ends the text
    assert (ledger.kept, ledger.discarded) == (3, 0)
