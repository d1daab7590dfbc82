"""Small defects that nothing else noticed: each test fails where its line of the core is changed in one place."""

from __future__ import annotations

import pytest
from interwhen import (
    Budgets,
    Claim,
    Feedback,
    Fork,
    Pass,
    Resample,
    Segment,
    Span,
    ToolCalls,
    Violation,
)
from interwhen._core.machine import Core
from interwhen._core.messages import Broken, Check, Extract, Extracted, Settled
from interwhen._core.segmenter import Intake
from interwhen._core.violations import Candidate, Ref, RemedyPlan, Violations
from interwhen.events import FrontierMoved
from interwhen.models import Chunk, Usage
from interwhen.remedies import Conclude, Stop
from interwhen.results import Judged
from interwhen.triggers import Markers
from tests.core.worlds import STRICT, Driver, drive, make_verifier, monitor, parse

TAGS = ("<think>", "</think>")


def test_the_frontier_passes_a_refutation_that_comes_after_the_feedback():
    driver = drive(monitor(remedy=Feedback()), starts_in="reasoning")
    driver.feed("2+2=5 and 4+4=9\n", phase="reasoning")
    driver.extract()
    driver.answer(driver.job("2+2=5"))
    driver.open()
    driver.feed("3+3=6\n", phase="reasoning")
    driver.extract()
    driver.answer(driver.job("4+4=9"))  # refuted behind the feedback that answers its segment
    driver.answer(driver.job("3+3=6"))
    driver.end()
    driver.settle()
    assert driver.summary is not None
    assert driver.of(FrontierMoved)[-1].to == len(driver.summary.text)


@pytest.mark.parametrize("trigger", [None, ToolCalls()])
def test_the_frontier_passes_text_in_which_a_monitor_finds_nothing(trigger):
    slow = monitor("slow", phase="reasoning") if trigger is None else monitor("slow", trigger=trigger)
    driver = drive(slow, monitor("quick", phase="answer", verifier=STRICT), starts_in="reasoning")
    driver.feed("1+1=2\n", phase="reasoning")
    driver.settle()
    driver.feed("\n", phase="reasoning")
    for line in ("1+1=2\n", "2+2=4\n"):
        driver.feed(line)
        driver.settle()
    driver.end()
    driver.settle()
    assert driver.summary is not None
    assert driver.of(FrontierMoved)[-1].to == driver.core.gates.frontier == len(driver.summary.text)


def _ref(span):
    segment = Segment("x" * len(span), span, "reasoning")
    return Ref(0, Claim(key="k", span=span), segment)


def test_a_cut_where_feedback_begins_takes_its_answer_away():
    for to, stands in ((12, True), (11, False), (10, False)):
        intake = Intake((monitor(),), tags=None, phase="reasoning")
        intake.feed("1+1=2\n2+2=5\nmore", 3, "reasoning")
        violations = Violations((monitor(),), intake, Budgets())
        wrong = Candidate(Span(6, 11), _ref(Span(6, 11)), Violation(why="wrong"), "wrong")
        violations.begin(wrong, RemedyPlan("feedback", 11, answers_segment=True))
        violations.conclude(wrong, 11)
        violations.cut(to)
        assert bool(violations.concluded) is stands
        assert violations.is_answered(_ref(Span(6, 11))) is stands
        assert bool(violations.refuted()) is stands


def test_a_stop_cuts_until_no_gate_holds_anything():
    lines = monitor("lines", delivery="gate", verifier=make_verifier("slow"))
    markers = monitor("markers", delivery="gate", trigger=Markers(("so",)), verifier=make_verifier("quick"))
    driver = drive(lines, markers, monitor("stops", verifier=STRICT, remedy=Stop()))
    driver.feed("1+1=2 so on\n7+1=8\nmore")
    driver.extract()
    checks = {(driver.core.monitors[o.monitor].name, o.claim.key): job for job, o in driver.pending.items()}
    for who in (("markers", "1+1=2"), ("stops", "7+1=8"), ("stops", "1+1=2"), ("lines", "1+1=2"), ("lines", "7+1=8")):
        driver.answer(checks[who])  # the last one lets the violation be acted upon
    assert driver.summary is not None
    assert driver.summary.status == "unverified"
    assert driver.summary.text == driver.shown == ""


def test_tokens_are_credited_to_the_text_that_is_held_back():
    driver = drive(think_tags=TAGS, starts_in="reasoning")
    driver.chunk("so it is", tokens=2)
    driver.chunk("</thi", tokens=1)
    driver.tell(Chunk("", "reasoning", 0, usage=Usage(None, None, 7)))
    driver.tell(Broken("reset", retryable=True))
    driver.open()
    driver.chunk("</think>done", tokens=3)
    driver.end()
    assert driver.summary is not None
    assert driver.summary.text == "so it is</think>done"
    assert (driver.summary.kept, driver.summary.discarded) == (5, 5)


def test_claims_of_one_key_and_other_words_are_asked_about_one_by_one():
    def parse(segment):
        return (Claim(key="the sum", span=segment.span),)

    driver = Driver(Core((monitor(extractor=parse, remedy=Resample()),)))
    driver.open()
    driver.feed("1+1=2\n1+1=3\n1+1=2\n")
    while jobs := [job for job, order in driver.pending.items() if isinstance(order, Extract)]:
        driver.tell(Extracted(jobs[0], parse(driver.pending.pop(jobs[0]).segment)))
    asked = [order for order in driver.orders if isinstance(order, Check)]
    assert [order.claim.span for order in asked] == [Span(0, 5), Span(6, 11)]
    first, second = [order.job for order in asked]
    driver.pending.pop(first)
    driver.tell(Settled(first, Judged(Pass())))
    assert driver.state == "streaming"
    driver.pending.pop(second)
    driver.tell(Settled(second, Judged(Violation("no"))))
    assert driver.state == "opening"
    assert driver.core.transcript.slice(0, 99) == "1+1=2\n"


def test_a_fork_that_was_never_ordered_is_not_dropped_at_the_end():
    # `CheckTable.cancel_concluding`: a fork beyond the budget has no order, so the engine must not be told to drop it.
    fork = Fork(prompt="?", parse=lambda _reply, segment: parse(segment))
    watching = monitor(extractor=fork, remedy=Conclude(), phase="reasoning", required=False)
    driver = drive(watching, starts_in="reasoning", budgets=Budgets(forks=0))
    driver.feed("1+1=2", phase="reasoning")
    driver.end()  # the driver refuses to drop a job that is not open
    driver.settle()
    assert driver.summary is not None
