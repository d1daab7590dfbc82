"""A scanner for the fenced code blocks of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from interwhen._core.scanners import Scanner
from interwhen._core.transcript import Transcript
from interwhen.spans import Span

_OPENING = re.compile(r"[ \t]*(`{3,}(?=[^`]*$)|~{3,})")
_REACH = 200
"""The most characters of a line that are looked at: a fence with its language is shorter."""


class FenceScanner(Scanner):
    """Code blocks: from the line of a fence to the next line that is such a fence alone, both included.

    As in CommonMark, but for the indentation, which may be any: models indent blocks in lists as they like.
    """

    wakes = "\n"

    def __init__(self) -> None:
        super().__init__()
        self._line = 0
        self._open_at: int | None = None
        self._fence = ""
        self._hold = 0

    def feed(self, transcript: Transcript) -> Iterator[Span]:
        """Yield each block whose closing fence has come, with the end of its line."""
        base = self.pos
        text = transcript.slice(base, transcript.length)
        self.pos = transcript.length
        at = text.find("\n")
        while at >= 0:
            end = base + at
            span = self._take(transcript, end)
            self._line = end + 1
            if span is not None:
                self._begin(end + 1, end + 1)
                self._reset()
                yield span
            at = text.find("\n", at + 1)
        self._hold = self._held(transcript)

    def flush(self, transcript: Transcript) -> Iterator[Span]:
        """Yield a last block whose closing fence ends the text; one without is no block."""
        yield from self.feed(transcript)
        span = self._take(transcript, transcript.length)
        # After a cut right here, more text of the same line may follow.
        self._begin(transcript.length, transcript.length + 1)
        self.pos = transcript.length
        self._reset()
        if span is not None:
            yield span

    @property
    def hold(self) -> int:
        """Text before a block is nobody's segment: it need not wait for one."""
        return self._hold

    def _take(self, transcript: Transcript, end: int) -> Span | None:
        """Take the line up to *end* in; return the block that it closes."""
        if end - self._line > _REACH:
            return None
        line = transcript.slice(self._line, end)
        if self._open_at is None:
            opening = _OPENING.match(line)
            if opening is not None:
                self._open_at, self._fence = self._line + opening.start(1), opening[1]
            return None
        fence = line.strip()
        if len(fence) < len(self._fence) or fence.strip(self._fence[0]):
            return None
        return Span(self._open_at, self._line + len(line.rstrip()))

    def _held(self, transcript: Transcript) -> int:
        if self._open_at is not None:
            return self._open_at
        begun = transcript.slice(self._line, min(transcript.length, self._line + _REACH)).lstrip(" \t")
        return self._line if not begun or begun[0] in "`~" else transcript.length

    def _reset(self) -> None:
        super()._reset()
        self._line = self._hold = self.start
        self._open_at = None
