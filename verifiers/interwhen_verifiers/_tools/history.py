"""A conversation as rules over tool calls see it: who said what, which calls were made, what came back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
from interwhen import Message, Task, ToolCall


@dataclass(frozen=True)
class PastCall:
    """A call that was made before, and what came back."""

    name: str
    """The tool."""
    arguments: Mapping[str, Any]
    """Its arguments; empty where they were no JSON object."""
    result: str | None
    """What the tool said; ``None``: nothing is known of it (yet)."""
    at: int
    """The number of the message that made it; calls of the running turn have the number behind the last message."""
    result_at: int | None = None
    """The number of the message with the result."""

    @cached_property
    def value(self) -> Any:
        """The result decoded from JSON; ``None`` where it is none."""
        try:
            return msgspec.json.decode(self.result or "")
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None


@dataclass(frozen=True)
class History:
    """What was said and done before a call."""

    messages: tuple[Message, ...] = ()
    calls: tuple[PastCall, ...] = field(default=())
    """The calls of earlier turns, in order."""

    def texts(self, *roles: str) -> Iterator[str]:
        """Yield what was said in *roles*, in order."""
        return (message.content for message in self.messages if message.role in roles)

    def of(self, *names: str) -> Iterator[PastCall]:
        """Yield the earlier calls of the tools *names*, in order."""
        return (call for call in self.calls if call.name in names)

    @cached_property
    def is_conversation(self) -> bool:
        """Whether the assistant has said anything to the user: only then missing words mean something."""
        return any(message.role == "assistant" and message.content.strip() for message in self.messages)

    @cached_property
    def last_user(self) -> str:
        """What the user said last."""
        return next((message.content for message in reversed(self.messages) if message.role == "user"), "")


def read_history(task: Task) -> History:
    """Read the conversation of *task*. Linear in its length."""
    messages = task.messages
    found: list[PastCall] = []
    waiting: list[tuple[ToolCall, int]] = []  # calls without a result, by their place in *found*
    for at, message in enumerate(messages):
        if message.role == "assistant" and message.calls:
            waiting = []
            for call in message.calls:
                waiting.append((call, len(found)))
                found.append(PastCall(call.name, values_of(call), None, at))
        elif message.role == "tool" and waiting:
            _, place = waiting.pop(_match(waiting, message))
            call_made = found[place]
            found[place] = PastCall(call_made.name, call_made.arguments, message.content, call_made.at, at)
    return History(messages, tuple(found))


def _match(waiting: Sequence[tuple[ToolCall, int]], result: Message) -> int:
    """Return which call *result* belongs to: by id, else by name, else the first one."""
    for number, (call, _) in enumerate(waiting):
        if call.id and call.id == result.call_id:
            return number
    for number, (call, _) in enumerate(waiting):
        if result.name and call.name == result.name:
            return number
    return 0


def values_of(call: ToolCall) -> Mapping[str, Any]:
    """Return the arguments of *call*; none where they are no JSON object."""
    try:
        return call.values()
    except (ValueError, RecursionError):
        return {}
