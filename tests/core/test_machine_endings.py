"""How a run may end, story by story."""

from __future__ import annotations

import pytest
from interwhen import Answer, Lines, Paragraphs, Pass, Resample, Sentences, Span, ToolCalls, Unknown
from interwhen._core.machine import WRITTEN_AS_TEXT
from interwhen._core.messages import (
    NO_OFFER,
    Abandoned,
    Broken,
    Ended,
    Finish,
    OutOfTime,
    Settled,
)
from interwhen._core.release import describe
from interwhen.events import FrontierMoved, ViolationFound
from interwhen.models import Chunk, Usage
from interwhen.remedies import Stop
from interwhen.results import Cancelled, Errored, Judged, Skipped, TimedOut
from interwhen.triggers import Markers
from tests.core.call_texts import OFFER
from tests.core.worlds import STRICT, drive, monitor, parse_ungrounded

TAGS = ("<think>", "</think>")


def test_right_sums_are_verified_with_a_certificate():
    driver = drive(monitor(), prompt_sha256="p")
    driver.feed("1+1=2\nand 2+2=4\n", size=3)
    driver.settle()
    driver.end()
    end = driver.summary
    assert (end.status, end.unverified_reasons, end.reason) == ("verified", (), "")
    assert end.certificate.covered == (Span(0, 5), Span(10, 15))
    assert end.certificate.coverage == 10 / 16
    assert end.certificate.prompt_sha256 == "p"
    assert driver.shown == end.text
    assert driver.of(FrontierMoved)[-1].to == 16


HIDING = (Usage(reasoning_tokens=9), Usage(hides_reasoning=True), Usage(asked_to_reason=True))
OPEN = (Usage(), Usage(reasoning_tokens=0), Usage(reasoning_tokens=0, asked_to_reason=True))


@pytest.mark.parametrize("usage", [*HIDING, *OPEN])
@pytest.mark.parametrize("thought", ["", "well\n"])
def test_unsent_reasoning_leaves_the_steps_unverified(usage, thought):
    driver = drive(monitor())
    driver.feed(thought, phase="reasoning")
    driver.feed("1+1=2\n")
    driver.settle()
    driver.feed("", finish="stop")
    driver.tell(Chunk("", tokens=0, usage=usage))
    driver.tell(Ended())
    hidden = usage.hides_reasoning or (usage in HIDING and not thought)
    end = driver.summary
    assert end.hidden_reasoning == hidden
    assert end.status == ("unverified" if hidden else "verified")
    assert ("reasoning was not sent" in "".join(reason.why for reason in end.unverified_reasons)) == hidden


def test_reasoning_that_an_earlier_request_hid_still_counts():
    driver = drive(monitor(remedy=Resample()))
    driver.feed("1+1=3\n")
    driver.tell(Chunk("", tokens=0, finish_reason="stop", usage=Usage(completion_tokens=12, reasoning_tokens=9)))
    driver.tell(Ended())
    driver.settle()
    driver.open()
    driver.feed("2+2=4\n")
    driver.settle()
    driver.tell(Chunk("", tokens=0, finish_reason="stop", usage=Usage(completion_tokens=3, reasoning_tokens=0)))
    driver.tell(Ended())
    assert driver.summary.hidden_reasoning
    assert driver.summary.status == "unverified"


def test_without_monitors_nothing_is_verified():
    driver = drive()
    driver.feed("1+1=2")
    driver.end()
    assert driver.summary.status == "unverified"
    assert "no required monitor" in driver.summary.unverified_reasons[0].why


@pytest.mark.fault("W27", injected="every reason that is no whole answer", happens="never verified")
@pytest.mark.parametrize("reason", ["length", "content_filter", "other", None])
def test_an_unfinished_text_is_never_verified(reason):
    driver = drive(monitor())
    driver.feed("1+1=2\n")
    driver.end(reason)
    driver.settle()
    assert driver.summary.status == "unverified"
    assert driver.summary.finish_reason == (reason or "truncated")


STORY = "1+1=2 and\n2+2=4. Then 3+9=12\n\n1+8=9"


@pytest.mark.fault("G6", injected="a cut at every character", happens="no claim is read from the unfinished segment")
@pytest.mark.parametrize("reason", ["length", "content_filter", "other", None])
@pytest.mark.parametrize("trigger", [Lines(), Lines(every=2), Paragraphs(), Sentences(), Markers(), Answer()])
def test_no_claim_is_read_from_an_unfinished_segment(reason, trigger):
    for at in range(len(STORY) + 1):
        driver = drive(monitor(trigger=trigger))
        driver.feed(STORY[:at], size=1)
        driver.end(reason)
        driver.settle()
        end = driver.summary
        assert (end.status, end.violations, end.remedies) == ("unverified", (), 0), STORY[:at]
        assert end.text == driver.shown == STORY[:at]
        # A claim is read only from a segment that the text behind it completes.
        unfinished = driver.core.intake.hold(0)
        assert all(check.segment.end <= unfinished for check in end.checks)


@pytest.mark.fault("G6", injected="a cut at every character, with a gate", happens="only whole segments are shown")
@pytest.mark.parametrize("reason", ["length", None])
@pytest.mark.parametrize("delivery", ["gate", "final"])
@pytest.mark.parametrize("trigger", [Lines(), Paragraphs(), Answer()])
def test_a_gate_shows_nothing_of_an_unfinished_segment(reason, delivery, trigger):
    story = "1+1=2 and\n2+2=4. Then\n\n1+8=9"
    for at in range(len(story) + 1):
        driver = drive(monitor(trigger=trigger, delivery=delivery))
        driver.feed(story[:at], size=1)
        driver.end(reason)
        driver.settle()
        end = driver.summary
        assert (end.status, end.finish_reason) == ("unverified", reason or "truncated")
        assert end.text == driver.shown
        assert story.startswith(end.text)
        assert driver.core.intake.hold(0) == len(end.text)
        assert end.kept + end.discarded == at


def test_unfinished_ends_are_cut_until_nothing_is_held():
    driver = drive(monitor("lines", delivery="final"), monitor("markers", delivery="final", trigger=Markers(("so",))))
    driver.feed("1+1=2 so on\n7+1")
    driver.settle()
    driver.end("length")
    driver.settle()
    assert driver.summary.status == "unverified"
    assert driver.summary.text == driver.shown == ""


@pytest.mark.parametrize("reason", ["stop", "tool_calls"])
def test_what_the_model_ended_by_itself_is_finished(reason):
    driver = drive(monitor())
    driver.feed("1+1=2\n3+9=1")
    driver.end(reason)
    driver.settle()
    assert [event.violation.key for event in driver.of(ViolationFound)] == ["3+9=1"]


def test_a_stream_broken_after_the_finish_is_complete():
    driver = drive(monitor())
    driver.feed("3+9=1", finish="stop")
    driver.tell(Broken("reset", retryable=True))
    driver.settle()
    assert [event.violation.key for event in driver.of(ViolationFound)] == ["3+9=1"]


def test_with_offered_tools_calls_in_text_are_reported():
    for offer, count in ((OFFER, 1), (NO_OFFER, 0)):
        driver = drive(monitor(trigger=ToolCalls(), extractor=lambda _: ()), offer=offer)
        driver.feed('<tool_call>{"name": "get_weather", "arguments": {}}</tool_call>')
        driver.settle()
        driver.end()
        whys = [each.why for each in driver.summary.unverified_reasons if each.why.startswith(WRITTEN_AS_TEXT)]
        assert len(whys) == count
        assert all("the call of 'get_weather' (format tagged)" in why for why in whys)


def test_at_most_three_calls_in_text_are_named():
    driver = drive(monitor(trigger=ToolCalls(), extractor=lambda _: ()), offer=OFFER)
    driver.feed("[TOOL_CALLS][" + ", ".join(['{"name": "get_weather", "arguments": {}}'] * 4) + "]")
    driver.settle()
    driver.end()
    [why] = [each.why for each in driver.summary.unverified_reasons if each.why.startswith(WRITTEN_AS_TEXT)]
    assert why.count("get_weather") == 3


@pytest.mark.parametrize(
    "outcome", [Errored("boom"), TimedOut(2.0), Judged(Unknown("?")), Skipped("no"), Cancelled("x"), Judged("garbage")]
)
@pytest.mark.parametrize("unproven", ["open", "closed"])
def test_only_a_pass_is_a_pass(outcome, unproven):
    driver = drive(monitor(unproven=unproven))
    driver.feed("1+1=2\n2+2=4\n")
    driver.extract()
    driver.pending.pop(job := driver.job("1+1=2"))
    driver.tell(Settled(job, outcome))
    driver.settle()
    if unproven == "open":
        driver.end()
        assert driver.summary.status == "unverified"
        assert driver.summary.unverified_reasons[0].why == describe(outcome)
        assert driver.summary.unverified_reasons[0].span == Span(0, 5)
    else:
        assert driver.summary.status == "abstained"
        assert driver.summary.text == ""
        assert driver.orders[-1] == Finish(driver.summary)


@pytest.mark.parametrize("unproven", ["open", "closed"])
def test_a_stop_waits_only_for_closed_monitors_checks(unproven):
    paragraphs = monitor("p", trigger=Paragraphs(), verifier=STRICT, extractor=parse_ungrounded, unproven=unproven)
    driver = drive(paragraphs, monitor("m", remedy=Stop()))
    driver.feed("1+1=2\n\n3+3=7\n")
    driver.extract()
    slow = next(job for job, order in driver.pending.items() if order.monitor == 0)
    while len(driver.pending) > 1:
        driver.answer(next(job for job in driver.pending if job != slow))
    if unproven == "open":
        assert driver.summary.status == "unverified"
    else:
        assert driver.state == "deciding"
        driver.tell(Settled(slow, TimedOut(1.0)))
        assert (driver.summary.status, driver.summary.text) == ("abstained", "")


def test_a_run_timeout_abstains_without_known_wrong_text():
    driver = drive(monitor())
    driver.feed("1+1=2\n")
    driver.tell(OutOfTime(2.5))
    assert (driver.summary.status, driver.summary.text) == ("abstained", "1+1=2\n")
    assert driver.summary.reason == "the time budget of 2.5 s is spent"
    assert not driver.pending
    driver = drive(monitor(), monitor("slow", verifier=STRICT))
    driver.feed("1+1=2\n2+2=5\n")
    driver.extract()
    driver.answer(driver.job("2+2=5"))
    driver.tell(OutOfTime(2.5))
    assert (driver.summary.status, driver.summary.text) == ("abstained", "1+1=2\n")
    assert driver.summary.violations[0].remedy == "abstain"


@pytest.mark.parametrize("delivery", ["interrupt", "gate", "final"])
def test_leaving_readers_get_unverified_results_without_more_text(delivery):
    driver = drive(monitor(delivery=delivery))
    driver.feed("1+1=2\n2+2=5\n")
    driver.extract()
    driver.answer(driver.job("2+2=5"))
    shown = driver.shown
    driver.tell(Abandoned())
    assert driver.summary.status == "unverified"
    assert driver.summary.unverified_reasons[0].why == "the reader left before the end"
    assert [v.key for v in driver.summary.violations] == ["2+2=5"]
    assert driver.shown == shown
    if delivery == "interrupt":
        assert driver.summary.checks[0].outcome == Cancelled("the run ended first")
    else:  # the held text will never be checked: it is not part of the result
        assert (driver.summary.text, driver.summary.checks) == ("", ())


def test_waiting_violations_count_as_interruptions_when_readers_leave():
    driver = drive(monitor())
    driver.feed("1+1=2\n2+2=5\n")
    driver.extract()
    driver.answer(driver.job("2+2=5"))
    driver.tell(Abandoned())
    assert [record.interrupted for record in driver.summary.violations] == [True]


def test_a_violation_at_timeout_never_inherits_a_place():
    driver = drive(monitor(remedy=Resample()), monitor("slow", verifier=STRICT))
    driver.feed("2+2=5\n")
    driver.extract()
    driver.answer(driver.job("2+2=5"))
    for job in list(driver.pending):
        driver.tell(Settled(job, Judged(Pass())))
    driver.open()
    driver.feed("1+1=2\n1+2=4\n")
    driver.extract()
    driver.answer(driver.job("1+2=4"))
    driver.tell(OutOfTime(1.0))
    assert [(record.quote, record.place) for record in driver.summary.violations] == [("5", 0), ("4", None)]
