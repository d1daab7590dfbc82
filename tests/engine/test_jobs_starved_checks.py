"""The deadline of a check counts the time in which the machine runs the process, whose reading the tests make up."""

from contextlib import asynccontextmanager

import anyio
import interwhen
import pytest
from interwhen import verifier
from interwhen._engine.loop_blocking import Heartbeat, LoopBlocking, WatchedLoop
from interwhen.testing import ScriptedModel, Shift, VirtualWorkers
from structlog.testing import capture_logs
from sums import judge, slow, supervise, watch

pytestmark = pytest.mark.anyio


@pytest.fixture
def starve(monkeypatch):
    listeners = []

    def start(listener):
        listeners.append(listener)

    monkeypatch.setattr(LoopBlocking, "start", start)

    @asynccontextmanager
    async def starving(share):
        async def read():
            while True:
                await anyio.sleep(0.1)
                for listener in listeners:
                    if (call := listener.starve(0.1 * share)) is not None:
                        call()

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            yield
            group.cancel_scope.cancel()

    return starving


def needs(seconds, worker):
    if worker == "async":
        return watch(slow(seconds, deadline=1.0)), VirtualWorkers()
    who = verifier(name="slow", deadline=1.0, worker=worker)(judge)
    return watch(who), VirtualWorkers(lambda _verifier, _claim: Shift(seconds), processes=1)


@pytest.mark.fault("H11", injected="a machine that does not run the process", happens="the deadline moves by that time")
@pytest.mark.fault("V2", injected="a machine that runs the process a fifth of the time", happens="the check passes")
@pytest.mark.parametrize("worker", ["thread", "process", "async"])
async def test_a_deadline_counts_no_starved_time(worker, starve):
    monitor, workers = needs(2.5, worker)
    async with starve(0.8):
        result, _ = await supervise(ScriptedModel(["1+1=2\n"]), monitor, workers=workers)
    assert result.status == "verified"
    assert result.timing.total == pytest.approx(2.5)


@pytest.mark.fault("H11", injected="a machine that is starved for long", happens="a gate waits for three deadlines")
@pytest.mark.parametrize("worker", ["thread", "process", "async"])
async def test_a_starved_gate_waits_for_three_deadlines(worker, starve):
    monitor, workers = needs(1e9, worker)
    gated = interwhen.Monitor(name="gated", verifier=monitor.verifier, extractor=monitor.extractor, delivery="gate")
    async with starve(1.0):
        result, _ = await supervise(ScriptedModel(["1+1=2\n"]), gated, workers=workers)
    assert (result.status, result.text) == ("abstained", "")
    assert "no verdict within 1 s" in result.reason
    assert result.timing.total == pytest.approx(3.0)


async def test_a_slow_check_gains_only_the_starved_time(starve):
    monitor, workers = needs(1e9, "thread")
    async with starve(0.5):
        result, _ = await supervise(ScriptedModel(["1+1=2\n"]), monitor, workers=workers)
    assert result.timing.total == pytest.approx(2.0, abs=0.11)


async def test_starved_queue_does_not_shorten_deadlines(starve):
    monitor, workers = needs(2.5, "process")
    async with starve(0.8):
        # One process: the third check begins after 5 s.
        result, _ = await supervise(ScriptedModel(["1+1=2\n2+2=4\n3+3=6\n"]), monitor, workers=workers)
    assert result.status == "verified"
    assert result.timing.total == pytest.approx(7.5)


async def test_result_reports_starved_time(starve, configured):
    monitor, workers = needs(2.5, "thread")
    with capture_logs() as logs:
        async with starve(0.8):
            result, _ = await supervise(ScriptedModel(["1+1=2\n"]), monitor, workers=workers)
    assert result.timing.starved == pytest.approx(2.0, abs=0.1)
    assert logs[-1]["starved"] == pytest.approx(2.0, abs=0.1)


async def test_virtual_time_is_not_starved():
    monitor, workers = needs(1e9, "thread")
    result, _ = await supervise(ScriptedModel(["1+1=2\n"]), monitor, workers=workers)
    assert (result.timing.starved, result.timing.total) == (0.0, pytest.approx(1.0))


@pytest.mark.parametrize(
    ("wall", "used", "starved"),
    [
        (0.005, 0.0, 0.0),
        (0.0055, 0.0, 0.0),  # any machine wakes a thread a little late
        (0.105, 0.0, 0.1),
        (0.105, 0.04, 0.06),
        (0.105, 0.1, 0.0),  # code of this process kept the GIL
        (0.105, 0.2, 0.0),  # two threads without it
    ],
)
def test_own_cpu_time_is_not_starved_time(wall, used, starved):
    times = iter([10.0, 10.0 + wall])
    spent = iter([3.0, 3.0 + used])
    heartbeat = Heartbeat(lambda: next(times), lambda: next(spent))
    assert heartbeat.beat(0.005) == pytest.approx(starved)


def test_a_loop_is_woken_only_for_open_checks():
    posted = []

    class Listener:
        limit = 0.02
        starved = 0.0

        def record(self, blocked): ...

        def starve(self, seconds):
            self.starved += seconds
            return self.call

    def call(): ...

    Listener.call = None
    listener = Listener()
    loop = WatchedLoop(posted.append, None, 0)
    loop.add(listener)
    loop.starve(0.015)
    assert listener.starved == 0.0
    loop.starve(0.015)
    assert (listener.starved, posted) == (pytest.approx(0.03), [])
    listener.call = call
    loop.starve(0.03)
    assert posted == [call]
