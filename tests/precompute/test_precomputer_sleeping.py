"""Background work: never beside a run, one step at a time, within its budget, and continued after any end."""

from dataclasses import replace
from itertools import pairwise

import anyio
import interwhen
import pytest
from interwhen import UsageError
from interwhen._types.errors import OutOfTokens
from interwhen.models import ConnectError
from interwhen.precompute import MemoryShelf, Store
from interwhen.precompute._contexts import spending
from interwhen.testing import Pause, ScriptedModel
from interwhen.testing._models import cut_into
from tests.precompute.toys import Sums, ToyModel, answer, numbers, per_piece, precomputer, right, told

pytestmark = pytest.mark.anyio


class Shared:
    """One model for runs and for work ahead of time, which notes who has a stream open whenever text comes.

    *late* counts the texts of work ahead of time that came while a run had a stream open.
    """

    def __init__(self, *, pause=0.05):
        self.offline = self.online = 0
        self.beside = []
        self.steps = 0
        self.late = 0
        self._pause = pause

    def model(self, kind):
        shared = self

        class Counted(ScriptedModel):
            def __init__(self):
                super().__init__(self._say)

            def _say(self, request):
                prompt = request.prompt
                text = answer("scripted", prompt)[len(request.prefix) :] if kind == "offline" else "1+1=2\n" * 6
                for piece in cut_into(text, 3):
                    yield Pause(shared._pause)
                    yield piece

            async def stream(self, request):
                inner = await super().stream(request)
                setattr(shared, kind, getattr(shared, kind) + 1)
                return Watched(inner)

        class Watched:
            def __init__(self, inner):
                self._inner = inner
                self._closed = False

            async def receive(self):
                chunks = await self._inner.receive()
                if kind == "online":
                    shared.steps += 1
                    shared.beside.append(shared.offline)
                elif shared.online:
                    shared.late += 1
                return chunks

            async def aclose(self):
                if not self._closed:
                    self._closed = True
                    setattr(shared, kind, getattr(shared, kind) - 1)
                await self._inner.aclose()

        return Counted()


@pytest.mark.parametrize("begins", [0.0, 0.03, 0.05, 0.06, 0.1, 0.17, 0.31, 0.5, 1.0])
async def test_no_offline_request_runs_during_a_run(begins):
    shared = Shared()
    pre = precomputer(model=shared.model("offline"), debounce=0.2)
    ref = await pre.add("book", numbers(30))
    reader = shared.model("online")
    async with pre.idle():
        await anyio.sleep(0.2 + begins)
        for _ in range(4):
            async with interwhen.run(reader, "Q", context=ref) as run:
                await run.drain()
            assert shared.offline == 0
            await anyio.sleep(0.1)  # a pause that is shorter than the debounce
            assert shared.offline == 0
        await anyio.sleep(60)
    assert shared.steps > 40
    assert set(shared.beside) == {0}
    # Nothing was lost by giving way.
    assert told(pre.ready(ref)) == right(per_piece, pre.contexts["book"])
    assert pre.foreground_gate.preempted <= 1


async def test_worker_uses_every_long_enough_pause():
    shared = Shared(pause=0.01)
    pre = precomputer(model=shared.model("offline"), debounce=0.2)
    ref = await pre.add("book", numbers(30))
    done = []
    async with pre.idle():
        for _ in range(5):
            async with interwhen.run(shared.model("online"), "Q", context=ref) as run:
                await run.drain()
            await anyio.sleep(0.4)
            done.append(len(pre.contexts["book"].current.items))
    assert done == sorted(set(done))
    assert done[0] > 0


async def test_preempted_work_is_counted_and_continued():
    shared = Shared(pause=0.1)
    pre = precomputer(model=shared.model("offline"), debounce=0.0)
    await pre.add("book", {"p": "the number 3"})
    async with anyio.create_task_group() as group:

        async def run_begins():
            await anyio.sleep(0.15)
            with pre.foreground():
                await anyio.sleep(1)

        group.start_soon(run_begins)
        done = await pre.work(slices=2)
    assert [each.outcome for each in done] in (
        ["cancelled", "accepted"],
        ["cancelled", "rejected"],
        ["cancelled", "unknown"],
    )
    spent = spending(pre.store, "book")
    assert done[0].cost.generated == 1
    assert spent.discarded == 0  # the item is made from it
    (item,) = pre.store.items()
    assert item.cost.generated == spent.cost.generated
    assert spent.cost.generated == done[0].cost.generated + done[1].cost.generated
    assert spent.cost.requests == spent.slices == 2


async def test_budget_is_per_context_and_persistent():
    store = Store()
    pre = precomputer(store, token_budget=12)
    ref = await pre.add("book", numbers(30))
    done = await pre.work()
    spent = spending(store, "book").cost.generated
    assert 12 <= spent <= 12 + 1  # the end mark of a stream that was cut by its own limit
    assert len(done) < 30
    assert await precomputer(store, token_budget=12).work() == ()
    more = precomputer(store, token_budget=1000)
    await more.open("book")
    assert len(await more.work()) == 30 - len(pre.contexts["book"].current.items)
    assert told(more.ready(ref.__class__(more, "book", ref.digest))) == right(per_piece, more.contexts["book"])


async def test_requests_are_limited_to_remaining_tokens():
    model = ToyModel()
    pre = precomputer(model=model, token_budget=10)
    await pre.add("book", numbers(30))
    await pre.work()
    asked = [request.sampling.max_tokens for request in model.requests]
    assert asked[0] == 10
    assert asked == sorted(asked, reverse=True)
    assert all(each > 0 for each in asked)


async def test_request_beyond_the_budget_is_refused():
    class Greedy(Sums):
        async def make(self, step, context):
            await context.ask("add 1 2")
            with pytest.raises(OutOfTokens, match="the budget of 1 tokens"):
                await context.ask("add 1 2")
            return await super().make(step, context)

    pre = precomputer(producer=Greedy(), token_budget=1)
    await pre.add("book", numbers(2))
    [done] = await pre.work()
    assert done.outcome == "out of tokens"
    assert spending(pre.store, "book").discarded == done.cost.generated


async def test_endless_reply_is_cut_at_the_budget():
    def endless(request):
        while True:
            yield "1+1=2\n"

    pre = precomputer(model=ScriptedModel(endless), token_budget=1000, step_tokens=100)
    await pre.add("book", {"p0": "the number 0"})
    await pre.work()
    assert (
        spending(pre.store, "book").cost.generated == 41
    )  # the toy asks for 40, and the one that came after them was generated, too
    assert pre.contexts["book"].current.items["sums::sum/p0"].payload.text.count("\n") == 40


async def test_worker_killed_anywhere_can_continue():
    # The oracle: what an unbroken worker makes.
    whole = precomputer()
    ref = await whole.add("book", numbers(10))
    await whole.work()
    expected = told(whole.ready(ref))
    tries = 0
    for turns in range(0, 400, 20):
        shelf = MemoryShelf()
        pre = precomputer(Store(shelf), model=ToyModel(delay=0.01))
        await pre.add("book", numbers(10))
        async with pre.idle():
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            await anyio.sleep(0.001 * turns)
        made = len(pre.producers[0].made)
        kept = len(list(Store(shelf).items()))
        assert made - 1 <= kept <= made  # at most the step that was under way is made twice
        after = precomputer(Store(shelf))
        ref = await after.open("book")
        await after.work()
        assert told(after.ready(ref)) == expected
        assert len(after.producers[0].made) == 10 - kept
        tries += 1
    assert tries == 20


async def test_failing_model_is_retried_with_backoff(log):
    asked = []

    def script(request):
        asked.append(anyio.current_time())
        if len(asked) < 5:
            return [ConnectError("no route")]
        return [answer("scripted", request.prompt)]

    pre = precomputer(model=ScriptedModel(script))
    ref = await pre.add("book", {"p0": "the number 0"})
    start = anyio.current_time()
    async with pre.idle():
        await anyio.sleep(120)
    assert len(asked) == 5
    gaps = [b - a for a, b in pairwise(asked)]
    assert all(gap >= least for gap, least in zip(gaps, (1, 2, 4, 8), strict=True))
    assert asked[-1] - start < 60
    assert told(pre.ready(ref)) == right(per_piece, pre.contexts["book"])
    assert [entry["again_in"] for entry in log if entry["event"] == "step.failed"] == [1, 2, 4, 8]


async def test_hanging_step_ends_and_next_one_runs():
    class Hanging(Sums):
        async def make(self, step, context):
            if step.name == "sum/p0":
                await anyio.sleep_forever()
            return await super().make(step, context)

    pre = precomputer(producer=Hanging(), step_seconds=3.0)
    await pre.add("book", numbers(3))
    done = await pre.work(slices=3)
    assert [each.outcome == "late" for each in done] == [True, False, False]


async def test_contexts_take_turns():
    producer = Sums()
    pre = precomputer(producer=producer)
    for name in "ab":
        await pre.add(name, {f"{name}{at}": f"number {at}" for at in range(3)})
    await pre.work()
    turns = [made.removeprefix("sum/")[0] for made in producer.made]
    assert turns in (list("ababab"), list("bababa"))


async def test_the_most_urgent_step_comes_first():
    class Urgent(Sums):
        def plan(self, context):
            steps = super().plan(context)
            self.plans = {replace(step, urgency=float(step.name[-1])): self.plans[step] for step in steps}
            return list(self.plans)

    producer = Urgent()
    pre = precomputer(producer=producer)
    await pre.add("book", numbers(4))
    await pre.work()
    assert producer.made == [f"sum/p{at}" for at in (3, 2, 1, 0)]


async def test_edits_by_another_process_wake_an_idle_worker():
    store = Store()
    pre, other = precomputer(store), precomputer(store)
    await pre.add("book", numbers(2))
    async with pre.idle():
        await anyio.sleep(1)
        ref = await other.add("book", numbers(6))
        await anyio.sleep(10)
    await other.refresh("book")
    assert told(other.ready(ref)) == right(per_piece, other.contexts["book"])
    assert other.producers[0].made == []


async def test_remote_store_is_trusted_for_limited_time():
    class Far(MemoryShelf):
        blocks = True

    pre = precomputer(Store(Far()), fresh_seconds=5.0)
    ref = await pre.add("book", numbers(8))
    await pre.work()
    assert pre.ready(ref)
    await anyio.sleep(5.1)
    assert pre.ready(ref) == ()
    async with pre.idle():
        await anyio.sleep(100)
        assert pre.ready(ref)  # the worker looks in time


async def test_one_precomputer_works_in_one_task():
    shared = Shared()
    pre = precomputer(model=shared.model("offline"))
    await pre.add("book", numbers(3))
    async with pre.idle():
        await anyio.sleep(0.01)
        with pytest.raises(UsageError, match="only one task may work with a precomputer"):
            await pre.work()


async def test_plan_failing_after_edit_affects_own_context_only(log):
    class Fussy(Sums):
        def plan(self, context):
            if any(piece.name == "bad" for piece in context.pieces):
                raise ZeroDivisionError
            return super().plan(context)

    store = Store()
    pre, other = precomputer(store, Fussy()), precomputer(store)
    await pre.add("a", numbers(2))
    await pre.add("b", numbers(6))
    await other.add("a", {"bad": "1"})
    async with pre.idle():
        await anyio.sleep(30)
    assert len(pre.contexts["b"].current.items) == 6
    assert {entry["context"] for entry in log if entry["event"] == "context.failed"} == {"a"}


async def test_exception_in_idle_block_propagates_unchanged():
    pre = precomputer()
    with pytest.raises(ZeroDivisionError):
        async with pre.idle():
            raise ZeroDivisionError


async def test_idle_work_completes_on_asyncio_with_file(loop, tmp_path):
    from interwhen.precompute import open_store

    store = open_store(f"file://{tmp_path}/store")
    pre = precomputer(store)
    ref = await pre.add("book", numbers(6))
    async with pre.idle():
        with anyio.fail_after(60):
            while pre.contexts["book"].current.due or not pre.contexts["book"].current.items:
                await anyio.sleep(0.02)
    assert told(pre.ready(ref)) == right(per_piece, pre.contexts["book"])
    await pre.aclose()


async def test_run_in_another_thread_preempts_the_step(loop):
    shared = Shared(pause=0.02)
    pre = precomputer(model=shared.model("offline"))
    ref = await pre.add("book", numbers(200))
    reader = shared.model("online")

    def read():
        with interwhen.run_sync(reader, "Q", context=ref) as run:
            return run.drain()

    async with pre.idle():
        await anyio.sleep(0.1)
        assert (await anyio.to_thread.run_sync(read)).text
        made = len(pre.producers[0].made)
        with anyio.fail_after(60):
            while len(pre.producers[0].made) == made:
                await anyio.sleep(0.01)
    # Until its next token, a step that is under way in the other thread may be open. That thread may be stopped before.
    assert shared.late <= 1
