"""How a chat of any shape goes on from a standing trace: the messages of the caller, then what stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from interwhen.models.base import Piece
from interwhen.models.turns import CONTINUE
from interwhen.tool_calls import ToolCall

Turn = dict[str, Any]

_REFUSED = "This call was not made. {} Correct what is wrong, and make again all calls that are still needed."
_ACCEPTED = "This call is accepted, and will be made once you are done."


def needs_turns(pieces: Sequence[Piece]) -> bool:
    """Tell whether the trace holds what cannot be prefilled: tool calls, or what was said about them."""
    return any(piece.call is not None or piece.refused for piece in pieces)


def prefilled(messages: Sequence[Turn], pieces: Sequence[Piece], side: str | None, reasoning: str | None) -> list[Turn]:
    """Return *messages* with the trace (and a fork's *side* text) as an unfinished turn of the assistant.

    *reasoning* is the field where the server puts reasoning; ``None`` where it is part of the text, between tags.
    """
    turn: Turn = {"role": "assistant", "content": ""}
    last: str = "content"
    for piece in pieces:
        last = reasoning if reasoning is not None and piece.phase == "reasoning" else "content"
        turn[last] = turn.get(last, "") + piece.text
    turn[last] = turn.get(last, "") + (side or "")
    return [*messages, turn]


def in_turns(messages: Sequence[Turn], pieces: Sequence[Piece], side: str | None) -> list[Turn]:
    """Return *messages* with the trace as finished turns, and what is to be done now as the user's."""
    turns = [*messages]
    own = len(turns)
    last: Piece | None = None
    for piece in pieces:
        if not piece.said:
            continue
        last = piece
        if piece.refused:
            _append_calls(turns, own, piece.refused, _REFUSED.format(piece.text.strip()))
        elif piece.call is not None:
            _append_calls(turns, own, (piece.call,), _ACCEPTED)
        elif piece.origin == "feedback":
            _append(turns, own, "user", piece.said.strip())
        else:
            _append(turns, own, "assistant", piece.text)
    if side:
        _append(turns, own, "user", side)
    elif last is not None and not last.refused and last.origin != "feedback":
        turns.append({"role": "user", "content": CONTINUE})
    return turns


def in_items(given: object, pieces: Sequence[Piece], side: str | None) -> list[Turn]:
    """Return the input of the Responses API *given*, followed by the trace as items."""
    items: list[Turn] = [{"role": "user", "content": given}] if isinstance(given, str) else list(given or ())  # type: ignore[call-overload]
    own = len(items)
    kinds: dict[str, str] = {}
    for turn in in_turns(items, pieces, side)[own:]:
        if turn["role"] == "tool":
            items.append(
                {
                    "type": _OUTPUTS[kinds[turn["tool_call_id"]]],
                    "call_id": turn["tool_call_id"],
                    "output": turn["content"],
                }
            )
            continue
        if turn.get("content"):
            items.append({"role": turn["role"], "content": turn["content"]})
        kinds = {call["id"]: call["type"] for call in turn.get("tool_calls") or ()}
        items += [_item(call) for call in turn.get("tool_calls") or ()]
    return items


_OUTPUTS = {"function": "function_call_output", "custom": "custom_tool_call_output"}


def _item(call: Turn) -> Turn:
    if call["type"] == "custom":
        return {"type": "custom_tool_call", "call_id": call["id"], **call["custom"]}
    return {"type": "function_call", "call_id": call["id"], **call["function"]}


def _append(turns: list[Turn], own: int, role: str, text: str) -> None:
    """Add *text* as a turn, or to our own last turn where it has the same role."""
    last = turns[-1] if len(turns) > own else None
    if last is not None and last["role"] == role and "tool_calls" not in last and "function_call" not in last:
        turns[-1] = {**last, "content": last["content"] + text}
    else:
        turns.append({"role": role, "content": text})


def _append_calls(turns: list[Turn], own: int, calls: Sequence[ToolCall], answer: str) -> None:
    """Add *calls* to the assistant's turn, and *answer* as the result of each."""
    said: Turn = {"role": "assistant", "content": None}
    if len(turns) > own and turns[-1]["role"] == "assistant" and "tool_calls" not in turns[-1]:
        said = turns.pop()
    if calls[0].kind == "function_call":
        turns.append({**said, "function_call": {"name": calls[0].name, "arguments": calls[0].arguments}})
        turns.append({"role": "function", "name": calls[0].name, "content": answer})
        return
    turns.append({**said, "tool_calls": [_wire(call, number) for number, call in enumerate(calls)]})
    turns += [
        {"role": "tool", "tool_call_id": call.id or f"call_{number}", "content": answer}
        for number, call in enumerate(calls)
    ]


def _wire(call: ToolCall, number: int) -> Turn:
    made: Turn = {"id": call.id or f"call_{number}", "type": call.kind}
    if call.kind == "custom":
        return {**made, "custom": {"name": call.name, "input": call.arguments}}
    return {**made, "function": {"name": call.name, "arguments": call.arguments}}
