"""The tape: all text that was ever added to the trace of a run, with its times, and the cuts.

The tape knows which part of its text is in the trace now.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TypeVar

import msgspec

from interwhen._core.transcript import Transcript
from interwhen._types.models import Origin
from interwhen._types.segments import Phase, Span
from interwhen.journal._timeline import RunNotes, TextCut

S = TypeVar("S", Span, Span | None)


class Tape:
    """Notes in *notes* what is added to *transcript* and cut from it. Each entry is a text of one phase and one origin.

    Its methods take offsets of the trace in characters. It notes them in UTF-16 units, in which browsers count; with
    *in_characters*, as they are. If *redacted*, it notes no text.
    """

    def __init__(
        self, transcript: Transcript, notes: RunNotes, *, in_characters: bool = False, redacted: bool = False
    ) -> None:
        self._transcript = transcript
        self._notes = notes
        self._in_characters = in_characters
        self._redacted = redacted
        self._number = 0
        self._style: tuple[Phase, Origin] | None = None
        """The phase and the origin of the last entry."""
        self.model_tokens = 0
        """Also counts the tokens of texts that were cut."""
        self._standing: list[tuple[int, int]] = []
        """For each entry that is in the trace: its offset, and its tokens."""
        self._wide: list[int] = []
        """The offsets of the characters of the trace that have two UTF-16 units."""
        self.was_wide = False
        """Whether offsets in UTF-16 units and in characters have ever differed."""
        self._owed = 0

    def owe(self, tokens: int) -> None:
        self._owed += tokens

    def grow(self, number: int, at: float, start: int, tokens: int) -> None:
        """Note the text that was added to the trace at offset *start*, at the time *at*, with *tokens* tokens.

        *number* is its place in the order of the run.
        """
        transcript = self._transcript
        if tokens:
            tokens, self._owed = tokens + self._owed, 0
        self.model_tokens += tokens
        begun, phase = transcript.phases[-1]
        if tokens and begun <= start and self._style == (phase, "model"):
            # Most chunks: more of the same text of the model.
            self._add(number, at, start, transcript.slice(start, transcript.length), tokens)
            return
        runs = list(transcript.runs(start, transcript.length))
        for place, run in enumerate(runs):
            if self._style != (run.phase, run.origin):
                self._style = run.phase, run.origin
                self._notes.styles.append((len(self._notes.times), *self._style))
            # One chunk may have several runs, for example a tag and text. Its tokens count once.
            is_counted = place == len(runs) - 1 and run.origin == "model"
            self._add(number, at, run.start, run.text, tokens if is_counted else 0)

    def cut(self, number: int, at: float, to: int, removed: int) -> int:
        """Note that the trace was cut to offset *to*, and lost *removed* characters; return how many tokens it lost.

        *number* is the place of the cut in the order of the run. A text that is cut in its middle keeps all its tokens.
        """
        tokens = 0
        while self._standing and self._standing[-1][0] >= to:
            tokens += self._standing.pop()[1]
        while self._wide and self._wide[-1] >= to:
            self._wide.pop()
        self._notes.cuts.append(TextCut(at, self.units(to), removed, None, number=number))
        return tokens

    def credit(self, cut: int, remedy: int) -> TextCut:
        cuts = self._notes.cuts
        cuts[cut] = msgspec.structs.replace(cuts[cut], remedy=remedy)
        return cuts[cut]

    def units(self, offset: int) -> int:
        return offset + bisect_left(self._wide, offset) if self._wide and not self._in_characters else offset

    def span(self, span: S) -> S:
        return Span(self.units(span.start), self.units(span.end)) if span is not None and self._wide else span

    def _add(self, number: int, at: float, start: int, text: str, tokens: int) -> None:
        notes, index = self._notes, len(self._notes.times)
        if number != self._number + 1:
            notes.numbers.append((index, number))
        if tokens != 1:
            notes.weights.append((index, tokens))
        self._number = number
        self._standing.append((start, tokens))
        wide = [] if text.isascii() else [start + place for place, char in enumerate(text) if char > "\uffff"]
        if wide:
            self.was_wide = True
            self._wide.extend(wide)
        notes.times.append(at)
        notes.chars.append(len(text) if self._in_characters else len(text) + len(wide))
        if not self._redacted:
            notes.text.append(text)
