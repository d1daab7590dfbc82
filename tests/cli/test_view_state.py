"""The state of a view after recorded events."""

from functools import reduce

from interwhen import Delta, Pass, Retracted, Span
from interwhen.cli._view import Mark, RetractedText, ViewState, apply
from interwhen.events import CheckSettled, Event
from interwhen.results import Cancelled, Judged

from .recorded import FEEDBACK, GATE, MONITOR, OPEN, REPAIR, REPAIRED, record


def after(events: list[Event]) -> ViewState:
    return reduce(apply, events, ViewState())


def test_repair_keeps_retracted_text_as_ghost() -> None:
    state = after(REPAIR)
    assert state.text == REPAIRED
    assert state.retracted == (RetractedText(18, "12\nthen"),)
    assert [s.origin for s in state.stretches] == ["model", "repair", "model"]
    assert state.marks == (Mark(Span(0, 9), "passed"), Mark(Span(10, 20), "passed"))
    assert (state.passed, len(state.violations), state.remedies, state.mood) == (2, 1, 1, "finished")


def test_stretches_merge_only_with_equal_origin_and_phase() -> None:
    state = after([Delta("a", 0), Delta("b", 1), Delta("c", 2, "reasoning"), Delta("", 3)])
    assert [(s.text, s.start) for s in state.stretches] == [("ab", 0), ("c", 2)]
    assert state.tokens == 3


def test_feedback_keeps_the_refuted_line_marked() -> None:
    state = after(FEEDBACK)
    assert state.text == "5 + 6 = 12\nWait, no.\n11"
    assert Mark(Span(8, 10), "violated") in state.marks


def test_gated_text_leaves_no_ghost_or_mark() -> None:
    state = after(GATE)
    assert state.text == "1 + 2 = 3\n5 + 6 = 11\n"
    assert state.retracted == ()
    assert {m.kind for m in state.marks} == {"passed"}


def test_checks_without_verdict_are_counted_and_marked() -> None:
    state = after(OPEN)
    assert state.unproven == 3
    assert [m.kind for m in state.marks] == ["unproven"] * 3
    assert state.checking == ((MONITOR, "a", Span(0, 3)),)
    assert state.mood == "reconnecting"


def test_cut_removes_its_marks_and_checks() -> None:
    state = apply(after(OPEN), Retracted(5))
    assert state.text == "aaa\nb"
    assert state.marks == ()
    assert len(state.checking) == 1
    assert apply(state, Retracted(0)).checking == ()


def test_later_cut_absorbs_an_earlier_ghost() -> None:
    state = after([Delta("abcdef", 0), Retracted(4), Delta("x", 4), Retracted(2)])
    assert state.retracted == (RetractedText(2, "cdx"),)


def test_a_retraction_of_nothing_leaves_no_ghost() -> None:
    assert after([Delta("ab", 0), Retracted(2)]).retracted == ()


def test_cancelled_check_leaves_no_mark() -> None:
    state = after([Delta("abc", 0), CheckSettled(record(Span(0, 3), Cancelled("cut")))])
    assert (state.marks, state.unproven, state.passed) == ((), 0, 0)


def test_a_check_that_was_never_announced_counts() -> None:
    assert after([Delta("abc", 0), CheckSettled(record(Span(0, 3), Judged(Pass(), cached=True)))]).passed == 1


def test_a_state_is_never_changed() -> None:
    state = ViewState()
    for event in REPAIR:
        before = hash(state.text), state.marks, state.stretches
        apply(state, event)
        assert (hash(state.text), state.marks, state.stretches) == before
        state = apply(state, event)
