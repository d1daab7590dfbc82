"""Triggers: which segments of the trace a monitor reads. Each is a small frozen record."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import msgspec

from interwhen._types.errors import UsageError

DEFAULT_MARKERS = ("Wait", "Hmm", "But wait", "Actually", "Alternatively", "Let me check", "Let me double-check")


class Lines(msgspec.Struct, frozen=True, tag=True):
    """Each line that is not blank, without its line end; with ``every`` > 1, every n-th of them."""

    every: int = 1
    joins: tuple[str, ...] = ()
    """Words in lower case, and single signs. A line that begins with one of them is one segment with the line before.
    A line is then complete when the first word of the next line is known, or the text ends."""


class Paragraphs(msgspec.Struct, frozen=True, tag=True):
    """Each run of lines between blank lines."""


class Sentences(msgspec.Struct, frozen=True, tag=True):
    """Each sentence: up to ``.``, ``!`` or ``?`` before white space, or to the end of its line."""


class Markers(msgspec.Struct, frozen=True, tag=True):
    """The text between two reflection markers such as "Wait"; a marker counts at the start of a word."""

    words: tuple[str, ...] = DEFAULT_MARKERS


class ThinkEnd(msgspec.Struct, frozen=True, tag=True):
    """The whole reasoning, once it has ended."""


class ToolCalls(msgspec.Struct, frozen=True, tag=True):
    """Each tool call: structured ones, and those written in the text between two tags (tags included)."""

    opening: str = "<tool_call>"
    closing: str = "</tool_call>"


class CodeBlocks(msgspec.Struct, frozen=True, tag=True):
    """Each fenced code block of Markdown, once its closing fence has come; both fences included."""


class EveryChars(msgspec.Struct, frozen=True, tag=True):
    """Each stretch of ``count`` characters, white space included, and the shorter rest at the end of its phase."""

    count: int = 400


class Polls(msgspec.Struct, frozen=True, tag=True):
    """Stretches of text without gaps, of the cheapest length: for monitors with expensive checks, such as forks.

    Frequent checks cost tokens; rare ones cost the text that is written after a mistake. With mistakes at a constant
    rate, the cheapest interval is ``sqrt(2 * cost / rate)`` (checkpoints: Young 1974, Daly 2006). The rate is learnt:
    ``found`` mistakes were seen in ``seen`` characters before the run, and each remedy in the run adds one. A stretch
    keeps the length that it had at its start. Raises :class:`~interwhen.UsageError` on wrong values.
    """

    cost: float = 240.0
    """The cost of one check, in characters of text that could be written for the same cost."""
    found: float = 1.0
    """Mistakes seen before the run; may be a guess."""
    seen: float = 8000.0
    """The number of characters in which they were seen."""
    least: int = 120
    """The shortest stretch, in characters."""
    most: int = 4000
    """The longest stretch, in characters."""

    def __post_init__(self) -> None:
        if not (self.cost > 0 and self.found > 0 and self.seen > 0 and 1 <= self.least <= self.most):
            raise UsageError(f"Polls: cost, found and seen must be above 0, and 1 <= least <= most, got {self!r}")

    def length(self, start: int, remedies: int) -> int:
        """Return the length of the stretch from *start* on, after so many *remedies* in the run."""
        rate = (self.found + remedies) / (self.seen + start)
        return min(max(round(math.sqrt(2.0 * self.cost / rate)), self.least), self.most)

    def learned(self, remedies: int, characters: int, *, memory: float = 100_000.0) -> Polls:
        """Return the trigger for the next run, after one with so many *remedies* in so many *characters*.

        Older text than *memory* characters counts less and less.
        """
        fade = min(memory / (self.seen + characters), 1.0)
        found = max(fade * (self.found + remedies), 1e-3)
        return msgspec.structs.replace(self, found=found, seen=min(self.seen + characters, memory))


class Answer(msgspec.Struct, frozen=True, tag=True):
    """The whole answer, once the stream has ended."""


Trigger: TypeAlias = (
    Lines | Paragraphs | Sentences | Markers | ThinkEnd | ToolCalls | CodeBlocks | EveryChars | Polls | Answer
)

PhaseFilter = Literal["reasoning", "answer", "both"]
"""Which phase of the trace a monitor looks at."""
