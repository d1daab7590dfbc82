"""Segments do not depend on chunks, and a rewind leaves no trace in them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from interwhen import (
    CodeBlocks,
    Lines,
    Monitor,
    Paragraphs,
    Pass,
    Sentences,
    ToolCalls,
    UsageError,
    verifier,
)
from interwhen._core.scanners import JoinedLineScanner
from interwhen._core.segmenter import Intake, scanner_for
from interwhen._core.transcript import Transcript
from interwhen.triggers import EveryChars, Markers, ThinkEnd
from tests.core.references import TRIGGERS, reference
from tests.core.worlds import drive

SMALL = st.sampled_from(
    [
        *("a", "b", " ", "\n", "\n\n", ".", "!", "?", '"', ")", "A. ", "e.g. ", "1. ", "12", "Wait", "Wait a", "a b c"),
        *(
            "But wait",
            "Hmm",
            "<tool_call>",
            "</tool_call>",
            "<tool",
            "_call>",
            "<",
            ">",
            "<<",
            "<>",
            "`",
            "```",
            "```py\n",
            "\n```\n",
            "~~~\n",
            "\u2028",
            "é",
            "_",
            "<tool_call>\n",
            '{"name": "f"}',
            "a\n",
        ),
    ]
)
TEXT = st.lists(SMALL, max_size=25).map("".join)
CUTS = st.lists(st.integers(0, 100), max_size=12)
ANY = pytest.mark.parametrize("trigger", TRIGGERS, ids=repr)


@verifier(name="nobody", worker="inline")
def nobody(claim):
    return Pass()


def monitor(trigger, phase="both"):
    return Monitor(name="m", verifier=nobody, extractor=lambda _segment: (), trigger=trigger, phase=phase)


def pieces(text, cuts):
    at = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(at)]


class Follower:
    """Keeps the segments that stand, as the core does."""

    def __init__(self, trigger, *, eager=False):
        self.intake = Intake([monitor(trigger)], tags=None, phase="answer", eager=eager)
        self.segments = []

    def take(self, dues):
        for due in dues:
            span = due.segment.span
            self.segments = [old for old in self.segments if old[1] <= span.start]
            assert due.segment.text == self.intake.transcript.slice(span.start, span.end)
            self.segments.append((span.start, span.end))

    def feed(self, text, cuts=()):
        for piece in pieces(text, cuts):
            if piece:
                self.take(self.intake.feed(piece, 1, "answer"))

    def cut(self, to):
        self.intake.cut(to)
        self.segments = [old for old in self.segments if old[1] <= to]

    def end(self):
        self.take(self.intake.end())
        return self.segments


@ANY
@settings(max_examples=60, deadline=None)
@given(text=TEXT, cuts=CUTS, eager=st.booleans())
def test_any_chunking_gives_the_segments_of_the_whole(trigger, text, cuts, eager):
    expected = reference(trigger, text)
    for way in (cuts, (), range(len(text))):
        follower = Follower(trigger, eager=eager)
        follower.feed(text, way)
        assert follower.end() == expected


@ANY
@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.tuples(TEXT, CUTS, st.floats(0, 1), st.booleans()), min_size=1, max_size=4), last=TEXT)
@example(parts=[("<<", [], 1.0, True)], last="<>")
def test_a_rewind_keeps_segments_of_the_remaining_text(trigger, parts, last):
    follower, text = Follower(trigger), ""
    for more, cuts, share, ended in parts:
        follower.feed(more, cuts)
        text += more
        if ended:
            follower.end()
        to = round(share * len(text))
        if isinstance(trigger, CodeBlocks):
            # A closing fence is one by what follows it. Cut after it, and continued in the same line, a block would be
            # none, and no segment would take its place; but text that is cut there continues in a new line.
            to = text.rfind("\n", 0, to) + 1
        follower.cut(to)
        text = text[:to]
        fresh = Follower(trigger)
        fresh.feed(text)
        standing = [span for span in fresh.segments if span in follower.segments]
        assert standing == fresh.segments  # what is complete stays complete
    follower.feed(last, range(len(last)))
    assert follower.end() == reference(trigger, text + last)


@settings(max_examples=100, deadline=None)
@example([("reasoning", '<tool_call>\n{"name": "f"}a')], ToolCalls(), "reasoning", 1.0, ("reasoning", ""))
@example([("reasoning", "```\n```\n")], CodeBlocks(), "reasoning", 0.875, ("reasoning", "a"))
@example([("answer", '<tool_call>\n{"name": "f"}a')], ToolCalls(), "answer", 1.0, ("answer", ""))
@given(
    parts=st.lists(st.tuples(st.sampled_from(["reasoning", "answer"]), TEXT), max_size=6),
    trigger=st.sampled_from(TRIGGERS),
    phase=st.sampled_from(["reasoning", "answer", "both"]),
    share=st.floats(0, 1),
    tail=st.tuples(st.sampled_from(["reasoning", "answer"]), TEXT),
)
def test_phases_part_segments_also_after_a_rewind(parts, trigger, phase, share, tail):
    parts = [part for part in parts if part[1]]
    tail = [tail] if tail[1] else []

    def chars(parts):
        return [(c, kind) for kind, text in parts for c in text]

    who = monitor(trigger, phase)
    intake = Intake([who], tags=None, phase="answer")
    spans = []

    def take(dues):
        for due in dues:
            spans[:] = [old for old in spans if old[1] <= due.segment.span.start]
            spans.append((due.segment.span.start, due.segment.span.end))

    for kind, text in parts:
        take(intake.feed(text, 1, kind))
    everything = chars(parts)
    to = round(share * len(everything))
    intake.cut(to)
    spans[:] = [old for old in spans if old[1] <= to]
    for kind, text in tail:
        take(intake.feed(text, 1, kind))
    take(intake.end())
    seen = "answer" if trigger == TRIGGERS[-1] else phase
    standing = everything[:to] + chars(tail)
    expected, low = [], 0
    for at in range(1, len(standing) + 1):
        if at == len(standing) or standing[at][1] != standing[low][1]:
            if seen in ("both", standing[low][1]):
                part = "".join(c for c, _ in standing[low:at])
                expected += [(low + a, low + b) for a, b in reference(trigger, part, standing[low][1])]
            low = at
    # A block whose closing line the new text continues is no block any more. Its check stays, since what it judged
    # stands.
    continued = 0 < to < len(standing) and standing[to - 1][1] == standing[to][1]
    spans = [old for old in spans if old in expected or not (continued and trigger == CodeBlocks() and old[1] == to)]
    assert spans == expected


class Counting(Transcript):
    """Counts the characters that are read from it."""

    read = 0

    def slice(self, start, end):
        text = super().slice(start, end)
        self.read += len(text)
        return text


DEGENERATE = (
    "ab. ",
    ". ",
    "A. ",
    "\n",
    "(",
    "<",
    "Wait ",
    " ",
    ".)",
    "<tool_call>",
    "e.g. ",
    "1. ",
    "<tool_call",
    "\n ",
    "a\n",
    "a\n\n- - ",
)


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("3 + 4 = 8\nno, it is 7\nso", "3 + 4 = 8\nno, it is 7\n"),
        ("3 + 4 = 8\n\n -> No.\nso", "3 + 4 = 8\n\n -> No.\n"),
        ("3 + 4 = 8\n\u2717 wrong\nso", "3 + 4 = 8\n\u2717 wrong\n"),
        ("3 + 4 = 7\nnow we add 5\nso", "3 + 4 = 7\nnow"),
        ("3 + 4 = 7\nthe sum is 7\nso", "3 + 4 = 7\nt"),
        ("3 + 4 = 7\n5 + 6 = 11\nso", "3 + 4 = 7\n5"),
    ],
)
def test_a_line_completes_once_the_next_cannot_join(text, before):
    follower = Follower(Lines(joins=("no", "\u2717")))
    follower.feed(before[:-1], range(len(before)))
    assert follower.segments == []
    follower.feed(before[-1])
    assert len(follower.segments) == 1
    follower.feed(text[len(before) :])
    assert follower.end() == reference(Lines(joins=("no", "\u2717")), text)


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
def test_the_character_completing_a_segment_makes_it_due(trigger, texts):
    intake = Intake((monitor(trigger=trigger),), tags=None, phase="answer")
    *before, last = (len(list(intake.feed(text, 1, "answer"))) for text in texts)
    assert not any(before)
    assert last == 1


def test_a_code_block_may_follow_another_at_once():
    intake = Intake((monitor(trigger=CodeBlocks()),), tags=None, phase="answer")
    dues = list(intake.feed("```\na\n```\n```\nb\n```\n", 1, "answer"))
    assert [due.segment.text for due in dues] == ["```\na\n```", "```\nb\n```"]


@pytest.mark.fault(
    "V12", injected="degenerate text of n, 2n and 4n characters for each trigger", happens="the work doubles with it"
)
@ANY
@pytest.mark.parametrize("unit", DEGENERATE, ids=repr)
def test_work_is_linear_in_the_text(trigger, unit):
    def cost(size):
        intake = Intake([monitor(trigger)], tags=None, phase="answer")
        counting = Counting("answer")
        intake.transcript = counting
        for char in (unit * size)[:size]:
            list(intake.feed(char, 1, "answer"))
        list(intake.end())
        return counting.read

    small, middle, large = cost(500), cost(1000), cost(2000)
    assert middle < 2.2 * small + 100
    assert large < 2.2 * middle + 100


@pytest.mark.parametrize(
    "trigger",
    [
        Lines(every=0),
        Lines(every=2, joins=("no",)),
        Lines(joins=("",)),
        EveryChars(count=0),
        Markers(words=()),
        Markers(words=("",)),
        ToolCalls(opening=""),
        ToolCalls(closing=""),
    ],
    ids=repr,
)
def test_a_trigger_that_cannot_work_is_refused(trigger):
    with pytest.raises(UsageError, match=r"trigger \w+: .*, got "):
        Intake([monitor(trigger)], tags=None, phase="answer")


@pytest.mark.parametrize("joined", [Lines(every=2, joins=("so",)), Lines(joins=("so", ""))], ids=["every", "empty"])
def test_joining_lines_needs_nonempty_words_and_single_lines(joined):
    with pytest.raises(UsageError, match="joins must hold words"):
        scanner_for(joined)


@pytest.mark.parametrize("words", [(), ("",), ("Wait", "")])
def test_markers_need_words(words):
    with pytest.raises(UsageError, match="words must hold at least one word"):
        scanner_for(Markers(words))


# ---------------------------------------------------------------- tags and fields


def dues_of(intake, chunks, phase="answer"):
    dues = [due for chunk in chunks for due in intake.feed(chunk, 1, phase)]
    return [due.segment.text for due in [*dues, *intake.end()]]


@pytest.mark.parametrize("size", [1, 3, 7, 100])
@pytest.mark.parametrize(
    ("trigger", "phase", "expected"),
    [
        (ThinkEnd(), "both", ["one\ntwo"]),
        (Lines(), "reasoning", ["one", "two"]),
        (Lines(), "answer", ["three"]),
        (Lines(), "both", ["one", "two", "three"]),
        (Paragraphs(), "both", ["one\ntwo", "three"]),
    ],
)
def test_a_tag_is_nobody_s_segment(trigger, phase, expected, size):
    text = "<think>one\ntwo</think>three"
    intake = Intake([monitor(trigger, phase)], tags=("<think>", "</think>"), phase="answer")
    assert dues_of(intake, [text[at : at + size] for at in range(0, len(text), size)]) == expected
    assert intake.transcript.text_of("answer") == "three"
    assert intake.transcript.kept_tokens == -(-len(text) // size)


def test_reasoning_fields_count_as_reasoning_despite_expected_tags():
    intake = Intake([monitor(ThinkEnd())], tags=("<think>", "</think>"), phase="answer")
    dues = [*intake.feed(" ", 1, "answer"), *intake.feed("one", 1, "reasoning"), *intake.feed("two", 1, "answer")]
    assert [due.segment.text for due in dues] == ["one"]
    assert intake.transcript.text_of("reasoning") == "one"
    assert intake.phase == "answer"


def test_reasoning_fields_are_noticed_when_starting_in_reasoning():
    intake = Intake([monitor(ThinkEnd())], tags=("<think>", "</think>"), phase="reasoning")
    dues = [*intake.feed("one", 1, "reasoning"), *intake.feed("two", 1, "answer")]
    assert [due.segment.text for due in dues] == ["one"]
    assert intake.phase == "answer"


def test_counting_of_lines_starts_again_with_a_phase():
    driver = drive(monitor(trigger=Lines(every=2)))
    driver.chunk("a\n", phase="reasoning")
    driver.chunk("b\nc\n")
    assert [order.segment.text for order in driver.pending.values()] == ["a", "b\nc"]


def test_answers_rewritten_at_earlier_positions_are_scanned_whole():
    intake = Intake([monitor(Lines(), "answer")], tags=None, phase="reasoning")
    list(intake.feed("x" * 10, 1, "reasoning"))
    list(intake.feed("y" * 50 + "\n", 1, "answer"))
    intake.cut(5)
    dues = [*intake.feed("x", 1, "reasoning"), *intake.feed("a\nb\n", 1, "answer")]
    assert [due.segment.text for due in dues] == ["a", "b"]


def test_text_continuing_after_cuts_joins_the_flushed_segment():
    intake = Intake([monitor(Lines())], tags=None, phase="reasoning")
    list(intake.feed("1+1=2", 1, "reasoning"))
    assert [due.segment.text for due in intake.feed("no", 1, "answer")] == ["1+1=2"]
    intake.cut(5)
    assert [due.segment.text for due in intake.feed("3\n", 1, "reasoning")] == ["1+1=23"]


@pytest.mark.parametrize(("trigger", "expected"), [(ThinkEnd(), ["a\nWAIT\nb"]), (Lines(), ["a", "b"])])
def test_feedback_ends_a_line_but_not_the_reasoning(trigger, expected):
    intake = Intake([monitor(trigger)], tags=("<think>", "</think>"), phase="reasoning")
    dues = [
        *intake.feed("a", 1, "answer"),
        *intake.insert("\nWAIT\n", "feedback"),
        *intake.feed("b</think>", 1, "answer"),
    ]
    assert [due.segment.text for due in dues] == expected


def test_a_tool_call_containing_feedback_remains_a_call():
    intake = Intake([monitor(ToolCalls())], tags=None, phase="answer")
    dues = [
        *intake.feed("x<tool_call>{a", 1, "answer"),
        *intake.insert("\nWAIT\n", "feedback"),
        *intake.feed("b</tool_call>", 1, "answer"),
    ]
    assert [due.segment.text for due in dues] == ["<tool_call>{a\nWAIT\nb</tool_call>"]


def test_held_text_is_kept_when_the_run_ends():
    intake = Intake([monitor(Sentences())], tags=("<think>", "</think>"), phase="reasoning")
    list(intake.feed("a</th", 2, "answer"))
    intake.keep_held()
    assert intake.transcript.text_of("reasoning") == "a</th"
    assert intake.transcript.kept_tokens == 2


@pytest.mark.parametrize(("after", "read"), [("", ["1 + 1 = 3"]), ("so it ", ["1 + 1 = 3"]), ("no, ", [])])
def test_a_complete_line_counts_even_in_unfinished_text(after, read):
    # What follows may still reject the line: then the two are one segment, which is not complete.
    transcript = Transcript("answer")
    scanner = JoinedLineScanner(("no",))
    transcript.append(f"1 + 1 = 3\n{after}", 1)
    assert [transcript.slice(span.start, span.end) for span in scanner.finish(transcript)] == read


@pytest.mark.parametrize("closing", ["\"')", "\"')*"])
def test_a_sentence_allows_at_most_three_closing_signs(closing):
    text = f"It is 4.{closing} Then 5."
    sentences = dues_of(Intake([monitor(Sentences())], tags=None, phase="answer"), [text])
    assert sentences == ([f"It is 4.{closing}", "Then 5."] if len(closing) <= 3 else [text])


def test_a_sentence_may_end_with_a_number():
    driver = drive(monitor(trigger=Sentences()))
    driver.feed("I have 5. Then 6 more. ")
    assert [order.segment.text for order in driver.pending.values()] == ["I have 5.", "Then 6 more."]


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
def test_an_abbreviations_full_stop_ends_no_sentence(text, first):
    intake = Intake((monitor(trigger=Sentences()),), tags=None, phase="answer")
    assert [due.segment.text for due in intake.feed(text, 1, "answer")] == [first]
