"""A segment: a complete unit of the trace, as an extractor sees it."""

from __future__ import annotations

from typing import Literal

import msgspec

from interwhen.spans import Span
from interwhen.tool_calls import ToolCall

Phase = Literal["reasoning", "answer"]
"""The two phases of a trace. Text inside ``<think>`` or a separate reasoning field is ``reasoning``."""


class Segment(msgspec.Struct, frozen=True, gc=False):
    """A complete unit of the trace: a line, a sentence, a tool call, the whole reasoning, ...

    ``text`` is exactly the characters of the trace at ``span``; ``phase`` is the phase at its start.
    """

    text: str
    span: Span
    phase: Phase
    call: ToolCall | None = None
    """The structured tool call that this segment is; ``None`` for text, a call between tags included."""

    def at(self, start: int, end: int) -> Span:
        """Return the trace span of ``text[start:end]`` (for example of a regex match).

        Raises :class:`ValueError` where the range does not lie in the segment.
        """
        if not 0 <= start <= end <= len(self.text):
            msg = f"[{start!r}, {end!r}) is not inside a segment of {len(self.text)} characters"
            raise ValueError(msg)
        return Span(self.span.start + start, self.span.start + end)

    def ground(self, quote: str) -> Span | None:
        """Return the trace span of *quote* where it occurs exactly once in this segment, else ``None``.

        This is the grounding rule for what a fork says: a claim that cannot be tied to one place of the
        trace has no span, and a claim without a span is never used to interrupt.
        """
        if not quote:
            return None
        first = self.text.find(quote)
        if first < 0 or self.text.find(quote, first + 1) >= 0:
            return None
        return self.at(first, first + len(quote))
