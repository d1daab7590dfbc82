"""Converts turns of the chat API and items of the Responses API to messages, and messages to turns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args

import msgspec

from interwhen._types.models import Message, Role
from interwhen._types.segments import ToolCall

__all__ = ["as_message", "as_turn", "read_item", "read_messages", "read_turn"]

_ROLES = get_args(Role)
_API_FIELDS = frozenset(("tool_calls", "function_call", "tool_call_id"))
"""Fields that only a turn of the chat API has, not a mapping of a :class:`Message`."""


def read_messages(turns: object) -> tuple[Message, ...]:
    """Convert *turns* to messages: a text, turns of the chat API, or input items of the Responses API.

    Items of another type or with an unknown role are left out; the server decides about these. Other values of *turns*
    give no messages.
    """
    if isinstance(turns, str):
        return (Message("user", turns),)
    if not isinstance(turns, Iterable):
        return ()
    found = (read_item(turn) for turn in turns if isinstance(turn, Mapping))
    return tuple(_joined(message for message in found if message is not None))


def read_item(item: Mapping[str, Any]) -> Message | None:
    """Convert *item* (of the Responses API, or a turn of the chat API) to a message; ``None`` for other items."""
    match item.get("type", "message"):
        case "message":
            return read_turn(item) if "role" in item else None
        case "function_call" | "custom_tool_call" as kind:
            arguments = item.get("arguments" if kind == "function_call" else "input")
            call = ToolCall(
                _text(item.get("call_id")),
                _text(item.get("name")),
                _written(arguments),
                "function" if kind == "function_call" else "custom",
            )
            return Message("assistant", "", (call,))
        case "function_call_output" | "custom_tool_call_output":
            return Message("tool", _content(item.get("output")), call_id=_text(item.get("call_id")))
        case _:
            return None


def as_message(turn: object) -> Message:
    """Convert *turn* to a message: a mapping with the fields of :class:`Message`, or a turn of the chat API.

    Raises :class:`msgspec.ValidationError` for anything else.
    """
    if isinstance(turn, Mapping) and (turn.keys() & _API_FIELDS or isinstance(turn.get("content"), list)):
        turn = read_turn(turn) or turn
    return msgspec.convert(turn, Message)


def read_turn(turn: Mapping[str, Any]) -> Message | None:
    """Convert *turn*, a turn of the chat API, to a message; ``None`` for an unknown role."""
    role: Any = "tool" if turn.get("role") == "function" else turn.get("role")
    if role not in _ROLES:
        return None
    content = _content(turn.get("content"))
    if role == "tool":
        return Message("tool", content, call_id=_text(turn.get("tool_call_id")), name=_text(turn.get("name")))
    return Message(role, content, tuple(_calls(turn)) if role == "assistant" else ())


def as_turn(message: Message) -> dict[str, Any]:
    """Return *message* as a turn of the chat API."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.role == "tool":
        turn |= {"tool_call_id": message.call_id} if message.call_id else {}
        turn |= {"name": message.name} if message.name else {}
    older = next((call for call in message.calls if call.kind == "function_call"), None)
    if older is not None:
        turn["function_call"] = {"name": older.name, "arguments": older.arguments}
    elif message.calls:
        turn["tool_calls"] = [_wire(call) for call in message.calls]
    return turn


def _joined(messages: Iterable[Message]) -> Iterator[Message]:
    """Yield *messages*. Consecutive tool calls of the assistant become one message."""
    last: Message | None = None
    for message in messages:
        if last is not None and message.role == "assistant" == last.role and message.calls and not message.content:
            last = msgspec.structs.replace(last, calls=(*last.calls, *message.calls))
            continue
        if last is not None:
            yield last
        last = message
    if last is not None:
        yield last


def _calls(turn: Mapping[str, Any]) -> Iterator[ToolCall]:
    listed = turn.get("tool_calls")
    for call in listed if isinstance(listed, list | tuple) else ():
        if isinstance(call, ToolCall):
            yield call
        elif isinstance(call, Mapping):
            kind: Literal["custom", "function"] = "custom" if call.get("type") == "custom" else "function"
            inner = call.get(kind, call)
            if isinstance(inner, Mapping):
                arguments = inner.get("input" if kind == "custom" else "arguments")
                yield ToolCall(_text(call.get("id")), _text(inner.get("name")), _written(arguments), kind)
    older = turn.get("function_call")
    if isinstance(older, Mapping):
        yield ToolCall("", _text(older.get("name")), _written(older.get("arguments")), "function_call")


def _wire(call: ToolCall) -> dict[str, Any]:
    if call.kind == "custom":
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _content(content: object) -> str:
    """Return the text of *content*, a string or a list of parts. A part without text becomes ``[TYPE]``."""
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple):
        return "\n".join(map(_part, content))
    return ""


def _part(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        return ""
    text = next((part[name] for name in ("text", "refusal", "content") if isinstance(part.get(name), str)), None)
    return f"[{_text(part.get('type')) or 'part'}]" if text is None else str(text)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _written(arguments: object) -> str:
    """Return the text of tool *arguments*. Arguments that are already decoded are encoded as JSON again."""
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else msgspec.json.encode(arguments, enc_hook=str).decode()
