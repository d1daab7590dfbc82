"""Triggers. A trigger says which segments of the trace a monitor reads.

Wrong values raise :class:`~interwhen.UsageError`, at the latest when a run starts.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from interwhen._types.errors import UsageError
from interwhen._types.segments import CallFormat
from interwhen._types.vetting import vet

DEFAULT_MARKERS = ("Wait", "Hmm", "But wait", "Actually", "Alternatively", "Let me check", "Let me double-check")


class Lines(msgspec.Struct, frozen=True, tag=True):
    """Makes each line that is not blank a segment, without the white space around it.

    If ``every`` is above 1, each group of that many such lines is a segment. A group may end early, for example at
    feedback, a tool call or the end of the phase.
    """

    every: int = 1
    """The number of lines in a segment, at least 1."""
    joins: tuple[str, ...] = ()
    """Words in lower case, and single signs, only with ``every=1``. A line that begins with one of them forms one
    segment with the line before it; at most two lines are joined. So a line is complete only when the next line has
    begun, or the text ends."""


class Paragraphs(msgspec.Struct, frozen=True, tag=True):
    """Makes each paragraph a segment. Blank lines separate paragraphs."""


class Sentences(msgspec.Struct, frozen=True, tag=True):
    """Makes each sentence a segment. It ends at ``.``, ``!`` or ``?`` before white space, or at the end of its line.

    Closing quotes and brackets may follow the sign. The full stop of a common abbreviation, an initial or a list number
    ends no sentence.
    """


class Markers(msgspec.Struct, frozen=True, tag=True):
    """Divides the text into segments at reflection markers such as "Wait". Each marker begins a segment.

    The text before the first marker is a segment, too. A marker is a separate word (or words) with exactly these upper
    and lower case letters.
    """

    words: tuple[str, ...] = DEFAULT_MARKERS
    """The markers: at least one, and none empty."""


class ThinkEnd(msgspec.Struct, frozen=True, tag=True):
    """Makes the whole reasoning one segment, when it has ended."""


DEFAULT_TAGS = ("<tool_call>", "</tool_call>")


class ToolCalls(msgspec.Struct, frozen=True, tag=True):
    """Makes each tool call a segment: structured calls, and calls that the model writes as text.

    :attr:`Segment.calls` has the calls of a segment. By default, most formats with special tags are read. A format
    without tags (``json``, ``pythonic``, ``react``, ``code``) is read only in the answer, and only if ``formats`` names
    it or the request shows that such calls may come. See docs/tool-calls.md.
    """

    opening: str = DEFAULT_TAGS[0]
    """The tag before a call, for the format ``tagged``. With other tags, any text between them is a segment."""
    closing: str = DEFAULT_TAGS[1]
    """The tag after a call, for the format ``tagged``."""
    formats: tuple[CallFormat, ...] | None = None
    """The formats that are read, whatever the request shows. ``None``: they are chosen from the request."""
    unreadable: Literal["fail", "extract"] = "fail"
    """What happens to text that looks like a call and cannot be read. ``fail``: its check ends as an error.
    ``extract``: the extractor gets it, with ``Segment.written.problem``."""


class CodeBlocks(msgspec.Struct, frozen=True, tag=True):
    """Makes each fenced code block of Markdown a segment when it is complete. Both fences are part of it.

    A block that is never closed is no segment.
    """


class EveryChars(msgspec.Struct, frozen=True, tag=True):
    """Divides the text into segments of ``count`` characters, including white space, without gaps.

    A segment may end early, for example at feedback, a tool call or the end of the phase.
    """

    count: int = 400
    """The length of a segment, at least 1."""


_Weight = Annotated[float, Meta(ge=1e-100, le=1e100)]  # beyond it, a length could not be computed


class Polls(msgspec.Struct, frozen=True, tag=True):
    """Divides the text into segments without gaps, for expensive checks such as forks.

    The length of a segment balances the cost of checks with that of text written after a mistake: it is ``sqrt(2 * cost
    / rate)`` characters (checkpoint intervals: Young 1974, Daly 2006), within ``least`` and ``most``. The rate
    (mistakes per character) starts at ``found / seen``; each remedy in the run adds a mistake, and the trace so far
    adds its characters. Raises :class:`~interwhen.UsageError` on wrong values.
    """

    cost: _Weight = 240.0
    """The cost of one check, as the number of characters that the model could write for the same cost."""
    found: _Weight = 1.0
    """The number of mistakes seen before the run; may be a guess."""
    seen: _Weight = 8000.0
    """The number of characters in which the ``found`` mistakes were seen."""
    least: int = 120
    """The shortest length of a segment, in characters, unless something ends it early, as in :class:`EveryChars`."""
    most: int = 4000
    """The longest length of a segment, in characters."""

    def __post_init__(self) -> None:
        vet(self)
        if not 1 <= self.least <= self.most:
            raise UsageError(f"Polls: least must be at least 1 and not above most, got {self!r}: change one")

    def length(self, start: int, remedies: int) -> int:
        """Return the length of the segment that begins at offset *start*.

        *remedies* is the number of remedies in the run so far.
        """
        rate = (self.found + remedies) / (self.seen + start)
        return min(max(round(math.sqrt(2.0 * self.cost / rate)), self.least), self.most)

    def learned(self, remedies: int, characters: int, *, memory: float = 100_000.0) -> Polls:
        """Return the trigger for the next run, updated with a run that had *remedies* in a trace of *characters*.

        The estimate rests on at most *memory* characters, so the weight of older runs decreases.
        """
        fade = min(memory / (self.seen + characters), 1.0)
        mistakes = max(fade * (self.found + remedies), 1e-3)
        return msgspec.structs.replace(self, found=mistakes, seen=min(self.seen + characters, memory))


class Answer(msgspec.Struct, frozen=True, tag=True):
    """Makes the whole answer one segment, when the model has finished it.

    A structured tool call divides the answer: the text before it and the text after it are segments.
    """


Trigger: TypeAlias = (
    Lines | Paragraphs | Sentences | Markers | ThinkEnd | ToolCalls | CodeBlocks | EveryChars | Polls | Answer
)

PhaseFilter = Literal["reasoning", "answer", "both"]
"""Which phase of the trace a monitor reads."""
