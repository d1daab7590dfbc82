"""Scanners that look for words and tags: sentences, reflection markers, tool calls."""

from __future__ import annotations

import re
from collections.abc import Iterator

from interwhen._core.scanners import Scanner
from interwhen._core.transcript import Transcript
from interwhen.spans import Span

_STOP = re.compile(r"\n|[.!?]")
_CLOSERS = "\"')]}\u201d\u2019*_"
_MAX_CLOSERS = 3
_ABBREVIATIONS = frozenset(
    ("e.g", "i.e", "etc", "vs", "cf", "approx", "mr", "mrs", "ms", "dr", "prof", "st", "fig", "eq", "no", "resp")
)
_WORD_LIMIT = 8


class SentenceScanner(Scanner):
    """Sentences: up to a full stop and the like before white space, or to the end of the line."""

    wakes = "\n.!?"
    looks_early = True

    def feed(self, transcript: Transcript) -> Iterator[Span]:
        """Yield each sentence whose following white space has come."""
        base = self.pos
        text = transcript.slice(base, transcript.length)
        self.hot = False
        for match in _STOP.finditer(text):
            at = match.start()
            if text[at] == "\n":
                span = self._trimmed(transcript, self.start, base + at)
                self._begin(base + at + 1, base + at + 1)
                if span is not None:
                    yield span
                continue
            end = at + 1
            while end < len(text) and end - at <= _MAX_CLOSERS and text[end] in _CLOSERS:
                end += 1
            if end == len(text):
                self.pos = base + at
                self.hot = True
                return
            if text[end].isspace() and not (text[at] == "." and self._is_abbreviation(transcript, base + at)):
                span = self._trimmed(transcript, self.start, base + end)
                self._begin(base + end, base + end + 1)
                if span is not None:
                    yield span
        self.pos = transcript.length

    def _is_abbreviation(self, transcript: Transcript, at: int) -> bool:
        """Tell whether the full stop at *at* belongs to "e.g.", an initial, or a list number such as "1."."""
        window = transcript.slice(max(self.start, at - 2 * _WORD_LIMIT), at)
        before = window[-_WORD_LIMIT:]
        word = before.split()[-1] if before and not before[-1].isspace() else ""
        alone = at - self.start <= 2 * _WORD_LIMIT and window.strip() == word
        is_initial = len(word) == 1 and word.isalpha() and word.isupper()
        return word.lower().strip("([") in _ABBREVIATIONS or is_initial or (alone and word.isdigit())


class MarkerScanner(Scanner):
    """The text between reflection markers such as "Wait"."""

    def __init__(self, words: tuple[str, ...]) -> None:
        super().__init__()
        ordered = sorted(words, key=len, reverse=True)
        self._pattern = re.compile(rf"(?<![^\W_])(?:{'|'.join(map(re.escape, ordered))})(?![^\W_])")
        self._reach = max(map(len, words), default=0)
        self.hot = True  # a marker may be completed by any character that is no letter

    def feed(self, transcript: Transcript) -> Iterator[Span]:
        """Yield the text before each marker, once no longer marker can start at or before it."""
        return self._until(transcript, transcript.length - self._reach)

    def flush(self, transcript: Transcript) -> Iterator[Span]:
        """Take the end of the text as the end of a word."""
        yield from self._until(transcript, transcript.length)
        yield from super().flush(transcript)

    def _until(self, transcript: Transcript, decided: int) -> Iterator[Span]:
        """Look at each place before *decided*: all that matters behind these is in the transcript."""
        if decided <= self.pos:
            return
        base = max(self.pos - 1, 0)  # the character before a marker belongs to the decision
        text = transcript.slice(base, transcript.length)
        at = self._pattern.search(text, self.pos - base)
        while at is not None and base + at.start() < decided:
            border = base + at.start()
            if border > self.start:
                span = self._trimmed(transcript, self.start, border)
                self._begin(border, border + self._reach + 1)
                if span is not None:
                    yield span
            at = self._pattern.search(text, at.start() + 1)
        self.pos = decided

    def _reset(self) -> None:
        self.hot = True


class TagScanner(Scanner):
    """Tool calls: from an opening tag to its closing tag, both included."""

    def __init__(self, opening: str, closing: str) -> None:
        super().__init__()
        self.opening = opening
        self.closing = closing
        self.wakes = opening[-1] + closing[-1]
        self._open_at: int | None = None
        self._half = 0
        """Where the text that has been read ends in what may become an opening tag."""

    def feed(self, transcript: Transcript) -> Iterator[Span]:
        """Yield each call whose closing tag has come."""
        tag, base = self._sought()
        text, first = transcript.slice(base, transcript.length), base
        while (found := text.find(tag, base - first)) >= 0:
            at = first + found
            self.pos = at + len(tag)
            if self._open_at is None:
                self._open_at = at
            else:
                span = Span(self._open_at, self.pos)
                self._begin(span.end, span.end)
                self._reset()
                yield span
            tag, base = self._sought()
        self.pos = transcript.length
        tail = transcript.slice(max(self.start, self.pos - len(self.opening) + 1), self.pos)
        while not self.opening.startswith(tail):
            tail = tail[1:]
        self._half = self.pos - len(tail)

    def _sought(self) -> tuple[str, int]:
        """Return the tag that must come next, and from where on it may."""
        if self._open_at is None:
            return self.opening, max(self.pos - len(self.opening) + 1, self.start)
        return self.closing, max(self.pos - len(self.closing) + 1, self._open_at + len(self.opening))

    @property
    def hold(self) -> int:
        """Text before a call is nobody's segment: it need not wait for one."""
        return self._open_at if self._open_at is not None else max(self.start, self._half)

    @property
    def bridges(self) -> bool:
        """A call that has begun is not over because we said something inside it."""
        return self._open_at is not None

    def flush(self, transcript: Transcript) -> Iterator[Span]:
        """Yield only whole calls: a call without its closing tag is no call."""
        yield from self.feed(transcript)
        # As for other segments: a cut right here lets the call go on.
        self._begin(transcript.length, transcript.length + 1)
        self._reset()

    def _reset(self) -> None:
        super()._reset()
        self._open_at = None
        self._half = 0
