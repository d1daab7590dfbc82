"""A check that comes to no verdict: tried again, let through or the end of the run, and never a pass."""

from __future__ import annotations

import pytest
from interwhen import Budgets, Pass, Resample, Unknown, UsageError
from interwhen._core.checks import FIRST_TRIAL, LAST_TRIAL, Breaker
from interwhen._core.messages import Check, Drop, Extracted, Settled, Suspend
from interwhen.events import CheckSettled
from interwhen.remedies import Retry
from interwhen.results import Errored, Judged, Skipped, TimedOut
from tests.core.worlds import STRICT, drive, monitor, parse_ungrounded

FAILED = [Errored("x"), TimedOut(1.0)]


def fail(driver, key="1+1=2", outcome=FAILED[0], seconds=0.0):
    job = driver.job(key)
    del driver.pending[job]
    driver.tell(Settled(job, outcome, seconds))


def checks(driver):
    return [order for order in driver.orders if isinstance(order, Check)]


def finished(driver):
    driver.settle()
    driver.end()
    driver.settle()
    return driver.summary


@pytest.mark.fault("V1", injected="a check raises or times out", happens="on_error decides, not unproven")
@pytest.mark.parametrize("outcome", FAILED)
@pytest.mark.parametrize(
    ("on_error", "unproven", "status"),
    [
        (None, "open", "unverified"),
        (None, "closed", "abstained"),
        ("open", "closed", "unverified"),
        ("closed", "open", "abstained"),
        (Retry(0), "closed", "abstained"),
        (Retry(0, then="open"), "closed", "unverified"),
        (Retry(0, then="closed"), "open", "abstained"),
    ],
)
def test_on_error_governs_failed_checks_and_unproven_others(outcome, on_error, unproven, status):
    driver = drive(monitor(on_error=on_error, unproven=unproven))
    driver.feed("1+1=2\n")
    driver.extract()
    fail(driver, outcome=outcome)
    if driver.summary is None:
        finished(driver)
    assert driver.summary.status == status
    (doubt,) = [doubt for doubt in driver.summary.unverified_reasons if doubt.verifier]
    assert doubt.verifier == "plain"
    assert not driver.summary.certificate

    driver = drive(monitor(on_error=on_error, unproven=unproven))
    driver.feed("1+1=2\n")
    driver.extract()
    fail(driver, outcome=Judged(Unknown("who knows")))
    if driver.summary is None:
        finished(driver)
    assert driver.summary.status == ("abstained" if unproven == "closed" else "unverified")


@pytest.mark.fault("V1", injected="a check fails once or twice", happens="it is tried again after a pause")
@pytest.mark.parametrize("failures", [1, 2, 3])
def test_a_retry_is_an_order_with_a_pause(failures):
    driver = drive(monitor(on_error=Retry(2, pause=0.5)))
    driver.feed("1+1=2\n")
    driver.extract()
    for _ in range(failures):
        fail(driver, seconds=1.0)
        assert not driver.of(CheckSettled) or failures == 3
    end = finished(driver)
    assert [order.after for order in checks(driver)] == [0.0, 0.5, 1.0][: failures + 1]
    assert len({order.job for order in checks(driver)}) == 1
    (record,) = end.checks
    assert record.tries == min(failures + 1, 3)
    assert record.seconds == failures
    assert end.status == ("verified" if failures < 3 else "unverified")
    if failures == 3:
        assert [doubt.why for doubt in end.unverified_reasons if doubt.verifier] == ["error: x (tried 3 times)"]


def test_retry_pauses_are_bounded_and_impossible_values_refused():
    assert [Retry(9).before(tries) for tries in (1, 2, 5, 6, 99)] == [0.1, 0.2, 1.6, 2.0, 2.0]
    for options in ({"times": -1}, {"times": True}, {"times": 101}, {"then": "ajar"}, {"pause": -1}, {"pause": 3}):
        with pytest.raises(UsageError, match="Retry"):
            Retry(**options)
    for value in ("ajar", 3, False, Retry):
        with pytest.raises(UsageError, match="on_error"):
            monitor(on_error=value)


def test_the_most_patient_monitor_decides_retries_not_endings():
    driver = drive(
        monitor("a", on_error=Retry(1, then="open")), monitor("b", on_error="closed"), budgets=Budgets(failures=None)
    )
    driver.feed("1+1=2\n")
    driver.extract()
    fail(driver)
    assert driver.summary is None
    fail(driver)
    assert driver.summary.status == "abstained"
    assert driver.summary.reason == "b: error: x (tried 2 times)"


def test_an_observer_tries_again_and_ends_nothing():
    driver = drive(monitor(delivery="observe", on_error=Retry(1, then="closed")))
    driver.feed("1+1=2\n")
    driver.extract()
    fail(driver)
    fail(driver)
    assert finished(driver).status == "unverified"


def test_cutting_text_drops_its_pending_retry():
    driver = drive(monitor(on_error=Retry(5), remedy=Resample()))
    driver.feed("2+2=5\n1+1=2\n")
    driver.extract()
    fail(driver)
    again = driver.job("1+1=2")
    driver.answer(driver.job("2+2=5"))
    assert Drop(again) in driver.orders
    assert not driver.pending


def test_an_ungrounded_claims_error_ends_closed_runs_first():
    closed = monitor("closed", extractor=parse_ungrounded, on_error="closed", verifier=STRICT)
    driver = drive(closed, monitor("m"))
    driver.feed("1+1=2\n2+2=5\n")
    driver.extract()
    driver.answer(driver.job("2+2=5"))
    strict = [job for job, order in driver.pending.items() if order.monitor == 0]
    for job in sorted(strict):
        driver.pending.pop(job)
        driver.tell(Settled(job, Errored("x")))
        break
    while driver.pending and driver.summary is None:
        driver.answer(max(driver.pending))
    assert (driver.summary.status, driver.summary.text) == ("abstained", "")


def test_a_check_answered_with_claims_is_tried_again():
    driver = drive(monitor(on_error=Retry(1)))
    driver.feed("1+1=2\n")
    driver.extract()
    job = driver.job("1+1=2")
    del driver.pending[job]
    driver.tell(Extracted(job, ()))
    assert job in driver.pending


# ------------------------------------------------------------------ the breaker


@pytest.mark.fault(
    "V10", injected="a verifier that always fails", happens="it is skipped, except for trials; never a pass"
)
def test_after_five_failures_a_verifier_runs_only_trials():
    driver = drive(monitor())
    trials = []
    for number in range(100):
        driver.feed(f"{number % 9}+{number // 9 % 9}={number % 9 + number // 9 % 9}\n" if number < 81 else "so\n")
        driver.extract()
        for job in list(driver.pending):
            trials.append(number)
            del driver.pending[job]
            driver.tell(Settled(job, Errored("x")))
    assert trials == [0, 1, 2, 3, 4, 13, 30, 63]  # 8, 16 and 32 checks were skipped between them
    assert [order for order in driver.orders if isinstance(order, Suspend)] == [Suspend("plain", 5)]
    end = finished(driver)
    assert end.status == "unverified"
    skipped = [record.outcome for record in end.checks if isinstance(record.outcome, Skipped)]
    assert len(skipped) == 81 - len(trials)
    assert skipped[0].why == "verifier 'plain' failed 5 times in a row"
    assert len([doubt for doubt in end.unverified_reasons if doubt.verifier == "plain"]) == 81


def test_a_trial_with_a_verdict_ends_the_suspension():
    driver = drive(monitor(), budgets=Budgets(failures=2))
    keys = [f"{left}+{right}={left + right}" for left in range(5) for right in range(5) if (left + right) % 10]
    for number, key in enumerate(keys):
        driver.feed(f"{key}\n")
        driver.extract()
        if number < 2:
            fail(driver, key)
        driver.settle()
    assert [order.failures for order in driver.orders if isinstance(order, Suspend)] == [2, 0]
    end = finished(driver)
    assert [isinstance(record.outcome, Skipped) for record in end.checks] == [
        2 <= number < 2 + FIRST_TRIAL for number in range(len(keys))
    ]
    assert end.status == "unverified"


@pytest.mark.parametrize("shared", [True, False])
def test_monitors_sharing_a_verifier_share_its_circuit_breaker(shared):
    driver = drive(monitor("a"), monitor("b", verifier=monitor().verifier if shared else STRICT))
    for number in range(6):
        driver.feed(f"1+{number}={1 + number}\n")
        driver.extract()
        for job in [job for job, order in driver.pending.items() if order.monitor == 0]:
            del driver.pending[job]
            driver.tell(Settled(job, Errored("x")))
        driver.settle()
    skipped = {record.monitor for record in finished(driver).checks if isinstance(record.outcome, Skipped)}
    assert skipped == ({"a", "b"} if shared else {"a"})


def test_known_verdicts_are_used_while_verifiers_are_suspended():
    driver = drive(monitor(), budgets=Budgets(failures=1))
    driver.feed("1+1=2\n2+2=4\n")
    driver.extract()
    driver.answer(driver.job("1+1=2"))
    fail(driver, "2+2=4")
    driver.feed("1+1=2\n3+3=6\n")
    driver.settle()
    outcomes = [record.outcome for record in finished(driver).checks]
    assert outcomes[2] == Judged(Pass(), cached=True)
    assert isinstance(outcomes[3], Skipped)


def test_a_closed_monitors_suspended_verifier_ends_the_run():
    driver = drive(monitor("a", on_error="open"), monitor("b", on_error="closed", phase="reasoning"))
    driver.feed("".join(f"1+{number}={1 + number}\n" for number in range(5)))
    driver.extract()
    for number in range(5):
        fail(driver, f"1+{number}={1 + number}")
    driver.feed("2+2=4\n", phase="reasoning")
    driver.feed("\n")
    driver.settle()
    assert driver.summary.status == "abstained"
    assert "5 times in a row" in driver.summary.reason


def test_no_retry_of_a_suspended_verifier():
    driver = drive(monitor(on_error=Retry(100)), budgets=Budgets(failures=3))
    driver.feed("1+1=2\n")
    driver.extract()
    for _ in range(3):
        fail(driver)
    assert not driver.pending
    assert finished(driver).checks[0].tries == 3


def test_trials_grow_rarer_until_a_verdict_resets_them():
    breaker = Breaker(1)
    breaker.takes(Errored("x"))
    gaps, skipped = [], 0
    while len(gaps) < 7:
        if breaker.admits():
            gaps.append(skipped)
            skipped = 0
            breaker.takes(TimedOut(1.0))
        else:
            skipped += 1
    assert gaps == [8, 16, 32, 64, LAST_TRIAL, LAST_TRIAL, LAST_TRIAL]
    assert breaker.takes(Judged(Unknown("")))
    assert breaker.takes(Errored("x"))
    assert [breaker.admits() for _ in range(FIRST_TRIAL + 1)] == [False] * FIRST_TRIAL + [True]
    unlimited = Breaker(None)
    assert not any(unlimited.takes(Errored("x")) for _ in range(1000))
    assert unlimited.admits()
