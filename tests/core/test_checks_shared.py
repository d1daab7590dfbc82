"""Several jobs at once: which of them a cut loses, which may still precede a violation, and how they end."""

from __future__ import annotations

import tracemalloc

import pytest
from interwhen import Claim, Feedback, Span
from interwhen._core.checks import Job, OpenSegment
from interwhen._core.messages import Abandoned, Check, Drop, Extract, Invalidate, Settled, SwitchedOff
from interwhen.events import CheckSettled, FrontierMoved
from interwhen.results import Cancelled
from tests.core.worlds import STRICT, drive, monitor


def test_either_claim_of_a_check_may_precede_violations():
    driver = drive(monitor())
    driver.feed("1+1=2\n2+2=5\n1+1=2\n")
    driver.extract()
    driver.answer(driver.job("2+2=5"))
    assert driver.state == "deciding"
    assert driver.core.checks.may_precede(0)
    assert driver.core.checks.may_precede(6)
    driver.settle()
    assert driver.state == "opening"


@pytest.mark.parametrize(("at", "may"), [(5, False), (6, True), (7, True)])
def test_extraction_may_precede_violations_from_its_segments_start(at, may):
    driver = drive(monitor())
    driver.feed("1+1=2\n2+2=4\n")
    driver.answer(min(driver.pending))
    driver.answer(driver.job("1+1=2"))
    assert driver.core.checks.may_precede(at) is may
    driver.extract()
    assert driver.core.checks.may_precede(at) is may


def test_what_observes_never_precedes():
    driver = drive(monitor(delivery="observe"))
    driver.feed("1+1=2\n")
    assert not driver.core.checks.may_precede(9)
    driver.extract()
    assert not driver.core.checks.may_precede(9)


def test_a_cut_drops_exactly_the_jobs_after_it():
    driver = drive(monitor("watching", delivery="observe", verifier=STRICT), monitor())
    driver.feed("1+1=2\n2+2=5\n3+3=6\n4+4=8\n")
    driver.answer(next(job for job, order in driver.pending.items() if order.monitor == 0))
    first = next(job for job, order in driver.pending.items() if order.monitor == 0 and not isinstance(order, Extract))
    for job in [job for job, order in driver.pending.items() if order.monitor == 1][:2]:
        driver.answer(job)
    left = {job for job, order in driver.pending.items() if order.segment.span.start > 6}
    assert len(left) == 4
    checks = {
        order.claim.key: job for job, order in driver.pending.items() if order.monitor == 1 and isinstance(order, Check)
    }
    driver.answer(checks["1+1=2"])
    driver.answer(checks["2+2=5"])
    assert {order.job for order in driver.orders if isinstance(order, Drop)} >= left
    assert first in driver.pending
    assert not left & set(driver.pending)


def test_a_check_judges_only_claims_surviving_the_cut():
    driver = drive(monitor("watching", verifier=STRICT, delivery="observe"), monitor())
    driver.feed("1+1=2\n2+2=5\n1+1=2\n")
    driver.extract()
    watching = next(job for job, order in driver.pending.items() if order.monitor == 0)
    for job in [job for job, order in driver.pending.items() if order.monitor == 1]:
        driver.answer(job)
    driver.open()
    driver.answer(watching)
    driver.feed("\n")
    driver.settle()
    driver.end()
    assert [record.span for record in driver.summary.checks if record.key == "1+1=2"] == [Span(0, 5)] * 2


def test_a_run_that_ends_records_what_was_open():
    driver = drive(monitor())
    driver.feed("1+1=2\n2+2=4\n")
    driver.answer(min(driver.pending))
    jobs = set(driver.pending)
    assert len(jobs) == 2
    driver.tell(Abandoned())
    outcome = Cancelled("the run ended first")
    assert [(check.key, check.span, check.segment, check.outcome) for check in driver.summary.checks] == [
        ("1+1=2", Span(0, 5), Span(0, 5), outcome),
        ("", None, Span(6, 11), outcome),
    ]
    assert sorted(event.check.key for event in driver.of(CheckSettled)) == ["", "1+1=2"]
    assert {order.job for order in driver.orders if isinstance(order, Drop)} == jobs
    assert driver.core.checks.jobs == {}


@pytest.mark.parametrize("text", ["1+1=2 2+2=4 3+3=6\n", "1+1=2 2+2=4\n", "1+1=2\n"])
def test_segments_stay_open_until_their_last_check_ends(text):
    driver = drive(monitor(delivery="gate"))
    driver.feed(text)
    driver.extract()
    while driver.pending:
        assert driver.shown == ""
        assert driver.core.checks.first_open(0) == 0
        driver.answer(min(driver.pending))
    assert driver.shown == text
    assert driver.core.checks.first_open(0) is None
    assert driver.core.checks.first_unclear(0) is None


def test_a_new_segment_waits_for_its_extraction():
    home = OpenSegment(Span(0, 5))
    assert (home.pending, home.clear) == (1, True)
    assert home.settle(passed=False)
    assert (home.pending, home.clear) == (0, False)
    home.forgive()
    assert home.clear
    home.await_more(2)
    assert not home.settle(passed=True)
    assert home.settle(passed=True)


def test_a_new_job_was_ordered_once():
    job = Job(1, 0, None, OpenSegment(Span(0, 5)))
    assert (job.tries, job.seconds) == (1, 0.0)
    job.retry(2.5)
    job.retry(4.0)
    assert (job.tries, job.seconds) == (3, 4.0)


def test_journal_claims_are_replaced_by_their_full_claims():
    # A claim that cannot be read again stays as it is.
    driver = drive(monitor())
    driver.feed("1+1=2\n2+2=4\n")
    driver.extract()
    checks, first = driver.core.checks, driver.job("1+1=2")
    [ref] = checks.jobs[first].refs
    checks.restore_claims(first, lambda _monitor, _claim: None)
    assert ref.claim.key == "1+1=2"
    checks.restore_claims(first, lambda number, claim: Claim(key=f"{claim.key} by {number}", span=claim.span))
    assert ref.claim.key == "1+1=2 by 0"


def test_the_slowest_monitor_holds_the_frontier():
    # `Gates.advance`: all required monitors must have passed the text.
    driver = drive(monitor("fast", delivery="gate"), monitor("slow", verifier=STRICT), monitor("free", required=False))
    driver.feed("1+1=2\n2+2=4\n")
    for who in (0, 2):
        while jobs := [job for job, order in driver.pending.items() if order.monitor == who]:
            driver.answer(jobs[0])
    assert not driver.of(FrontierMoved)
    assert driver.core.gates.frontier == 0
    driver.settle()
    assert [event.to for event in driver.of(FrontierMoved)] == [6, 12]


def test_the_frontier_stays_before_what_did_not_pass():
    driver = drive(monitor(delivery="gate"), monitor("strict", verifier=STRICT))
    driver.feed("1+1=2\n1+5=10\n1+2=3\n")
    driver.settle()
    assert [event.to for event in driver.of(FrontierMoved)] == [6]
    assert driver.core.checks.first_unclear(0) == 6


def test_a_switch_forgets_violations_that_wait():
    driver = drive(monitor())
    driver.feed("1+1=2\n2+2=5\n")
    driver.extract()
    driver.answer(driver.job("2+2=5"))
    assert driver.state == "deciding"
    driver.tell(SwitchedOff())
    assert not driver.core.violations
    driver.open()
    driver.feed("so\n")
    driver.end()
    assert driver.summary.violations == ()
    assert driver.summary.text == driver.shown == "1+1=2\n2+2=5\nso\n"
    assert driver.summary.status == "unverified"


def test_switching_supervision_off_cancels_open_checks_with_reason():
    driver = drive(monitor())
    driver.feed("1+1=2\n")
    driver.extract()
    driver.tell(SwitchedOff())
    assert driver.pending == {}
    assert [check.outcome for check in driver.core.checks.records()] == [Cancelled("supervision was switched off")]


def test_a_verdict_for_a_cut_job_changes_nothing():
    driver = drive(monitor())
    driver.feed("2+2=5\n3+3=6\n")
    driver.extract()
    late = driver.job("3+3=6")
    driver.answer(driver.job("2+2=5"))
    seen, orders = len(driver.seen), len(driver.orders)
    driver.tell(Settled(late, Cancelled("x")))
    assert (len(driver.seen), len(driver.orders)) == (seen, orders)
    assert driver.core.checks.settled(late, Cancelled("x"), 0.0) == []


def test_the_record_of_a_remedy_has_its_place():
    driver = drive(monitor(remedy=Feedback()))
    driver.feed("1+1=2\n2+2=5\n")
    driver.settle()
    [record] = driver.core.violations.records()
    assert (record.place, record.phase) == (5, "answer")
    assert not [order for order in driver.orders if isinstance(order, Invalidate)]  # nothing is tracked


def held_by(monitors, lines):
    driver = drive(*[monitor(f"m{number}") for number in range(monitors)])
    tracemalloc.start()
    try:
        for number in range(lines):
            driver.feed(f"line {number}: {number % 7}+1={number % 7 + 1}\n")
            driver.settle()
            for kept in (driver.seen, driver.orders, driver.facts, driver.checked):
                kept.clear()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_another_monitor_needs_little_memory_beyond_its_records():
    # Equal spans are shared.
    lines = 500
    assert (held_by(10, lines) - held_by(1, lines)) / (9 * lines) < 450
