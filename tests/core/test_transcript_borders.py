"""Cuts and reads exactly at the borders of calls, refusals, insertions, conclusions and phases."""

from __future__ import annotations

import pytest
from interwhen import Feedback, Span, ToolCall, ToolCalls
from interwhen._core.transcript import Transcript, _overlapping
from interwhen.results import Insertion
from tests.core.worlds import call_chunk, drive, monitor


def call(name):
    return ToolCall(id=name, name=name, arguments="{}")


def full():
    transcript = Transcript("reasoning")
    transcript.append("so ", 1)
    span = transcript.append_call(call("a"), 2)
    transcript.refuse("No.", (call("b"),))
    transcript.insert("4", "repair")
    transcript.append("think", 3)
    transcript.conclude("\n</t>It is ", 5, 4, "ask")
    transcript.append("five", 4)
    return transcript, span


def state(transcript):
    return (
        transcript.slice(0, transcript.length),
        [span for span, _ in transcript.calls],
        [span for span, _ in transcript.refusals],
        [span for span, _ in transcript.conclusions],
        transcript.insertions,
        transcript.tags,
        transcript.phases,
        transcript.inserted_bytes,
        transcript.kept_tokens,
    )


def test_a_cut_anywhere_leaves_what_ends_before_it():
    whole, _ = full()
    text, calls, refusals, conclusions, insertions, tags, _, _, _ = state(whole)
    for to in range(len(text) + 1):
        transcript, _ = full()
        assert transcript.calls_from(to) == tuple(each for span, each in whole.calls if span.end > to)
        gone = transcript.tokens_from(to)
        assert transcript.cut(to) == gone
        left = state(transcript)
        assert left[0] == text[:to]
        for before, after in ((calls, left[1]), (refusals, left[2]), (conclusions, left[3]), (tags, left[5])):
            assert after == [span for span in before if span.end <= to], to
        shortened = [
            Insertion(Span(each.span.start, min(each.span.end, to)), each.origin)
            for each in insertions
            if each.span.start < to
        ]
        assert left[4] == shortened
        assert left[7] == sum(len(each.span) for each in shortened)
        assert left[8] == 10 - gone
        closed = tags[0].end
        assert transcript.phase == ("answer" if to >= closed else "reasoning")


def test_cutting_keeps_feedback_about_earlier_refused_calls():
    driver = drive(monitor(trigger=ToolCalls(), delivery="gate_tools", remedy=Feedback(), level="flag"))
    for name in ("first", "second"):
        driver.tell(call_chunk(name, "2+2=5"))
        driver.settle()
        driver.open()
    transcript = driver.core.transcript
    assert [[call.id for call in calls] for _, calls in transcript.refusals] == [["first"], ["second"]]
    assert [len(piece.refused) for piece in transcript.pieces()] == [1, 1]
    transcript.cut(transcript.refusals[0][0].end)
    assert [[call.id for call in calls] for _, calls in transcript.refusals] == [["first"]]
    transcript.cut(1)
    assert transcript.refusals == []


def test_a_cut_removes_all_later_calls():
    transcript = Transcript("answer")
    transcript.append("so", 1)
    for name in ("first", "second", "third"):
        transcript.append_call(call(name), 1)
    transcript.cut(2)
    assert transcript.calls == []


def test_a_piece_ending_at_a_cut_may_grow():
    transcript = Transcript("answer")
    transcript.append("ab", 1)
    transcript.insert("cd", "repair")
    assert [piece.text for piece in transcript.pieces()] == ["ab", "cd"]
    transcript.cut(2)
    transcript.append("xy", 1)
    assert [piece.text for piece in transcript.pieces()] == ["abxy"]


def test_the_smallest_cut_offset_is_remembered_until_read():
    transcript = Transcript("answer")
    transcript.append("1+1=2\n", 1)
    transcript.kept_until = transcript.length
    for to, kept in ((3, 3), (2, 2)):
        transcript.cut(to)
        assert transcript.kept_until == kept
    transcript.append("1=2\n", 1)
    transcript.cut(5)
    assert transcript.kept_until == 2


def test_runs_keep_each_characters_origin_call_and_phase():
    transcript, span = full()
    length, closed = transcript.length, transcript.tags[0].end
    for start in range(length):
        for end in range(start, length + 1):
            runs = list(transcript.runs(start, end))
            assert "".join(run.text for run in runs) == transcript.slice(start, end)
            assert all(run.text for run in runs)
            assert [run.start for run in runs] == sorted({run.start for run in runs})
            for run in runs:
                assert (run.call is not None) is (run.start == span.start)
                assert bool(run.refused) is (run.start == span.end)
                assert run.phase == ("answer" if run.start >= closed else "reasoning") == transcript.phase_at(run.start)
    assert [(run.text, run.origin) for run in transcript.runs(0, length)] == [
        *(("so ", "model"), (call("a").text, "model"), ("No.", "feedback"), ("4", "repair"), ("think", "model")),
        *(("\n", "feedback"), ("</t>", "feedback"), ("It is ", "feedback"), ("five", "model")),
    ]
    assert transcript.text_of("reasoning") == "so 4think\n"
    assert transcript.text_of("answer") == "It is five"
    assert transcript.first_call == 3
    assert Transcript("answer").first_call == 0


def test_an_extra_turns_text_replaces_a_whole_conclusion():
    transcript, _ = full()
    pieces = transcript.pieces()
    assert [piece.ask for piece in pieces] == [None, None, None, None, None, "ask", "", "", None]
    assert [piece.text for piece in pieces[5:8]] == ["\n", "</t>", "It is "]
    assert transcript.pieces() == pieces
    assert transcript.pieces(transcript.length) == pieces
    start = transcript.conclusions[0][0].start
    assert [piece.ask for piece in transcript.pieces(start)] == [None] * 5
    transcript.append(" and", 1)
    assert [piece.text for piece in transcript.pieces()][-1] == "five and"


def test_a_conclusion_without_a_tag_has_no_tag():
    transcript = Transcript("reasoning")
    transcript.append("so", 1)
    transcript.conclude("\n\n", 0, 0, "ask")
    assert transcript.tags == []
    assert transcript.phases == [(0, "reasoning"), (2, "answer")]
    assert [transcript.phase_at(at) for at in range(4)] == ["reasoning", "reasoning", "answer", "answer"]


def test_a_phase_that_has_no_text_is_replaced():
    transcript = Transcript("answer")
    transcript.enter("reasoning")
    assert transcript.phases == [(0, "reasoning")]
    transcript.enter("reasoning")
    transcript.append("a", 1)
    transcript.enter("reasoning")
    assert transcript.phases == [(0, "reasoning")]
    transcript.enter("answer")
    assert transcript.phases == [(0, "reasoning"), (1, "answer")]
    transcript.enter("reasoning")
    assert transcript.phases == [(0, "reasoning")]


@pytest.mark.parametrize(("start", "end", "found"), [(0, 2, []), (0, 3, [0]), (4, 6, [0]), (5, 6, []), (5, 9, [1])])
def test_entries_overlap_a_range_if_sharing_a_character(start, end, found):
    entries = [(Span(2, 5), "a"), (Span(7, 9), "b")]
    assert list(_overlapping(entries, start, end)) == [entries[at] for at in found]


def test_subtracted_tokens_carry_over_to_earlier_texts():
    transcript = Transcript("answer")
    for text in "abc":
        transcript.append(text, 2)
    assert transcript.credit(-3)
    assert [transcript.tokens_from(at) for at in (0, 1, 2)] == [3, 1, 0]
    assert transcript.credit(0)
    assert transcript.credit(4)
    assert [transcript.tokens_from(at) for at in (0, 1, 2)] == [7, 5, 4]
    transcript.count(5)
    assert transcript.kept_tokens == 12


def test_server_token_counts_correct_the_latest_texts_first():
    transcript = Transcript("answer")
    transcript.append("ab", 1)
    transcript.append("cd", 2)
    for tokens, kept in ((3, 6), (-4, 2), (-2, 0), (-1, 0), (5, 5)):
        assert transcript.credit(tokens)
        assert transcript.kept_tokens == kept == transcript.tokens_from(0)
    assert transcript.tokens_from(2) == 5
    assert not Transcript("answer").credit(1)


def test_slices_are_exact_across_texts_and_after_cuts():
    transcript = Transcript("answer")
    for text in ("ab", "cd", "ef"):
        transcript.append(text, 1)
    for start in range(7):
        for end in range(7):
            assert transcript.slice(1, 5) == "bcde"
            assert transcript.slice(start, end) == "abcdef"[start:end]
    transcript.cut(3)
    transcript.append("xyz", 1)
    assert transcript.slice(1, 5) == "bcxy"
    assert transcript.slice(0, 6) == "abcxyz"
