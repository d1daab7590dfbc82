"""The scribe: what it notes is what happened, in order."""

import interwhen
import pytest
from interwhen.journal import timeline
from journals import KINDS, goes_on
from sums import judge, slow, watch

pytestmark = pytest.mark.anyio


async def recorded_in_time(kind, path):
    async with kind.run(journal=path) as run:
        events = [event async for event in run]
    return run.result, events, timeline(path)


async def test_check_records_order_start_and_end_times(path):
    monitors = [watch(slow(0.2)), watch(name="twice")]
    model = goes_on(("1+1=2\n", "words that say no more than this\n", "2+2=4\n"), delay=0.01)
    async with interwhen.run(model, "Q", monitors=monitors, journal=path) as run:
        await run.drain()
    checks = timeline(path).checks
    assert {check.worker for check in checks} >= {"loop", "inline"}
    for check in checks:
        if check.worker == "inline":
            assert check.ordered == pytest.approx(check.began) == pytest.approx(check.ended)
        elif check.worker == "loop" and check.ended is not None and check.cut is None:
            assert check.ended - check.began == pytest.approx(0.2)
            assert check.ordered == pytest.approx(check.began)
    slow_one = next(check for check in checks if check.worker == "loop")
    assert slow_one.lag == pytest.approx(20, abs=2)


async def test_timeline_separates_queueing_from_work(path):
    from interwhen.testing import Shift, VirtualWorkers

    monitor = watch(interwhen.verifier(name="sums", worker="thread", deadline=9.0)(judge))
    workers = VirtualWorkers(lambda _verifier, _claim: Shift(seconds=0.5), threads=1)
    model = goes_on(("1+1=2\n", "2+2=4\n"))
    async with interwhen.run(model, "Q", monitors=[monitor], journal=path, workers=workers) as run:
        await run.drain()
    first, second = [check for check in timeline(path).checks if check.worker == "thread"][:2]
    assert (first.began - first.ordered, first.ended - first.began) == pytest.approx((0.0, 0.5))
    assert (second.began - second.ordered, second.ended - second.began) == pytest.approx((0.5, 0.5), abs=0.01)


async def test_remedy_records_its_steps_in_order(path):
    model = goes_on(delay=0.01)
    async with interwhen.run(model, "Q", monitors=[watch()], journal=path) as run:
        await run.drain()
    line = timeline(path)
    remedy = line.remedies[0]
    story = (remedy.found, remedy.closed, remedy.sent, remedy.accepted, remedy.first)
    assert None not in story
    assert sorted(story) == list(story)
    assert remedy.cut == remedy.written == pytest.approx(remedy.found)
    assert remedy.removed == 2
    check = line.checks[remedy.check]
    assert (check.remedy, check.interrupted, check.cut) == (0, True, 0)
    assert line.cuts[0].remedy == 0
    assert [one.how for one in line.requests][::2] == ["closed", "ended"]
    assert line.requests[1].remedy == 0
    assert line.requests[1].resume == "prefix"


async def test_fork_records_its_time_and_cost(path):
    _, _, line = await recorded_in_time(KINDS["forks"], path)
    assert line.forks
    assert all(fork.worker == "model" and fork.ordered <= fork.began <= fork.ended for fork in line.forks)
    assert any(check.fork is not None for check in line.checks)
    assert sum(fork.tokens for fork in line.forks) == line.result.ledger.fork_tokens
