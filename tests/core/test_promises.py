"""Promises of the release rule, the violations and the checks that one small change of the code would break."""

from __future__ import annotations

import pytest
from interwhen import (
    Answer,
    Auto,
    Budgets,
    Claim,
    Conclude,
    Delta,
    Feedback,
    FrontierMoved,
    Judged,
    Pass,
    Remedied,
    Repair,
    Segment,
    Span,
    ToolCalls,
    Violation,
)
from interwhen._core.messages import Drop, Extracted, Settled
from interwhen._core.segmenter import Intake
from interwhen._core.violations import Candidate, Ref, Violations
from tests.core.worlds import STRICT, drive, monitor, parse

LIVE_AND_GATED = pytest.mark.parametrize("delivery", ["interrupt", "gate"])


def said(driver):
    return driver.core.transcript.slice(0, driver.core.transcript.length)


def reasoned(*monitors, **options):
    """Let the model write a refuted line of its reasoning, which feedback answers, and a right answer."""
    driver = drive(*monitors, starts_in="reasoning", **options)
    driver.feed("1+1=2 3+2=9\n", phase="reasoning")
    driver.settle()
    driver.open()
    driver.feed("3+3=6\n")
    driver.settle()
    driver.end()
    driver.settle()
    return driver


# ------------------------------------------------------------------ what is shown and certified


@LIVE_AND_GATED
def test_refuted_reasoning_is_not_covered(delivery):
    who = monitor(delivery=delivery, remedy=Feedback("append"))
    made = reasoned(who).summary.certificate
    assert made.refuted == (Span(0, 11),)
    assert [len(span) for span in made.covered] == [5]
    assert reasoned(who, min_coverage=0.9 * made.coverage).summary.status == "verified"
    assert reasoned(who, min_coverage=1.1 * made.coverage).summary.status == "unverified"


def test_only_a_required_monitor_judges_the_answer():
    def scope(*, required):
        judge = monitor("judge", trigger=Answer(), scope="answer", required=required)
        driver = drive(judge, monitor("steps", verifier=STRICT))
        driver.feed("1+1=2\n")
        driver.end()
        driver.extract()
        for job, order in list(driver.pending.items()):
            driver.pending.pop(job)
            driver.tell(Settled(job, Judged(Pass(scope="answer" if order.monitor == 0 else "steps"))))
        return driver.summary.certificate.scope

    assert [scope(required=True), scope(required=False)] == ["answer", "steps"]


def test_a_refuted_line_holds_the_frontier():
    driver = drive(monitor(delivery="observe"))
    driver.feed("1+1=2\n3+2=9\n3+3=6\n")
    driver.settle()
    driver.end()
    assert driver.core.gates.frontier == 6


def test_a_gate_keeps_nothing_from_a_refuted_segment_on():
    driver = drive(monitor(delivery="gate"))
    driver.feed("1+1=2\n2+2=4\n")
    driver.settle()
    assert driver.core.gates.settled() > 6
    assert driver.core.gates.settled({0: 6}) == 6


def test_each_move_of_the_frontier_is_an_event():
    driver = drive(monitor())
    known = 0
    for line in ("1+1=2\n", "text\n", "2+2=5\n", "\n3+3=6\n"):
        if driver.state == "opening":
            driver.open()
        driver.feed(line)
        while driver.pending:
            driver.answer(min(driver.pending))
            if driver.core.gates.frontier > known:
                assert driver.of(FrontierMoved)[-1].to == driver.core.gates.frontier
            known = driver.core.gates.frontier
    assert known > 12


def test_a_pass_on_empty_text_shows_nothing():
    empty = monitor(extractor=lambda segment: [Claim(key="1+1=2", span=segment.at(0, 0))])
    driver = drive(empty)
    driver.feed("1+1=2\n")
    driver.settle()
    driver.end()
    assert driver.summary.status == "unverified"
    assert all(event.text for event in driver.of(Delta))


# ------------------------------------------------------------------ what is done about a violation


@pytest.mark.parametrize("remedy", [Feedback("append"), Auto(order=("feedback",), place="append")])
def test_feedback_leaves_no_refuted_call_in_the_answer(remedy):
    driver = drive(monitor(trigger=ToolCalls(), remedy=remedy))
    driver.feed("<tool_call>{3+2=9}</tool_call>")
    driver.settle()
    assert [event.violation.remedy for event in driver.of(Remedied)] == ["feedback"]
    assert "tool_call" not in said(driver)


@pytest.mark.parametrize("remedy", [Repair(), Auto()])
def test_no_repair_ends_inside_a_number(remedy):
    driver = drive(monitor(remedy=remedy))
    driver.feed("2+2=5.5\n")
    driver.settle()
    assert [event.violation.remedy == "repair" for event in driver.of(Remedied)] == [False]


def violations(*monitors):
    intake = Intake(monitors, tags=None, phase="answer")
    intake.feed("2+2=5\n2+2=5\n", 1, "answer")
    return Violations(monitors, intake, Budgets())


def candidate(number, start, violation):
    span = Span(start, start + 5)
    ref = Ref(number, Claim(key="2+2=5", span=span), Segment("2+2=5", span, "answer"))
    return Candidate(span, ref, violation, "no")


def test_a_monitor_that_gives_up_keeps_only_its_violations():
    found = violations(monitor("a"), monitor("b"))
    for number, start, violation in ((0, 0, Violation("no")), (0, 6, None), (1, 0, Violation("no"))):
        found.add(candidate(number, start, violation))
    found.pass_over(0)
    assert found.first().ref.monitor == 1
    assert [(each.monitor, each.interrupted) for each in found.records()] == [("a", False), ("b", True)]


def test_what_ended_the_reasoning_is_not_noted_again():
    end = {"remedy": Conclude(), "phase": "reasoning", "required": False}
    found = violations(monitor("a", **end), monitor("b", **end), monitor("c"))
    first, *others = [candidate(0, 0, Violation("no")), candidate(1, 0, Violation("no")), candidate(1, 6, None)]
    for each in (first, *others, candidate(2, 0, Violation("no"))):
        found.add(each)
    found.pass_over_conclusions(but=first)
    assert [(each.monitor, each.interrupted) for each in found.records()] == [("b", False), ("c", True)]


def test_an_unproven_claim_is_never_recorded_as_a_violation():
    found = violations(monitor("a"))
    found.add(candidate(0, 0, None))
    found.note_all()
    assert found.records() == ()


@pytest.mark.parametrize("deliveries", [("interrupt", "interrupt"), ("gate", "interrupt"), ("gate", "gate")])
def test_one_refuted_line_gets_one_feedback(deliveries):
    both = [monitor("a", delivery=deliveries[0], remedy=Feedback("append"))]
    both.append(monitor("b", delivery=deliveries[1], remedy=Feedback("append"), verifier=STRICT))
    driver = drive(*both)
    driver.feed("3+2=9\n")
    driver.settle()
    assert said(driver).count("Wait") == 1


@pytest.mark.parametrize("pick", [min, max])
@LIVE_AND_GATED
def test_feedback_answers_each_violation_of_its_line(delivery, pick):
    driver = drive(monitor(delivery=delivery, remedy=Feedback("append")))
    driver.feed("3+2=9 1+3=8\n")
    driver.settle(pick)
    assert len(driver.of(Remedied)) == 1
    assert said(driver).startswith("3+2=9 1+3=8\nWait")


def test_feedback_of_a_gate_answers_what_it_refutes_later():
    driver = drive(monitor(delivery="gate", remedy=Feedback("append")))
    driver.feed("3+2=9 1+3=8\n")
    driver.extract()
    driver.answer(driver.job("3+2=9"))
    driver.settle()
    assert len(driver.of(Remedied)) == 1
    driver.open()
    driver.feed("1+1=2\n")
    driver.settle()
    assert "1+3=8\nWait" in driver.shown


@LIVE_AND_GATED
def test_feedback_makes_no_refuted_answer_right(delivery):
    driver = drive(monitor(delivery=delivery, remedy=Feedback("append")))
    driver.feed("3+2=9\n")
    driver.settle()
    driver.open()
    driver.feed("3+2=5\n")
    driver.settle()
    driver.end()
    driver.settle()
    assert (driver.core.gates.frontier, driver.summary.status) == (0, "unverified")


@pytest.mark.parametrize(("delivery", "holds"), [("interrupt", False), ("gate", True)])
def test_feedback_excuses_no_unproven_claim_under_a_gate(delivery, holds):
    driver = drive(monitor(delivery=delivery, unproven="closed", remedy=Feedback("append")))
    driver.feed("3+2=9 5+5=20\n")
    driver.settle()
    assert (driver.state == "done") is holds


def test_feedback_on_an_answer_lets_no_monitor_pass_it():
    said = monitor("said", required=False, remedy=Feedback("append"))
    driver = drive(said, monitor("late", delivery="observe", verifier=STRICT))
    driver.feed("3+2=9\n")
    driver.extract()
    driver.answer(min(driver.pending))
    driver.settle()
    driver.open()
    driver.feed("1+1=2\n")
    driver.settle()
    driver.end()
    assert driver.core.gates.frontier == 0


# ------------------------------------------------------------------ checks


def test_a_gate_waits_for_a_check_beside_unread_text():
    driver = drive(monitor(delivery="gate"))
    driver.feed("1+1=2 and 2~2\n")
    job = min(driver.pending)
    order = driver.pending.pop(job)
    driver.tell(Extracted(job, parse(order.segment), unread=(Span(10, 13),)))
    assert (driver.shown, driver.core.checks.first_open(0)) == ("", 0)
    driver.settle()
    assert driver.shown == "1+1=2 and 2~2\n"


def test_a_shared_check_stays_for_a_claim_that_stays():
    driver = drive(monitor(delivery="observe"))
    driver.feed("1+1=2\ntext\n1+1=2\n")
    driver.extract()
    orders = driver.core.checks.cut(11)
    assert not any(isinstance(order, Drop) for order in orders)
    assert [[ref.span.start for ref in job.refs] for job in driver.core.checks.jobs.values()] == [[0]]
