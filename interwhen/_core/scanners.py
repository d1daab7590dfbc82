"""Scanners, which find the segments of a trigger, however the text is split into chunks.

To be able to go back, a scanner keeps a stack of *borders*. A border is a pair: the start of a segment, and the trace
length at which the scanner knew this start. A rewind removes the borders that were known only at a greater length than
the trace has now, and reads the last segment again.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator

from interwhen._core.transcript import Transcript
from interwhen._types.segments import Span, WrittenCalls


class Scanner:
    """The base class of the scanners."""

    __slots__ = (
        "_borders",
        "due",
        "hot",
        "pos",
        "start",
    )

    wakes: str = ""
    """The characters that can end a segment. Text without any of them need not be scanned yet, unless ``hot`` or
    ``due`` demands it."""

    def __init__(self) -> None:
        self.start = 0
        """The start of the current segment, which is incomplete."""
        self.pos = 0
        """The offset up to which the transcript has been read."""
        self.hot = False
        """Whether the scanner must see the next character, even if it is not in ``wakes``."""
        self.due: int | None = None
        """The trace length at which the scanner must be called; ``None`` for scanners that do not count characters."""
        self._borders: list[tuple[int, int]] = []

    @property
    def hold(self) -> int:
        # The offset at which the incomplete segment begins, or may begin. A gate holds the text after it back.
        return self.start

    reads_on: bool = True
    """Whether a segment that is ended early would include the text directly after it."""

    reads_calls: bool = False

    written: WrittenCalls | None = None
    """The calls in the last segment that was yielded; ``None``: the scanner does not read the calls."""

    looks_early: bool = False
    """Whether an incomplete segment can be checked while the stream is silent."""

    def begun(self, transcript: Transcript) -> Span | None:
        # Return the span of the incomplete segment so far; `None`: it is blank, or is never checked early.
        return self._trimmed(transcript, self.start, transcript.length) if self.looks_early else None

    @property
    def bridges(self) -> bool:
        # Whether feedback does not end the segment: text after the feedback continues it.
        return False

    def feed(self, transcript: Transcript) -> Iterator[Span]:
        raise NotImplementedError

    def finish(self, transcript: Transcript) -> Iterator[Span]:
        yield from self.feed(transcript)

    def flush(self, transcript: Transcript) -> Iterator[Span]:
        # The text ends, or something follows that belongs to no segment of this scanner, such as feedback, a call or
        # the answer.
        yield from self.finish(transcript)
        rest = self._trimmed(transcript, self.start, transcript.length)
        # The border needs one more character than there is: after a cut right here, the same segment may continue.
        self._begin(transcript.length, transcript.length + 1)
        self._reset()
        if rest is not None:
            yield rest

    def skip(self, to: int) -> None:
        # The text up to `to` is of a phase that this scanner does not see.
        self._begin(to, to)
        self.pos = to
        self._reset()

    def rewind(self, transcript: Transcript) -> None:
        to = transcript.length
        while self._borders and self._borders[-1][1] > to:
            self._borders.pop()
        self.start = self.pos = self._borders[-1][0] if self._borders else 0
        self._reset()
        for _ in self.feed(transcript):
            pass  # these segments were yielded before the cut

    def _begin(self, start: int, known_at: int) -> None:
        self.start = start
        if self.pos < start:
            self.pos = start
        self._borders.append((start, known_at))

    def _reset(self) -> None:
        # Forget what was read of the current segment. Subclasses reset their own state here.
        self.hot = False

    def _trimmed(self, transcript: Transcript, start: int, end: int) -> Span | None:
        text = transcript.slice(start, end)
        stripped = text.lstrip()
        if not stripped:
            return None
        low = start + len(text) - len(stripped)
        return Span(low, low + len(stripped.rstrip()))


class LineScanner(Scanner):
    """Finds lines that are not blank. Each group of ``every`` such lines is one segment."""

    # A group may end early, for example at feedback or a tool call.

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


@functools.lru_cache(maxsize=64)
def _joining(joins: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    signs = frozenset(each for each in joins if not each.isalnum() and len(each) == 1)
    return frozenset(joins), signs, frozenset(word[:length] for word in joins for length in range(1, len(word) + 1))


class JoinedLineScanner(Scanner):
    """Finds lines that are not blank. A line that begins with a word of *joins* continues the line before it."""

    # Both lines are then one segment, but a third line is not joined to them.

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
        self._words, self._signs, self._beginnings = _joining(joins)
        self._line = 0
        self._held: Span | None = None
        """A line that has ended and is not yielded yet, because the next line may belong to it."""
        self._is_joined = False
        """Whether the next line belongs to the held line."""

    def feed(self, transcript: Transcript) -> Iterator[Span]:
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
            lead = _LEAD.match(text, at)
            assert lead is not None
            begins, known = self._begins(lead, len(text))
            if begins is None:
                # White space that was skipped is not read again, and the rest is short.
                self.pos, self.hot = base + lead.start("signs"), True
                return
            at = lead.start("signs")
            self._is_joined = begins
            if not begins:
                yield self._release(base + known)

    def finish(self, transcript: Transcript) -> Iterator[Span]:
        yield from self.feed(transcript)
        if self._held is not None and not self._is_joined:
            text = transcript.slice(self.pos, transcript.length)
            lead = _LEAD.match(text)
            assert lead is not None
            begins, _ = self._begins(lead, len(text) + 1)
            if not begins:
                yield self._release(transcript.length + 1)

    def _release(self, known_at: int) -> Span:
        """Return the held line, known to be complete at trace length *known_at*, and begin the next segment."""
        held = self._held
        assert held is not None
        self._held = None
        self._begin(self._line, known_at)
        return held

    def _begins(self, lead: re.Match[str], end: int) -> tuple[bool | None, int]:
        # Tell whether the line that begins with the match `lead` joins the line before it. Also return the offset in
        # the text up to which the decision read. `(None, 0)`: the text, which ends at `end`, is too short to decide.
        signs, word = lead.groups()
        if signs:
            for at, sign in enumerate(signs, lead.start("signs") + 1):
                if sign in self._signs:
                    return True, at
        if word:
            word = word.lower().replace("\u2019", "'")
            for length in range(1, len(word) + 1):
                if word[:length] not in self._beginnings:
                    return False, lead.start("word") + length
        if lead.end() < end:
            return word in self._words, lead.end() + 1
        return None, 0

    def _reset(self) -> None:
        super()._reset()
        self._line = self.start
        self._held = None
        self._is_joined = False


_LEAD = re.compile(r"\s*+(?P<signs>[^\w\n]{0,8}+)(?P<word>(?:[^\W_]|['\u2019])*+)")
"""Matches the beginning of a line: list signs, arrows or quotes, and then a word."""


class ParagraphScanner(Scanner):
    """Finds paragraphs: the lines from one blank line to the next, or to the beginning or end of the text."""

    wakes = "\n"
    looks_early = True

    def __init__(self) -> None:
        super().__init__()
        self._line = 0

    def feed(self, transcript: Transcript) -> Iterator[Span]:
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
    """Makes all text of a phase one segment, including feedback in it."""

    # A structured tool call divides the answer: the text before it and the text after it are separate segments.

    @property
    def bridges(self) -> bool:
        return True

    def feed(self, transcript: Transcript) -> Iterator[Span]:
        # Yield nothing, because text alone never completes the segment.
        self.pos = transcript.length
        return iter(())


class CountScanner(Scanner):
    """Divides the text into parts of a fixed number of characters, without gaps."""

    # A part may end early, for example at feedback or a tool call.

    reads_on = False

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = max(count, 1)
        self.due = self.count

    def feed(self, transcript: Transcript) -> Iterator[Span]:
        self.pos = transcript.length
        while transcript.length - self.start >= self.count:
            start, end = self.start, self.start + self.count
            self._begin(end, end)
            yield Span(start, end)
        self._reset()

    def flush(self, transcript: Transcript) -> Iterator[Span]:
        # Not trimmed, because there are no gaps between the parts.
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
    """Divides the text into parts. The function *length* chooses the length of each part when the part begins.

    *length* gets the start of the part and the number of remedies so far. A result below 1 counts as 1.
    """

    def __init__(self, length: Callable[[int, int], int]) -> None:
        self._remedies = 0
        """The number of remedies so far. It does not change the length of a part that has begun."""
        self._length = length
        self._lengths: dict[int, int] = {}
        super().__init__(self._choose(0))

    def rewind(self, transcript: Transcript) -> None:
        lengths = self._lengths  # in the order of their starts
        while lengths and next(reversed(lengths)) > transcript.length:
            lengths.popitem()
        super().rewind(transcript)

    def remedied(self) -> None:
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
    """Finds sentences. A sentence ends at ``.``, ``!`` or ``?`` before white space, or at the end of its line."""

    # Closing quotes and brackets may follow the sign. The full stop of a known abbreviation or a list number ends no
    # sentence.

    wakes = "\n.!?"
    looks_early = True

    def feed(self, transcript: Transcript) -> Iterator[Span]:
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
        window = transcript.slice(max(self.start, at - 2 * _WORD_LIMIT), at)
        before = window[-_WORD_LIMIT:]
        word = before.split()[-1] if before and not before[-1].isspace() else ""
        alone = at - self.start <= 2 * _WORD_LIMIT and window.strip() == word
        is_initial = len(word) == 1 and word.isalpha() and word.isupper()
        return word.lower().strip("([") in _ABBREVIATIONS or is_initial or (alone and word.isdigit())


class MarkerScanner(Scanner):
    """Divides the text before each reflection marker, such as "Wait". Each segment begins with its marker."""

    # The text before the first marker is a segment, too, and so is the text from the last marker to the end.

    def __init__(self, words: tuple[str, ...]) -> None:
        super().__init__()
        ordered = sorted(words, key=len, reverse=True)
        self._pattern = re.compile(rf"(?<![^\W_])(?:{'|'.join(map(re.escape, ordered))})(?![^\W_])")
        self._reach = max(map(len, words), default=0)
        self.hot = True  # any character that is not a letter or digit may complete a marker

    def feed(self, transcript: Transcript) -> Iterator[Span]:
        # Yield the text before each marker that is certain, because more text cannot turn it into a longer marker.
        return self._until(transcript, transcript.length - self._reach)

    def flush(self, transcript: Transcript) -> Iterator[Span]:
        # A marker at the very end of the text counts, too.
        yield from self._until(transcript, transcript.length)
        yield from super().flush(transcript)

    def _until(self, transcript: Transcript, decided: int) -> Iterator[Span]:
        if decided <= self.pos:
            return
        base = max(self.pos - 1, 0)  # a marker depends on the character before it
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


_OPENING = re.compile(r"[ \t]*(`{3,}(?=[^`]*$)|~{3,})")
_REACH = 200
"""The longest line, in characters, that can be a fence. A fence with its language name is shorter."""


class FenceScanner(Scanner):
    """Finds fenced code blocks: from an opening fence to the next line that holds only a closing fence."""

    # The rules are mostly those of CommonMark, but any indentation is allowed, and a block without a closing fence is
    # not found.

    wakes = "\n"
    reads_on = False

    def __init__(self) -> None:
        super().__init__()
        self._line = 0
        self._open_at: int | None = None
        self._fence = ""
        self._hold = 0

    def feed(self, transcript: Transcript) -> Iterator[Span]:
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
        # The last closing fence needs no line end. An open block is dropped.
        yield from self.feed(transcript)
        span = self._take(transcript, transcript.length)
        # The border needs one more character than there is: after a cut right here, the same line may continue.
        self._begin(transcript.length, transcript.length + 1)
        self.pos = transcript.length
        self._reset()
        if span is not None:
            yield span

    @property
    def hold(self) -> int:
        # Exact only if `feed` ran after each chunk, as it does for gates (`Intake.scan_always`).
        return self._hold

    def _take(self, transcript: Transcript, end: int) -> Span | None:
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
        self._line = self._hold = self.start
        self._open_at = None
