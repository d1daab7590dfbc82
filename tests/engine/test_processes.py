"""A worker process that dies, hangs or chokes costs one check."""

import os

import anyio
import pytest
import workers
from interwhen import Errored, Judged, Pass, Span, TimedOut
from interwhen._engine.processes import ProcessPool, WorkerProcess
from interwhen.testing import ScriptedModel
from sums import Sum, apply, supervise, watch

pytestmark = pytest.mark.anyio

CLAIM = Sum(key="1+1=2", span=Span(0, 5), left=1, right=1, total=2)


async def outcomes(text, who=workers.in_process, **options):
    result, events = await supervise(ScriptedModel([text]), watch(who, **options), processes=1)
    assert apply(events) == result.text
    return [record.outcome for record in result.checks], result


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.fault(
    "V4", injected="workers that die, each way", happens="one check is an error; the next has a new worker"
)
async def test_each_way_to_die_costs_one_check_and_the_next_gets_a_new_worker():
    lines = [f"{left}+1={left + 1}\n" for left in (1, 10, 2, 11, 3, 15, 4)]
    found, result = await outcomes("".join(lines))
    assert [isinstance(outcome, Judged) for outcome in found] == [True, False, True, False, True, False, True]
    assert [outcome.error for outcome in found[1::2]] == [
        "the worker process died (exit code 7)",
        "the worker process died (exit code -11)",
        "the worker process died (exit code 3)",
    ]
    assert result.status == "unverified"


async def test_exceptions_and_results_that_do_not_pickle_leave_the_worker_alive():
    lines = [f"{left}+{right}={left + right}\n" for left, right in ((16, 1), (12, 1), (13, 1), (14, 1), (16, 2))]
    found, _ = await outcomes("".join(lines))
    first, raised, bad_reduce, lock, last = found
    assert first == last  # the same process
    assert int(first.verdict.evidence) != os.getpid()
    assert raised == Errored("RuntimeError: bad luck")
    assert bad_reduce == Errored("the result cannot be pickled: RuntimeError: this does not pickle")
    assert lock.error.startswith("the result cannot be pickled: TypeError")


async def test_claims_that_do_not_pickle_either_way_leave_the_worker_alive():
    def claims(segment):
        yield Sum(key="a", span=Span(0, 5), left=16, right=1, total=17)
        yield Sum(key="b", span=Span(0, 5), left=lambda: 1, right=1, total=2)
        yield workers.FailsToLoad(key="c", span=Span(0, 5))
        yield Sum(key="d", span=Span(0, 5), left=16, right=1, total=17)

    (first, local, unloadable, last), _ = await outcomes("12345\n", extractor=claims)
    assert first == last
    assert "can be pickled" in local.error
    assert unloadable == Errored("LookupError: cannot be loaded")


async def test_a_violation_found_in_a_process_is_repaired():
    model = ScriptedModel(["1+1=3\n", "\n"])
    result, events = await supervise(model, watch(workers.in_process))
    assert (result.status, result.text, apply(events)) == ("verified", "1+1=2\n", "1+1=2\n")


@pytest.mark.fault("V4", injected="a worker that spins", happens="killed at the deadline, and replaced")
async def test_a_deadline_kills_the_worker_and_the_next_check_gets_a_new_one():
    (hung, second, third), _ = await outcomes("1+1=2\n2+2=4\n3+3=6\n", workers.hangs)
    assert hung == TimedOut(0.3)
    assert isinstance(second.verdict, Pass)
    assert second == third
    with pytest.raises(ProcessLookupError):
        os.kill(int(second.verdict.evidence), 0)  # leaving the run ended it


async def test_starting_a_worker_is_no_part_of_a_deadline():
    """Otherwise a short one could never be kept: it would kill each worker before that was ready."""
    slow_start = ProcessPool(1)
    started = WorkerProcess.start

    async def start(self):
        await started(self)
        await anyio.sleep(0.25)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkerProcess, "start", start)
        with anyio.CancelScope(deadline=anyio.current_time() + 0.2) as scope:
            value, failure = await slow_start.check(workers.in_process, CLAIM, scope)
            left = scope.deadline - anyio.current_time()
    await slow_start.close()
    assert not scope.cancelled_caught
    assert (type(value), failure) == (Pass, None)
    assert 0 < left < 0.2


async def test_a_verifier_that_a_worker_cannot_find_is_a_clear_error():
    (outcome,), result = await outcomes("1+1=2\n", workers.make_local())
    assert result.status == "unverified"
    assert "'make_local.<locals>.local'" in outcome.error
    assert "must be defined at the top level of a module" in outcome.error
