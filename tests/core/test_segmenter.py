"""A cut of ours in the middle of a line: half a number is not read as a claim by any monitor."""

import re

import interwhen
import pytest
from interwhen import (
    Answer,
    Claim,
    Feedback,
    Fork,
    Lines,
    Monitor,
    Paragraphs,
    Pass,
    Resample,
    Sentences,
    Span,
    ToolCalls,
    Tracker,
    Unknown,
    Violation,
    verifier,
)
from interwhen._core.segmenter import Intake
from interwhen.remedies import Conclude
from interwhen.testing import Pause, ScriptedModel
from interwhen.triggers import EveryChars, Markers, Polls, ThinkEnd
from tests.core.worlds import monitor

pytestmark = pytest.mark.anyio


@verifier(name="sums", worker="inline")
def adds_up(claim):
    left, right, total = map(int, re.fullmatch(r"(\d+)\+(\d+)=(\d+)", claim.key).groups())
    return Pass() if left + right == total else Violation(f"{claim.key} is wrong")


@verifier(name="never", worker="inline")
def never(_claim):
    return Violation("no more of this")


def sums(segment):
    for match in re.finditer(r"\d+\+\d+=\d+", segment.text):
        yield Claim(key=match[0], span=segment.at(*match.span()))


def where(text):
    return lambda segment: [Claim(key="x", span=segment.span)] if segment.text.endswith(text) else []


def lines(trigger=None, extractor=sums):
    return Monitor(name="sums", verifier=adds_up, extractor=extractor, trigger=trigger or Lines(), remedy=Resample())


def stretches(text, remedy, trigger=None, **options):
    extractor, trigger = where(text), trigger or EveryChars(12)
    return Monitor(name="cuts", verifier=never, extractor=extractor, trigger=trigger, remedy=remedy, **options)


async def supervise(first, *monitors, **options):
    model = ScriptedModel([[first, Pause(1.0)], "\nAll is done.\n"])
    async with interwhen.run(model, "Q", monitors=monitors, **options) as run:
        async for _ in run:
            pass
    return run.result


def of(result, monitor="sums"):
    return [record for record in result.checks if record.monitor == monitor]


def unknown(result):
    return [str(record.outcome.verdict.why) for record in of(result) if isinstance(record.outcome.verdict, Unknown)]


TORN = "the text was cut here in the middle of a line"


@pytest.mark.parametrize("trigger", [Lines(), Lines(2), Paragraphs(), Sentences(), Markers()])
@pytest.mark.parametrize(
    ("first", "place", "wrong"),
    [
        ("1+2=3\n12+3=15 is right\n", "append", "12+3=1"),
        ("1+2=3\n12+3=15 is right\n", "rewind", "5 is right\n"),
        ("1+2=3\n12+3=1", "append", "12+3=1"),
    ],
)
async def test_half_a_line_before_feedback_is_no_claim(first, place, wrong, trigger):
    # A stretch of 12 characters ends within the number 15.
    result = await supervise(first, lines(trigger), stretches(wrong, Feedback(place)))
    assert [violation.monitor for violation in result.violations] == ["cuts"]
    assert unknown(result) == [TORN]
    assert result.status == "unverified"
    assert [record.key for record in of(result) if isinstance(record.outcome.verdict, Pass)] == ["1+2=3"]


async def test_polls_ending_the_reasoning_claim_no_half_line():
    polls = Polls(cost=12, found=1, seen=6, least=12, most=12)
    result = await supervise(
        "1+2=3\n12+3=15 is right\n",
        lines(),
        stretches("12+3=1", Conclude(), polls, phase="reasoning", required=False),
        starts_in="reasoning",
    )
    assert [violation.monitor for violation in result.violations] == ["cuts"]
    assert TORN in unknown(result)


async def test_a_half_line_without_claims_leaves_nothing_unknown():
    result = await supervise("1+2=3\nSo it wou", lines(), stretches("So it ", Feedback(), EveryChars(12)))
    assert unknown(result) == []


async def test_refuted_reasoning_reports_no_torn_line_as_unverified():
    # The torn line lies in the stretch that the feedback answers: nothing in it is certified.
    result = await supervise(
        "1+2=3 or so\n12+3=15 is", lines(), stretches("12+3=1", Feedback(), EveryChars(18)), starts_in="reasoning"
    )
    assert unknown(result) == [TORN]
    assert not [doubt for doubt in result.unverified_reasons if TORN in doubt.why]


@pytest.mark.parametrize("delivery", ["interrupt", "gate"])
@pytest.mark.parametrize("trigger", [ThinkEnd(), Answer(), ToolCalls("<c>", "</c>")], ids=["think", "answer", "call"])
async def test_segments_continuing_after_feedback_remember_their_torn_lines(trigger, delivery):
    text, rest = "<c>\n1+2=3\n12+3=1", "12+3=15\n1+1=2\n</c>"
    reader = Monitor(
        name="sums", verifier=adds_up, extractor=sums, trigger=trigger, remedy=Resample(), delivery=delivery
    )
    model = ScriptedModel([text + "5 is", "\n" + rest])
    starts = {"starts_in": "reasoning"} if trigger == ThinkEnd() else {}
    async with interwhen.run(
        model, "Q", monitors=[reader, stretches("12+3=1", Feedback("append"), EveryChars(len(text)))], **starts
    ) as run:
        async for _ in run:
            pass
    assert [violation.monitor for violation in run.result.violations] == ["cuts"]
    assert [record.key for record in of(run.result)] == ["1+2=3", "", "12+3=15", "1+1=2"]
    assert unknown(run.result) == [TORN]


async def test_claims_about_a_whole_torn_segment_are_checked():
    whole = Monitor(name="sums", verifier=never, extractor=where("done."), trigger=ThinkEnd(), delivery="observe")
    cuts = stretches("12+3=1", Feedback("append"), EveryChars(12))
    model = ScriptedModel(["1+2=3\n12+3=15 is", "\nAll is done."])
    async with interwhen.run(model, "Q", monitors=[whole, cuts], starts_in="reasoning") as run:
        async for _ in run:
            pass
    assert [violation.monitor for violation in run.result.violations] == ["cuts", "sums"]


async def test_removing_feedback_forgets_the_half_line_before_it():
    intake = Intake([lines(ThinkEnd())], tags=None, phase="reasoning")
    intake.feed("1+2=3\n12+3=1", 1, "reasoning")
    intake.insert("\nNo.\n", "feedback", torn=True)
    intake.cut(13)
    assert [due.tears for due in intake.end()] == [(Span(6, 12),)]
    intake.cut(12)
    assert [due.tears for due in intake.end()] == [()]


@pytest.mark.parametrize("extractor", ["tracker", "fork"])
async def test_trackers_and_forks_never_see_half_a_line(extractor):
    shown = []

    def step(state, segment):
        shown.append(segment.text)
        return state, sums(segment)

    read = Tracker(lambda _: 0, step)
    if extractor == "fork":
        read = Fork("?", lambda _reply, segment: step(0, segment)[1])
    model = ScriptedModel([["1+2=3\n12+3=15 is", Pause(1.0)], "\nAll is done.\n"], forks=lambda _: "")
    monitors = (lines(extractor=read), stretches("12+3=1", Feedback()))
    async with interwhen.run(model, "Q", monitors=monitors) as run:
        async for _ in run:
            pass
    assert "1+2=3" in shown
    assert not [text for text in shown if "12+3" in text]
    assert unknown(run.result) == [TORN]


@pytest.mark.parametrize("text", ["1+2=3\n12+13=\n25 is", "1+2=3\n1+12=13"])
async def test_cutting_at_line_or_text_ends_tears_nothing(text):
    size = text.index("\n", 6) if "\n" in text[6:] else len(text)
    model = ScriptedModel([text, "\nAll is done.\n"])
    monitors = (lines(), stretches(text[6:size], Feedback(), EveryChars(size if "25" in text else size + 1)))
    async with interwhen.run(model, "Q", monitors=monitors) as run:
        async for _ in run:
            pass
    assert unknown(run.result) == []
    assert [record.key for record in of(run.result)] == ["1+2=3", *(["1+12=13"] if "1+12" in text else [])]


async def test_cutting_at_the_phase_end_tears_nothing():
    result = await supervise("<think>1+2=3</think>ok", lines(), stretches("1+2=3", Feedback(), EveryChars(12)))
    assert unknown(result) == []


@pytest.mark.parametrize(
    ("at", "is_torn"), [(0, False), (3, True), (4, True), (5, False), (6, False), (7, True), (8, True)]
)
def test_only_a_cut_inside_a_line_tears_it(at, is_torn):
    intake = Intake((monitor(),), tags=None, phase="answer")
    intake.feed("1+1=2\nab", 1, "answer")
    assert intake.tears(at) is is_torn


def test_cutting_at_the_end_tears_only_unfinished_lines():
    intake = Intake((monitor(),), tags=None, phase="answer")
    intake.feed("1+1=2", 1, "answer")
    assert intake.tears(5)
    list(intake.end())
    assert not intake.tears(5)


def test_a_cut_between_two_phases_tears_no_line():
    intake = Intake((monitor(),), tags=None, phase="reasoning")
    intake.feed("so", 1, "reasoning")
    intake.feed("4", 1, "answer")
    assert not intake.tears(2)


def test_an_ended_text_may_continue_after_a_cut():
    intake = Intake((monitor(),), tags=None, phase="answer")
    intake.feed("1+1=2", 1, "answer")
    list(intake.end())
    intake.cut(2)
    intake.feed("3", 1, "answer")
    assert intake.tears(3)


def test_a_torn_segment_reports_its_last_lines_start():
    intake = Intake((monitor(trigger=Paragraphs()),), tags=None, phase="answer")
    intake.feed("1+1=2\n2+2", 1, "answer")
    [due] = intake.insert("\nWait.\n", "feedback", torn=True)
    assert due.torn == 6
