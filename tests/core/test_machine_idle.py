"""A stream that is silent within a segment: what is wrong in it is acted upon, and nothing else counts."""

from __future__ import annotations

import pytest
from interwhen import Answer, CodeBlocks, Lines, Paragraphs, Resample, Sentences, Span, ToolCalls
from interwhen._core.messages import Ended, Idle, Settled
from interwhen._core.segmenter import Intake
from interwhen.events import Remedied, ViolationFound
from interwhen.results import Errored
from interwhen.triggers import EveryChars, Markers
from tests.core.worlds import drive, monitor, plain_summary

OPEN = [Lines(), Lines(every=3), Paragraphs(), Sentences()]


def silent(text, *, dead=False, **options):
    driver = drive(monitor(**options))
    driver.feed(text, size=1)
    driver.tell(Idle(2.0, dead))
    driver.settle()
    return driver


@pytest.mark.fault("G7", injected="silence in a line that is not finished", happens="the violation in it is acted upon")
@pytest.mark.parametrize("trigger", OPEN)
def test_a_violation_in_an_unfinished_segment_is_remedied(trigger):
    driver = silent("We have 4+9=11, so that we", trigger=trigger)
    assert driver.state == "opening"
    assert driver.of(Remedied)[0].violation.inserted == "13"
    assert driver.core.transcript.slice(0, 99) == "We have 4+9=13"


@pytest.mark.parametrize("text", ["3+9=11", "3+9=11 ", "3+9=11 *", "so 3+9=11 * "])
def test_last_words_stay_uncertain_unless_streams_seem_dead(text):
    driver = silent(text)
    assert (driver.state, driver.of(ViolationFound)) == ("streaming", [])
    driver.tell(Idle(10.0, dead=True))
    driver.settle()
    assert driver.state == "opening"


def test_in_silence_the_last_two_words_stay_uncertain():
    intake = Intake((monitor(),), tags=None, phase="answer")
    list(intake.feed("1+1=2 and", 1, "answer"))
    assert list(intake.unfinished(dead=False)) == []
    list(intake.feed(" so", 1, "answer"))
    assert [certain for _, certain in intake.unfinished(dead=False)] == [5]


def test_numbers_that_may_become_right_are_left_alone():
    driver = silent("4+9=1", dead=True)
    assert (driver.state, driver.of(ViolationFound)) == ("streaming", [])
    driver.feed("3\n")
    driver.settle()
    driver.end()
    assert driver.summary.status == "verified"


@pytest.mark.parametrize("trigger", OPEN)
def test_silence_anywhere_in_a_right_text_changes_nothing(trigger):
    story = "4+9=13 and so. Then 2+2=4 we see\n\n8+8=16 it is\n"
    plain = drive(monitor(trigger=trigger))
    plain.feed(story)
    plain.settle()
    plain.end()
    plain.settle()
    for at in range(1, len(story)):
        for dead in (False, True):
            driver = silent(story[:at], dead=dead, trigger=trigger)
            driver.tell(Idle(10.0, dead=True))
            assert driver.state == "streaming"
            driver.feed(story[at:], size=1)
            driver.settle()
            driver.end()
            driver.settle()
            assert plain_summary(driver.summary) == plain_summary(plain.summary), story[:at]


@pytest.mark.parametrize("at", range(1, 30))
def test_silence_checks_are_void_once_the_model_continues(at):
    story = "so 1+1=2 and 3+9=11 we see it"
    driver = drive(monitor(delivery="observe"))
    driver.feed(story[:at])
    driver.tell(Idle(2.0))  # and no verifier has answered yet
    driver.feed(story[at:])
    driver.settle()
    driver.end("length")
    driver.settle()
    assert driver.summary.checks == ()
    assert driver.summary.violations == ()


def test_ending_after_a_silence_reads_the_whole_segment():
    driver = silent("so 1+1=2 and we see 3+9=11", delivery="observe")
    driver.end()
    driver.settle()
    assert [record.key for record in driver.summary.violations] == ["3+9=11"]
    assert len(driver.summary.checks) == 2


def test_an_answer_is_judged_as_a_whole_only():
    driver = silent("3+9=11 and so we see", dead=True, trigger=Answer())
    assert (driver.state, driver.pending) == ("streaming", {})


@pytest.mark.parametrize(
    ("trigger", "looks"),
    [
        *((each, True) for each in (Lines(), Lines(joins=("so",)), Paragraphs(), Sentences())),
        *((each, False) for each in (Markers(("Wait",)), CodeBlocks(), EveryChars(40), ToolCalls("<a>", "</a>"))),
    ],
    ids=str,
)
def test_only_some_unfinished_segments_are_read_early(trigger, looks):
    intake = Intake((monitor(trigger=trigger),), tags=None, phase="answer")
    list(intake.feed("1+1=2 and 3", 1, "answer"))
    assert len(list(intake.unfinished(dead=False))) == looks


def test_silence_lets_all_scanners_look():
    watching = (monitor("calls", trigger=ToolCalls()), monitor("lines"))
    intake = Intake(watching, tags=None, phase="answer")
    list(intake.feed("1+1=2 and so", 1, "answer"))
    assert [(due.segment.text, due.monitors) for due, _ in intake.unfinished(dead=True)] == [("1+1=2 and so", (1,))]


def test_failing_on_unfinished_text_never_ends_the_run():
    driver = drive(monitor(unproven="closed"))
    driver.feed("1+1=2 and so we see")
    driver.tell(Idle(2.0))
    (job,) = driver.pending
    driver.pending.clear()
    driver.tell(Settled(job, Errored("half a line")))
    assert driver.state == "streaming"
    driver.feed("\n")
    driver.settle()
    driver.end()
    assert driver.summary.status == "verified"


def test_silence_after_the_model_finished_is_ignored():
    driver = drive(monitor())
    driver.feed("so 3+9=11 we see it", finish="stop")
    driver.tell(Idle(2.0))
    assert driver.pending == {}
    driver.tell(Ended())
    driver.settle()
    assert driver.of(ViolationFound)


def test_silence_checks_never_move_frontiers_nor_survive_cuts():
    driver = silent("1+1=2\nso 3+9=11 we see it", remedy=Resample())
    assert driver.shown == "1+1=2\n"
    assert driver.core.gates.frontier <= len("1+1=2\n")
    assert [record.span for record in driver.core.checks.records()] == [Span(0, 5)]
