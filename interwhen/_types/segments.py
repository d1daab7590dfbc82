"""A segment: a complete unit of the trace, as an extractor sees it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from interwhen._types.spans import Span

# Tool calls: what a model asks its caller to do, as a structure beside its text.


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """One whole call. Its place in the trace is known by offset; nothing is ever found again by pattern."""

    id: str
    """The model's name for this call, under which its result is sent back."""
    name: str
    """The tool."""
    arguments: str
    """The arguments as the model wrote them: JSON, unless the model was wrong about that."""
    kind: Literal["function", "custom", "function_call"] = "function"
    """``custom``: a tool that takes plain text; ``function_call``: the older form of the chat API, without an id."""

    @property
    def text(self) -> str:
        """The call as it stands in the trace; its arguments begin at ``arguments_at``."""
        return f"{self.name}({self.arguments})"

    @property
    def arguments_at(self) -> int:
        """Where the arguments begin in ``text``."""
        return len(self.name) + 1

    def values(self) -> dict[str, Any]:
        """Return the arguments as a mapping. Raises :class:`ValueError` where they are no JSON object."""
        try:
            found = msgspec.json.decode(self.arguments)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise ValueError(f"the arguments of {self.name!r} are no JSON: {error}") from error
        if not isinstance(found, dict):
            raise ValueError(f"the arguments of {self.name!r} are no JSON object")  # noqa: TRY004  bad text, not type
        return found


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
