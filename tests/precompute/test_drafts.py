"""A slow step continues where it was cut off, and never with the text of another request."""

import anyio
import pytest
from interwhen import Sampling
from interwhen.models import ConnectError, Usage
from interwhen.precompute import MemoryShelf, Nothing, Payload, Precomputer, Proposal, Step, Store
from interwhen.precompute._contexts import spending
from interwhen.testing import Pause, ScriptedModel
from tests.precompute.toys import watcher

pytestmark = pytest.mark.anyio
TEXT = "".join(f"{at}+1={at + 1}\n" for at in range(40))


class Slow:
    """One step: what the model says to "count", asked or worked out under the monitors."""

    name, version, kind = "slow", "1", "answers"

    def __init__(self, way="ask", *, sampling=None, fails=False):
        self.way, self.sampling, self.fails = way, sampling, fails
        self.seen = []

    def plan(self, context):
        yield Step(name="count", reads=tuple(piece.name for piece in context.pieces))

    async def make(self, step, context):
        sampling = self.sampling or Sampling(temperature=0.0)
        if self.way == "ask":
            reply = await context.ask("count", sampling)
            self.seen.append((reply.text, reply.finish_reason, reply.usage.completion_tokens))
        else:
            reply = await context.work_out("count", sampling)
        if self.fails:
            raise RuntimeError("the producer has a fault")
        return Proposal(payload=Payload(reply.text.strip()), prompt="count")


class Counting(ScriptedModel):
    """A line of TEXT each second, from where the request has got to; the server counts what it generates."""

    def __init__(self, **options):
        super().__init__(self._say, **options)

    def _say(self, request):
        for line in TEXT[len(request.prefix) :].splitlines(keepends=True):
            yield Pause(1.0)
            yield line


def asleep(model, producer, store=None, **options):
    options = {"step_seconds": 10.5, "debounce": 0.0, **options}
    return Precomputer(store or Store(MemoryShelf()), model, [watcher()], producers=[producer], **options)


async def until_made(pre, most=20):
    done = []
    while len(done) < most and not (done and done[-1].outcome == "accepted"):
        slices = await pre.work(slices=1)
        if not slices:
            await anyio.sleep(301)  # the pause after a slice that was late
        done.extend(slices)
    return done


@pytest.mark.parametrize("way", ["ask", "work_out"])
async def test_long_step_is_made_in_slices(way):
    model = Counting()
    pre = asleep(model, Slow(way))
    await pre.add("book", {"p": "x"})
    done = await until_made(pre)
    assert [each.outcome for each in done] == ["late", "late", "late", "accepted"]
    (item,) = pre.store.items()
    assert item.payload.text == TEXT.strip()
    assert item.cost.generated == 40
    spent = spending(pre.store, "book")
    assert (spent.cost.generated, spent.discarded) == (40, 0)
    assert [len(request.prefix.splitlines()) for request in model.requests] == [0, 10, 20, 30]


async def test_another_process_continues_a_draft():
    store = Store(MemoryShelf())
    first = asleep(Counting(), Slow(), store)
    await first.add("book", {"p": "x"})
    await first.work(slices=1)
    model, producer = Counting(), Slow()
    second = asleep(model, producer, store, step_seconds=100)
    await second.open("book")
    (done,) = await second.work()
    assert done.outcome == "accepted"
    assert model.requests[0].prefix == "".join(TEXT.splitlines(keepends=True)[:10])
    assert producer.seen == [(TEXT, "stop", None)]
    assert store.document("drafts:book").generation == 2
    assert len(store.document("drafts:book").data) < 5  # the draft is gone


async def test_failed_step_restarts_without_draft():
    model = Counting()
    pre = asleep(model, Slow(fails=True), step_seconds=100)
    await pre.add("book", {"p": "x"})
    await pre.work()
    await anyio.sleep(10)
    await pre.work()
    assert [request.prefix for request in model.requests] == ["", ""]


async def test_schema_constrained_text_restarts_without_draft():
    model = Counting()
    pre = asleep(model, Slow(sampling=Sampling(extra={"response_format": {"type": "json_object"}})))
    await pre.add("book", {"p": "x"})
    await until_made(pre, most=2)
    assert [request.prefix for request in model.requests] == ["", ""]


async def test_another_model_does_not_continue_a_draft():
    class Other(Counting):
        name = "other"

    store = Store(MemoryShelf())
    first = asleep(Counting(), Slow(), store)
    await first.add("book", {"p": "x"})
    await first.work(slices=1)
    model = Other()
    second = asleep(model, Slow(), store)
    await second.open("book")
    await second.work(slices=1)
    assert model.requests[0].prefix == ""


class Twice(Slow):
    """Asks the same twice, and compares."""

    async def make(self, step, context):
        replies = [(await context.ask("count", Sampling(temperature=1.0))).text for _ in range(2)]
        self.seen.append(replies)
        return Nothing("compared")


async def test_equal_requests_of_a_step_stay_separate():
    model, producer = ScriptedModel([["a"], ["b"]]), Twice()
    pre = asleep(model, producer)
    await pre.add("book", {"p": "x"})
    await pre.work()
    assert producer.seen == [["a", "b"]]


async def test_continued_reply_counts_tokens_of_whole_text():
    from interwhen.models import Chunk
    from interwhen.precompute._drafts import Drafts, UnfinishedReply, _DraftStream
    from interwhen.precompute._items import digest

    class Rest:
        def __init__(self):
            self.chunks = [Chunk("b", finish_reason="stop", usage=Usage(9, 0, 1))]

        async def receive(self):
            return [self.chunks.pop()] if self.chunks else ()

        async def aclose(self):
            raise ConnectError("gone")

    drafts = Drafts(Store(MemoryShelf()), "book")
    stream = _DraftStream(drafts, digest("k"), UnfinishedReply((("answer", "a"),), 5), Rest())
    first, second = await stream.receive(), await stream.receive()
    assert [(chunk.text, chunk.tokens) for chunk in (*first, *second)] == [("a", 0), ("b", 1)]
    assert second[0].usage.completion_tokens == 6
    assert drafts.get(digest("k")) == UnfinishedReply((("answer", "ab"),), 6, "stop")
