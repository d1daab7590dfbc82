"""Incremental scanners: each finds the segments of one trigger. The segments do not depend on the chunks.

A scanner continues to read the transcript where it stopped. It may be called after every chunk, or only after chunks
that hold one of its characters ``wakes``: the segments are the same. It keeps a stack of *borders*. A border is the
start of a segment, and the length that the trace must have for this start to be known. A rewind drops the borders that
need more text than is left, and reads the rest of the last segment again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from interwhen._core.transcript import Transcript
from interwhen._types.spans import Span


class Scanner:
    """The base of all scanners: borders, rewinding, skipping. Subclasses find where segments end."""

    __slots__ = (
        "_borders",
        "due",
        "hot",
        "pos",
        "start",
    )

    wakes: str = ""
    """Characters that can end a segment: text without them need not be scanned yet."""

    def __init__(self) -> None:
        self.start = 0
        """The start of the current segment, which is incomplete."""
        self.pos = 0
        """Up to where the transcript has been read."""
        self.hot = False
        """Whether the scanner must see the next character, whatever it is."""
        self.due: int | None = None
        """The trace length at which the scanner must be called, for scanners that count."""
        self._borders: list[tuple[int, int]] = []

    @property
    def hold(self) -> int:
        """The start of the text that may become part of an incomplete segment."""
        return self.start

    reads_on: bool = True
    """Whether text directly after a segment would be part of it if nothing else ended the segment."""

    looks_early: bool = False
    """Whether an incomplete segment can be read when the stream stalls in it."""

    def begun(self, transcript: Transcript) -> Span | None:
        """Return the incomplete segment as far as it has come; ``None``: nothing to read."""
        return self._trimmed(transcript, self.start, transcript.length) if self.looks_early else None

    @property
    def bridges(self) -> bool:
        """Whether the current segment continues after feedback that is written into it."""
        return False

    def feed(self, transcript: Transcript) -> Iterator[Span]:
        """Read the new text; yield the segments that are complete now."""
        raise NotImplementedError

    def flush(self, transcript: Transcript) -> Iterator[Span]:
        """Complete the current segment: the phase or the stream has ended. Yield what is complete."""
        yield from self.feed(transcript)
        rest = self._trimmed(transcript, self.start, transcript.length)
        # The text after it made it complete: after a cut right here, more text of the same segment may follow.
        self._begin(transcript.length, transcript.length + 1)
        self._reset()
        if rest is not None:
            yield rest

    def skip(self, to: int) -> None:
        """Start at *to*: the text before belongs to no segment of this scanner."""
        self._begin(to, to)
        self.pos = to
        self._reset()

    def rewind(self, transcript: Transcript) -> None:
        """Go back to the state of a scanner that has read only the shortened *transcript*."""
        to = transcript.length
        while self._borders and self._borders[-1][1] > to:
            self._borders.pop()
        self.start = self.pos = self._borders[-1][0] if self._borders else 0
        self._reset()
        for _ in self.feed(transcript):
            pass  # it was yielded before; its border was dropped because the text that completed it was cut

    def _begin(self, start: int, known_at: int) -> None:
        self.start = start
        if self.pos < start:
            self.pos = start
        self._borders.append((start, known_at))

    def _reset(self) -> None:
        """Forget what was partly read."""
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
        "_line",
        "_lines",
        "every",
    )

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


class JoinedLineScanner(Scanner):
    """Lines that are not blank, each with the next line if that begins with one of some words or signs."""

    __slots__ = (
        "_beginnings",
        "_held",
        "_is_joined",
        "_line",
        "_signs",
        "_words",
    )

    wakes = "\n"
    looks_early = True

    def __init__(self, joins: tuple[str, ...]) -> None:
        super().__init__()
        self._words = frozenset(joins)
        self._signs = frozenset(each for each in joins if not each.isalnum() and len(each) == 1)
        self._beginnings = frozenset(word[:length] for word in joins for length in range(1, len(word) + 1))
        self._line = 0
        """The start of the line that is being read."""
        self._held: Span | None = None
        """A line that has ended and was not yielded yet."""
        self._is_joined = False
        """Whether the next line belongs to the held one."""

    def feed(self, transcript: Transcript) -> Iterator[Span]:
        """Yield each line when it is known how the next one begins."""
        base = self.pos
        text = transcript.slice(base, transcript.length)
        at = 0
        self.hot = False
        while True:
            if self._held is None or self._is_joined:
                end = text.find("\n", at)
                if end < 0:
                    self.pos = transcript.length
                    return
                at = end + 1
                if self._is_joined:
                    span = self._trimmed(transcript, self.start, base + end)
                    self._begin(base + at, base + at)
                    self._reset()
                    assert span is not None
                    yield span
                else:
                    self._held = self._trimmed(transcript, self._line, base + end)
                    self._line = base + at
                continue
            found = _LEAD.match(text, at)
            assert found is not None
            begins, known = self._begins(found, len(text))
            if begins is None:
                # White space that was skipped is not read again, and the rest is short.
                self.pos, self.hot = base + found.start("signs"), True
                return
            at = found.start("signs")
            self._is_joined = begins
            if not begins:
                yield self._release(base + known)

    def flush(self, transcript: Transcript) -> Iterator[Span]:
        """Treat the end of the text as the end of a word."""
        yield from self.feed(transcript)
        if self._held is not None and not self._is_joined:
            text = transcript.slice(self.pos, transcript.length)
            found = _LEAD.match(text)
            assert found is not None
            begins, _ = self._begins(found, len(text) + 1)
            if not begins:
                yield self._release(transcript.length + 1)
        yield from super().flush(transcript)

    def _release(self, known_at: int) -> Span:
        """Return the held line, which is known to be complete once the trace has *known_at* characters."""
        held = self._held
        assert held is not None
        self._held = None
        self._begin(self._line, known_at)
        return held

    def _begins(self, found: re.Match[str], end: int) -> tuple[bool | None, int]:
        """Tell whether the line that begins with *found* joins the one before, and up to where the text tells it.

        ``None``: more characters are needed than those before *end*.
        """
        signs, word = found.groups()
        if signs:
            for at, sign in enumerate(signs, found.start("signs") + 1):
                if sign in self._signs:
                    return True, at
        if word:
            word = word.lower().replace("\u2019", "'")
            for length in range(1, len(word) + 1):
                if word[:length] not in self._beginnings:
                    return False, found.start("word") + length
        if found.end() < end:
            return word in self._words, found.end() + 1
        return None, 0

    def _reset(self) -> None:
        super()._reset()
        self._line = self.start
        self._held = None
        self._is_joined = False


_LEAD = re.compile(r"\s*+(?P<signs>[^\w\n]{0,8}+)(?P<word>(?:[^\W_]|['\u2019])*+)")
"""The beginning of a line: signs of a list, arrows and quotes, then a word."""


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
    """All text of a phase: the whole reasoning, or the whole answer, including feedback in it."""

    @property
    def bridges(self) -> bool:
        """True: only the border of the phase ends it."""
        return True

    def feed(self, transcript: Transcript) -> Iterator[Span]:
        """Yield nothing: only the border completes it."""
        self.pos = transcript.length
        return iter(())


class CountScanner(Scanner):
    """Stretches of a fixed number of characters."""

    reads_on = False

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
        """Yield the rest. It is not trimmed, so that stretches have no gaps."""
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
    """Stretches with a length chosen at their start: *length* gets the start and the number of remedies so far."""

    def __init__(self, length: Callable[[int, int], int]) -> None:
        self._remedies = 0
        """How many remedies there were; they do not change a stretch that has begun."""
        self._length = length
        self._lengths: dict[int, int] = {}
        super().__init__(self._choose(0))

    def rewind(self, transcript: Transcript) -> None:
        """Go back, and forget the lengths of stretches that were cut."""
        lengths = self._lengths  # in the order of their starts
        while lengths and next(reversed(lengths)) > transcript.length:
            lengths.popitem()
        super().rewind(transcript)

    def remedied(self) -> None:
        """Count a remedy."""
        self._remedies += 1

    def _begin(self, start: int, known_at: int) -> None:
        super()._begin(start, known_at)
        self.count = self._choose(start)

    def _reset(self) -> None:
        self.count = self._choose(self.start)
        super()._reset()

    def _choose(self, start: int) -> int:
        if start not in self._lengths:
            self._lengths[start] = max(self._length(start, self._remedies), 1)
        return self._lengths[start]


# Scanners that look for words and tags: sentences, reflection markers, tool calls.

_STOP = re.compile(r"\n|[.!?]")
_CLOSERS = "\"')]}\u201d\u2019*_"
_MAX_CLOSERS = 3
_ABBREVIATIONS = frozenset(
    ("e.g", "i.e", "etc", "vs", "cf", "approx", "mr", "mrs", "ms", "dr", "prof", "st", "fig", "eq", "no", "resp")
)
_WORD_LIMIT = 8


class SentenceScanner(Scanner):
    """Sentences: up to ``.``, ``!`` or ``?`` before white space, or to the end of the line."""

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
        """Yield the text before each marker, once no longer marker can start there or earlier."""
        return self._until(transcript, transcript.length - self._reach)

    def flush(self, transcript: Transcript) -> Iterator[Span]:
        """Take the end of the text as the end of a word."""
        yield from self._until(transcript, transcript.length)
        yield from super().flush(transcript)

    def _until(self, transcript: Transcript, decided: int) -> Iterator[Span]:
        """Find the markers that start before *decided*: all text that they need is in the transcript."""
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

    reads_on = False

    def __init__(self, opening: str, closing: str) -> None:
        super().__init__()
        self.opening = opening
        self.closing = closing
        self.wakes = opening[-1] + closing[-1]
        self._open_at: int | None = None
        self._half = 0
        """The place where a part of an opening tag ends the text, if there is one."""

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
        """Return the tag that must come next, and the first place where it may start."""
        if self._open_at is None:
            return self.opening, max(self.pos - len(self.opening) + 1, self.start)
        return self.closing, max(self.pos - len(self.closing) + 1, self._open_at + len(self.opening))

    @property
    def hold(self) -> int:
        """Text before a call belongs to no segment, so it need not wait for one."""
        return self._open_at if self._open_at is not None else max(self.start, self._half)

    @property
    def bridges(self) -> bool:
        """True inside a call: feedback in it does not end it."""
        return self._open_at is not None

    def flush(self, transcript: Transcript) -> Iterator[Span]:
        """Yield only whole calls: text without the closing tag is not a call."""
        yield from self.feed(transcript)
        # As for other segments: after a cut right here, the call may continue.
        self._begin(transcript.length, transcript.length + 1)
        self._reset()

    def _reset(self) -> None:
        super()._reset()
        self._open_at = None
        self._half = 0


# A scanner for the fenced code blocks of Markdown.

_OPENING = re.compile(r"[ \t]*(`{3,}(?=[^`]*$)|~{3,})")
_REACH = 200
"""How many characters of a line are read: a fence with its language is shorter."""


class FenceScanner(Scanner):
    """Code blocks: from the line of a fence to the next line that is such a fence alone, both included.

    As in CommonMark, but for the indentation, which may be any: models indent blocks in lists as they like.
    """

    wakes = "\n"
    reads_on = False

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
        """Yield a last block whose closing fence ends the text. Without a closing fence it is not a block."""
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
        """Text before a block belongs to no segment, so it need not wait for one."""
        return self._hold

    def _take(self, transcript: Transcript, end: int) -> Span | None:
        """Read the line up to *end*; return the block that it closes."""
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
