"""Segments, the complete units of the trace that extractors read, and structured tool calls."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from interwhen._types.spans import Span

# Structured tool calls.


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """One complete tool call that the API sent as structured data.

    Its position in the trace is stored as an offset. It is never searched for in the text.
    """

    id: str
    """The identifier of this call from the model. The result is sent back with the same identifier."""
    name: str
    """The name of the tool."""
    arguments: str
    """The arguments as the model wrote them: JSON, unless the model made an error."""
    kind: Literal["function", "custom", "function_call"] = "function"
    """``custom``: the tool takes plain text. ``function_call``: the older form of the chat API, without an id."""

    @property
    def text(self) -> str:
        """The text that represents the call in the trace: ``name(arguments)``."""
        return f"{self.name}({self.arguments})"

    @property
    def arguments_at(self) -> int:
        """The offset of the arguments in ``text``."""
        return len(self.name) + 1

    def values(self) -> dict[str, Any]:
        """Return the arguments as a mapping. Raises :class:`ValueError` if they are not a JSON object."""
        try:
            found = msgspec.json.decode(self.arguments)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise ValueError(
                f"the arguments of the call of {self.name!r} must be valid JSON, got an error: {error}; "
                "return Unknown for such a call"
            ) from error
        if not isinstance(found, dict):
            raise ValueError(  # noqa: TRY004  bad text, not type
                f"the arguments of the call of {self.name!r} must be a JSON object, got {type(found).__name__}; "
                "return Unknown for such a call"
            )
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
    """The tool call, if this segment is a structured one; ``None`` for text, also for a call between tags."""

    def at(self, start: int, end: int) -> Span:
        """Return the trace span of ``text[start:end]`` (for example of a regex match).

        Raises :class:`ValueError` if the range is not inside the segment.
        """
        if not 0 <= start <= end <= len(self.text):
            msg = (
                f"a range must be inside its segment of {len(self.text)} characters, got [{start!r}, "
                f"{end!r}); give offsets in its text"
            )
            raise ValueError(msg)
        return Span(self.span.start + start, self.span.start + end)

    def ground(self, quote: str) -> Span | None:
        """Return the trace span of *quote* if it occurs exactly once in this segment, otherwise ``None``.

        Use it for the replies of forks: a claim whose position in the trace is ambiguous gets no span, and so it never
        interrupts.
        """
        if not quote:
            return None
        first = self.text.find(quote)
        if first < 0 or self.text.find(quote, first + 1) >= 0:
            return None
        return self.at(first, first + len(quote))
