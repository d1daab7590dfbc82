"""Small changes of the core that nothing else noticed: each test fails for one of them (docs/mutation.md)."""

from __future__ import annotations

import pytest
from interwhen import (
    Answer,
    Budgets,
    Claim,
    CodeBlocks,
    Delta,
    Feedback,
    Lines,
    Paragraphs,
    Segment,
    Sentences,
    Span,
    ToolCall,
    ToolCalls,
    Tracker,
    UsageError,
    Violation,
)
from interwhen._core.checks import TORN, UNREAD, OpenSegment
from interwhen._core.machine import WRITTEN_AS_TEXT
from interwhen._core.messages import NO_OFFER, Abandoned, Broken, Extracted, Invalidate, Opened
from interwhen._core.scanners import CountScanner, JoinedLineScanner
from interwhen._core.segmenter import Due, Intake, scanner_for
from interwhen._core.transcript import TagPart, ThinkTags, Transcript
from interwhen._core.violations import Candidate, Ref, RefutationCounts, Violations, cuts_short, refutation
from interwhen.events import FrontierMoved, StreamBroken, StreamStarted
from interwhen.models import Chunk, Usage
from interwhen.triggers import EveryChars, Markers, Polls, ThinkEnd
from tests.core.call_texts import OFFER
from tests.core.mutation import mutants, without_effect
from tests.core.worlds import STRICT, drive, monitor, parse


def _call(name, arguments):
    call = ToolCall(id=name, name=name, arguments=arguments)
    return Chunk(call.text, call=call)


def test_a_run_without_remedies_ends_before_the_first_call_of_a_refused_turn():
    # `plan_surrender`: no call of a turn stays if one of them is refused, so that none is made twice.
    driver = drive(monitor(trigger=ToolCalls(), delivery="gate_tools", remedy=Feedback()), budgets=Budgets(remedies=0))
    driver.feed("so: ")
    driver.tell(_call("first", "1+1=2"))
    driver.tell(_call("second", "2+2=5"))
    driver.settle()
    assert driver.summary.status == "abstained"
    assert driver.summary.text == "so: "


def test_a_cut_keeps_the_feedback_about_calls_that_stands_before_it():
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


@pytest.mark.parametrize(
    ("at", "is_torn"), [(0, False), (3, True), (4, True), (5, False), (6, False), (7, True), (8, True)]
)
def test_a_cut_tears_a_line_only_in_its_middle(at, is_torn):
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
    intake = Intake((monitor(trigger=trigger),), tags=None, phase="answer")
    *before, last = (len(list(intake.feed(text, 1, "answer"))) for text in texts)
    assert not any(before)
    assert last == 1


def test_a_code_block_may_follow_another_at_once():
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


def test_a_segment_that_feedback_answers_is_left_out_of_places_after_it_only():
    transcript = Transcript("answer")
    counts = RefutationCounts(transcript)
    transcript.append("aaaa bbbb cccc dddd ", 1)
    counts.answered(Span(10, 14))
    assert counts.met(_refuted(15))[1] == 8
    assert counts.met(_refuted(5))[1] == 4
    assert counts.met(_refuted(12))[1] == 10


def test_an_unfinished_end_is_cut_until_no_monitor_holds_anything():
    driver = drive(monitor("lines", delivery="final"), monitor("markers", delivery="final", trigger=Markers(("so",))))
    driver.feed("1+1=2 so on\n7+1")
    driver.settle()
    driver.end("length")
    driver.settle()
    assert driver.summary.status == "unverified"
    assert driver.summary.text == driver.shown == ""


def test_a_count_of_the_server_changes_the_tokens_of_the_last_texts():
    transcript = Transcript("answer")
    transcript.append("ab", 1)
    transcript.append("cd", 2)
    for tokens, kept in ((3, 6), (-4, 2), (-2, 0), (-1, 0), (5, 5)):
        assert transcript.credit(tokens)
        assert transcript.kept_tokens == kept == transcript.tokens_from(0)
    assert transcript.tokens_from(2) == 5
    assert not Transcript("answer").credit(1)


def test_half_a_tag_is_shown_before_the_text_of_a_reasoning_field():
    driver = drive(monitor(), think_tags=("<think>", "</think>"))
    driver.chunk("<thi")
    driver.chunk("so", phase="reasoning")
    driver.end()
    driver.settle()
    assert driver.shown == driver.summary.text == "<thiso"
    assert [(delta.text, delta.phase) for delta in driver.of(Delta)] == [("<thi", "answer"), ("so", "reasoning")]


def test_a_cut_after_the_end_lets_the_text_go_on():
    intake = Intake((monitor(),), tags=None, phase="answer")
    intake.feed("1+1=2", 1, "answer")
    list(intake.end())
    intake.cut(2)
    intake.feed("3", 1, "answer")
    assert intake.tears(3)


def test_text_before_a_gated_segment_is_shown_when_the_segment_is_complete():
    driver = drive(monitor(trigger=CodeBlocks(), delivery="gate"))
    driver.chunk("so\n```\n1+1=2\n```\n")
    assert driver.shown == "so\n"


def test_text_before_an_open_block_is_shown():
    driver = drive(monitor(trigger=CodeBlocks(), delivery="gate"))
    for text, shown in (("so\n", "so\n"), ("and", "so\nand"), ("\n``", "so\nand\n"), ("`\n1+1", "so\nand\n")):
        driver.chunk(text)
        assert driver.shown == shown


def test_a_cut_removes_all_later_calls():
    transcript = Transcript("answer")
    transcript.append("so", 1)
    for name in ("first", "second", "third"):
        transcript.append_call(_call(name, "1+1=2").call, 1)
    transcript.cut(2)
    assert transcript.calls == []


def test_a_number_at_the_end_of_a_sentence_ends_it():
    driver = drive(monitor(trigger=Sentences()))
    driver.feed("I have 5. Then 6 more. ")
    assert [order.segment.text for order in driver.pending.values()] == ["I have 5.", "Then 6 more."]


@pytest.mark.parametrize("place", [5, 13])
def test_a_place_is_the_same_after_places_behind_it(place):
    transcript = Transcript("answer")
    counts = RefutationCounts(transcript)
    transcript.append("aaaa bbbb cccc dddd ", 1)
    assert counts.met(_refuted(place))[0] == 1
    for later in (10, 15):
        counts.met(_refuted(later, "2+2=5"))
    assert counts.met(_refuted(place))[0] == 2


def test_a_tag_in_the_middle_of_an_answer_is_text_after_a_cut_too():
    intake = Intake([monitor()], tags=("<think>", "</think>"), phase="answer")
    for text in ("so it is 5\n", " or 6\n"):
        list(intake.feed(text, 1, "answer"))
    intake.cut(3)
    list(intake.feed("<think>well\n", 1, "answer"))
    assert intake.phase == "answer"
    assert intake.transcript.text_of("answer") == "so <think>well\n"


def test_a_violation_that_waits_when_the_reader_leaves_has_interrupted():
    driver = drive(monitor())
    driver.feed("1+1=2\n2+2=5\n")
    driver.extract()
    driver.answer(driver.job("2+2=5"))
    driver.tell(Abandoned())
    assert [record.interrupted for record in driver.summary.violations] == [True]


def test_tracker_states_are_removed_from_a_cut_to_the_end():
    driver = drive(monitor(extractor=Tracker(dict, lambda state, segment: (state, list(parse(segment))))))
    driver.feed("2+2=5\n")
    driver.take(
        driver.core.step(Extracted(min(driver.pending), parse(driver.pending.pop(min(driver.pending)).segment)))
    )
    driver.settle()
    assert [(order.start, order.end) for order in driver.orders if isinstance(order, Invalidate)] == [(4, 0)]


def test_each_stream_is_announced():
    driver = drive(monitor())
    driver.feed("2+2=5\n")
    driver.settle()
    driver.open()
    assert [event.generation for event in driver.of(StreamStarted)] == [0, 1]


@pytest.mark.parametrize("phase", ["reasoning", "answer"])
def test_a_call_belongs_to_the_answer(phase):
    intake = Intake([monitor()], tags=None, phase=phase)
    list(intake.feed("so\n", 1, phase))
    intake.feed_call(_call("first", "1+1=2").call, 1)
    assert intake.phase == "answer"
    assert [phase for _, phase in intake.transcript.phases][-1] == "answer"


@pytest.mark.parametrize("first", ["<", "</", "</th", "</think"])
def test_a_closing_tag_may_come_in_two_parts_that_hold_nothing_else(first):
    intake = Intake([monitor()], tags=("<think>", "</think>"), phase="reasoning")
    for text in (first, "</think>"[len(first) :] + "so"):
        list(intake.feed(text, 1, "answer"))
    assert intake.phase == "answer"
    assert intake.transcript.text_of("answer") == "so"


def test_counting_of_lines_starts_again_with_a_phase():
    driver = drive(monitor(trigger=Lines(every=2)))
    driver.chunk("a\n", phase="reasoning")
    driver.chunk("b\nc\n")
    assert [order.segment.text for order in driver.pending.values()] == ["a", "b\nc"]


def test_a_word_with_a_hyphen_is_cut_short_before_the_hyphen_only_if_a_letter_follows():
    assert cuts_short("well-known", Span(0, 4))
    assert not cuts_short("well- known", Span(0, 4))
    assert not cuts_short("well-1a", Span(0, 4))


def test_a_call_is_shown_as_a_call():
    driver = drive(monitor())
    driver.chunk("so ")
    chunk = _call("first", "1+1=2")
    driver.tell(chunk)
    assert [delta.call for delta in driver.of(Delta)] == [None, chunk.call]


def test_a_torn_segment_says_where_its_last_line_begins():
    intake = Intake((monitor(trigger=Paragraphs()),), tags=None, phase="answer")
    intake.feed("1+1=2\n2+2", 1, "answer")
    [due] = intake.insert("\nWait.\n", "feedback", torn=True)
    assert due.torn == 6


@pytest.mark.parametrize(("closers", "ends"), [(")", True), (')"*', True), (')"*_', False)])
def test_a_sentence_ends_before_few_closing_signs(closers, ends):
    intake = Intake((monitor(trigger=Sentences()),), tags=None, phase="answer")
    assert len(list(intake.feed(f"It is.{closers} So", 1, "answer"))) == ends


def test_feedback_in_the_middle_of_a_line_tears_it():
    watching = (monitor(trigger=EveryChars(8), remedy=Feedback(place="append")),)
    intake = Intake(watching, tags=None, phase="answer")
    [due] = intake.feed("so 2+2=5", 1, "answer")
    ref = Ref(0, parse(due.segment)[0], due.segment)
    todo, spent = Violations(watching, intake, Budgets()).plan(refutation(ref, Violation("it is 4")))
    assert (todo.cut, todo.torn, spent) == (8, True, None)


def test_a_claim_of_a_journal_is_replaced_by_the_full_claim():
    # `CheckTable.restore_claims`: a claim that cannot be read again stays as it is.
    driver = drive(monitor())
    driver.feed("1+1=2\n2+2=4\n")
    driver.extract()
    checks, first = driver.core.checks, driver.job("1+1=2")
    [ref] = checks.jobs[first].refs
    checks.restore_claims(first, lambda _monitor, _claim: None)
    assert ref.claim.key == "1+1=2"
    checks.restore_claims(first, lambda number, claim: Claim(key=f"{claim.key} by {number}", span=claim.span))
    assert ref.claim.key == "1+1=2 by 0"


def test_tokens_of_half_a_tag_are_counted_once_when_the_reader_leaves():
    driver = drive(monitor(), think_tags=("<think>", "</think>"))
    driver.chunk("<thi", tokens=2)
    driver.tell(Abandoned())
    assert (driver.summary.text, driver.summary.kept, driver.shown) == ("<thi", 2, "")


def test_a_check_that_lost_a_claim_judges_the_other_claims_only():
    driver = drive(monitor("watching", verifier=STRICT, delivery="observe"), monitor())
    driver.feed("1+1=2\n2+2=5\n1+1=2\n")
    driver.extract()
    watching = next(job for job, order in driver.pending.items() if order.monitor == 0)
    for job in [job for job, order in driver.pending.items() if order.monitor == 1]:
        driver.answer(job)
    driver.open()
    driver.answer(watching)
    driver.feed("\n")
    driver.settle()
    driver.end()
    assert [record.span for record in driver.summary.checks if record.key == "1+1=2"] == [Span(0, 5)] * 2


def test_a_call_in_the_text_is_a_reason_if_the_tools_were_given_in_a_field():
    for offer, count in ((OFFER, 1), (NO_OFFER, 0)):
        driver = drive(monitor(trigger=ToolCalls(), extractor=lambda _: ()), offer=offer)
        driver.feed('<tool_call>{"name": "get_weather", "arguments": {}}</tool_call>')
        driver.settle()
        driver.end()
        whys = [each.why for each in driver.summary.unverified_reasons if each.why.startswith(WRITTEN_AS_TEXT)]
        assert len(whys) == count
        assert all("the call of 'get_weather' (format tagged)" in why for why in whys)


def test_at_most_three_calls_of_a_text_are_named():
    driver = drive(monitor(trigger=ToolCalls(), extractor=lambda _: ()), offer=OFFER)
    driver.feed("[TOOL_CALLS][" + ", ".join(['{"name": "get_weather", "arguments": {}}'] * 4) + "]")
    driver.settle()
    driver.end()
    [why] = [each.why for each in driver.summary.unverified_reasons if each.why.startswith(WRITTEN_AS_TEXT)]
    assert why.count("get_weather") == 3


def test_the_smallest_cut_is_remembered_until_it_is_read():
    transcript = Transcript("answer")
    transcript.append("1+1=2\n", 1)
    transcript.kept_until = transcript.length
    for to, kept in ((3, 3), (2, 2)):
        transcript.cut(to)
        assert transcript.kept_until == kept
    transcript.append("1=2\n", 1)
    transcript.cut(5)
    assert transcript.kept_until == 2


def test_one_gate_is_enough_to_show_checked_text_only():
    driver = drive(monitor(delivery="gate"), monitor("live", verifier=STRICT))
    assert driver.core.gates.shows_checked_text
    assert not drive(monitor(), monitor("final", delivery="final")).core.gates.shows_checked_text


def test_a_second_closing_tag_is_text():
    tags = ThinkTags(("<think>", "</think>"), "answer")
    assert [part.kind for part in tags.feed("<think>so</think>4")] == ["open", "text", "close", "text"]
    assert tags.done
    assert tags.feed("or </think>5") == [TagPart("or </think>5", "text")]


def test_a_closing_tag_after_a_conclusion_is_text():
    intake = Intake([monitor()], tags=("<think>", "</think>"), phase="reasoning")
    list(intake.feed("so", 1, "answer"))
    intake.conclude(intake.closing(2) + "It is ", "What is it?")
    [due] = intake.feed("4</think>!\n", 1, "answer")
    assert due.segment.text == "4</think>!"
    assert intake.transcript.text_of("answer") == "It is 4</think>!\n"
    assert len(intake.transcript.tags) == 1


@pytest.mark.parametrize("counted", [1, 2, 9])
def test_a_server_may_count_more_tokens_than_chunks_before_its_end(counted):
    driver = drive(monitor())
    driver.tell(Chunk("1+1=2", usage=Usage(completion_tokens=counted)))
    assert driver.core.counts.tokens() == counted


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Use (e.g. Paris. So ", "Use (e.g. Paris."),
        ("I met J. Smith. So ", "I met J. Smith."),
        ("1. It is. So ", "1. It is."),
        ("I was at x. So ", "I was at x."),
        ("It is a long sentence with approx. 3 cities. So ", "It is a long sentence with approx. 3 cities."),
    ],
)
def test_a_full_stop_of_an_abbreviation_ends_no_sentence(text, first):
    intake = Intake((monitor(trigger=Sentences()),), tags=None, phase="answer")
    assert [due.segment.text for due in intake.feed(text, 1, "answer")] == [first]


@pytest.mark.parametrize(("start", "end", "is_torn"), [(0, 6, False), (0, 7, True), (8, 10, True), (0, 11, False)])
def test_a_claim_is_torn_if_it_ends_in_a_torn_line(start, end, is_torn):
    home = OpenSegment(Span(0, 20), tears=(Span(6, 10),))
    assert home.is_torn_at(Span(start, end)) is is_torn
    assert OpenSegment(Span(0, 20), torn=6).is_torn_at(Span(start, end)) is (end > 6)


def test_the_last_two_words_before_a_silence_are_not_certain():
    intake = Intake((monitor(),), tags=None, phase="answer")
    list(intake.feed("1+1=2 and", 1, "answer"))
    assert list(intake.unfinished(dead=False)) == []
    list(intake.feed(" so", 1, "answer"))
    assert [certain for _, certain in intake.unfinished(dead=False)] == [5]


def test_a_stream_that_breaks_is_announced():
    driver = drive(monitor(), budgets=Budgets(reconnects=1))
    for happens in ("reconnect", "fail"):
        driver.tell(Broken("a reset", retryable=True))
        assert driver.of(StreamBroken)[-1].action == happens
        driver.open()


def test_silence_lets_all_scanners_look():
    watching = (monitor("calls", trigger=ToolCalls()), monitor("lines"))
    intake = Intake(watching, tags=None, phase="answer")
    list(intake.feed("1+1=2 and so", 1, "answer"))
    assert [(due.segment.text, due.monitors) for due, _ in intake.unfinished(dead=True)] == [("1+1=2 and so", (1,))]


def test_the_frontier_moves_with_the_check_that_passes():
    driver = drive(monitor(delivery="gate"))
    driver.feed("1+1=2\n")
    driver.settle()
    assert [event.to for event in driver.of(FrontierMoved)] == [6]


def test_a_stream_is_closed_after_the_first_chunk_beyond_the_longest_trace():
    driver = drive(monitor(), budgets=Budgets(characters=5))
    for text, state in (("1+1=2", "streaming"), ("\n", "streaming"), ("s", "draining")):
        driver.chunk(text)
        assert driver.state == state


def test_a_line_needs_no_call_of_its_scanner_before_it_ends():
    scanner, transcript = JoinedLineScanner(("so",)), Transcript("answer")
    for text, hot in (("1+1=2\n", True), ("and", False), (" 2", False)):
        transcript.append(text, 1)
        list(scanner.feed(transcript))
        assert scanner.hot is hot


def test_a_cut_moves_the_frontier_back():
    driver = drive(monitor())
    driver.feed("1+1=2\n2+2=4\n")
    driver.settle()
    driver.feed("so")
    gates = driver.core.gates
    assert gates.frontier == 12
    for to, frontier in ((6, 6), (9, 6)):
        gates.cut(to)
        assert gates.frontier == frontier


@pytest.mark.parametrize("joined", [Lines(every=2, joins=("so",)), Lines(joins=("so", ""))], ids=["every", "empty"])
def test_words_that_join_lines_are_words_and_lines_are_single(joined):
    with pytest.raises(UsageError, match="joins must hold words"):
        scanner_for(joined)


@pytest.mark.parametrize("words", [(), ("",), ("Wait", "")])
def test_markers_need_words(words):
    with pytest.raises(UsageError, match="words must hold at least one word"):
        scanner_for(Markers(words))


def test_cut_tokens_have_arrived():
    driver = drive(monitor(), prompt_bytes=400)
    driver.feed("1+1=2\n2+2=5\n", size=2)
    driver.settle()
    assert driver.core.counts.tokens() == driver.fed == 6
    driver.open()
    driver.feed("\n")
    driver.end()
    driver.settle()
    assert driver.summary.estimated_prompt_tokens > 0


def test_a_part_of_fixed_length_is_due_at_its_end():
    scanner, transcript = CountScanner(4), Transcript("answer")
    assert scanner.due == 4
    transcript.append("1+1=2\n", 1)
    assert list(scanner.feed(transcript)) == [Span(0, 4)]
    assert scanner.due == 8


def test_a_piece_that_ends_at_a_cut_may_grow():
    transcript = Transcript("answer")
    transcript.append("ab", 1)
    transcript.insert("cd", "repair")
    assert [piece.text for piece in transcript.pieces()] == ["ab", "cd"]
    transcript.cut(2)
    transcript.append("xy", 1)
    assert [piece.text for piece in transcript.pieces()] == ["abxy"]


PARTS = [
    ("so 1+1=2. Wait, 2+2=4\n\nwe have 3. It\n<a>x</a>\n", "reasoning"),
    ("```\n3+3=6\n```\nso it is <a>y\nz</a> 7! Wait (8)\n", "answer"),
]


def _spans(intake, at=0):
    found, begins = set(), 0
    for text, phase in PARTS:
        for start in range(max(at - begins, 0), len(text), 3):
            found |= {due.segment.span for due in intake.feed(text[start : start + 3], 1, phase)}
        begins += len(text)
    return found | {due.segment.span for due in intake.end()}


@pytest.mark.parametrize(
    "trigger",
    [
        *(Lines(), Lines(every=2), Lines(joins=("so", "it"))),
        *(Paragraphs(), Sentences(), Markers(("Wait",)), CodeBlocks(), EveryChars(5), Polls(1, 1, 20, 4, 9)),
        *(ToolCalls("<a>", "</a>"), Answer(), ThinkEnd()),
    ],
    ids=str,
)
def test_text_that_is_written_again_after_a_cut_has_the_same_segments(trigger):
    def intake():
        phase = {"phase": "both"} if not isinstance(trigger, Answer | ThinkEnd) else {}
        return Intake((monitor(trigger=trigger, **phase),), tags=None, phase="reasoning")

    whole = _spans(intake())
    assert whole
    for at in range(sum(len(text) for text, _ in PARTS)):
        cut = intake()
        _spans(cut)
        cut.cut(at)
        again = _spans(cut, at)
        assert {span for span in whole if span.end > at} <= again <= whole, at


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


def test_the_last_way_to_resume_stays_known():
    driver = drive(monitor(), opened=False)
    driver.tell(Opened("prefix", "the server was probed"))
    driver.feed("2+2=5\n")
    driver.settle()
    driver.open()
    driver.feed("\n")
    driver.settle()
    driver.end()
    assert driver.summary.resume.mode == "prefix"
    assert [event.resume for event in driver.of(StreamStarted)] == ["prefix", None]


def test_what_was_not_read_in_a_torn_line_is_torn():
    checks = drive(monitor()).core.checks
    segment = Segment("1+1\n2+2\n3", Span(0, 9), "answer")
    [order], _ = checks.open([Due(segment, (0,), tears=(Span(0, 3),))])
    checks.extracted(Extracted(order.job, (), unread=(Span(0, 9), Span(4, 7), Span(0, 3))))
    assert {record.span: record.outcome for record in checks.records()} == {
        Span(0, 9): TORN,
        Span(4, 7): UNREAD,
        Span(0, 3): TORN,
    }


def test_feedback_on_refused_calls_is_in_no_segment():
    intake = Intake((monitor(),), tags=None, phase="answer")
    call = _call("first", "1+1=2").call
    intake.feed_call(call, 1)
    intake.cut(0)
    intake.refuse("No. ", (call,))
    assert [due.segment.text for due in intake.feed("2+2=4\n", 1, "answer")] == ["2+2=4"]


@pytest.mark.source
def test_the_mutants_without_effect_are_mutants():
    # A mutant whose function was rewritten must be looked at again.
    assert set(without_effect()) <= {mutant.key for mutant in mutants()}
    assert all(without_effect().values())


def test_a_late_chunk_that_counts_more_tokens_than_it_has_counts_them():
    driver = drive(monitor())
    driver.feed("2+2=5\n")
    driver.settle()
    for counted, late in ((1, 2), (6, 5)):
        driver.tell(Chunk("so", tokens=2 if late == 2 else 0, usage=Usage(completion_tokens=counted)))
        assert driver.core.counts.late == late
