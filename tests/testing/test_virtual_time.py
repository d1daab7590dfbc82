"""Hours pass in no time, each run makes the same steps, and what cannot work in virtual time says so."""

import asyncio
import math
import socket
import time

import anyio
import interwhen
import pytest
from interwhen import Pass, Repair, Resample, UsageError, verifier
from interwhen.results import Errored, Judged, TimedOut
from interwhen.testing import (
    DeadlockError,
    OutOfVirtualTimeError,
    Pause,
    RealIOError,
    ScriptedModel,
    Shift,
    VirtualWorkers,
    run_virtual,
)
from sums import judge, watch

TEXT = "1+1=2\n"


def test_virtual_week_takes_no_real_time():
    async def main():
        await anyio.sleep(7 * 24 * 3600)
        return anyio.current_time()

    begun = time.monotonic()
    assert run_virtual(main) == 7 * 24 * 3600
    assert time.monotonic() - begun < 30


def test_timers_fire_in_order_and_on_time():
    async def main():
        seen = []

        async def sleeper(seconds):
            await anyio.sleep(seconds)
            seen.append((seconds, asyncio.get_running_loop().time()))

        async with anyio.create_task_group() as group:
            for seconds in (0.3, 0.1, 0.7, 0.1, 1e-9, 0.0):
                group.start_soon(sleeper, seconds)
        return seen

    seen = run_virtual(main)
    assert seen == run_virtual(main)
    assert [at for at, _ in seen] == [0.0, 1e-9, 0.1, 0.1, 0.3, 0.7]
    assert all(at == when for at, when in seen)


def test_fractional_deadline_is_kept():
    async def main():
        for number in range(1, 300):
            with anyio.move_on_after(0.1 + 1 / (3 * number)):
                await anyio.sleep_forever()

    run_virtual(main, turns=5000)  # a clock that stood before the deadline for ever would need more


def test_deadlock_error_names_the_waiting_tasks():
    async def main():
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.Event().wait, name="the lonely one")

    with pytest.raises(DeadlockError, match="the lonely one") as caught:
        run_virtual(main)
    assert any("the lonely one" in line for line in caught.value.waiting)


def test_a_deadlock_names_the_line_that_waits():
    async def inner():
        await anyio.Event().wait()

    async def main():
        await inner()

    with pytest.raises(DeadlockError) as caught:
        run_virtual(main)
    [where] = caught.value.waiting
    assert where.endswith(f" at test_virtual_time.py:{inner.__code__.co_firstlineno + 1}")


@pytest.mark.parametrize("limits", [{"seconds": 5.0}, {"turns": 500}])
def test_endless_program_exceeds_virtual_time(limits):
    async def main():
        while True:
            await anyio.sleep(0.01)

    with pytest.raises(OutOfVirtualTimeError, match="must finish within"):
        run_virtual(main, **limits)


def test_exception_propagates_unchanged():
    async def main():
        await anyio.sleep(1)
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        run_virtual(main)


async def in_a_thread():
    await asyncio.get_running_loop().run_in_executor(None, print)


async def by_socket():
    left, right = socket.socketpair()
    with left, right:
        await anyio.wait_readable(left)


async def writing():
    left, right = socket.socketpair()
    with left, right:
        await anyio.wait_writable(left)


async def over_the_network():
    await asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", 9)


async def serving():
    await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)


async def by_process():
    await asyncio.create_subprocess_exec("true")


async def by_shell():
    await asyncio.create_subprocess_shell("true")


async def by_signal():
    asyncio.get_running_loop().add_signal_handler(2, print)


@pytest.mark.parametrize(
    "io", [in_a_thread, by_socket, writing, over_the_network, serving, by_process, by_shell, by_signal]
)
def test_real_io_is_refused(io):
    with pytest.raises(RealIOError):
        run_virtual(io)


@pytest.mark.parametrize(
    "method",
    [
        "connect_accepted_socket",
        "connect_read_pipe",
        "connect_write_pipe",
        "create_datagram_endpoint",
        "create_unix_connection",
        "create_unix_server",
        "sendfile",
        "sock_accept",
        "sock_connect",
        "sock_recv",
        "sock_recv_into",
        "sock_recvfrom",
        "sock_recvfrom_into",
        "sock_sendall",
        "sock_sendfile",
        "sock_sendto",
        "start_tls",
    ],
)
def test_other_real_io_is_refused(method):
    async def main():
        await getattr(asyncio.get_running_loop(), method)(None)

    with pytest.raises(RealIOError, match="use a fake"):
        run_virtual(main)


def test_virtual_run_is_cancellable_at_every_step():
    from interwhen.testing._virtual_time import VirtualLoop

    async def main(loop, last):
        done = []
        with anyio.CancelScope() as scope:
            loop.on_turn = lambda turn: turn == last and (scope.cancel() or True)
            for number in range(5):
                await anyio.sleep(number)
                done.append(number)
        return done, loop.time()

    results = []
    for last in range(1, 12):
        loop = VirtualLoop()
        with asyncio.Runner(loop_factory=lambda loop=loop: loop) as runner:
            results.append(runner.run(main(loop, last)))
    assert [0, 1] in [done for done, _ in results]
    assert results[-1] == ([0, 1, 2, 3, 4], 10)
    assert all(at == sum(done) for done, at in results)  # no time passed in the turn that was cancelled


# ---------------------------------------------------------------- workers


def check_by(worker, shift=None, *, deadline=4.0, text=TEXT, **options):
    workers = VirtualWorkers(shift, **options)

    async def main():
        who = verifier(name="sums", worker=worker, deadline=deadline)(judge)
        async with interwhen.run(ScriptedModel([text]), "Q", monitors=[watch(who)], workers=workers) as run:
            return await run.drain()

    result = run_virtual(main)
    return [record.outcome for record in result.checks], result.timing.tail, workers


@pytest.mark.parametrize("worker", ["thread", "process"])
def test_virtual_workers_take_virtual_time(worker):
    [outcome], tail, workers = check_by(worker, lambda *_: Shift(3.0))
    assert isinstance(outcome, Judged)
    assert isinstance(outcome.verdict, Pass)
    assert tail == 3.0
    assert not workers.closed  # they were given, and may serve other runs


@pytest.mark.parametrize("worker", ["thread", "process"])
def test_hanging_worker_costs_its_check_the_deadline(worker):
    [outcome], tail, _ = check_by(worker, lambda *_: Shift(math.inf))
    assert outcome == TimedOut(4.0)
    assert tail == 4.0


@pytest.mark.parametrize("worker", ["thread", "process"])
def test_a_worker_that_dies_costs_its_check(worker):
    [outcome], tail, _ = check_by(worker, lambda *_: Shift(1.0, dies=True))
    assert outcome == Errored(f"the {worker} worker died")
    assert tail == 1.0


def test_concurrent_checks_are_limited_by_worker_count():
    text = "1+1=2\n2+2=4\n3+3=6\n"
    outcomes, tail, _ = check_by("process", lambda *_: Shift(3.0), text=text, processes=1)
    assert tail == 9.0  # each gets its whole deadline from when the process is free
    assert all(isinstance(outcome, Judged) for outcome in outcomes)
    outcomes, tail, _ = check_by("thread", lambda *_: Shift(3.0), text=text, threads=1)
    assert tail == 4.0  # a thread's deadline runs from the order, as with real ones
    assert [type(outcome) for outcome in outcomes] == [Judged, TimedOut, TimedOut]


def test_cancelled_check_frees_its_worker():
    async def main():
        workers = VirtualWorkers(lambda _, claim: Shift(50.0 if claim.left == 9 else 1.0), threads=1)
        who = verifier(name="sums", worker="thread", deadline=100.0)(judge)
        model = ScriptedModel([["1+1=3\n", "9+1=10\n", Pause(60)], "1+1=2\n"])
        async with interwhen.run(model, "Q", monitors=[watch(who, remedy=Resample())], workers=workers) as run:
            return await run.drain()

    result = run_virtual(main)
    assert result.text == "1+1=2\n"
    assert result.timing.total < 3


def test_unchecked_repair_does_not_delay_interrupt():
    async def main():
        workers = VirtualWorkers(lambda _, claim: Shift(50.0 if claim.left == 9 else 1.0), threads=1)
        who = verifier(name="sums", worker="thread", deadline=100.0)(judge)
        model = ScriptedModel([["1+1=3\n", "9+1=10\n", Pause(60)], "1+1=2\n"])
        monitor = watch(who, remedy=Repair(otherwise=Resample()))
        async with interwhen.run(model, "Q", monitors=[monitor], workers=workers) as run:
            return await run.drain()

    result = run_virtual(main)
    assert result.text == "1+1=2\n"
    assert [violation.remedy for violation in result.violations] == ["resample"]
    assert result.timing.total < 5


def test_invalid_workers_are_refused():
    with pytest.raises(UsageError, match="workers="):
        interwhen.run(ScriptedModel([TEXT]), "Q", workers=3)
