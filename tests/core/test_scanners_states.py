"""After a cut, a scanner is as one that has read only the text that was kept; and what it holds back meanwhile."""

from __future__ import annotations

import pytest
from interwhen import Answer, CodeBlocks, Lines, Paragraphs, Sentences, Span, ToolCall, ToolCalls
from interwhen._core.scanners import CountScanner, JoinedLineScanner, LineScanner, WholeScanner
from interwhen._core.segmenter import Intake, scanner_for
from interwhen._core.transcript import Transcript
from interwhen.triggers import EveryChars, Markers, Polls, ThinkEnd
from tests.core.references import TRIGGERS, reference
from tests.core.worlds import call_chunk, monitor

TEXTS = (
    "I have 5. Then (6.) more! e.g. this\n\nWait, b 1+1=2\nwait no\n= 3\n! x\n  - 4\n",
    '```py\na\n```\n~~~\nb ``` \n~~~\nx <tool_call>{"name": "f"}</tool_call> << a <> <<b<> ``` c',
    'a\n\n\n b\n \nWait a b c Hmm b.\nc" d?" A. x\n1. y',
    "a\nb\n\nso\n",
    "```\nb\n\n```\n",
    "a\n\n```\nx\n\n```\n\n```\ny\n```\n<<>b<> <<c<><<d <tool_call></tool_call> \n\n\n~~~\nz",
)
ALL = (*TRIGGERS, Polls(9.0, 1.0, 20.0, 4, 30))
ANY = pytest.mark.parametrize("trigger", ALL, ids=repr)


def read(trigger, text, *, flush=False):
    scanner, transcript = scanner_for(trigger), Transcript("answer")
    for char in text:
        transcript.append(char, 1)
        list(scanner.feed(transcript))
    if flush:
        list(scanner.flush(transcript))
    return scanner, transcript


def spans_of(spans):
    return [(span.start, span.end) for span in spans]


def state(scanner, transcript):
    return scanner.start, scanner.hold, scanner.bridges, scanner.due, scanner.begun(transcript)


@ANY
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_rewinding_scanners_equals_scanning_only_the_remaining_text(trigger, text):
    for flush in (False, True):
        for to in range(0, len(text) + 1, 1 if len(text) < 60 else 2):
            scanner, transcript = scanner_for(trigger), Transcript("answer")
            transcript.append(text, 1)
            list(scanner.feed(transcript))
            if flush:
                list(scanner.flush(transcript))
            transcript.cut(to)
            scanner.rewind(transcript)
            assert state(scanner, transcript) == state(*read(trigger, text[:to])), to


PARTS = [
    ("so 1+1=2. Wait, 2+2=4\n\nwe have 3. It\n<a>x</a>\n", "reasoning"),
    ("```\n3+3=6\n```\nso it is <a>y\nz</a> 7! Wait (8)\n", "answer"),
]


def _spans(intake, at=0):
    spans, begins = set(), 0
    for text, phase in PARTS:
        for start in range(max(at - begins, 0), len(text), 3):
            spans |= {due.segment.span for due in intake.feed(text[start : start + 3], 1, phase)}
        begins += len(text)
    return spans | {due.segment.span for due in intake.end()}


@pytest.mark.parametrize(
    "trigger",
    [
        *(Lines(), Lines(every=2), Lines(joins=("so", "it"))),
        *(Paragraphs(), Sentences(), Markers(("Wait",)), CodeBlocks(), EveryChars(5), Polls(1, 1, 20, 4, 9)),
        *(ToolCalls("<a>", "</a>"), Answer(), ThinkEnd()),
    ],
    ids=str,
)
def test_rewriting_cut_text_gives_the_same_segments(trigger):
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


@pytest.mark.parametrize("trigger", [*TRIGGERS, ToolCalls("<a>", "</a>")], ids=repr)
def test_no_segment_begins_before_what_is_held(trigger):
    for text in TEXTS:
        scanner, transcript = scanner_for(trigger), Transcript("answer")
        held = 0
        for char in text:
            transcript.append(char, 1)
            for span in scanner.feed(transcript):
                assert span.start >= held
            assert held <= scanner.hold <= transcript.length
            held = scanner.hold
        assert all(span.start >= held for span in scanner.flush(transcript))


@ANY
def test_segments_do_not_depend_on_the_chunk_size(trigger):
    for text in TEXTS:
        for size in (1, 2, 3, 5, 7, len(text)):
            scanner, transcript = scanner_for(trigger), Transcript("answer")
            spans = []
            for at in range(0, len(text), size):
                transcript.append(text[at : at + size], 1)
                spans += scanner.feed(transcript)
            spans += scanner.flush(transcript)
            if not isinstance(trigger, Polls):
                assert spans_of(spans) == reference(trigger, text), size


@ANY
def test_nothing_is_open_after_the_end(trigger):
    for text in TEXTS:
        for to in range(1, len(text) + 1, 3):
            scanner, transcript = read(trigger, text[:to], flush=True)
            assert (scanner.start, scanner.hold) == (to, to)
            assert not scanner.bridges or type(scanner) is WholeScanner
            assert scanner.begun(transcript) is None
            assert list(scanner.feed(transcript)) == []


@ANY
def test_skipped_text_is_in_no_segment(trigger):
    for text in TEXTS:
        scanner, transcript = read(trigger, "so 1.\n<a> ```\nWait")
        before = transcript.length
        transcript.append("No. \n", 0)
        begins = transcript.length
        scanner.skip(begins)
        assert (scanner.start, scanner.hold) == (begins, begins)
        transcript.append(text, 1)
        spans = [*scanner.feed(transcript), *scanner.flush(transcript)]
        fresh, other = scanner_for(trigger), Transcript("answer")
        other.append(text, 1)
        alone = [*fresh.feed(other), *fresh.flush(other)]
        if not isinstance(trigger, Polls):
            assert [(span.start - begins, span.end - begins) for span in spans] == spans_of(alone)
            assert spans_of(alone) == reference(trigger, text)
        assert before < begins <= min((span.start for span in spans), default=begins)


@pytest.mark.parametrize(
    ("cut", "segments"), [(7, ["3+4=7\nn it is 8"]), (8, ["3+4=7\nno it is 8"]), (9, ["3+4=7", "now it is 8"])]
)
def test_complete_lines_may_be_joined_after_a_cut(cut, segments):
    follower = Intake((monitor(trigger=Lines(joins=("no", "n"))),), tags=None, phase="answer")
    texts = {due.segment.span: due.segment.text for due in follower.feed("3+4=7\nnow", 1, "answer")}
    assert list(texts.values()) == ["3+4=7"]
    follower.cut(cut)
    dues = [*follower.feed(" it is 8\n", 1, "answer"), *follower.end()]
    kept = [] if any(due.segment.span.start == 0 for due in dues) else ["3+4=7"]
    assert kept + [due.segment.text for due in dues] == segments


def test_cutting_a_fences_line_end_reopens_the_block():
    intake = Intake((monitor(trigger=CodeBlocks()),), tags=None, phase="answer")
    assert len(list(intake.feed("```\na\n```\n", 1, "answer"))) == 1
    intake.cut(len("```\na\n```"))
    [due] = intake.feed("x\nb\n```\n", 1, "answer")
    assert due.segment.text == "```\na\n```x\nb\n```"


def test_torn_lines_are_remembered_by_segments_containing_them():
    watching = (monitor("lines"), monitor("all", trigger=TRIGGERS[-1]))
    intake = Intake(watching, tags=None, phase="answer")
    list(intake.feed("1+1=2\n2+2", 1, "answer"))
    [due] = intake.insert("\nWait.\n", "feedback", torn=True)
    assert (due.segment.text, due.torn, due.monitors) == ("2+2", 6, (0,))
    later = [*intake.feed("3+3=6\n", 1, "answer"), *intake.end()]
    tears = {due.monitors: due.tears for due in later}
    assert tears[0,] == ()
    assert [(tear.start, tear.end) for tear in tears[1,]] == [(6, 9)]
    intake.cut(10)
    assert next(due.tears for due in intake.end() if due.monitors == (1,))[0].end == 9
    intake.cut(9)
    assert [due.tears for due in intake.end() if due.monitors == (1,)] == [()]


@pytest.mark.parametrize("number", [0, 1, 3])
def test_numbers_below_one_count_as_one(number):
    assert LineScanner(number).every == max(number, 1)
    assert (CountScanner(number).count, CountScanner(number).due) == (max(number, 1),) * 2


def test_a_new_scanner_has_read_nothing():
    for trigger in ALL:
        scanner = scanner_for(trigger)
        assert (scanner.start, scanner.pos, scanner.hold, scanner.bridges) == (
            *(0, 0, 0),
            type(scanner) is WholeScanner,
        )
        assert scanner.begun(Transcript("answer")) is None
    assert JoinedLineScanner(("so",)).hot is False


def test_an_unfinished_line_needs_no_scan_before_ending():
    scanner, transcript = JoinedLineScanner(("so",)), Transcript("answer")
    for text, hot in (("1+1=2\n", True), ("and", False), (" 2", False)):
        transcript.append(text, 1)
        list(scanner.feed(transcript))
        assert scanner.hot is hot


def test_fixed_length_parts_are_due_at_their_end():
    scanner, transcript = CountScanner(4), Transcript("answer")
    assert scanner.due == 4
    transcript.append("1+1=2\n", 1)
    assert list(scanner.feed(transcript)) == [Span(0, 4)]
    assert scanner.due == 8


def test_segments_ending_together_are_ordered_by_their_start():
    whole, lines = monitor("whole", trigger=TRIGGERS[-1]), monitor("lines")
    for monitors in ((whole, lines), (lines, whole)):
        intake = Intake(monitors, tags=None, phase="answer")
        list(intake.feed("1+1=2\n2+2=4", 1, "answer"))
        dues = list(intake.end())
        assert spans_of(due.segment.span for due in dues) == [(0, 11), (6, 11)]


def test_tokens_without_text_belong_to_the_next_text():
    intake = Intake((monitor(),), tags=("<t>", "</t>"), phase="reasoning")
    list(intake.feed("so", 3, "answer"))
    intake.owe(2)
    assert (intake.owed, intake.tokens_from(0), intake.transcript.kept_tokens) == (2, 5, 3)
    intake.credit(1)
    assert intake.owed == 3
    intake.credit(-9)
    assert (intake.owed, intake.transcript.kept_tokens) == (0, 3)
    intake.credit(-1)
    assert intake.transcript.kept_tokens == 2
    intake.owe(4)
    intake.cut(1)
    assert (intake.discarded, intake.owed, intake.transcript.kept_tokens) == (4, 0, 2)
    intake.cut(0)
    assert (intake.discarded, intake.transcript.kept_tokens) == (6, 0)
    intake.owe(2)
    list(intake.end())
    assert (intake.owed, intake.transcript.kept_tokens) == (0, 2)


def test_the_closing_tag_begins_a_line():
    intake = Intake((monitor(),), tags=("<t>", "</t>"), phase="reasoning")
    list(intake.feed("so\nit", 1, "answer"))
    assert [intake.closing(at) for at in (0, 2, 3, 4, 5)] == ["\n</t>", "\n</t>", "</t>", "\n</t>", "\n</t>"]
    assert Intake((monitor(),), tags=None, phase="reasoning").closing(0) == ""


def test_a_scanner_of_another_phase_holds_no_text():
    intake = Intake((monitor(phase="answer"), monitor("r", phase="reasoning")), tags=None, phase="reasoning")
    list(intake.feed("so it", 1, "reasoning"))
    assert [intake.hold(number) for number in (0, 1)] == [5, 0]
    list(intake.feed("four", 1, "answer"))
    assert [intake.hold(number) for number in (0, 1)] == [5, 9]


def test_a_conclusion_tears_a_line_only_if_requested():
    for torn in (None, True, False):
        intake = Intake((monitor(),), tags=None, phase="reasoning")
        list(intake.feed("1+1=2\n2+2", 1, "reasoning"))
        options = {} if torn is None else {"torn": torn}
        [due] = intake.conclude("\n\n", "ask", **options)
        assert due.torn == (6 if torn else None)


def test_calls_in_a_field_reach_only_call_monitors():
    intake = Intake((monitor(), monitor("calls", trigger=ToolCalls())), tags=None, phase="answer")
    call = ToolCall(id="x", name="x", arguments="{}")
    assert [(due.segment.call, due.monitors) for due in intake.feed_call(call, 1)] == [(call, (1,))]


def test_feedback_on_refused_calls_is_in_no_segment():
    intake = Intake((monitor(),), tags=None, phase="answer")
    call = call_chunk("first", "1+1=2").call
    intake.feed_call(call, 1)
    intake.cut(0)
    intake.refuse("No. ", (call,))
    assert [due.segment.text for due in intake.feed("2+2=4\n", 1, "answer")] == ["2+2=4"]
