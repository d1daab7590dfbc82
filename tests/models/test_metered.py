"""A metered model lets nothing through that its budget does not allow, and counts all that is generated."""

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Sampling
from interwhen._types.errors import OutOfTokens
from interwhen.models import Chunk, Completion, Request, StreamTimeout, Usage
from interwhen.models._metered import MeteredModel
from interwhen.testing import ScriptedModel
from tests.strategies.worlds import writer

pytestmark = pytest.mark.anyio


async def drain(stream):
    chunks = []
    while more := await stream.receive():
        chunks += more
    await stream.aclose()
    return chunks


async def test_a_stream_may_use_only_the_remaining_budget():
    model = writer(lambda _: "abcdefgh")
    meter = MeteredModel(model, 10)
    await drain(await meter.stream(Request("", sampling=Sampling(max_tokens=6))))
    last = await drain(await meter.stream(Request("")))
    assert [request.sampling.max_tokens for request in model.requests] == [6, 4]
    assert "".join(chunk.text for chunk in last) == "abcd"
    assert (meter.spent, meter.left, meter.requests) == (10, 0, 2)
    with pytest.raises(OutOfTokens, match="the budget of 10 tokens is spent"):
        await meter.stream(Request(""))


async def test_a_server_that_knows_no_end_is_stopped():
    model = ScriptedModel(["abcdefgh"], size=1)
    meter = MeteredModel(model, 5)
    chunks = await drain(await meter.stream(Request("")))
    assert "".join(chunk.text for chunk in chunks) == "abcde"
    assert chunks[-1].finish_reason == "length"
    assert (meter.spent, meter.wasted, model.closed) == (5, 1, 1)


async def test_a_fork_reserves_its_tokens_until_it_answers():
    seen = []
    model = ScriptedModel([""], forks=lambda request: seen.append(meter.left) or "one two")
    meter = MeteredModel(model, 10)
    await meter.complete(Request("", sampling=Sampling(max_tokens=7), side="?"))
    assert seen == [3]
    assert (meter.fork_tokens, meter.left, meter.forks) == (2, 8, 1)


async def test_a_fork_that_fails_gives_its_tokens_back():
    meter = MeteredModel(ScriptedModel([""]), 10)
    with pytest.raises(Exception, match="must have answers for forks"):
        await meter.complete(Request("", side="?"))
    assert meter.left == 10


async def test_prompts_are_counted_where_the_server_does():
    class Counting(ScriptedModel):
        async def complete(self, request):
            return Completion("x", "stop", Usage(prompt_tokens=9, cached_tokens=3, completion_tokens=1))

    meter = MeteredModel(Counting([["a"]]), 10)
    await drain(await meter.stream(Request("")))
    await meter.complete(Request("", side="?"))
    meter.settle(Usage(prompt_tokens=5, cached_tokens=4))
    meter.settle(Usage(prompt_tokens=0, cached_tokens=0))
    assert meter.warm_tokens == 4  # of the first stream that the server counted
    ledger = meter.ledger(1)
    assert (ledger.prompt_tokens, ledger.fork_prompt_tokens, ledger.cached_tokens) == (5, 9, 7)
    assert (ledger.kept, ledger.discarded, ledger.fork_tokens, ledger.total_tokens) == (1, 0, 1, 2)


async def test_optional_model_and_stream_attributes_are_passed_on():
    model = ScriptedModel(["a"])
    assert MeteredModel(model, 1).timeouts is model.timeouts
    with pytest.raises(AttributeError):
        MeteredModel(model, 1).feedback  # noqa: B018
    assert not hasattr(await MeteredModel(model, 1).stream(Request("")), "way")


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
        meter = MeteredModel(model, budget)
        for model.at in range(len(streams)):
            if not meter.left:
                with pytest.raises(OutOfTokens):
                    await meter.stream(Request(""))
                break
            await drain(await meter.stream(Request("")))
        assert meter.spent <= budget
        return meter

    meter = anyio.run(spend)
    assert meter.spent + meter.left == budget


def test_no_fewer_tokens_than_none_are_discarded():
    meter = MeteredModel(ScriptedModel([""]), 10)
    assert meter.take(3, 3)
    ledger = meter.ledger(4)  # a run that also counts the token at the end of the text
    assert (ledger.kept, ledger.discarded) == (3, 0)


async def test_a_token_limit_holds_when_servers_ignore_it():
    meter = MeteredModel(ScriptedModel(["abcdefgh"], size=1), 100)
    chunks = await drain(await meter.stream(Request("", sampling=Sampling(max_tokens=3))))
    assert "".join(chunk.text for chunk in chunks) == "abc"
    assert chunks[-1].finish_reason == "length"
    assert (meter.spent, meter.wasted, meter.left) == (3, 1, 97)


async def test_a_cancelled_fork_counts_its_full_token_limit():
    meter = MeteredModel(ScriptedModel([""], forks=lambda _: "late", delay=5.0), 10)
    with anyio.move_on_after(0.01):
        await meter.complete(Request("", sampling=Sampling(max_tokens=7), side="?"))
    assert (meter.fork_tokens, meter.left) == (7, 3)


async def test_a_fork_that_times_out_counts_in_full():
    class Slow(ScriptedModel):
        async def complete(self, request):
            raise StreamTimeout("total", 1.0)

    meter = MeteredModel(Slow([""]), 10)
    with pytest.raises(StreamTimeout):
        await meter.complete(Request("", sampling=Sampling(max_tokens=4), side="?"))
    assert meter.spent == 4


async def test_uncounted_fork_tokens_are_estimated_from_the_text():
    class Silent(ScriptedModel):
        async def complete(self, request):
            return Completion("nine char", "stop", Usage())

    meter = MeteredModel(Silent([""]), 10)
    await meter.complete(Request("", side="?"))
    assert meter.fork_tokens == 4


async def test_work_can_stop_before_requests_and_after_reads():
    class Stopped(Exception):
        pass

    used = []

    def stop_third():
        used.append(1)
        if len(used) == 3:
            raise Stopped

    meter = MeteredModel(ScriptedModel(["abc"], size=1), 10, when_used=stop_third)
    stream = await meter.stream(Request(""))
    await stream.receive()
    with pytest.raises(Stopped):
        await stream.receive()
    assert meter.generated == 2  # what came is counted, also where it is not used


@pytest.mark.parametrize(
    ("came", "finished", "counted", "unseen"),
    [(4, True, 5, 1), (4, True, 3, -1), (4, False, 6, 2), (4, False, 0, 0), (4, True, None, 0)],
)
async def test_tokens_only_servers_saw_are_outside_the_budget(came, finished, counted, unseen):
    # Before the finish reason, a server may not have counted all of it.
    meter = MeteredModel(ScriptedModel([["a"]]), 10)
    meter.settle(Usage(completion_tokens=counted), came=came, finished=finished)
    assert (meter.unseen, meter.left) == (unseen, 10)


async def test_uncounted_prompts_are_estimated_from_the_counted_ones():
    meter = MeteredModel(ScriptedModel([["a"]] * 3), 10)
    await drain(await meter.stream(Request("x" * 40)))
    assert (meter.estimated_prompt_tokens, meter.uncounted) == (10, 1)
    meter.prompt_tokens, meter._counted_bytes = 50, 100  # the server has counted others, with two bytes a token
    assert meter.ledger(1).estimated_prompt_tokens == 20
    assert meter.ledger(1).total_prompt_tokens == 70


async def test_a_budget_may_hold_prompts_too():
    meter = MeteredModel(ScriptedModel([["a"]] * 3), 25, counts_prompts=True)
    await drain(await meter.stream(Request("x" * 40)))
    assert (meter.spent, meter.left) == (11, 14)
    await drain(await meter.stream(Request("x" * 60)))
    with pytest.raises(OutOfTokens):
        await meter.stream(Request(""))


@pytest.mark.parametrize(("counts_prompts", "cached"), [(False, 30), (True, 0)])
async def test_a_budget_of_prompts_hides_what_is_cached(counts_prompts, cached):
    # Cached prompt tokens use up this budget like others, so a run must not take them for cheap.
    class Said(Reads):
        def __init__(self):
            self.reads = [[Chunk("a", usage=Usage(40, 30, 1))]]

        async def receive(self):
            return self.reads.pop(0) if self.reads else ()

    class Cached(ScriptedModel):
        async def stream(self, request):
            return Said()

    meter = MeteredModel(Cached([""]), 100, counts_prompts=counts_prompts)
    [chunk] = await drain(await meter.stream(Request("")))
    assert (chunk.usage.cached_tokens, meter.cached_tokens) == (cached, 30)
