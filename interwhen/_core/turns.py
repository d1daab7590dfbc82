"""Continuing by an extra turn: which text is kept, and what of it a new turn repeats.

A model that gets its own text as a finished turn does not continue inside a line. It begins a new turn, which may
repeat the last lines, or start over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from interwhen._core.transcript import Transcript
from interwhen._types.models import Chunk, Piece
from interwhen._types.segments import Phase, Span

LEAST = 6
"""The fewest characters, without white space, of a line by which a repetition is recognised. Shorter lines, such as a
bracket or a move, are often written twice."""


def whole_lines(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    # A new turn does not continue inside a line, so the incomplete last line is left out, or completed if `ask` says
    # how it ends.
    kept, line = [*pieces], ""
    while kept and kept[-1].phase == pieces[-1].phase:
        last = kept[-1]
        if last.call is not None or last.origin == "feedback":
            break
        kept.pop()
        if last.ask is not None and last is pieces[-1]:
            return (*kept, msgspec.structs.replace(last, text=last.ask, ask=None))
        end = last.text.rfind("\n") + 1
        line = last.text[end:] + line
        if end:
            kept.append(msgspec.structs.replace(last, text=last.text[:end]))
            break
    return tuple(kept) if line.strip() else tuple(pieces)


class KeptLine(NamedTuple):
    """A line of the kept text that is not blank: its start and end in the trace, and its text without white space."""

    start: int
    end: int
    visible: str


def kept_lines(transcript: Transcript, answered: Sequence[Span]) -> Iterator[KeptLine]:
    at = transcript.phases[-1][0]
    ours = [each.span for each in transcript.insertions if each.origin == "feedback"]
    spans = [span for span in (*ours, *answered, *(span for span, _ in transcript.calls)) if span.end > at]
    for line in transcript.slice(at, transcript.length).split("\n"):
        start, at = at, at + len(line) + 1
        visible = _visible(line)
        if visible and not any(span.start < at and start < span.end for span in spans):
            yield KeptLine(start, min(at, transcript.length), visible)


class Repetition(NamedTuple):
    """What a new turn repeats: the first ``dropped`` characters of its text. The rest continues the trace at ``to``."""

    # `to` is `None` if the rest continues the trace at its end.

    dropped: int = 0
    to: int | None = None


class TurnStart:
    """Holds the beginning of a new turn, and compares it with the kept *lines*, without regard to white space.

    The turn repeats kept text if its first line is a kept line that occurs once, and all kept lines after it follow. If
    its first line is the first kept line, the turn starts over: what it does not repeat replaces the kept text. So it
    does if its first line is *refuted*, the line in whose place the last kept line was written (empty without one).
    *phase* is the phase of the kept lines; ``None`` if the phase of a chunk does not count.
    """

    __slots__ = (
        "_candidates",
        "_dropped",
        "_first",
        "_lines",
        "_next",
        "_phase",
        "_places",
        "_read",
        "_refuted",
        "_seen",
        "held",
    )

    def __init__(self, lines: Sequence[KeptLine], refuted: str, phase: Phase | None) -> None:
        self.held: list[Chunk] = []
        self._phase = phase
        self._lines = lines
        self._refuted = _visible(refuted)
        counts = Counter(line.visible for line in lines)
        self._places = {
            line.visible: number
            for number, line in enumerate(lines)
            if counts[line.visible] == 1 and len(line.visible) >= LEAST
        }
        self._candidates = [*self._places, *([self._refuted] if len(self._refuted) >= LEAST else ())]
        """The texts of kept lines that the current line of the turn may be."""
        self._seen = 0
        """How many characters of the current line have come, without white space."""
        self._read = 0
        self._dropped = 0
        """The length of the lines that are repeated; at first, that of a line break at the beginning."""
        self._first = self._next = -1
        """The numbers of the first kept line that the turn repeats, and of the next one."""

    def passes(self, chunk: Chunk) -> bool:
        return not self.held and chunk.phase == "reasoning" and self._phase == "answer"

    def take(self, chunk: Chunk) -> Repetition | None:
        self.held.append(chunk)
        if chunk.call is not None or (chunk.text and self._phase not in (None, chunk.phase)):
            return self._different()
        repetition = self._feed(chunk.text)
        return self.finish() if repetition is None and chunk.finish_reason is not None else repetition

    def rest(self, dropped: int) -> list[Chunk]:
        # A chunk whose whole text is dropped loses its tokens, too: the caller counts them as discarded.
        chunks = []
        for chunk in self.held:
            size = min(dropped, len(chunk.text))
            dropped -= size
            text = chunk.text[size:]
            chunks.append(msgspec.structs.replace(chunk, text=text, tokens=chunk.tokens if text or not size else 0))
        return chunks

    def _feed(self, text: str) -> Repetition | None:
        *lines, rest = text.split("\n")
        for line in lines:
            if not self._may_be(line):
                return self._different()
            self._read += len(line) + 1
            if not self._seen:
                self._dropped = self._dropped or self._read  # the kept text has this line break
            elif (repetition := self._ended()) is not None:
                return repetition
        self._read += len(rest)
        return None if self._may_be(rest) else self._different()

    def finish(self) -> Repetition:
        # Return what the turn repeats, because no more text of it will come.
        repetition = self._ended() if self._seen else None
        if repetition is None and self._first == 0:
            return Repetition(self._dropped)  # it says nothing else, so it replaces nothing
        return repetition or self._different()

    def _may_be(self, text: str) -> bool:
        visible = _visible(text)
        self._candidates = [each for each in self._candidates if each.startswith(visible, self._seen)]
        self._seen += len(visible)
        return bool(self._candidates) or not self._seen

    def _ended(self) -> Repetition | None:
        whole = next((each for each in self._candidates if len(each) == self._seen), None)
        if whole is None:
            return self._different()
        if self._first < 0:
            if whole not in self._places:
                return Repetition(self._dropped, self._lines[-1].start)
            self._first = self._next = self._places[whole]
        self._seen, self._dropped, self._next = 0, self._read, self._next + 1
        if self._next == len(self._lines):
            return Repetition(self._dropped)
        self._candidates = [self._lines[self._next].visible]
        return None

    def _different(self) -> Repetition:
        if self._first > 0:
            return Repetition()
        return Repetition(self._dropped, self._lines[self._next - 1].end if self._first == 0 else None)


def _visible(text: str) -> str:
    return "".join(text.split())
