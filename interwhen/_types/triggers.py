"""Triggers: which segments of the trace a monitor looks at. Each is a small frozen record."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import msgspec

from interwhen._types.errors import UsageError

DEFAULT_MARKERS = ("Wait", "Hmm", "But wait", "Actually", "Alternatively", "Let me check", "Let me double-check")


class Lines(msgspec.Struct, frozen=True, tag=True):
    """Each line that holds something else than white space, without its line end. ``every`` n-th, if > 1."""

    every: int = 1
    joins: tuple[str, ...] = ()
    """Words in lower case, and single signs. A line that begins with one of them belongs to the line before: the two
    are one segment. A line is then complete when the first word of the next one is known, or the text ends."""


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
    """Each stretch of ``count`` characters, and what is left at the end of its phase; white space is part of it."""

    count: int = 400


class Polls(msgspec.Struct, frozen=True, tag=True):
    """Stretches of text, without gaps, that are as long as it pays to wait: for monitors whose looks cost something.

    Looking often costs; looking seldom costs the text that is written behind a mistake. Where text goes wrong at some
    rate, the cheapest interval is ``sqrt(2 * cost / rate)`` (checkpoints: Young 1974, Daly 2006). The rate is learnt:
    ``found`` mistakes were seen in ``seen`` characters before the run, and each remedy in it is one more. A stretch
    keeps the length with which it began. Raises :class:`~interwhen.UsageError` on values that cannot work.
    """

    cost: float = 240.0
    """What a look costs, in characters of text that might have been written for it."""
    found: float = 1.0
    """Mistakes that were seen before; they may be a guess."""
    seen: float = 8000.0
    """Characters in which they were."""
    least: int = 120
    """A stretch is never shorter, in characters."""
    most: int = 4000
    """And never longer."""

    def __post_init__(self) -> None:
        if not (self.cost > 0 and self.found > 0 and self.seen > 0 and 1 <= self.least <= self.most):
            raise UsageError(f"trigger {self!r}: cost, found and seen must be above 0, and 1 <= least <= most")

    def length(self, start: int, remedies: int) -> int:
        """Return how long the stretch from *start* on is, in a run with so many *remedies* before it."""
        rate = (self.found + remedies) / (self.seen + start)
        return min(max(round(math.sqrt(2.0 * self.cost / rate)), self.least), self.most)

    def learned(self, remedies: int, characters: int, *, memory: float = 100_000.0) -> Polls:
        """Return the trigger for the next run, after one with so many *remedies* in so many *characters*.

        What lies further back than *memory* characters fades.
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
