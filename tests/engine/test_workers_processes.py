"""A worker process that dies, hangs or chokes costs one check."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import anyio
import anyio.to_thread
import interwhen
import pytest
import workers
from interwhen import Pass, Span, UsageError, Workers, verifier
from interwhen._engine.monitors import BoundVerifier
from interwhen._engine.worker_child import GarbledMessage, framed, length_of, receive, send
from interwhen._engine.workers import ProcessPool, WorkerProcess
from interwhen.results import Errored, Judged, TimedOut
from interwhen.testing import ScriptedModel
from sums import Sum, apply, sums, supervise, watch

pytestmark = pytest.mark.anyio

CLAIM = Sum(key="1+1=2", span=Span(0, 5), left=1, right=1, total=2)


async def outcomes(text, who=workers.in_process, *others, **options):
    result, events = await supervise(ScriptedModel([text]), watch(who, **options), *others, processes=1)
    assert apply(events) == result.text
    return [record.outcome for record in result.checks], result


def only(*lefts):
    return lambda segment: [claim for claim in sums(segment) if claim.left in lefts]


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.fault(
    "V4", injected="workers that die, each way", happens="one check is an error; the next has a new worker"
)
async def test_worker_death_costs_one_check_and_is_replaced():
    lines = [f"{left}+1={left + 1}\n" for left in (1, 10, 2, 11, 3, 15, 4)]
    check_outcomes, result = await outcomes("".join(lines))
    assert [isinstance(outcome, Judged) for outcome in check_outcomes] == [True, False, True, False, True, False, True]
    assert [outcome.error.partition(";")[0] for outcome in check_outcomes[1::2]] == [
        "the worker process died during the check (exit code 7)",
        "the worker process died during the check (exit code -11)",
        "the worker process died during the check (exit code 3)",
    ]
    assert result.status == "unverified"


async def test_unpicklable_results_leave_the_worker_alive():
    lines = [f"{left}+{right}={left + right}\n" for left, right in ((16, 1), (12, 1), (13, 1), (14, 1), (16, 2))]
    check_outcomes, _ = await outcomes("".join(lines))
    first, raised, bad_reduce, lock, last = check_outcomes
    assert first == last  # the same process
    assert int(first.verdict.evidence) != os.getpid()
    assert raised == Errored("RuntimeError: bad luck")
    assert bad_reduce == Errored("the result cannot be pickled: RuntimeError: this does not pickle")
    assert lock.error.startswith("the result cannot be pickled: TypeError")


async def test_unpicklable_claims_leave_the_worker_alive():
    def claims(segment):
        yield Sum(key="a", span=Span(0, 5), left=16, right=1, total=17)
        yield Sum(key="b", span=Span(0, 5), left=lambda: 1, right=1, total=2)
        yield workers.FailsToLoad(key="c", span=Span(0, 5))
        yield Sum(key="d", span=Span(0, 5), left=16, right=1, total=17)

    (first, local, unloadable, last), _ = await outcomes("12345\n", extractor=claims)
    assert first == last
    assert "can be pickled" in local.error
    assert unloadable == Errored("LookupError: cannot be loaded")


async def test_violation_from_process_is_repaired():
    model = ScriptedModel(["1+1=3\n", "\n"])
    result, events = await supervise(model, watch(workers.in_process))
    assert (result.status, result.text, apply(events)) == ("verified", "1+1=2\n", "1+1=2\n")


@pytest.mark.fault("V4", injected="a worker that spins", happens="killed at the deadline, and replaced")
async def test_deadline_kills_and_replaces_the_worker():
    # The checks that must pass have a deadline of their own, which a busy machine keeps.
    others = watch(workers.in_process, name="others", extractor=only(16))
    check_outcomes, _ = await outcomes("1+1=2\n16+2=18\n16+3=19\n", workers.hangs, others, extractor=only(1))
    hung, second, third = check_outcomes
    assert hung == TimedOut(1.0)
    assert isinstance(second.verdict, Pass)
    assert second == third
    with pytest.raises(ProcessLookupError):
        os.kill(int(second.verdict.evidence), 0)  # leaving the run ended it


async def test_worker_start_does_not_count_toward_deadline():
    # Otherwise a short one could never be kept: it would kill each worker before that was ready.
    slow_start = ProcessPool(1)
    started = WorkerProcess.start
    loop = asyncio.get_running_loop()
    clock = loop.time

    async def start(self):
        await started(self)
        patch.setattr(loop, "time", lambda: clock() + 31.0)
        await anyio.sleep(0.01)  # the loop sees which timers are due

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkerProcess, "start", start)
        with anyio.CancelScope(deadline=anyio.current_time() + 30.0) as scope:
            value, failure = await slow_start.check(workers.in_process, CLAIM, scope)
            left = scope.deadline - anyio.current_time()
        await slow_start.close()
    assert not scope.cancelled_caught
    assert (type(value), failure) == (Pass, None)
    assert 0 < left < 30.0


async def test_verifier_not_importable_by_worker_is_an_error():
    (outcome,), result = await outcomes("1+1=2\n", workers.make_local())
    assert result.status == "unverified"
    assert "'make_local.<locals>.local'" in outcome.error
    assert "must be at the top level of module" in outcome.error


def is_gone(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{number}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


async def gone(*numbers):
    with anyio.fail_after(60):
        while not all(map(is_gone, numbers)):
            await anyio.sleep(0.02)


@pytest.mark.fault("V4", injected="no memory, garbage, a flood, a signal, in a worker", happens="one check is lost")
async def test_each_worker_failure_costs_one_check(record_property):
    ways = {
        20: "MemoryError",
        21: "MemoryError",
        22: "must begin with the head of a message, got b'garbage '",
        23: "must begin with the head of a message, got b'iw1",
        24: "its answer must be a verdict that can be pickled, got ",
        25: "the result is larger than",
        27: f"(exit code -{signal.SIGXCPU.value})",
        28: "RecursionError",
        29: "verifier 'faulty' returned 'pass'",
    }
    record_property("tries", len(ways))
    async with Workers(processes=1, memory=512 << 20) as shared:
        for left, error in ways.items():
            text = f"{left}+1={left + 1}\n3+{left}={left + 3}\n"
            result, events = await supervise(ScriptedModel([text]), watch(workers.faulty), workers=shared)
            lost, sound = (record.outcome for record in sorted(result.checks, key=lambda record: record.span))
            assert error in lost.error
            assert len(lost.error) <= 500
            assert isinstance(sound, Judged)
            assert (result.status, apply(events)) == ("unverified", text)


@pytest.mark.fault("V4", injected="a worker that floods its standard output", happens="its output is discarded")
async def test_worker_output_does_not_reach_our_stdout(capfd):
    (outcome,), _ = await outcomes("26+1=27\n", workers.faulty)
    assert isinstance(outcome.verdict, Pass)
    assert "flood" not in capfd.readouterr().out


@pytest.mark.fault("V4", injected="a worker that spins", happens="killed at the deadline; the other stream continues")
async def test_spinning_worker_is_killed_without_affecting_runs():
    async with Workers(processes=2) as shared:
        results = {}

        async def one(name, text, who):
            results[name], _ = await supervise(ScriptedModel([text]), *who, workers=shared)

        async with anyio.create_task_group() as group:
            spins = watch(workers.spins, extractor=only(1))
            others = watch(workers.in_process, name="others", extractor=only(2))
            group.start_soon(one, "spins", "1+1=2\n2+2=4\n", [spins, others])
            lines = [f"{n}+1={n + 1}\n" for n in range(1, 6)]
            group.start_soon(one, "sums", "".join(lines), [watch(workers.in_process)])
    spinning, after = (record.outcome for record in results["spins"].checks)
    assert spinning == TimedOut(1.0)
    assert isinstance(after.verdict, Pass)
    assert results["sums"].status == "verified"


async def test_a_worker_forgets_the_verifiers_of_earlier_runs(monkeypatch):
    monkeypatch.setattr("interwhen._engine.workers.KEPT", 3)
    pool = ProcessPool(1)
    for number in range(5):
        with anyio.CancelScope(deadline=anyio.current_time() + 60) as scope:
            bound = BoundVerifier(workers.prepared, number)
            assert await pool.check(bound, CLAIM, scope) == (Pass(str(number)), None)
    [worker] = pool._idle
    assert len(worker.loaded) == 2
    await pool.close()


async def test_a_huge_deadline_is_no_error():
    async with Workers(processes=1) as pool:
        for check in (workers.short, workers.far, workers.farther):
            with anyio.CancelScope(deadline=anyio.current_time() + check.deadline) as scope:
                assert await pool.check(check, CLAIM, scope) == (Pass(), None)


async def test_earlier_limit_does_not_end_check_without_deadline():
    async with Workers(processes=1) as pool:
        for check in (workers.short, workers.endless):
            with anyio.CancelScope(deadline=anyio.current_time() + check.deadline) as scope:
                assert await pool.check(check, CLAIM, scope) == (Pass(), None)


@pytest.mark.fault("V4", injected="a worker that has children, and is killed or dies", happens="all of them are gone")
@pytest.mark.parametrize("left", [1, 2])
async def test_worker_descendants_die_with_it(left, tmp_path, monkeypatch):
    file = tmp_path / "family"
    monkeypatch.setenv("FAMILY_FILE", str(file))
    if left == 1:
        while not (file.exists() and file.read_text()):  # a busy machine may reach the deadline before it has a child
            (outcome,), _ = await outcomes("1+1=2\n", workers.family_until_killed)
            assert outcome == TimedOut(1.0)
    else:
        (outcome,), _ = await outcomes("2+1=3\n", workers.family)
        assert "died during the check (exit code 5)" in outcome.error
    await gone(*map(int, file.read_text().split()))


@pytest.mark.fault("V4", injected="SIGKILL of the whole program, workers busy and idle", happens="no worker is left")
@pytest.mark.parametrize("who", ["busy", "idle"])
async def test_workers_do_not_outlive_their_parent(who, tmp_path):
    file = tmp_path / "family"
    script = f"""
        import os, sys, anyio
        sys.path.insert(0, {str(Path(workers.__file__).parent)!r})
        import interwhen, workers
        from interwhen.testing import Pause, ScriptedModel
        from sums import watch

        async def main():
            busy = {who == "busy"}
            first = "1+1=2\\n" if busy else "16+1=17\\n"
            model = ScriptedModel([[first, *["so\\n", Pause(0.1)] * 5000]])
            monitor = watch(workers.family if busy else workers.in_process)
            async with interwhen.run(model, "Q", monitors=[monitor]) as run:
                async for event in run:
                    if isinstance(event, interwhen.events.CheckSettled):
                        print(event.check.outcome.verdict.evidence, flush=True)

        if __name__ == "__main__":
            anyio.run(main)
    """
    path = tmp_path / "main.py"
    path.write_text(textwrap.dedent(script))
    with subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "FAMILY_FILE": str(file), "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as parent:
        if who == "busy":
            end = time.monotonic() + 60
            while not (file.exists() and file.read_text()):
                assert time.monotonic() < end
                await anyio.sleep(0.02)
            numbers = list(map(int, file.read_text().split()))
        else:
            numbers = [int(await anyio.to_thread.run_sync(parent.stdout.readline))]
        parent.kill()
    await gone(*numbers)


async def test_a_worker_that_died_while_idle_costs_nothing():
    async with Workers(processes=1) as shared:
        first, _ = await supervise(ScriptedModel(["16+1=17\n"]), watch(workers.in_process), workers=shared)
        number = int(first.checks[0].outcome.verdict.evidence)
        os.kill(number, signal.SIGKILL)
        with anyio.fail_after(60):
            while shared._processes._idle[0].is_well:
                await anyio.sleep(0.01)
        second, _ = await supervise(ScriptedModel(["16+1=17\n"]), watch(workers.in_process), workers=shared)
    assert (first.status, second.status) == ("verified", "verified")
    assert int(second.checks[0].outcome.verdict.evidence) != number


async def test_runs_share_given_workers_without_closing_them():
    numbers = set()
    async with Workers(processes=1) as shared:

        async def one(right):
            result, _ = await supervise(
                ScriptedModel([f"16+{right}={16 + right}\n"]), watch(workers.in_process), workers=shared
            )
            numbers.add(int(result.checks[0].outcome.verdict.evidence))

        async with anyio.create_task_group() as group:
            for right in range(5):
                group.start_soon(one, right)
        (number,) = numbers
        assert not is_gone(number)
    await gone(number)
    with pytest.raises(UsageError, match="closed"):
        await supervise(ScriptedModel(["1+1=2\n"]), watch(), workers=shared)


def test_workers_belong_to_one_event_loop():
    shared = Workers()
    with interwhen.run_sync(ScriptedModel(["1+1=2\n"]), "Q", monitors=[watch()], workers=shared) as run:
        assert run.drain().status == "verified"
    with (
        pytest.raises(UsageError, match="in the event loop in which they were opened"),
        interwhen.run_sync(ScriptedModel(["1+1=2\n"]), "Q", workers=shared),
    ):
        pass


@pytest.mark.parametrize(
    "options",
    [
        {"threads": 0},
        {"processes": True},
        {"processes": 1.5},
        {"memory": 1000},
        {"blocked_loop_after": 0},
        {"blocked_loop_after": "1"},
    ],
)
def test_workers_that_cannot_work_are_refused(options):
    with pytest.raises(UsageError, match=next(iter(options))):
        Workers(**options)


async def test_process_check_knows_its_time_left():
    (outcome,), _ = await outcomes("1+1=2\n", workers.left)
    assert 0 < int(outcome.verdict.evidence) <= 30


def test_invalid_message_head_is_refused():
    assert length_of(framed(b"abc")[:8]) == 3
    for head in (b"\0" * 8, b"iw1\n\xff\xff\xff\xff", b"iw2\n\0\0\0\1"):
        with pytest.raises(GarbledMessage):
            length_of(head)


async def test_partial_message_does_not_block_the_loop():
    # A worker that is stopped in the middle of its answer must not take the event loop with it.
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(framed(b"x" * 100_000)[:20_000])
        with anyio.move_on_after(0.1) as scope:
            await receive(ours)
        assert scope.cancelled_caught
        with anyio.move_on_after(0.1) as scope:
            await send(ours, b"y" * (8 << 20))  # the other side does not read it
        assert scope.cancelled_caught


async def test_pools_open_on_demand_and_close_with_workers(monkeypatch):
    made = []

    class Pool:
        def __init__(self, size, memory, **_options):
            self.is_closed = False
            made.append(self)

        async def check(self, verifier, claim, scope):
            return "checked", None

        async def close(self):
            self.is_closed = True

    monkeypatch.setattr("interwhen._engine.workers.ProcessPool", Pool)
    unused = Workers()
    await unused.aclose()
    assert made == []

    @verifier(name="far", worker="process")
    def far(claim):
        raise AssertionError

    assert await unused.check(far, None, anyio.CancelScope()) == ("checked", None)
    assert [pool.is_closed for pool in made] == [True]
    used = Workers()
    for _ in range(2):
        await used.check(far, None, anyio.CancelScope())
    assert [pool.is_closed for pool in made] == [True, False]
    await used.aclose()
    assert [pool.is_closed for pool in made] == [True, True]


UNGUARDED = textwrap.dedent("""
    import multiprocessing.context
    import interwhen
    from interwhen.testing import ScriptedModel

    class Counted(multiprocessing.context.SpawnProcess):
        def start(self):
            print("a process", flush=True)
            super().start()

    multiprocessing.context.SpawnContext.Process = Counted

    @interwhen.verifier(name="v", worker="process")
    def check(claim):
        return interwhen.Pass()

    def read(segment):
        return [interwhen.Claim(key=segment.text, span=segment.span)]

    monitor = interwhen.Monitor(name="m", verifier=check, extractor=read)
    for _ in range(2):
        with interwhen.run_sync(ScriptedModel(["a\\nb\\nc\\n"]), "Q", monitors=[monitor], processes=1) as run:
            for each in run.drain().checks:
                print(each.outcome.error)
""")


@pytest.mark.fault(
    "V4", injected="a script without a main guard, six checks", happens="one process; each check says what to do"
)
async def test_script_without_main_guard_starts_one_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    done = await anyio.run_process([sys.executable, str(script)])
    started, *said = done.stdout.decode().splitlines()
    assert (started, len(said)) == ("a process", 6)
    for error in said:
        assert error.startswith(
            "the worker process died during the check (exit code 1): it could not import the main script"
        )
        assert "if __name__ == '__main__':" in error
    assert b"a script with worker processes must start no run when it is imported" in done.stderr
    assert done.stderr.count(b"Traceback") == 1
