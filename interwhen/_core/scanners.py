"""Incremental scanners: they find the segments of one trigger, whatever the chunks were.

A scanner reads the transcript from where it stopped, so it may be called after every chunk or only after
those that can matter (``wakes``): the segments are the same. It keeps a stack of *borders*. A border is where
a segment starts and the offset up to which the trace must stand for that to be known; a rewind drops the
borders that lost their ground and reads the rest of the last segment again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from interwhen._core.transcript import Transcript
from interwhen.spans import Span


class Scanner:
    """What all scanners share: borders, rewinding, skipping. Subclasses say where segments end."""

    __slots__ = (
        "_borders", "due", "hot", "pos", "start",
    )  # fmt: skip

    wakes: str = ""
    """Characters that can end a segment: text without any of them need not be scanned now."""

    def __init__(self) -> None:
        self.start = 0
        """Where the current, incomplete segment starts."""
        self.pos = 0
        """Up to where the transcript has been read."""
        self.hot = False
        """Whether the next character decides, whatever it is."""
        self.due: int | None = None
        """The trace length at which the scanner must be called, for scanners that count."""
        self._borders: list[tuple[int, int]] = []

    @property
    def hold(self) -> int:
        """From where on the text may still become part of a segment that is not complete."""
        return self.start

    looks_early: bool = False
    """Whether a segment that is not complete says something already, where the stream stalls in it."""

    def begun(self, transcript: Transcript) -> Span | None:
        """Return what there is of the current segment, which is not complete."""
        return self._trimmed(transcript, self.start, transcript.length) if self.looks_early else None

    @property
    def bridges(self) -> bool:
        """Whether the current segment goes on behind feedback that is written into it."""
        return False

    def feed(self, transcript: Transcript) -> Iterator[Span]:
        """Read the new text; yield the segments that are complete now."""
        raise NotImplementedError

    def flush(self, transcript: Transcript) -> Iterator[Span]:
        """Take what is there as complete (end of the phase or of the stream)."""
        yield from self.feed(transcript)
        rest = self._trimmed(transcript, self.start, transcript.length)
        # What made it complete lies behind it: a cut right here lets more text of the same segment follow.
        self._begin(transcript.length, transcript.length + 1)
        self._reset()
        if rest is not None:
            yield rest

    def skip(self, to: int) -> None:
        """Begin anew at *to*: what lies before is not this scanner's text."""
        self._begin(to, to)
        self.pos = to
        self._reset()

    def rewind(self, transcript: Transcript) -> None:
        """Go back to the state of a scanner that has read just the (shortened) *transcript*."""
        to = transcript.length
        while self._borders and self._borders[-1][1] > to:
            self._borders.pop()
        self.start = self.pos = self._borders[-1][0] if self._borders else 0
        self._reset()
        for _ in self.feed(transcript):
            pass  # such a segment has been given, and its border went because what told us so was cut

    def _begin(self, start: int, known_at: int) -> None:
        self.start = start
        if self.pos < start:
            self.pos = start
        self._borders.append((start, known_at))

    def _reset(self) -> None:
        """Forget what was half seen."""
        self.hot = False

    def _trimmed(self, transcript: Transcript, start: int, end: int) -> Span | None:
        text = transcript.slice(start, end)
        stripped = text.lstrip()
        if not stripped:
            return None
        low = start + len(text) - len(stripped)
        return Span(low, low + len(stripped.rstrip()))


class LineScanner(Scanner):
    """Lines that are not blank, in groups of ``every``."""

    __slots__ = (
        "_line", "_lines", "every",
    )  # fmt: skip

    wakes = "\n"
    looks_early = True

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = max(every, 1)
        self._lines = 0
        self._line = 0

    def feed(self, transcript: Transcript) -> Iterator[Span]:
        """Yield each complete group of lines."""
        base = self.pos
        text = transcript.slice(base, transcript.length)
        self.pos = transcript.length
        at = text.find("\n")
        while at >= 0:
            end = base + at
            span = self._trimmed(transcript, self._line, end)
            self._lines += span is not None
            self._line = end + 1
            if self._lines == self.every:
                if self.every > 1:
                    span = self._trimmed(transcript, self.start, end)
                self._lines = 0
                self._begin(end + 1, end + 1)
                if span is not None:
                    yield span
            at = text.find("\n", at + 1)

    def _reset(self) -> None:
        super()._reset()
        self._lines = 0
        self._line = self.start


class ParagraphScanner(Scanner):
    """Runs of lines between blank lines."""

    wakes = "\n"
    looks_early = True

    def __init__(self) -> None:
        super().__init__()
        self._line = 0

    def feed(self, transcript: Transcript) -> Iterator[Span]:
        """Yield each paragraph whose blank line has come."""
        base = self.pos
        text = transcript.slice(base, transcript.length)
        self.pos = transcript.length
        at = text.find("\n")
        while at >= 0:
            end = base + at
            line, self._line = self._line, end + 1
            if self._trimmed(transcript, line, end) is None:
                span = self._trimmed(transcript, self.start, line)
                self._begin(end + 1, end + 1)
                if span is not None:
                    yield span
            at = text.find("\n", at + 1)

    def _reset(self) -> None:
        super()._reset()
        self._line = self.start


class WholeScanner(Scanner):
    """Everything between two borders of a phase: the whole reasoning, or the whole answer, with our feedback in it."""

    @property
    def bridges(self) -> bool:
        """Only the border of the phase ends it."""
        return True

    def feed(self, transcript: Transcript) -> Iterator[Span]:
        """Yield nothing: only the border completes it."""
        self.pos = transcript.length
        return iter(())


class CountScanner(Scanner):
    """Stretches of a fixed number of characters."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = max(count, 1)
        self.due = self.count

    def feed(self, transcript: Transcript) -> Iterator[Span]:
        """Yield each full stretch."""
        self.pos = transcript.length
        while transcript.length - self.start >= self.count:
            start, end = self.start, self.start + self.count
            self._begin(end, end)
            yield Span(start, end)
        self._reset()

    def flush(self, transcript: Transcript) -> Iterator[Span]:
        """Yield the rest with the white space around it: a stretch is not trimmed, and stretches have no gaps."""
        yield from self.feed(transcript)
        start, end = self.start, transcript.length
        blank = self._trimmed(transcript, start, end) is None
        self._begin(end, end + 1)
        self._reset()
        if not blank:
            yield Span(start, end)

    def _reset(self) -> None:
        super()._reset()
        self.due = self.start + self.count


class PollScanner(CountScanner):
    """Stretches whose length is chosen where they begin: *length* gets that place, and the remedies before it."""

    def __init__(self, length: Callable[[int, int], int]) -> None:
        self.remedies = 0
        """How many there were in the run; a stretch that has begun keeps its length."""
        self._length = length
        self._lengths: dict[int, int] = {}
        super().__init__(self._choose(0))

    def rewind(self, transcript: Transcript) -> None:
        """Go back, and forget the lengths of what was cut."""
        self._lengths = {start: length for start, length in self._lengths.items() if start <= transcript.length}
        super().rewind(transcript)

    def _begin(self, start: int, known_at: int) -> None:
        super()._begin(start, known_at)
        self.count = self._choose(start)

    def _reset(self) -> None:
        self.count = self._choose(self.start)
        super()._reset()

    def _choose(self, start: int) -> int:
        if start not in self._lengths:
            self._lengths[start] = max(self._length(start, self.remedies), 1)
        return self._lengths[start]
