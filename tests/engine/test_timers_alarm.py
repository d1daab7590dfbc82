"""The alarm behind a run's timers: in tasks of the group, whichever event loop calls."""

import asyncio
import gc
import weakref

import anyio
import interwhen
import pytest
from interwhen import Budgets
from interwhen._engine.stream import Meter
from interwhen._engine.timers import Alarm, Timers
from interwhen.models import Timeouts
from interwhen.testing import Pause, ScriptedModel
from sums import watch

pytestmark = pytest.mark.anyio

NEVER = Pause(1e6)


class Bedside:
    """Notes when it is called, in which task, and by which time it wants to be called next."""

    def __init__(self, *waits):
        self.waits = list(waits)
        self.calls = []
        self.tasks = []
        self.done = anyio.Event()

    def check(self, now):
        self.calls.append(now)
        self.tasks.append(anyio.get_current_task().id)
        anyio.Event()  # as closing a stream does; it needs a task
        if not self.waits:
            self.done.set()
            return float("inf")
        return now + self.waits.pop(0)


async def ring(bedside):
    async with anyio.create_task_group() as group:
        Alarm(group, anyio.current_time, bedside.check).start()
        with anyio.fail_after(60):
            await bedside.done.wait()


async def test_alarm_calls_at_the_requested_times():
    bedside = Bedside(5.0, 0.0, 20.0)
    begun = anyio.current_time()
    await ring(bedside)
    assert [round(at - begun, 3) for at in bedside.calls] == [0.0, 5.0, 5.001, 25.001]


async def test_alarm_calls_run_in_the_task_group(loop):
    bedside = Bedside(0.01, 0.0, 0.02)
    mine = anyio.get_current_task().id
    await ring(bedside)
    gaps = [b - a for a, b in zip(bedside.calls, bedside.calls[1:], strict=False)]
    assert [gap >= least for gap, least in zip(gaps, (0.009, 0.0, 0.019), strict=True)] == [True] * 3
    assert bedside.tasks[0] == mine
    assert mine not in bedside.tasks[1:]


async def fail_later(check):
    async with anyio.create_task_group() as group:
        Alarm(group, anyio.current_time, check).start()
        await anyio.sleep(10)


async def test_exception_in_alarm_call_ends_the_group(loop):
    def check(now):
        if waits:
            return now + waits.pop()
        raise ValueError("of the check")

    waits = [0.01]
    with pytest.raises(ExceptionGroup) as caught:
        await fail_later(check)
    assert caught.group_contains(ValueError, match="of the check")


async def test_stopped_alarm_makes_no_calls_and_is_freed(loop):
    bedside = Bedside(0.01)
    async with anyio.create_task_group() as group:
        alarm = Alarm(group, anyio.current_time, bedside.check)
        alarm.start()
        alarm.stop()
        await anyio.sleep(0.05)
        assert len(bedside.calls) == 1
        gone = weakref.ref(bedside)
        gc.disable()
        try:
            del bedside
            assert gone() is None
        finally:
            gc.enable()


async def test_stopped_alarm_makes_no_further_call(loop):
    bedside = Bedside(0.0, 0.0)
    async with anyio.create_task_group() as group:
        alarm = Alarm(group, anyio.current_time, bedside.check)
        alarm.start()
        alarm._ring(asyncio.get_running_loop())
        alarm.stop()
        await anyio.sleep(0.02)
    assert len(bedside.calls) == 1


async def test_alarm_stopped_by_own_call_sets_no_timer(loop):
    async with anyio.create_task_group() as group:

        def check(now):
            calls.append(now)
            alarm.stop()
            return now + 0.001

        calls = []
        alarm = Alarm(group, anyio.current_time, check)
        alarm.start()
        await anyio.sleep(0.02)
    assert len(calls) == 1


async def test_loop_timer_resumes_a_stalled_stream(loop):
    model = ScriptedModel([["1+1=2\n", NEVER], ["2+2=4\n"]], timeouts=Timeouts(first_token=30.0, inter_token=0.5))
    with anyio.fail_after(60):
        async with interwhen.run(model, "Q", monitors=[watch()]) as run:
            await run.drain()
    assert (run.result.status, run.result.text, run.result.ledger.reconnects) == ("verified", "1+1=2\n2+2=4\n", 1)


async def test_loop_timer_enforces_time_budget(loop):
    model = ScriptedModel([["1+1=2\n", NEVER]])
    with anyio.fail_after(60):
        async with interwhen.run(model, "Q", monitors=[watch()], budgets=Budgets(seconds=0.05)) as run:
            await run.drain()
    assert run.result.status == "abstained"
    assert "0.05 s" in run.result.reason


async def test_time_budget_does_not_suppress_pace_checks():
    meter = Meter(anyio.current_time)
    now = anyio.current_time()
    timers = Timers(meter, Timeouts(None, None, None), 100.0, print, print, lambda now: now + 10.0)
    assert timers.check(now) == now + 10.0


async def test_finished_run_leaves_no_timer_or_task(loop):
    running = asyncio.get_running_loop()
    before = len(asyncio.all_tasks(running))
    timers = []
    real = running.call_at
    model = ScriptedModel(["1+1=2\n"])
    with pytest.MonkeyPatch.context() as patch:
        if hasattr(running, "__dict__"):  # uvloop's cannot be patched
            patch.setattr(running, "call_at", lambda *given, **more: timers.append(real(*given, **more)) or timers[-1])
        async with interwhen.run(model, "Q", monitors=[watch()]) as run:
            await run.drain()
    assert len(asyncio.all_tasks(running)) == before
    assert all(timer.cancelled() for timer in timers)
