"""A conversation as rules over tool calls see it: who said what, which calls were made, what came back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
from interwhen import Message, Task, ToolCall

from interwhen_verifiers._tools.reading import tagged_call


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
    messages = tuple(part for message in task.messages for part in _structured(message))
    found: list[PastCall] = []
    waiting: list[tuple[ToolCall, int]] = []  # calls without a result, by their place in *found*
    for at, message in enumerate(messages):
        if message.role == "assistant" and message.calls:
            waiting = []
            for call in message.calls:
                waiting.append((call, len(found)))
                found.append(PastCall(call.name, values_of(call), None, at))
        elif message.role == "tool" and (number := _match(waiting, message)) is not None:
            _, place = waiting.pop(number)
            call_made = found[place]
            found[place] = PastCall(call_made.name, call_made.arguments, message.content, call_made.at, at)
    return History(messages, tuple(found))


_CALL, _CALL_END = "<tool_call>", "</tool_call>"
_RESULT, _RESULT_END = "<tool_response>", "</tool_response>"


def _structured(message: Message) -> Iterator[Message]:
    """Yield *message*; calls and results that a template has written into its text, as what they are."""
    if message.role == "assistant" and not message.calls and _CALL in message.content:
        read = [tagged_call(text) for text in _between(message.content, _CALL, _CALL_END)]
        calls = tuple(ToolCall("", call.name, call.raw) for call in read if not call.problem)
        yield Message("assistant", message.content.partition(_CALL)[0], calls)
    elif message.role == "user" and message.content.lstrip().startswith(_RESULT):
        # Whoever speaks in the user's turn here, it is not the user.
        for text in _between(message.content, _RESULT, _RESULT_END):
            yield Message("tool", text.strip())
    else:
        yield message


def _between(text: str, opening: str, closing: str) -> Iterator[str]:
    at = text.find(opening)
    while at >= 0:
        end = text.find(closing, at)
        yield text[at + len(opening) : len(text) if end < 0 else end]
        at = text.find(opening, end) if end >= 0 else -1


def _match(waiting: Sequence[tuple[ToolCall, int]], result: Message) -> int | None:
    """Return which call *result* belongs to: by id, else by name, else the first one; ``None``: to none of them."""
    if not waiting or (result.call_id and all(call.id and call.id != result.call_id for call, _ in waiting)):
        return None  # it answers another call, such as one of an earlier turn: nothing is known of these
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
