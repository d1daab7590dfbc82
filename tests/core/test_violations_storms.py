"""A storm of violations ends within its budgets, pauses where it makes no progress, and never ends verified."""

from __future__ import annotations

import tracemalloc

import pytest
from interwhen import (
    Budgets,
    Claim,
    Feedback,
    Lines,
    Paragraphs,
    Pass,
    Repair,
    Resample,
    Sentences,
    Violation,
)
from interwhen._core.machine import LONGEST_PAUSE, RemedyPace
from interwhen._core.messages import Open, Settled
from interwhen.events import Remedied
from interwhen.results import Judged
from tests.core.worlds import STRICT, drive, monitor


def opened(driver):
    return [order.after for order in driver.orders if isinstance(order, Open)]


def storm(driver, text="2+2=5\n", rounds=2000):
    for _ in range(rounds):
        if driver.summary is not None:
            break
        if driver.state == "opening":
            driver.open()
        driver.feed(text)
        driver.settle()
    return driver.summary


@pytest.mark.fault("V10", injected="1000 violations, each at the same place", happens="pauses, then the budget ends it")
def test_violations_without_progress_lengthen_pauses_between_requests():
    driver = drive(monitor(remedy=Resample()), budgets=Budgets(repeats=1000))
    end = storm(driver)
    assert (end.status, end.remedies, end.text) == ("abstained", 16, "")
    assert "budget of 16 remedies" in end.reason
    # The first request, the first resample, one more at once, and then the pauses.
    assert opened(driver) == [0.0, 0.0, 0.0, *[0.1 * 2**n for n in range(5)], *[LONGEST_PAUSE] * 9]


@pytest.mark.fault("V10", injected="1000 violations, each later in the text", happens="no pause; the budget ends it")
def test_progressing_violations_end_at_the_budget_without_pauses():
    driver = drive(monitor(remedy=Repair()))
    end = storm(driver, text="\n2+2=5\n")
    assert (end.status, end.remedies) == ("abstained", 16)
    assert opened(driver) == [0.0] * 17
    assert len(end.violations) == 17
    assert driver.shown == end.text


@pytest.mark.fault("V10", injected="1000 violations", happens="at most the budget of tokens is discarded")
def test_violations_discard_no_more_tokens_than_budgeted():
    driver = drive(monitor(remedy=Resample()), budgets=Budgets(repeats=9999, remedies=9999, discarded_tokens=50))
    end = storm(driver)
    assert end.status == "abstained"
    assert "50 discarded tokens" in end.reason
    assert end.discarded <= 50 + 1


def test_progress_ends_the_pauses():
    pace = RemedyPace()
    assert [pace.after(cut) for cut in (5, 5, 5, 3, 5)] == [0.0, 0.0, 0.1, 0.2, 0.4]
    assert [pace.after(cut) for cut in (6, 6, 6, 7)] == [0.0, 0.0, 0.1, 0.0]


REMEDIES = [Resample(), Feedback(), Feedback("rewind"), Repair(otherwise=Resample()), Repair(otherwise=Feedback())]


@pytest.mark.fault("V11", injected="a model that always says the same", happens="not converging, after four requests")
@pytest.mark.fault("G9", injected="a model that always says the same", happens="not converging, after four requests")
@pytest.mark.parametrize("remedy", REMEDIES)
@pytest.mark.parametrize("trigger", [Lines(), Paragraphs(), Sentences()])
@pytest.mark.parametrize("said", ["3+2=9\n\n", "\n3+2=9. \n\n", "  so 3+2=9\n\n"])
def test_a_run_abstains_after_four_identical_refutations(remedy, trigger, said):
    driver = drive(monitor(remedy=remedy, trigger=trigger))
    driver.feed("1+1=2\n\n")
    end = storm(driver, text=said)
    assert (end.status, end.remedies) == ("abstained", 3)
    assert "not converging: the same words were refuted at the same place 4 times" in end.reason
    assert [violation.key for violation in end.violations] == ["3+2=9"] * 4
    assert len(opened(driver)) == 4


@pytest.mark.parametrize("remedy", [Resample(), Feedback(), Feedback("rewind")])
def test_samples_that_differ_go_on_within_the_budgets(remedy):
    driver = drive(monitor(remedy=remedy), budgets=Budgets(remedies=8))
    for wrong in (7, 8, 9, 6, 4, 3, 2, 1):
        driver.feed(f"3+2={wrong}\n")
        driver.settle()
        driver.open()
    driver.feed("3+2=5\n")
    driver.settle()
    driver.end()
    assert driver.summary.finish_reason == "stop"
    assert driver.summary.remedies == 8


@pytest.mark.parametrize("remedy", [Resample(), Repair(), Feedback()])
def test_the_same_words_further_on_are_no_repetition(remedy):
    driver = drive(monitor(remedy=remedy))
    for number in range(5):
        driver.feed(f"and number {number}\n4+4=9\n")
        driver.settle()
        driver.open()
        driver.feed("\n8+1=9\n")
    driver.settle()
    driver.end()
    assert driver.summary.remedies == 5


@pytest.mark.fault("V11", injected="two repairs that undo each other, for ever", happens="not converging")
def test_a_cycle_of_two_is_found_too():
    remedy = Repair(otherwise=Resample())
    driver = drive(monitor(extractor=lambda s: [Claim(key=s.text, span=s.span)], remedy=remedy))
    other = {"a": "b", "b": "a"}
    driver.feed("sound\na\n")
    for _ in range(40):
        if driver.summary is not None:
            break
        if driver.state == "opening":
            driver.open()
            driver.feed("\n" if driver.of(Remedied)[-1].violation.remedy == "repair" else "a\n")
        driver.extract()
        for job in sorted(driver.pending):
            order = driver.pending.pop(job, None)
            if order is None:
                continue
            wrong = order.claim.key in other
            driver.tell(Settled(job, Judged(Violation("no", repair=other[order.claim.key]) if wrong else Pass("yes"))))
    assert driver.summary.status == "abstained"
    assert "not converging" in driver.summary.reason
    assert driver.summary.text == "sound\n"  # the last text without a violation
    assert {violation.key for violation in driver.summary.violations} == {"a", "b"}


@pytest.mark.fault("V9", injected="the same claim on 3000 lines, two monitors", happens="it is checked once a verifier")
def test_each_verifier_checks_a_repeated_claim_once():
    lines = 3000
    driver = drive(monitor("a"), monitor("b"), monitor("c", verifier=STRICT))
    driver.feed("1+1=2\n")
    driver.settle()
    driver.seen.clear()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(lines - 1):
            driver.feed("1+1=2\n")
            driver.settle()
            driver.seen.clear()
            driver.orders.clear()
            driver.facts.clear()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert driver.checked == [("plain", "1+1=2"), ("strict", "1+1=2")]
    # The record of each check on the standing text, and nothing that grows with the text squared.
    assert grown / (3 * lines) < 1500
    driver.end()
    driver.settle()
    assert (driver.summary.status, len(driver.summary.checks)) == ("verified", 3 * lines)


@pytest.mark.fault("V7", injected="verdicts for text that is cut, and after the end", happens="they change nothing")
def test_a_verdict_that_comes_too_late_changes_nothing():
    driver = drive(monitor(remedy=Resample()))
    driver.feed("2+2=5\n4+4=9\n")
    driver.extract()
    late = driver.job("4+4=9")
    driver.answer(driver.job("2+2=5"))
    for when in ("while opening", "after the text grew again", "after the end"):
        before = (len(driver.seen), len(driver.orders), driver.state, driver.core.transcript.length)
        driver.tell(Settled(late, Judged(Violation("late"))))
        assert (len(driver.seen), len(driver.orders), driver.state, driver.core.transcript.length) == before, when
        if when == "while opening":
            driver.open()
            driver.feed("4+4=8, 2+2=4\n")
            driver.settle()
        elif when == "after the text grew again":
            driver.end()
            assert driver.summary.status == "verified"


def test_a_rewind_rebuilds_only_the_new_text_piece():
    driver = drive(monitor(remedy=Repair()), budgets=Budgets(remedies=10**6))
    given = []
    transcript = driver.core.transcript
    runs = type(transcript).runs
    for _ in range(60):
        driver.feed("\n2+2=5\n")
        driver.settle()
        [*_, last] = [order for order in driver.orders if isinstance(order, Open)]
        # Told from the pieces kept of earlier requests, it is what a transcript without any would give.
        whole = [run.text for run in runs(transcript, 0, transcript.length)]
        assert [piece.text for piece in last.pieces] == whole
        given.append(len(whole) - len(transcript._given))
        driver.open()
    assert set(given[1:]) == {1}  # all but the last piece are kept for the next request
