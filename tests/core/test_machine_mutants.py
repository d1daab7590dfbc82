"""Small changes of the core that nothing else noticed: each test fails for one of them (docs/mutation.md)."""

from __future__ import annotations

import pytest
from interwhen import (
    Budgets,
    Claim,
    CodeBlocks,
    Delta,
    Feedback,
    Lines,
    Markers,
    Segment,
    Sentences,
    Span,
    StreamStarted,
    ToolCall,
    ToolCalls,
    Tracker,
)
from interwhen._core.messages import Abandoned, Extracted, Invalidate
from interwhen._core.scanners import TagScanner
from interwhen._core.segmenter import Intake
from interwhen._core.transcript import Transcript
from interwhen._core.violations import Candidate, Ref, RefutationCounts, cuts_short
from interwhen.models import Chunk
from tests.core.worlds import drive, monitor, parse


def _call(name, arguments):
    call = ToolCall(id=name, name=name, arguments=arguments)
    return Chunk(call.text, call=call)


def test_a_run_without_remedies_ends_before_the_first_call_of_a_refused_turn():
    """`plan_surrender`: no call of a turn stays if one of them is refused, so that none is made twice."""
    driver = drive(monitor(trigger=ToolCalls(), delivery="gate_tools", remedy=Feedback()), budgets=Budgets(remedies=0))
    driver.feed("so: ")
    driver.tell(_call("first", "1+1=2"))
    driver.tell(_call("second", "2+2=5"))
    driver.settle()
    assert driver.summary.status == "abstained"
    assert driver.summary.text == "so: "


def test_a_cut_keeps_the_feedback_about_calls_that_stands_before_it():
    """`Transcript.cut`: the model gets each refusal in place of its calls, until the text there is cut."""
    driver = drive(monitor(trigger=ToolCalls(), delivery="gate_tools", remedy=Feedback(), level="flag"))
    for name in ("first", "second"):
        driver.tell(_call(name, "2+2=5"))
        driver.settle()
        driver.open()
    transcript = driver.core.transcript
    assert [[call.id for call in calls] for _, calls in transcript.refusals] == [["first"], ["second"]]
    assert [len(piece.refused) for piece in transcript.pieces()] == [1, 1]
    transcript.cut(transcript.refusals[0][0].end)
    assert [[call.id for call in calls] for _, calls in transcript.refusals] == [["first"]]
    transcript.cut(1)
    assert transcript.refusals == []


@pytest.mark.parametrize(("at", "is_torn"), [(0, False), (3, True), (5, False), (6, False), (8, True)])
def test_a_cut_tears_a_line_only_in_its_middle(at, is_torn):
    """`Intake.tears`: a cut at the beginning of the trace, or beside a line end, leaves whole lines."""
    intake = Intake((monitor(),), tags=None, phase="answer")
    intake.feed("1+1=2\nab", 1, "answer")
    assert intake.tears(at) is is_torn


def test_a_cut_at_the_end_of_the_text_tears_no_line_that_the_model_has_ended():
    intake = Intake((monitor(),), tags=None, phase="answer")
    intake.feed("1+1=2", 1, "answer")
    assert intake.tears(5)
    list(intake.end())
    assert not intake.tears(5)


def test_a_cut_where_the_phase_changes_tears_no_line():
    intake = Intake((monitor(),), tags=None, phase="reasoning")
    intake.feed("so", 1, "reasoning")
    intake.feed("4", 1, "answer")
    assert not intake.tears(2)


@pytest.mark.parametrize(
    ("trigger", "texts"),
    [
        (Sentences(), ["It is", ".", " "]),
        (Markers(("Wait",)), ["It is. ", "Wait", ","]),
        (Lines(joins=("so",)), ["1+1=2\n", "s", "a"]),
        (ToolCalls("<a>", "</a>"), ["<a>x</a", ">"]),
        (CodeBlocks(), ["```\nx\n", "```", "\n"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_segment_is_due_with_the_character_that_completes_it(trigger, texts):
    """`Scanner.hot`: the next character is read at once, though it can end no segment by itself."""
    intake = Intake((monitor(trigger=trigger),), tags=None, phase="answer")
    *before, last = (len(list(intake.feed(text, 1, "answer"))) for text in texts)
    assert not any(before)
    assert last == 1


def test_a_code_block_may_follow_another_at_once():
    """`FenceScanner.feed`: the next block begins after the line end of the closing fence."""
    intake = Intake((monitor(trigger=CodeBlocks()),), tags=None, phase="answer")
    dues = list(intake.feed("```\na\n```\n```\nb\n```\n", 1, "answer"))
    assert [due.segment.text for due in dues] == ["```\na\n```", "```\nb\n```"]


def test_a_code_block_goes_on_if_the_line_end_of_its_fence_is_cut():
    intake = Intake((monitor(trigger=CodeBlocks()),), tags=None, phase="answer")
    assert len(list(intake.feed("```\na\n```\n", 1, "answer"))) == 1
    intake.cut(len("```\na\n```"))
    [due] = intake.feed("x\nb\n```\n", 1, "answer")
    assert due.segment.text == "```\na\n```x\nb\n```"


def _refuted(start, words="1+1=3"):
    span = Span(start, start + len(words))
    return Candidate(span, Ref(0, Claim(key=words, span=span), Segment(words, span, "answer")), None, "wrong")


def test_a_place_is_counted_again_after_its_text_was_cut():
    """`RefutationCounts.cut`: the characters before a place are those of the text that stands now."""
    transcript = Transcript("answer")
    counts = RefutationCounts(transcript)
    transcript.append("a b c    ", 1)
    assert counts.met(_refuted(9)) == (1, 3)
    transcript.cut(5)
    counts.cut(5)
    transcript.append("dd    ", 1)
    assert counts.met(_refuted(11)) == (1, 5)  # five visible characters are before it, not three
    transcript.cut(5)
    counts.cut(5)
    transcript.append("         ", 1)
    assert counts.met(_refuted(14)) == (2, 3)


def test_an_unfinished_end_is_cut_until_no_monitor_holds_anything():
    """`Core._withhold_unfinished`: a cut for one monitor may leave the segment of another one unfinished."""
    driver = drive(monitor("lines", delivery="final"), monitor("markers", delivery="final", trigger=Markers(("so",))))
    driver.feed("1+1=2 so on\n7+1")
    driver.settle()
    driver.end("length")
    driver.settle()
    assert driver.summary.status == "unverified"
    assert driver.summary.text == driver.shown == ""


def test_a_count_of_the_server_changes_the_tokens_of_the_last_texts():
    """`Transcript.credit`: the tokens of the trace are those of its texts."""
    transcript = Transcript("answer")
    transcript.append("ab", 1)
    transcript.append("cd", 2)
    for tokens, kept in ((3, 6), (-4, 2), (-2, 0), (-1, 0), (5, 5)):
        assert transcript.credit(tokens)
        assert transcript.kept_tokens == kept == transcript.tokens_from(0)
    assert transcript.tokens_from(2) == 5
    assert not Transcript("answer").credit(1)


def test_half_a_tag_is_shown_before_the_text_of_a_reasoning_field():
    """`Intake._feed_field`: a chunk can add more text to the trace than its own."""
    driver = drive(monitor(), think_tags=("<think>", "</think>"))
    driver.chunk("<thi")
    driver.chunk("so", phase="reasoning")
    driver.end()
    driver.settle()
    assert driver.shown == driver.summary.text == "<thiso"
    assert [(delta.text, delta.phase) for delta in driver.of(Delta)] == [("<thi", "answer"), ("so", "reasoning")]


def test_a_cut_after_the_end_lets_the_text_go_on():
    """`Intake.cut`: the model has not ended the text that it writes after a cut."""
    intake = Intake((monitor(),), tags=None, phase="answer")
    intake.feed("1+1=2", 1, "answer")
    list(intake.end())
    intake.cut(2)
    intake.feed("3", 1, "answer")
    assert intake.tears(3)


def test_text_before_a_gated_segment_is_shown_when_the_segment_is_complete():
    """`Core._due`: the text before the block is in no segment, so the reader need not wait for the check of the block."""
    driver = drive(monitor(trigger=CodeBlocks(), delivery="gate"))
    driver.chunk("so\n```\n1+1=2\n```\n")
    assert driver.shown == "so\n"


def test_text_before_an_open_block_is_shown():
    """`FenceScanner._held`: what may become a block is held, and nothing before it."""
    driver = drive(monitor(trigger=CodeBlocks(), delivery="gate"))
    for text, shown in (("so\n", "so\n"), ("and", "so\nand"), ("\n``", "so\nand\n"), ("`\n1+1", "so\nand\n")):
        driver.chunk(text)
        assert driver.shown == shown


def test_a_cut_removes_all_later_calls():
    """`Transcript.cut`: a turn can have several calls."""
    transcript = Transcript("answer")
    transcript.append("so", 1)
    for name in ("first", "second", "third"):
        transcript.append_call(_call(name, "1+1=2").call, 1)
    transcript.cut(2)
    assert transcript.calls == []


def test_a_number_at_the_end_of_a_sentence_ends_it():
    """`SentenceScanner._is_abbreviation`: only a number that stands alone is the number of a list."""
    driver = drive(monitor(trigger=Sentences()))
    driver.feed("I have 5. Then 6 more. ")
    assert [order.segment.text for order in driver.pending.values()] == ["I have 5.", "Then 6 more."]


@pytest.mark.parametrize("place", [5, 13])
def test_a_place_is_the_same_after_places_behind_it(place):
    """`RefutationCounts._place`: a place is counted from the last known place before it."""
    transcript = Transcript("answer")
    counts = RefutationCounts(transcript)
    transcript.append("aaaa bbbb cccc dddd ", 1)
    assert counts.met(_refuted(place))[0] == 1
    for later in (10, 15):
        counts.met(_refuted(later, "2+2=5"))
    assert counts.met(_refuted(place))[0] == 2


def test_a_tag_in_the_middle_of_an_answer_is_text_after_a_cut_too():
    """`Intake.cut` and `ThinkTags.restart`: only the start of the text may open the reasoning."""
    intake = Intake([monitor()], tags=("<think>", "</think>"), phase="answer")
    for text in ("so it is 5\n", " or 6\n"):
        list(intake.feed(text, 1, "answer"))
    intake.cut(3)
    list(intake.feed("<think>well\n", 1, "answer"))
    assert intake.phase == "answer"
    assert intake.transcript.text_of("answer") == "so <think>well\n"


def test_a_violation_that_waits_when_the_reader_leaves_has_interrupted():
    """`Violations.records`: it would have been acted on after the checks before it."""
    driver = drive(monitor())
    driver.feed("1+1=2\n2+2=5\n")
    driver.extract()
    driver.answer(driver.job("2+2=5"))
    driver.tell(Abandoned())
    assert [record.interrupted for record in driver.summary.violations] == [True]


def test_tracker_states_are_removed_from_a_cut_to_the_end():
    """`Invalidate.end`: 0 says that the text was cut, and another number that it stays."""
    driver = drive(monitor(extractor=Tracker(dict, lambda state, segment: (state, list(parse(segment))))))
    driver.feed("2+2=5\n")
    driver.take(
        driver.core.step(Extracted(min(driver.pending), parse(driver.pending.pop(min(driver.pending)).segment)))
    )
    driver.settle()
    assert [(order.start, order.end) for order in driver.orders if isinstance(order, Invalidate)] == [(4, 0)]


def test_each_stream_is_announced():
    """`Core._opened`: the first stream, and the one after a remedy."""
    driver = drive(monitor())
    driver.feed("2+2=5\n")
    driver.settle()
    driver.open()
    assert [event.generation for event in driver.of(StreamStarted)] == [0, 1]


@pytest.mark.parametrize("phase", ["reasoning", "answer"])
def test_a_call_belongs_to_the_answer(phase):
    """`Intake.feed_call`: a server with a field for the reasoning sends no tag before a call."""
    intake = Intake([monitor()], tags=None, phase=phase)
    list(intake.feed("so\n", 1, phase))
    intake.feed_call(_call("first", "1+1=2").call, 1)
    assert intake.phase == "answer"
    assert [phase for _, phase in intake.transcript.phases][-1] == "answer"


@pytest.mark.parametrize("first", ["<", "</", "</th", "</think"])
def test_a_closing_tag_may_come_in_two_parts_that_hold_nothing_else(first):
    """`ThinkTags._partial`: the part that is held back is no longer than the text."""
    intake = Intake([monitor()], tags=("<think>", "</think>"), phase="reasoning")
    for text in (first, "</think>"[len(first) :] + "so"):
        list(intake.feed(text, 1, "answer"))
    assert intake.phase == "answer"
    assert intake.transcript.text_of("answer") == "so"


def test_counting_of_lines_starts_again_with_a_phase():
    """`Scanner.flush`: one line of the reasoning is no part of the first two lines of the answer."""
    driver = drive(monitor(trigger=Lines(every=2)))
    driver.chunk("a\n", phase="reasoning")
    driver.chunk("b\nc\n")
    assert [order.segment.text for order in driver.pending.values()] == ["a", "b\nc"]


def test_a_word_with_a_hyphen_is_cut_short_before_the_hyphen_only_if_a_letter_follows():
    """`cuts_short`: the character directly after the hyphen decides."""
    assert cuts_short("well-known", Span(0, 4))
    assert not cuts_short("well- known", Span(0, 4))
    assert not cuts_short("well-1a", Span(0, 4))


def test_half_an_opening_tag_is_held_back():
    """`TagScanner.feed`: it may become a call, and the text before it may not."""
    transcript, scanner = Transcript("answer"), TagScanner("<tool>", "</tool>")
    for text, hold in (("so <to", 3), ("ast", 9), (" <", 10), ("tool>x", 10), ("</tool>", 24)):
        transcript.append(text, 1)
        list(scanner.feed(transcript))
        assert scanner.hold == hold
