"""Converts turns of the chat API and items of the Responses API to messages, and messages to turns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import msgspec

from interwhen._core.turns import whole_lines
from interwhen._types.models import Message, Piece, Request, Role
from interwhen._types.segments import ToolCall

_ROLES = get_args(Role)
_API_FIELDS = frozenset(("tool_calls", "function_call", "tool_call_id"))
"""Fields that only a turn of the chat API has, not a mapping of a :class:`Message`."""


def read_messages(turns: object) -> tuple[Message, ...]:
    """Convert *turns* to messages. *turns* is a text, turns of the chat API, or input items of the Responses API.

    An assistant message that has only tool calls is joined to an assistant message directly before it. Items of another
    type or with an unknown role are left out. Any other value of *turns* gives no messages.
    """
    if isinstance(turns, str):
        return (Message("user", turns),)
    if not isinstance(turns, Iterable):
        return ()
    messages = (read_item(turn) for turn in turns if isinstance(turn, Mapping))
    return tuple(_joined(message for message in messages if message is not None))


def read_item(item: Mapping[str, Any]) -> Message | None:
    match item.get("type") or "message":
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
    # `turn` has the fields of `Message`, or is a turn of the chat API. Raises `msgspec.ValidationError` for anything
    # else.
    if isinstance(turn, Mapping) and (turn.keys() & _API_FIELDS or isinstance(turn.get("content"), list)):
        turn = read_turn(turn) or turn
    return msgspec.convert(turn, Message)


def read_turn(turn: Mapping[str, Any]) -> Message | None:
    """Convert *turn*, a turn of the chat API, to a message; ``None`` for an unknown role.

    The role ``function`` becomes ``tool``.
    """
    role: Any = "tool" if turn.get("role") == "function" else turn.get("role")
    if role not in _ROLES:
        return None
    content = _content(turn.get("content"))
    if role == "tool":
        return Message("tool", content, call_id=_text(turn.get("tool_call_id")), name=_text(turn.get("name")))
    return Message(role, content, tuple(_calls(turn)) if role == "assistant" else ())


def as_turn(message: Message) -> dict[str, Any]:
    # If it has a call in the older form `function_call`, the turn contains only the first such call.
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.role == "tool":
        turn |= {"tool_call_id": message.call_id} if message.call_id else {}
        turn |= {"name": message.name} if message.name else {}
    older = next((call for call in message.calls if call.kind == "function_call"), None)
    if older is not None:
        turn["function_call"] = {"name": older.name, "arguments": older.arguments}
    elif message.calls:
        turn["tool_calls"] = [call_turn(call) for call in message.calls]
    return turn


def _joined(messages: Iterable[Message]) -> Iterator[Message]:
    # An assistant message with only tool calls is joined to one directly before it.
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


def call_turn(call: ToolCall) -> dict[str, Any]:
    if call.kind == "custom":
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _content(content: object) -> str:
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
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else msgspec.json.encode(arguments, enc_hook=str).decode()


CONTINUE = "Write the rest of your answer, from the next line to its end. Do not repeat anything."
"""The user turn that asks the model to continue, if the text so far does not end with feedback or refused calls."""

Turn = dict[str, Any]


def prompt_turns(request: Request) -> list[Turn]:
    if isinstance(request.prompt, str):
        return [{"role": "user", "content": request.prompt}]
    return [as_turn(message) for message in request.prompt]


def prefill_turns(request: Request, reasoning_field: str | None) -> list[Turn]:
    # `reasoning_field` is the server's field for reasoning (`reasoning_content` or `reasoning`); `None` if reasoning is
    # part of the text.
    turns = prompt_turns(request)
    if not request.prefix and not request.side:
        return turns
    return prefilled(turns, request.pieces, request.side, reasoning_field)


def extra_turns(request: Request, extras: Mapping[str, Any] | None = None) -> list[Turn]:
    # Reasoning is part of the text of its turn, because many chat templates remove the reasoning field of finished
    # turns. `extras` has the `extra_content` of tool calls by their ids, which is sent back.
    turns = prompt_turns(request)
    if needs_turns(request.pieces):
        return in_turns(turns, request.pieces, request.side, extras)
    pieces = [piece for piece in _kept(request.pieces, request.side) if piece.said]
    for piece in pieces:
        is_ours = piece.origin == "feedback"
        _append(turns, 0, "user" if is_ours else "assistant", piece.said, joint="\n\n" if is_ours else "")
    if request.side:
        _append(turns, 0, "user", request.side, joint="\n\n")
    elif pieces and pieces[-1].origin != "feedback":
        turns.append({"role": "user", "content": CONTINUE})
    return turns


def _kept(pieces: Sequence[Piece], side: str | None) -> Sequence[Piece]:
    # The question of a fork is about the text up to this place. It does not continue the line.
    return pieces if side else whole_lines(pieces)


# Turns with tool calls, and the turns of a wrapped call.

_REFUSED = "This call was not made. {} Correct the mistake, and make all calls again that are still needed."
_ACCEPTED = "This call is accepted, and will be made once you are done."


def needs_turns(pieces: Sequence[Piece]) -> bool:
    # Tool calls and feedback about them cannot be prefilled.
    return any(piece.call is not None or piece.refused for piece in pieces)


def prefilled(messages: Sequence[Turn], pieces: Sequence[Piece], side: str | None, reasoning: str | None) -> list[Turn]:
    """Add an unfinished assistant message. *reasoning* is its field for reasoning; ``None`` if the text contains it."""
    turn: Turn = {"role": "assistant", "content": ""}
    last: str = "content"
    for piece in pieces:
        last = reasoning if reasoning is not None and piece.phase == "reasoning" else "content"
        turn[last] = turn.get(last, "") + piece.text
    turn[last] = turn.get(last, "") + (side or "")
    return [*messages, turn]


def in_turns(
    messages: Sequence[Turn], pieces: Sequence[Piece], side: str | None, extras: Mapping[str, Any] | None = None
) -> list[Turn]:
    # `side` is the side text of a fork, which ends the last message. `extras` has the `extra_content` of tool calls by
    # their ids; Gemini requires that it is sent back.
    extras = extras or {}
    turns = [*messages]
    own = len(turns)
    last: Piece | None = None
    for piece in _kept(pieces, side):
        if not piece.said:
            continue
        last = piece
        if piece.refused:
            _append_calls(turns, own, piece.refused, _REFUSED.format(piece.text.strip()), extras)
        elif piece.call is not None:
            _append_calls(turns, own, (piece.call,), _ACCEPTED, extras)
        elif piece.origin == "feedback":
            _append(turns, own, "user", piece.said.strip(), joint="\n\n")
        else:
            _append(turns, own, "assistant", piece.text, joint="")
    if side:
        _append(turns, own, "user", side, joint="\n\n")
    elif last is not None and not last.refused and last.origin != "feedback":
        turns.append({"role": "user", "content": CONTINUE})
    return turns


def _append(turns: list[Turn], own: int, role: str, text: str, *, joint: str) -> None:
    # Text joins a last message of the same role. The first `own` messages stay unchanged, because a caller gave them.
    last = turns[-1] if len(turns) > own else None
    if last is not None and last["role"] == role and "tool_calls" not in last and "function_call" not in last:
        turns[-1] = {**last, "content": f"{last['content']}{joint}{text}"}
    else:
        turns.append({"role": role, "content": text})


def _append_calls(
    turns: list[Turn], own: int, calls: Sequence[ToolCall], answer: str, extras: Mapping[str, Any]
) -> None:
    # A message can have one call in the older form `function_call`, so only the first of `calls` is added.
    said: Turn = {"role": "assistant", "content": None}
    if len(turns) > own and turns[-1]["role"] == "assistant" and "tool_calls" not in turns[-1]:
        said = turns.pop()
    if calls[0].kind == "function_call":
        turns.append({**said, "function_call": {"name": calls[0].name, "arguments": calls[0].arguments}})
        turns.append({"role": "function", "name": calls[0].name, "content": answer})
        return
    # The number of the turn makes a missing id unique in the conversation.
    ids = [call.id or f"call_{len(turns)}_{number}" for number, call in enumerate(calls)]
    made = [_tool_call(call, call_id, extras.get(call.id)) for call, call_id in zip(calls, ids, strict=True)]
    turns.append({**said, "tool_calls": made})
    turns += [{"role": "tool", "tool_call_id": call_id, "content": answer} for call_id in ids]


def _tool_call(call: ToolCall, call_id: str, extra: Any) -> dict[str, Any]:
    made = {**call_turn(call), "id": call_id}
    return made if extra is None else {**made, "extra_content": extra}
