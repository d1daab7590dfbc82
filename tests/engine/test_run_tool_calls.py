"""Structured tool calls in a run: segments of their own, held by gates, cut and answered as a turn."""

import interwhen
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import (
    Claim,
    Delta,
    Feedback,
    Lines,
    Monitor,
    Pass,
    Repair,
    Resample,
    Retracted,
    Span,
    ToolCall,
    ToolCalls,
    UsageError,
    Violation,
)
from interwhen.testing import End, ScriptedModel

GOOD = ToolCall("a", "move", '{"to": "home"}')
BAD = ToolCall("b", "move", '{"to": "BAD"}')


@interwhen.verifier(name="calls", worker="inline")
def check(claim):
    at = claim.key.find("BAD")
    return Pass() if at < 0 else Violation(why="BAD", where=Span(at, at + 3), repair="home")


def extract(segment):
    yield Claim(key=segment.text, span=segment.span)


def watch(**options):
    options = {"delivery": "gate_tools", "remedy": Feedback(), "trigger": ToolCalls(), **options}
    return Monitor(name="calls", verifier=check, extractor=extract, **options)


def events_of(replies, monitors):
    with interwhen.run_sync(model := ScriptedModel(replies), "q", monitors=monitors) as run:
        events = list(run)
    return events, run.result, model


def test_refused_call_is_cut_and_answered():
    replies = [["Well. ", GOOD, BAD, End("tool_calls")], [GOOD, End("tool_calls")]]
    events, result, model = events_of(replies, [watch()])
    calls = [event.call for event in events if isinstance(event, Delta) and event.call]
    assert [call.id for call in calls if "BAD" in call.arguments] == []
    feedback = model.requests[1].pieces[-1]
    assert feedback.refused == (GOOD, BAD)
    assert [piece.call for piece in model.requests[1].pieces] == [None, None]
    assert result.text == 'Well. Wait, BAD.move({"to": "home"})'
    assert result.answer == "Well. "
    assert result.status == "verified"


@pytest.mark.parametrize("remedy", [Repair(), Repair(otherwise=Resample()), Resample()])
def test_tool_call_is_never_repaired_in_place(remedy):
    _, result, model = events_of([[BAD, End("tool_calls")], [GOOD, End("tool_calls")]], [watch(remedy=remedy)])
    assert result.text.endswith(GOOD.text)
    assert "BAD" not in model.requests[1].prefix.replace("Wait, BAD.", "")


def test_tool_call_ends_the_line_before_it():
    seen = []

    def look(segment):
        seen.append((segment.text, segment.call))
        return ()

    lines = Monitor(name="lines", verifier=check, extractor=look, trigger=Lines())
    events_of([["half a line", GOOD, "more\n", End("stop")]], [lines])
    assert seen == [("half a line", None), ("more", None)]


def test_only_tool_call_monitor_can_gate_tools():
    with pytest.raises(UsageError, match="gate_tools"):
        watch(trigger=Lines())


@given(st.lists(st.sampled_from(["text\n", "half", GOOD, BAD, "<tool_call>", "</tool_call>"]), max_size=6))
def test_refuted_call_is_never_kept(steps):
    replies = [[*steps, End("tool_calls")], [GOOD, End("tool_calls")]]
    events, result, _ = events_of(replies, [watch()])
    assert BAD.text not in result.text
    shown = ""
    for event in events:
        if isinstance(event, Retracted):
            shown = shown[: event.to]
        elif isinstance(event, Delta):
            shown = shown[: event.start] + event.text
            assert event.call != BAD
    assert shown == result.text
