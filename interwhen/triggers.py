"""Triggers: which segments of the trace a monitor looks at. Each is a small frozen record."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

DEFAULT_MARKERS = ("Wait", "Hmm", "But wait", "Actually", "Alternatively", "Let me check", "Let me double-check")


class Lines(msgspec.Struct, frozen=True, tag=True):
    """Each line that holds something else than white space, without its line end. ``every`` n-th, if > 1."""

    every: int = 1


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


class Answer(msgspec.Struct, frozen=True, tag=True):
    """The whole answer, once the stream has ended."""


Trigger: TypeAlias = Lines | Paragraphs | Sentences | Markers | ThinkEnd | ToolCalls | CodeBlocks | EveryChars | Answer

PhaseFilter = Literal["reasoning", "answer", "both"]
"""Which phase of the trace a monitor looks at."""
