"""A segment: a complete unit of the trace, as an extractor sees it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from interwhen._types.spans import Span

# Structured tool calls.


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """One whole call. Its place in the trace is known by offset, never found by a pattern."""

    id: str
    """The model's identifier of this call, with which its result is sent back."""
    name: str
    """The name of the tool."""
    arguments: str
    """The arguments as the model wrote them: JSON, unless the model made an error."""
    kind: Literal["function", "custom", "function_call"] = "function"
    """``custom``: the tool takes plain text. ``function_call``: the older form of the chat API, without an id."""

    @property
    def text(self) -> str:
        """The call as text of the trace; its arguments begin at ``arguments_at``."""
        return f"{self.name}({self.arguments})"

    @property
    def arguments_at(self) -> int:
        """Where the arguments begin in ``text``."""
        return len(self.name) + 1

    def values(self) -> dict[str, Any]:
        """Return the arguments as a mapping. Raises :class:`ValueError` if they are not a JSON object."""
        try:
            found = msgspec.json.decode(self.arguments)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise ValueError(f"the arguments of {self.name!r} are not valid JSON: {error}") from error
        if not isinstance(found, dict):
            raise ValueError(f"the arguments of {self.name!r} are not a JSON object")  # noqa: TRY004  bad text, not type
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
    """The structured tool call that this segment is; ``None`` for text, also for a call between tags."""

    def at(self, start: int, end: int) -> Span:
        """Return the trace span of ``text[start:end]`` (for example of a regex match).

        Raises :class:`ValueError` if the range does not lie in the segment.
        """
        if not 0 <= start <= end <= len(self.text):
            msg = f"[{start!r}, {end!r}) is not inside a segment of {len(self.text)} characters"
            raise ValueError(msg)
        return Span(self.span.start + start, self.span.start + end)

    def ground(self, quote: str) -> Span | None:
        """Return the trace span of *quote* if it occurs exactly once in this segment, else ``None``.

        The rule for the replies of forks: a claim without one certain place in the trace has no span, and never
        interrupts.
        """
        if not quote:
            return None
        first = self.text.find(quote)
        if first < 0 or self.text.find(quote, first + 1) >= 0:
            return None
        return self.at(first, first + len(quote))
