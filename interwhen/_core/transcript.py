"""The trace of a run, and the parser of think tags."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple, TypeVar

from interwhen._types.models import Origin, Piece
from interwhen._types.results import Insertion
from interwhen._types.segments import Phase, Span, ToolCall

_RECENT = 4096
"""The longest text, in characters, that the cache of the last read keeps."""


T = TypeVar("T")


class TextRun(NamedTuple):
    """A part of the trace with one origin and one phase. ``call`` and ``refused`` are as in :class:`Piece`."""

    start: int
    text: str
    origin: Origin
    phase: Phase
    call: ToolCall | None = None
    refused: tuple[ToolCall, ...] = ()


class Transcript:
    """All text that has not been cut, by offset, with its origin and phase."""

    __slots__ = (
        "_first",
        "_given",
        "_given_ends",
        "_inserted",
        "_line_end",
        "_recent",
        "_starts",
        "_texts",
        "_tokens",
        "calls",
        "conclusions",
        "inserted_bytes",
        "insertions",
        "kept_tokens",
        "kept_until",
        "length",
        "phases",
        "refusals",
        "tags",
    )

    def __init__(self, phase: Phase) -> None:
        # Arrays instead of lists, because the garbage collector does not scan arrays.
        self._starts = array("q")
        self._texts: list[str] = []
        self._tokens = array("q")
        self._recent = (0, "")
        self._given: list[Piece] = []
        """The pieces of the last request except its last piece, which may still grow."""
        self._given_ends: list[int] = []
        self.length = 0
        """In characters."""
        self.kept_until = 0
        """The smallest offset of a cut since a reader of the trace last set this value to the length of the trace."""
        self.kept_tokens = 0
        """The tokens of the model in the trace, with those that arrived without text."""
        self._first: Phase = phase
        self.phases: list[tuple[int, Phase]] = [(0, phase)]
        """The phases in order, each with the offset at which it begins."""
        self.insertions: list[Insertion] = []
        self.inserted_bytes = 0
        """The length of the insertions in UTF-8."""
        self._inserted: list[int] = []
        """For each insertion, ``inserted_bytes`` before it."""
        self.tags: list[Span] = []
        self.calls: list[tuple[Span, ToolCall]] = []
        self.refusals: list[tuple[Span, tuple[ToolCall, ...]]] = []
        """The spans of feedback on refused tool calls, with these calls. The calls were cut."""

        self._line_end = (-1, "")
        """An offset at which the trace may end, and what completes its last line there."""
        self.conclusions: list[tuple[Span, str]] = []
        """The spans of text with which we ended the reasoning, each with the text of an extra turn to send instead."""

    @property
    def phase(self) -> Phase:
        return self.phases[-1][1]

    @property
    def first_call(self) -> int:
        return self.calls[0][0].start if self.calls else self.length

    def append(self, text: str, tokens: int) -> None:
        self._starts.append(self.length)
        self._texts.append(text)
        self._tokens.append(tokens)
        self.length += len(text)
        self.kept_tokens += tokens

    @property
    def line_end(self) -> str | None:
        return self._line_end[1] if self._line_end[0] == self.length else None

    def end_line(self, line_end: str | None) -> None:
        self._line_end = (-1, "") if line_end is None else (self.length, line_end)

    def insert(self, text: str, origin: Origin) -> None:
        self.insertions.append(Insertion(Span(self.length, self.length + len(text)), origin))
        self._inserted.append(self.inserted_bytes)
        self.inserted_bytes += _size(text)
        self.append(text, 0)

    def credit(self, tokens: int) -> bool:
        # `tokens` may be negative. No count falls below 0, so the texts before the last one get the rest.
        at = len(self._tokens) - 1
        while at >= 0:
            changed = max(self._tokens[at] + tokens, 0)
            tokens -= changed - self._tokens[at]
            self.kept_tokens += changed - self._tokens[at]
            self._tokens[at] = changed
            if not tokens:
                break
            at -= 1
        return bool(self._tokens)

    def count(self, tokens: int) -> None:
        # Add `tokens`, which arrived without text, to the tokens of the trace. A cut does not subtract them.
        self.kept_tokens += tokens

    def append_tag(self, text: str, tokens: int) -> None:
        self.tags.append(Span(self.length, self.length + len(text)))
        self.append(text, tokens)

    def append_call(self, call: ToolCall, tokens: int) -> Span:
        text = call.text
        span = Span(self.length, self.length + len(text))
        self.calls.append((span, call))
        self.append(text, tokens)
        return span

    def refuse(self, text: str, calls: tuple[ToolCall, ...]) -> None:
        self.refusals.append((Span(self.length, self.length + len(text)), calls))
        self.insert(text, "feedback")

    def conclude(self, text: str, answer_at: int, tag: int, ask: str) -> None:
        # The answer begins at offset `answer_at` of `text`. The closing tag is the `tag` characters before that offset
        # (0: there is no tag). A model that continues by an extra turn gets `ask` instead.
        start = self.length
        self.conclusions.append((Span(start, start + len(text)), ask))
        if tag:
            self.tags.append(Span(start + answer_at - tag, start + answer_at))
        self.insert(text, "feedback")
        self.phases.append((start + answer_at, "answer"))

    def calls_from(self, to: int) -> tuple[ToolCall, ...]:
        return tuple(call for span, call in self.calls if span.end > to)

    def enter(self, phase: Phase) -> None:
        if self.phases[-1][0] == self.length:
            self.phases.pop()
        if not self.phases or self.phases[-1][1] != phase:
            self.phases.append((self.length, phase))

    def slice(self, start: int, end: int) -> str:
        if start >= end:
            return ""
        base, text = self._recent
        if base <= start and end <= base + len(text):  # a segment is often read twice
            return text[start - base : end - base]
        starts = self._starts
        first = bisect_right(starts, start) - 1
        if first == len(starts) - 1 or starts[first + 1] >= end:
            base = starts[first]
            return self._texts[first][start - base : end - base]
        last = bisect_right(starts, end - 1) - 1
        parts = self._texts[first : last + 1]
        parts[0] = parts[0][start - starts[first] :]
        parts[-1] = parts[-1][: end - starts[last]]
        text = "".join(parts)
        if len(text) <= _RECENT:
            self._recent = (start, text)
        return text

    def line_around(self, span: Span) -> tuple[str, str]:
        rest = self.slice(span.end, self.length).partition("\n")[0]
        return self.slice(0, span.end).rpartition("\n")[2] + rest, rest

    def cut(self, to: int) -> int:
        # The tokens of a chunk that is cut in the middle still count as kept.
        self._recent = (0, "")
        self.kept_until = min(self.kept_until, to)
        if to < self._line_end[0]:
            self._line_end = (-1, "")
        while self._given and self._given_ends[-1] >= to:  # a piece that ends exactly at the cut may grow
            self._given.pop()
            self._given_ends.pop()
        dropped = 0
        while self._starts and self._starts[-1] >= to:
            self._starts.pop()
            self._texts.pop()
            dropped += self._tokens.pop()
        if self._starts and self._starts[-1] + len(self._texts[-1]) > to:
            self._texts[-1] = self._texts[-1][: to - self._starts[-1]]
        self.length = min(self.length, to)
        self.kept_tokens -= dropped
        self._cut_phases(to)
        while self.calls and self.calls[-1][0].end > to:
            self.calls.pop()
        while self.refusals and self.refusals[-1][0].end > to:
            self.refusals.pop()
        while self.conclusions and self.conclusions[-1][0].end > to:
            self.conclusions.pop()
        while self.insertions and self.insertions[-1].span.start >= to:
            self.insertions.pop()
            self.inserted_bytes = self._inserted.pop()
        if self.insertions and self.insertions[-1].span.end > to:
            last = self.insertions.pop()
            self.insertions.append(Insertion(Span(last.span.start, to), last.origin))
            self.inserted_bytes = self._inserted[-1] + _size(self.slice(last.span.start, to))
        return dropped

    def tokens_from(self, to: int) -> int:
        # A chunk that the cut splits is not counted.
        return sum(self._tokens[bisect_left(self._starts, to) :])

    def phase_at(self, offset: int) -> Phase:
        start, phase = self.phases[-1]
        if offset >= start:
            return phase
        at = bisect_right(self.phases, offset, key=lambda entry: entry[0]) - 1
        return self.phases[max(at, 0)][1]

    def runs(self, start: int, end: int) -> Iterator[TextRun]:
        if len(self.phases) == 1 and not (self.insertions or self.calls or self.refusals or self.tags):
            if start < end:
                yield TextRun(start, self.slice(start, end), "model", self.phases[0][1])
            return
        # All of these lists are sorted by offset, so only the entries in the range are read.
        calls = {span.start: (span, call) for span, call in _overlapping(self.calls, start, end)}
        refusals = {span.start: refused for span, refused in _overlapping(self.refusals, start, end)}
        insertions = self.insertions[bisect_right(self.insertions, start, key=lambda entry: entry.span.end) :]
        borders = {at for at, _ in self.phases[bisect_right(self.phases, start, key=lambda entry: entry[0]) :]}
        for span in (*self.tags, *(entry.span for entry in insertions), *(span for span, _ in calls.values())):
            borders.update((span.start, span.end))
        ordered = sorted({start, end, *(at for at in borders if start < at < end)})
        for low, high in pairwise(ordered):
            yield TextRun(
                low,
                self.slice(low, high),
                self._origin_at(low),
                self.phase_at(low),
                calls[low][1] if low in calls else None,
                refusals.get(low, ()),
            )

    def pieces(self, end: int | None = None) -> tuple[Piece, ...]:
        if end is not None and end < self.length:
            return tuple(map(self._piece, self.runs(0, end)))
        # Each request needs the whole trace, so the pieces of the previous request are reused.
        begun = self._given_ends[-1] if self._given else 0
        runs = list(self.runs(begun, self.length))
        for run in runs[:-1]:  # the last one may still grow
            self._given.append(self._piece(run))
            self._given_ends.append(run.start + len(run.text))
        return (*self._given, *map(self._piece, runs[-1:]))

    def _piece(self, run: TextRun) -> Piece:
        ask = self._ask(run.start)
        if self.line_end is not None and ask is None and run.start + len(run.text) == self.length:
            ask = run.text + self.line_end
        return Piece(run.text, run.origin, run.phase, run.call, run.refused, ask)

    def _ask(self, start: int) -> str | None:
        # `None`: this text run is sent unchanged. Only the text that ends the reasoning is replaced: its first text run
        # by the text of the extra turn, the others by an empty string.
        at = bisect_right(self.conclusions, start, key=lambda entry: entry[0].start) - 1
        if at < 0 or start >= self.conclusions[at][0].end:
            return None
        return self.conclusions[at][1] if start == self.conclusions[at][0].start else ""

    def text_of(self, phase: Phase) -> str:
        # Text that interwhen wrote, such as feedback in the reasoning, is included, except feedback on calls.
        tags = {tag.start for tag in self.tags}
        return "".join(
            run.text
            for run in self.runs(0, self.length)
            if run.phase == phase and run.start not in tags and run.call is None and not run.refused
        )

    def _cut_phases(self, to: int) -> None:
        first_goes = False
        while self.tags and self.tags[-1].end > to:
            first_goes = self.tags.pop().start == 0
        # If a tag ends exactly at the cut, the phase after it has begun, even if it has no text yet.
        begun = bool(self.tags) and self.tags[-1].end == to
        while len(self.phases) > 1 and self.phases[-1][0] >= to and not (begun and self.phases[-1][0] == to):
            self.phases.pop()
        if first_goes:
            self.phases = [(0, self._first)]

    def _origin_at(self, offset: int) -> Origin:
        at = bisect_right(self.insertions, offset, key=lambda entry: entry.span.start) - 1
        if at >= 0 and offset < self.insertions[at].span.end:
            return self.insertions[at].origin
        return "model"


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))  # a lone surrogate counts as one byte


def _overlapping(entries: Sequence[tuple[Span, T]], start: int, end: int) -> Iterator[tuple[Span, T]]:
    # The entries must be sorted and must not overlap each other.
    for at in range(bisect_right(entries, start, key=lambda entry: entry[0].end), len(entries)):
        if entries[at][0].start >= end:
            return
        yield entries[at]


# Think tags: split a text stream into reasoning, answer and the tags between them.

Kind = Literal["text", "open", "close"]

_MAX_LEAD = 64
"""The most white space, in characters, that may come before the opening think tag."""


class TagPart(NamedTuple):
    text: str
    kind: Kind


class ThinkTags:
    """Finds the opening think tag (such as ``<think>``) at the start of the text, and the closing tag that ends it."""

    # A tag may be split across chunks. Text that may be the start of a tag is held back until more text decides.

    __slots__ = ("_at_start", "_held", "_opening", "_unread", "closing", "phase")

    def __init__(self, tags: tuple[str, str], phase: Phase) -> None:
        self._opening, self.closing = tags
        self.phase: Phase = phase
        self._at_start = phase == "answer"
        self._unread = True
        self._held = ""

    @property
    def must_see(self) -> bool:
        # Whether `feed` must get the next text, whatever it is. If not, the caller may leave out a text in which the
        # closing tag cannot begin.
        return self._at_start or self._unread or bool(self._held)

    @property
    def done(self) -> bool:
        return self.phase == "answer" and not self.must_see

    def feed(self, text: str) -> list[TagPart]:
        # Return the parts (plain text and think tags) that later text cannot change.
        text, self._held = self._held + text, ""
        self._unread = False
        if self._at_start:
            return self._start(text)
        if self.phase == "reasoning":
            return self._reasoning(text)
        return [TagPart(text, "text")] if text else []

    def drain(self) -> list[TagPart]:
        # Return the text that is held back, because no more text will come, except after `restart`.
        held, self._held = self._held, ""
        return [TagPart(held, "text")] if held else []

    def restart(self, phase: Phase, *, at_start: bool) -> None:
        # Read on after a cut. `phase` is the phase there; `at_start`: an opening tag may follow.
        self.phase = phase
        self._held = ""
        self._at_start = at_start and phase == "answer"

    def _start(self, text: str) -> list[TagPart]:
        body = text.lstrip()
        early = len(text) - len(body) <= _MAX_LEAD
        if early and body.startswith(self._opening):
            cut = len(text) - len(body) + len(self._opening)
            self._at_start = False
            self.phase = "reasoning"
            return [TagPart(text[:cut], "open"), *self._reasoning(text[cut:])]
        if early and len(body) < len(self._opening) and self._opening.startswith(body):
            self._held = text
            return []
        self._at_start = False
        return [TagPart(text, "text")] if text else []

    def _reasoning(self, text: str) -> list[TagPart]:
        at = text.find(self.closing)
        if at >= 0:
            self.phase = "answer"
            end = at + len(self.closing)
            parts = [TagPart(text[:at], "text"), TagPart(text[at:end], "close"), TagPart(text[end:], "text")]
            return [part for part in parts if part.text]
        keep = overlap(text, self.closing)
        self._held = text[len(text) - keep :]
        body = text[: len(text) - keep]
        return [TagPart(body, "text")] if body else []


def overlap(text: str, tag: str) -> int:
    return next((size for size in range(min(len(text), len(tag) - 1), 0, -1) if text.endswith(tag[:size])), 0)
