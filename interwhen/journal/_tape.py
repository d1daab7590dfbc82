"""The tape: all text that was ever added to the trace of a run, with its times, and the cuts.

Text that was cut stays on the tape. The tape knows which part of it is in the trace now.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from interwhen._core.transcript import Transcript
from interwhen._types.models import Origin
from interwhen._types.segments import Phase, Span
from interwhen.journal._timeline import TextWritten


class TapeCut(NamedTuple):
    """One cut of the trace. *entry* is the number of entries that the tape had at the cut."""

    entry: int
    to: int
    """The offset of the trace to which it was cut."""
    at: float
    remedy: int
    """The number of the remedy that made the cut; -1: none did."""
    removed: int
    """The number of characters that were cut."""
    wide: int
    """``to`` in UTF-16 units."""
    number: int
    """Its place in the order of the run."""


class Tape:
    """Records what is added to *transcript* and cut from it. Each entry is a text of one phase and one origin.

    Offsets of the trace are in characters. :meth:`u16` converts them to UTF-16 units, in which browsers count.
    """

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self.texts: list[str] = []
        self.times: list[float] = []
        self.numbers: list[tuple[int, int]] = []
        """The entries whose number in the order of the run is not that of the entry before plus one, with their
        numbers."""
        self._next = -1
        self.starts: list[int] = []
        """The offset in the trace at which each text was added."""
        self.tokens: list[int] = []
        self.styles: list[tuple[int, Phase, Origin]] = []
        """The entries at which phase or origin change, with the new ones."""
        self.cuts: list[TapeCut] = []
        self.model_tokens = 0
        """The tokens of the texts of the model so far, also of those that were cut."""
        self._standing: list[tuple[int, int]] = []
        """For each entry that is in the trace: its index, and how many of its characters are in the trace."""
        self._wide: list[int] = []
        """The offsets of the characters of the trace that have two UTF-16 units."""
        self._owed = 0

    @property
    def is_wide(self) -> bool:
        """Whether the trace has characters with two UTF-16 units, so that offsets must be converted."""
        return bool(self._wide)

    def owe(self, tokens: int) -> None:
        """Count *tokens* of a chunk whose text the core has held back, with the next text of the model."""
        self._owed += tokens

    def grow(self, number: int, at: float, start: int, tokens: int) -> None:
        """Record the text that was added to the trace at offset *start*, at the time *at*, with *tokens* tokens.

        *number* is its place in the order of the run.
        """
        transcript = self._transcript
        if tokens:
            tokens, self._owed = tokens + self._owed, 0
        self.model_tokens += tokens
        begun, phase = transcript.phases[-1]
        if tokens and begun <= start and self.styles and self.styles[-1][1:] == (phase, "model"):
            # Most chunks: more of the same text of the model.
            self._add(number, at, start, transcript.slice(start, transcript.length), tokens)
            return
        runs = list(transcript.runs(start, transcript.length))
        for place, run in enumerate(runs):
            if not self.styles or self.styles[-1][1:] != (run.phase, run.origin):
                self.styles.append((len(self.texts), run.phase, run.origin))
            # One chunk may have several runs, for example a tag and text. Its tokens count once.
            is_counted = place == len(runs) - 1 and run.origin == "model"
            self._add(number, at, run.start, run.text, tokens if is_counted else 0)

    def cut(self, number: int, at: float, to: int, removed: int) -> int:
        """Record that the trace was cut to offset *to* at the time *at*, which removed *removed* characters.

        *number* is its place in the order of the run. Return how many tokens this removed. A text that is cut in its
        middle keeps all its tokens.
        """
        tokens = 0
        while self._standing and self.starts[self._standing[-1][0]] >= to:
            tokens += self.tokens[self._standing.pop()[0]]
        if self._standing:
            entry, length = self._standing[-1]
            if self.starts[entry] + length > to:
                self._standing[-1] = entry, to - self.starts[entry]
        while self._wide and self._wide[-1] >= to:
            self._wide.pop()
        self.cuts.append(TapeCut(len(self.texts), to, at, -1, removed, self.u16(to), number))
        return tokens

    def credit(self, cut: int, remedy: int) -> TapeCut:
        """Record that the remedy with the number *remedy* made the cut with the number *cut*. Returns the cut."""
        self.cuts[cut] = self.cuts[cut]._replace(remedy=remedy)
        return self.cuts[cut]

    def u16(self, offset: int) -> int:
        """Convert *offset*, a character offset of the trace, to UTF-16 units."""
        return offset + bisect_left(self._wide, offset) if self._wide else offset

    def u16_span(self, span: Span | None) -> Span | None:
        """Convert *span*, a span of the trace, to UTF-16 units; ``None`` stays ``None``."""
        return None if span is None else Span(self.u16(span.start), self.u16(span.end)) if self._wide else span

    def written(self) -> Iterator[TextWritten]:
        """Yield the entries in their order, as events of a timeline."""
        styles = {entry: (phase, origin) for entry, phase, origin in self.styles}
        style: tuple[Phase, Origin] = ("answer", "model")
        numbers, number = dict(self.numbers), 0
        for entry, text in enumerate(self.texts):
            style = styles.get(entry, style)
            number = numbers.get(entry, number + 1)
            yield TextWritten(
                self.times[entry], self.starts[entry], text, len(text), *style, self.tokens[entry], number=number
            )

    def _add(self, number: int, at: float, start: int, text: str, tokens: int) -> None:
        if number != self._next:
            self.numbers.append((len(self.texts), number))
        self._next = number + 1
        self._standing.append((len(self.texts), len(text)))
        self.texts.append(text)
        self.times.append(at)
        self.starts.append(start)
        self.tokens.append(tokens)
        if not text.isascii():
            self._wide.extend(start + place for place, char in enumerate(text) if char > "\uffff")
