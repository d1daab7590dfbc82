"""Tool calls: what a model asks its caller to do, as a structure beside its text."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


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
