"""What follows a violation, story by story."""

from __future__ import annotations

import pytest
from interwhen import (
    Budgets,
    Claim,
    Feedback,
    Lines,
    Resample,
    Retracted,
    Sentences,
    Span,
    Tracker,
    Violation,
)
from interwhen._core.messages import (
    Close,
    Drop,
    Extracted,
    Invalidate,
    Open,
    Settled,
)
from interwhen.events import FrontierMoved, Remedied
from interwhen.remedies import Abstain, Stop
from interwhen.results import Judged
from interwhen.triggers import ThinkEnd
from tests.core.worlds import STRICT, drive, monitor, parse

TAGS = ("<think>", "</think>")


def test_a_repair_writes_the_correct_value_and_continues():
    driver = drive(monitor())
    driver.feed("2+2=5\nbad ")
    driver.settle()
    assert driver.orders[-2:] == [Close(), driver.orders[-1]]
    assert isinstance(driver.orders[-1], Open)
    assert [piece.text for piece in driver.orders[-1].pieces] == ["2+2=", "4"]
    assert driver.of(Retracted) == [Retracted(4)]
    driver.chunk("late", tokens=3)
    driver.open()
    driver.feed("\nand 1+1=2")
    driver.end()
    driver.settle()
    end = driver.summary
    assert (end.status, end.text, end.late, end.remedies) == ("verified", "2+2=4\nand 1+1=2", 3, 1)
    assert end.kept + end.discarded == driver.fed
    assert [(i.span, i.origin) for i in end.insertions] == [(Span(4, 5), "repair")]
    assert driver.of(FrontierMoved)[-1].to == len(end.text)


def test_feedback_in_answers_prevents_verification_unlike_in_reasoning():
    for phase, status in (("answer", "unverified"), ("reasoning", "verified")):
        driver = drive(monitor(remedy=Feedback()), think_tags=TAGS, starts_in=phase)
        driver.feed("1+1=2\n2+2=5\nso ")
        driver.settle()
        assert driver.core.transcript.slice(6, 99) == "2+2=5\nWait, it is 4.\n"
        driver.open()
        driver.feed("</think>2+2=4" if phase == "reasoning" else "2+2=4")
        driver.end()
        driver.settle()
        assert driver.summary.status == status
        if status == "verified":
            assert driver.summary.certificate.refuted == (Span(6, 11),)
            assert Span(6, 11) not in driver.summary.certificate.covered
            assert driver.of(FrontierMoved)[-1].to == len(driver.summary.text)


def test_a_pass_in_disavowed_text_shows_nothing():
    driver = drive(monitor(remedy=Feedback()), think_tags=TAGS, starts_in="reasoning")
    driver.feed("1+1=2 but 2+2=5\n")
    driver.settle()
    driver.open()
    driver.feed("no sums</think>none")
    driver.end()
    driver.settle()
    assert driver.summary.status == "unverified"
    assert "found nothing" in driver.summary.unverified_reasons[0].why


def test_further_violations_of_answered_segments_are_only_recorded():
    for first in (min, max):
        driver = drive(monitor(remedy=Feedback()), starts_in="reasoning")
        driver.feed("2+2=5 and 4+4=9\nmore")
        driver.extract()
        while driver.pending:
            driver.answer(first(driver.pending))
        assert driver.summary is None
        assert len(driver.of(Remedied)) == 1
        driver.open()
        driver.end()
        driver.settle()
        assert [(v.key, v.interrupted) for v in driver.summary.violations] == [("2+2=5", True), ("4+4=9", False)]


def test_violations_in_several_segments_are_remedied_in_turn():
    driver = drive(monitor(remedy=Feedback("rewind")))
    driver.feed("1+1=3\n2+2=5\n")
    driver.settle()
    driver.open()
    assert driver.core.transcript.slice(0, 99) == "Wait, it is 2.\n"
    driver.feed("1+1=2\n2+2=5")
    driver.end()
    driver.settle()
    assert driver.state == "opening"
    driver.open()
    driver.feed("2+2=4")
    driver.end()
    driver.settle()
    assert driver.summary.status == "verified"
    assert driver.summary.remedies == 2
    assert driver.summary.text == "Wait, it is 2.\n1+1=2\nWait, it is 4.\n2+2=4"


def test_violations_remaining_in_kept_text_are_answered_next():
    driver = drive(
        monitor("short", remedy=Feedback(), trigger=Sentences()),
        monitor("long", remedy=Feedback(), verifier=STRICT, trigger=Lines()),
        starts_in="reasoning",
    )
    driver.feed("7+1=8. 2+2=5\n")
    driver.settle(max)
    assert driver.core.transcript.slice(0, 99) == "7+1=8. 2+2=5\nWait, it is 8.\n"  # only "long" minds the seven
    driver.open()
    driver.settle()
    assert driver.summary is None


def test_wrong_claims_around_answered_segments_are_remedied_next():
    whole = lambda segment: [Claim(key="1+1=3", span=segment.span)]  # noqa: E731
    driver = drive(
        monitor("short", remedy=Feedback(), trigger=Sentences()),
        monitor("long", extractor=whole, verifier=STRICT, remedy=Feedback()),
    )
    driver.feed("a. 2+2=5 x\n")
    driver.extract()
    for job in sorted(job for job, order in driver.pending.items() if order.monitor == 1):
        driver.pending.pop(job)
        driver.tell(Settled(job, Judged(Violation("long", where=Span(8, 9)))))
    driver.settle()
    assert [event.violation.why for event in driver.of(Remedied)] == ["2+2=5 is wrong", "long"]
    driver.open()
    driver.end()
    driver.settle()
    assert driver.summary.text == "a. 2+2=5 x\nWait, long.\n"  # the second answer stands where the first one stood
    assert driver.summary.status == "unverified"


@pytest.mark.fault("V11", injected="a repair that is refuted again", happens="abstained: not converging")
def test_a_refuted_repair_leads_to_feedback_then_abstention():
    driver = drive(monitor(verifier=STRICT))
    driver.feed("2+5=8\n")
    driver.settle()
    driver.open()
    for _ in range(9):
        if driver.summary is None:
            driver.open()
            # After a repair the line continues; after feedback the model insists.
            driver.feed("\n" if driver.of(Remedied)[-1].violation.remedy == "repair" else "2+5=8\n")
            driver.settle()
    assert driver.summary.status == "abstained"
    assert "not converging" in driver.summary.reason
    assert [record.remedy for record in driver.summary.violations] == ["repair", "feedback", "feedback", "abstain"]
    assert driver.summary.violations[-1].inserted == ""


@pytest.mark.fault("V10", injected="violations without end", happens="abstained when the remedies are spent")
def test_a_storm_ends_when_the_remedies_are_spent():
    driver = drive(monitor(), budgets=Budgets(remedies=5))
    for number in range(20):
        if driver.summary is None:
            driver.open()
            driver.feed(f"\n{2 * (number % 4)}+1=5\n2+2=9\n")
            driver.settle()
    assert driver.summary.status == "abstained"
    assert "budget of 5 remedies" in driver.summary.reason
    assert driver.summary.remedies == 5
    assert driver.shown == driver.summary.text


@pytest.mark.fault("V10", injected="violations that cost tokens", happens="abstained when the budget is spent")
def test_a_remedy_never_exceeds_the_discarded_tokens_budget():
    driver = drive(monitor(remedy=Resample()), budgets=Budgets(discarded_tokens=3))
    driver.chunk("2+2=5\n", tokens=4)
    driver.settle()
    assert "discarded tokens" in driver.summary.reason
    assert driver.summary.remedies == 0


def test_resampling_says_nothing_and_asks_with_another_number():
    driver = drive(monitor(remedy=Resample()))
    driver.feed("1+1=2\n2+2=5\n")
    driver.settle()
    assert (driver.orders[-1].pieces[0].text, driver.orders[-1].attempt) == ("1+1=2\n", 1)
    assert driver.core.transcript.insertions == []


@pytest.mark.parametrize(("remedy", "status"), [(Stop(), "unverified"), (Abstain(), "abstained")])
def test_a_remedy_may_end_the_run(remedy, status):
    driver = drive(monitor(remedy=remedy))
    driver.feed("1+1=2\n2+2=5\nmore\n")
    driver.settle()
    assert (driver.summary.status, driver.summary.text) == (status, "1+1=2\n")
    assert driver.summary.reason == "m: 2+2=5 is wrong"


def test_violations_arriving_after_the_streams_end_are_remedied():
    driver = drive(monitor())
    driver.feed("2+2=5")
    driver.end()
    assert driver.state == "draining"
    driver.settle()
    assert driver.state == "opening"
    assert Close() not in driver.orders
    driver.open()
    driver.feed(".")
    driver.end()
    driver.settle()
    assert (driver.summary.status, driver.summary.text) == ("verified", "2+2=4.")


def test_a_check_continues_while_its_line_is_repaired():
    driver = drive(monitor())
    driver.feed("1+1=2, 2+2=5\n")
    driver.extract()
    slow = driver.job("1+1=2")
    driver.answer(driver.job("2+2=5"))
    assert driver.state == "deciding"  # the earlier one may yet be wrong
    assert slow in driver.pending
    driver = drive(monitor("obs", verifier=STRICT, delivery="observe"), monitor("m"))
    driver.feed("1+1=2, 2+2=5\n")
    driver.extract()
    for job in [job for job, order in driver.pending.items() if order.monitor == 1]:
        driver.answer(job)
    assert driver.state == "opening"
    assert Drop(1) not in driver.orders
    driver.open()
    driver.feed("\n")
    driver.extract()
    assert driver.checked.count(("strict", "1+1=2")) == 1
    driver.end()
    driver.settle()
    assert driver.summary.status == "verified"
    assert not driver.pending


def test_a_cut_removes_all_later_tracker_states():
    driver = drive(monitor(extractor=Tracker(dict, lambda state, segment: (state, list(parse(segment))))))
    driver.feed("2+2=5\n")
    driver.take(
        driver.core.step(Extracted(min(driver.pending), parse(driver.pending.pop(min(driver.pending)).segment)))
    )
    driver.settle()
    assert [(order.start, order.end) for order in driver.orders if isinstance(order, Invalidate)] == [(4, 0)]


def test_reasoning_around_feedback_is_checked_as_one_segment():
    driver = drive(
        monitor("think", trigger=ThinkEnd(), verifier=STRICT), monitor("line", remedy=Feedback()), think_tags=TAGS
    )
    driver.feed("<think>1+1=2\n2+2=5\n")
    driver.settle()
    driver.open()
    driver.feed("2+2=4</think>4+4=8")
    driver.end()
    driver.settle()
    end = driver.summary
    assert end.status == "verified"
    assert {check.segment for check in end.checks if check.monitor == "think"} == {Span(7, end.text.index("</think>"))}


def test_feedback_after_the_closing_tag_joins_the_answer():
    driver = drive(monitor(remedy=Feedback("rewind")), think_tags=TAGS)
    driver.feed("<think>1+1=2</think>2+2=5\n")
    driver.settle()
    driver.open()
    driver.feed("2+2=4")
    driver.end()
    driver.settle()
    assert (driver.summary.reasoning, driver.summary.answer) == ("1+1=2", "Wait, it is 4.\n2+2=4")
    assert driver.summary.status == "verified"
