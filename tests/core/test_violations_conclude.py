"""Ending the reasoning early: nothing before it is lost, the answer follows, and the result is never verified."""

from __future__ import annotations

import re

import pytest
from interwhen import (
    Budgets,
    Claim,
    Feedback,
    Fork,
    Lines,
    Monitor,
    Paragraphs,
    Span,
    Tracker,
    Unknown,
    UsageError,
    Violation,
)
from interwhen._core.messages import Close, Drop, Extract, Extracted, Idle, Invalidate, Open, Settled
from interwhen.remedies import Conclude
from interwhen.results import Cancelled, Judged
from interwhen.triggers import ThinkEnd
from tests.core.worlds import PLAIN, drive, monitor, parse

TAGS = ("<think>", "</think>")
ENOUGH = Violation(why="the answer has not changed")


def behind(segment):
    end = segment.span.end
    return () if re.search(r"\d", segment.text) else (Claim(key=segment.text, span=Span(end, end)),)


def stopper(**options):
    fields = {"remedy": Conclude(), "phase": "reasoning", "required": False, "extractor": behind, **options}
    return monitor("stop", **fields)


def settle(driver, verdict=ENOUGH):
    driver.extract()
    for job, order in list(driver.pending.items()):
        if job in driver.pending and order.claim.key.isalpha():
            driver.pending.pop(job)
            driver.tell(Settled(job, Judged(verdict)))


def thinking(*monitors, text="<think>one\ntwo\nhal", **options):
    driver = drive(*monitors, think_tags=TAGS, **options)
    driver.feed(text)
    return driver


def last_open(driver):
    return [order for order in driver.orders if isinstance(order, Open)][-1]


def test_reasoning_ends_after_the_segment_then_answering_begins():
    driver = thinking(stopper(), text="<think>one\ntw")
    settle(driver)
    assert any(isinstance(order, Close) for order in driver.orders)
    pieces = last_open(driver).pieces
    assert "".join(piece.text for piece in pieces) == "<think>one\n</think>\n\n"
    assert pieces[-1].phase == "answer"
    driver.open()
    driver.feed("It is 4.", finish="stop")
    driver.end()
    summary = driver.summary
    assert (summary.status, summary.reasoning, summary.answer) == ("unverified", "one\n", "\n\nIt is 4.")
    assert driver.shown == summary.text == "<think>one\n</think>\n\nIt is 4."
    assert summary.unverified_reasons[0].why == "the reasoning was stopped early: the answer has not changed"
    (violation,) = summary.violations
    assert (violation.remedy, violation.cut, violation.inserted) == ("conclude", 10, "\n</think>\n\n")
    assert summary.kept + summary.discarded == driver.fed


def test_reasoning_stopped_early_prevents_a_verified_result():
    driver = thinking(stopper(), monitor("sums"), text="<think>1+1=2\nbut\n")
    settle(driver)
    driver.settle()
    driver.open()
    driver.feed("1+2=3", finish="stop")
    driver.end()
    driver.settle()
    assert driver.summary.status == "unverified"
    assert [doubt.monitor for doubt in driver.summary.unverified_reasons] == ["stop"]


def test_after_a_stop_text_is_shown_at_once():
    driver = thinking(stopper(), monitor("sums"), text="<think>1+1=2\nbut\n")
    settle(driver)
    driver.settle()
    driver.open()
    driver.feed("1+2=", size=1)
    assert driver.shown.endswith("1+2=")


def test_without_a_stop_the_same_run_is_verified():
    driver = thinking(stopper(), monitor("sums"), text="<think>1+1=2\nbut\n</think>1+2=3")
    settle(driver, Unknown("more thinking may help"))
    driver.end()
    driver.settle()
    assert driver.summary.status == "verified"


def test_an_earlier_error_overrides_the_early_stop():
    driver = thinking(stopper(), monitor("sums", remedy=Feedback("rewind")), text="<think>1+1=3\nbut\n")
    driver.extract()
    stop = next(job for job, order in driver.pending.items() if order.claim.key == "but")
    driver.pending.pop(stop)
    driver.tell(Settled(stop, Judged(ENOUGH)))
    assert driver.state == "deciding"
    driver.settle()
    assert [violation.remedy for violation in driver.core.violations.records()][:1] == ["feedback"]
    driver.open()
    driver.feed("1+1=2\n</think>1+2=3", finish="stop")
    driver.end()
    driver.settle()
    assert driver.summary.status == "verified"


def test_a_later_cut_before_the_stop_undoes_it():
    driver = thinking(stopper(), monitor("sums", remedy=Feedback("rewind"), delivery="gate"), text="<think>x\nbut\n")
    settle(driver)
    driver.open()
    core = driver.core
    assert core.transcript.phase == "answer"
    core._cut(8)
    assert (core.transcript.phase, core.transcript.conclusions, core.violations.concluded) == ("reasoning", [], [])


def test_no_early_stop_after_the_model_ended_reasoning():
    driver = thinking(stopper(), text="<think>one\ntwo\n")
    driver.extract()
    driver.feed("</think>The answer")
    settle(driver)
    assert driver.state == "streaming"
    driver.feed(" is 4.", finish="stop")
    driver.end()
    assert driver.summary.text == "<think>one\ntwo\n</think>The answer is 4."
    assert [violation.interrupted for violation in driver.summary.violations] == [False, False]


def test_the_last_line_of_reasoning_starts_no_probe():
    fork = Fork("?", lambda reply, segment: behind(segment))
    driver = thinking(stopper(extractor=fork), text="<think>one</think>Four.")
    assert not driver.pending


def test_probes_still_open_at_the_end_are_cancelled():
    fork = Fork("?", lambda reply, segment: behind(segment))
    driver = thinking(stopper(extractor=fork), text="<think>one\n")
    driver.feed("</think>Four.")
    assert len(driver.pending) == 1
    driver.end()
    assert any(isinstance(order, Drop) for order in driver.orders)
    assert driver.summary.finish_reason == "stop"


def test_without_a_remedy_left_the_reasoning_goes_on():
    driver = thinking(stopper(), text="<think>one\ntw", budgets=Budgets(remedies=0))
    settle(driver)
    assert driver.state == "streaming"
    driver.feed("o\n</think>Four.", finish="stop")
    driver.end()
    assert driver.summary.text == "<think>one\ntwo\n</think>Four."
    assert driver.summary.violations == ()


def test_text_that_may_not_be_discarded_is_continued():
    driver = thinking(stopper(), text="<think>one\ntw", budgets=Budgets(discarded_tokens=0))
    driver.feed("o or more")
    settle(driver)
    assert driver.state == "opening"
    assert "".join(piece.text for piece in last_open(driver).pieces) == "<think>one\ntwo or more"
    driver.open()
    driver.feed("\n</think>Four.", finish="stop")
    driver.end()
    assert driver.summary.status != "abstained"
    assert driver.summary.text == "<think>one\ntwo or more\n</think>Four."


def test_reasoning_resumed_by_turn_is_not_stopped_twice():
    driver = drive(stopper(), think_tags=None, starts_in="reasoning")
    driver.feed("one\ntw", phase="reasoning")
    settle(driver)
    driver.open()
    driver.feed("two\nthree\n", phase="reasoning")
    assert not driver.pending
    driver.feed("Four.", finish="stop")
    driver.end()
    assert (driver.summary.remedies, driver.summary.status) == (1, "unverified")


def test_a_tracker_keeps_the_state_of_the_segment():
    tracker = Tracker(lambda _: 0, lambda state, segment: (state + 1, ()))
    driver = drive(stopper(), monitor("m", extractor=tracker), think_tags=TAGS)
    driver.feed("<think>one\ntwo\nhal")
    for job, order in list(driver.pending.items()):
        if isinstance(order, Extract):
            driver.pending.pop(job)
            claims = behind(order.segment) if order.monitor == 0 else ()
            driver.core.step(Extracted(job, claims))
    job = max(driver.core.checks.jobs)
    orders = driver.core.step(Settled(job, Judged(ENOUGH)))
    orders += driver.core.step(Settled(min(driver.core.checks.jobs), Judged(Unknown("?"))))
    assert Invalidate(14) in orders


def test_stopping_ends_reasoning_and_asks_for_the_answer():
    driver = drive(stopper(), think_tags=None, starts_in="reasoning")
    driver.feed("one\ntw", phase="reasoning")
    settle(driver)
    *thought, last = last_open(driver).pieces
    assert ["".join(piece.text for piece in thought), last.text] == ["one", "\n\n"]
    assert [piece.phase for piece in (thought[-1], last)] == ["reasoning", "answer"]
    driver = thinking(stopper(), text="<think>one\ntw")
    settle(driver)
    asked = [piece.ask for piece in last_open(driver).pieces if piece.ask]
    assert asked == ["That is enough thinking. Give the final answer now."]


def stopped_at_feedback(**options):
    def first_line(segment):
        return (Claim(key="enough", span=segment.at(0, 5)),)

    stop = stopper(trigger=Paragraphs(), extractor=first_line)
    driver = thinking(monitor("sums", remedy=Feedback("append")), stop, text="<think>1+1=2\n1+1=3\nx", **options)
    while job := next((job for job, order in driver.pending.items() if order.monitor == 0), None):
        driver.answer(job)
    settle(driver)
    driver.open()
    return driver


def test_feedback_after_the_segment_stays_in_the_reasoning():
    driver = stopped_at_feedback()
    feedback = "\nWait, it is 2.\n"
    driver.feed("The answer.", finish="stop")
    driver.end()
    driver.settle()
    summary = driver.summary
    assert summary.text == f"<think>1+1=2\n1+1=3{feedback}</think>\n\nThe answer."
    assert [record.remedy for record in summary.violations] == ["feedback", "conclude"]
    assert summary.unverified_reasons[-1].span == Span(18 + len(feedback), 18 + len(feedback))
    driver = stopped_at_feedback()
    driver.core._cut(18 + len(feedback))
    assert driver.core.violations.concluded == []
    assert driver.core.violations.refuted() == [Span(13, 18)]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_chunks_change_nothing(size):
    driver = drive(stopper(), think_tags=TAGS)
    text = "<think>one\ntwo and more"
    for at in range(0, len(text), size):
        driver.feed(text[at : at + size])
        driver.extract()
    settle(driver)
    assert last_open(driver).pieces[0].text == "<think>"
    assert "".join(piece.text for piece in last_open(driver).pieces) == "<think>one\n</think>\n\n"


@pytest.mark.parametrize(
    "options", [{"phase": "both"}, {"phase": "answer"}, {"trigger": ThinkEnd(), "phase": "reasoning"}]
)
def test_only_reasoning_can_be_ended(options):
    with pytest.raises(UsageError, match="ends the reasoning"):
        Monitor(name="m", verifier=PLAIN, extractor=behind, remedy=Conclude(), **{"trigger": Lines(), **options})


@pytest.mark.parametrize("options", [{"required": True}, {"delivery": "gate"}, {"delivery": "final"}])
def test_ending_the_reasoning_proves_nothing(options):
    fields = {"phase": "reasoning", "required": False, **options}
    with pytest.raises(UsageError, match="proves nothing"):
        Monitor(name="m", verifier=PLAIN, extractor=behind, remedy=Conclude(), **fields)


@pytest.mark.parametrize("options", [{"lead": ""}, {"ask": ""}])
def test_a_conclusion_says_something(options):
    with pytest.raises(UsageError, match="must be a text that is not empty"):
        Conclude(**options)


def test_another_monitors_stop_at_that_point_is_recorded():
    also = monitor("halt", remedy=Conclude(), phase="reasoning", required=False, extractor=behind)
    driver = thinking(stopper(), also, text="<think>one\ntw")
    settle(driver)
    driver.open()
    driver.feed("It is 4.", finish="stop")
    driver.end()
    assert [(each.monitor, each.remedy) for each in driver.summary.violations] == [("halt", "conclude"), ("stop", None)]


def test_an_inactive_monitor_does_not_block_other_monitors():
    watching = stopper(), monitor(phase="reasoning")
    driver = thinking(*watching, text="<think>one\ntwo and more", budgets=Budgets(remedies=0))
    driver.tell(Idle(9.0, dead=True))
    assert [order.monitor for order in driver.pending.values()] == [1, 1]


def test_stop_only_extractions_are_cancelled_when_output_ends():
    driver = thinking(stopper(), text="<think>one\n")
    driver.end()
    assert [record.outcome for record in driver.summary.checks] == [Cancelled("the model ended first")]


def test_ending_drops_no_fork_that_was_never_ordered():
    # A fork beyond the budget has no order, so the engine must not be told to drop it.
    fork = Fork(prompt="?", parse=lambda _reply, segment: parse(segment))
    watching = monitor(extractor=fork, remedy=Conclude(), phase="reasoning", required=False)
    driver = drive(watching, starts_in="reasoning", budgets=Budgets(forks=0))
    driver.feed("1+1=2", phase="reasoning")
    driver.end()  # the driver refuses to drop a job that is not open
    driver.settle()
    assert driver.summary is not None
