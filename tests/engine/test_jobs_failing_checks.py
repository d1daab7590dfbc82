"""A check that fails at any place of a run costs that check: the text is whole, and it is never verified."""

import threading

import anyio
import interwhen
import pytest
from interwhen import Budgets, Pass, Resample, verifier
from interwhen._types.verifiers import Ticket, hold
from interwhen.remedies import Retry
from interwhen.results import Errored, Judged, Skipped, TimedOut
from interwhen.testing import Pause, ScriptedModel
from interwhen.toolkit import on_cancel, time_left
from structlog.testing import capture_logs
from sums import apply, judge, slow, supervise, watch

pytestmark = pytest.mark.anyio

LINES = [f"{left}+{right}={left + right}\n" for left in (1, 2, 3) for right in (1, 2)]
TEXT = "".join(LINES)


class Faulty:
    """Judges sums, but for the *bad* ones of its calls, where it does what *how* says."""

    name, version, deadline = "faulty", "1", 5.0

    def __init__(self, how, bad, worker="async"):
        self.how, self.bad, self.worker, self.calls = how, bad, worker, 0

    def check(self, claim):
        call, self.calls = self.calls, self.calls + 1
        if self.worker == "async":
            return self._later(claim, call)
        return self.how(claim) if call in self.bad else judge(claim)

    async def _later(self, claim, call):
        if call not in self.bad:
            return judge(claim)
        verdict = self.how(claim)
        return await verdict if hasattr(verdict, "__await__") else verdict


def raises(claim):
    raise RuntimeError("bad luck")


def is_garbage(claim):
    return "pass"


async def hangs(claim):
    await anyio.sleep_forever()


def overflows(claim):
    return overflows(claim)


def exhausts(claim):
    raise MemoryError


class Odd(BaseException):
    """What no ``except Exception`` catches."""


def is_odd(claim):
    raise Odd


WAYS = [raises, is_garbage, hangs, overflows, exhausts, is_odd]


@pytest.mark.fault("V1", injected="each way to fail, at each call of a run", happens="one check is lost, no text")
@pytest.mark.parametrize(
    ("how", "worker"),
    # An inline check that hangs holds the loop: there is no cure but to find it.
    [(how, worker) for how in WAYS for worker in ("inline", "async") if (how, worker) != (hangs, "inline")],
)
async def test_each_failure_costs_exactly_one_check(how, worker, record_property):
    record_property("tries", len(LINES))
    for bad in range(len(LINES)):
        faulty = watch(Faulty(how, {bad}, worker), name="faulty")
        result, events = await supervise(ScriptedModel([[*LINES]]), faulty, watch(name="other"))
        assert (result.status, result.text, apply(events)) == ("unverified", TEXT, TEXT)
        mine = [record.outcome for record in result.checks if record.monitor == "faulty"]
        assert [isinstance(outcome, Judged) for outcome in mine] == [call != bad for call in range(len(LINES))]
        assert all(r.outcome == Judged(Pass(r.key)) for r in result.checks if r.monitor == "other")
        (doubt,) = result.unverified_reasons
        assert (doubt.monitor, doubt.verifier) == ("faulty", "faulty")


@pytest.mark.fault("G1", injected="each way to fail, at each call of a gate", happens="its text is never shown")
@pytest.mark.parametrize(
    ("how", "worker"),
    [(how, worker) for how in WAYS for worker in ("inline", "async") if (how, worker) != (hangs, "inline")],
)
async def test_gate_holds_text_after_each_failed_check(how, worker, record_property):
    record_property("tries", len(LINES))
    for bad in range(len(LINES)):
        faulty = watch(Faulty(how, {bad}, worker), name="faulty", delivery="gate")
        result, events = await supervise(ScriptedModel([[*LINES]]), faulty, watch(name="other"))
        assert (result.status, result.text) == ("abstained", "".join(LINES[:bad]))
        assert result.text.startswith(apply(events))
        (doubt,) = [doubt for doubt in result.unverified_reasons if doubt.verifier]
        assert (doubt.monitor, doubt.verifier) == ("faulty", "faulty")


@pytest.mark.fault("V2", injected="a verifier that hangs twice", happens="tried again after its deadline and a pause")
async def test_retry_pause_uses_the_engine_clock():
    begun = anyio.current_time()
    who = Faulty(hangs, {0, 1})
    model = ScriptedModel([["1+1=2\n", Pause(1.0)]])
    result, _ = await supervise(model, watch(who, on_error=Retry(3, pause=0.5)))
    assert anyio.current_time() - begun == 5.0 + 0.5 + 5.0 + 1.0
    assert result.status == "verified"
    assert [(record.tries, record.seconds) for record in result.checks] == [(3, 10.0)]


@pytest.mark.parametrize("worker", ["inline", "async"])
@pytest.mark.parametrize("pause", [0.0, 0.5])
@pytest.mark.parametrize("then", ["open", "closed"])
async def test_exhausted_retries_follow_the_monitor_policy(worker, pause, then):
    who = Faulty(raises, range(99), worker)
    monitor = watch(who, on_error=Retry(2, then=then, pause=pause))
    begun = anyio.current_time()
    result, _ = await supervise(ScriptedModel([["1+1=2\n", Pause(9.0), "so\n"]]), monitor)
    assert who.calls == 3
    if then == "open":
        (record,) = result.checks
        assert (result.status, record.tries, record.outcome) == ("unverified", 3, Errored("RuntimeError: bad luck"))
    else:
        assert result.status == "abstained"
        assert anyio.current_time() - begun == 3 * pause
        assert result.reason == "sums: error: RuntimeError: bad luck (tried 3 times)"
        assert result.unverified_reasons[0].verifier == "faulty"


async def test_finished_run_cancels_pending_retry():
    who = Faulty(raises, range(99))
    monitor = watch(who, on_error=Retry(2, pause=2.0))
    async with interwhen.run(ScriptedModel([["1+1=2\n", Pause(9.0)]]), "Q", monitors=[monitor]) as run:
        while not isinstance(await run.__anext__(), interwhen.Delta):
            pass
        await anyio.sleep(1.0)
    assert who.calls == 1
    assert run.result.status == "unverified"
    await anyio.sleep(10.0)
    assert who.calls == 1


@pytest.mark.fault(
    "V10", injected="a verifier that fails at every call", happens="suspended, and named in log and result"
)
async def test_suspended_verifier_is_reported_by_name(configured):
    lines = [f"{left}+1={left + 1}\n" for left in range(1, 30)]
    who = Faulty(raises, range(11), "inline")
    with capture_logs() as logs:
        result, _ = await supervise(ScriptedModel([lines]), watch(who))
    named = [entry for entry in logs if entry["event"] in ("verifier.suspended", "verifier.restored")]
    assert [(entry["event"], entry["verifier"]) for entry in named] == [("verifier.suspended", "faulty")]
    assert who.calls == 5 + 1  # its one trial failed, too
    skipped = [record.outcome for record in result.checks if isinstance(record.outcome, Skipped)]
    assert len(skipped) == 23
    assert result.status == "unverified"
    assert {doubt.verifier for doubt in result.unverified_reasons if doubt.span is not None} == {"faulty"}


@pytest.mark.fault("V10", injected="violations without end on the virtual clock", happens="pauses of 0.1 s and more")
async def test_resample_backoff_uses_the_engine_clock():
    model = ScriptedModel(lambda _request: ["1+1=3\n", Pause(50.0)])
    begun = anyio.current_time()
    budgets = Budgets(remedies=6, repeats=99)
    result, _ = await supervise(model, watch(slow(0.0), remedy=Resample()), budgets=budgets)
    assert result.status == "abstained"
    assert anyio.current_time() - begun == pytest.approx(0.1 + 0.2 + 0.4 + 0.8)
    assert len(model.requests) == 7


async def test_time_budget_expires_during_backoff():
    model = ScriptedModel(lambda _request: ["1+1=3\n", Pause(50.0)])
    begun = anyio.current_time()
    budgets = Budgets(remedies=99, repeats=99, seconds=1.0)
    result, _ = await supervise(model, watch(slow(0.0), remedy=Resample()), budgets=budgets)
    assert (result.status, anyio.current_time() - begun) == ("abstained", 1.0)


@pytest.mark.fault(
    "V2", injected="a thread that never ends by itself", happens="it is notified that its result is not needed any more"
)
async def test_threaded_check_knows_deadline_and_learns_of_timeout(loop):
    left = [0.0]
    for deadline in (0.8, 3.2, 12.8, 51.2):
        if left[0]:
            break
        # At first, or if the machine was so busy that the thread began after its deadline.
        told, ended, left = threading.Event(), threading.Event(), []

        def long(claim, told=told, ended=ended, left=left):
            left.append(time_left())
            with on_cancel(told.set):
                assert told.wait(100)
            left.append(time_left())
            ended.set()
            return Pass()

        result, _ = await supervise(ScriptedModel([TEXT[:6]]), watch(verifier(name="long", deadline=deadline)(long)))
        assert [record.outcome for record in result.checks] == [TimedOut(deadline)]
        assert await anyio.to_thread.run_sync(ended.wait, 30)
        assert 0.0 <= left[0] <= deadline
        assert left[1] == 0.0
    assert left[0] > 0.0
    assert time_left() == float("inf")


def test_cancelled_check_has_no_time_left():
    ticket = Ticket(100.0)
    with hold(ticket):
        assert time_left() > 90.0
        ticket.cancel()
        assert time_left() == 0.0


def test_unregistered_cancel_callback_is_not_called():
    called = []
    ticket = Ticket(1.0)
    with hold(ticket):
        with on_cancel(lambda: called.append("early")):
            pass
        ticket.cancel()
        with on_cancel(lambda: called.append("late")):
            assert called == ["late"]
    with on_cancel(lambda: called.append("never")):
        pass
    assert called == ["late"]
