"""How a chat goes on from a standing trace: by prefilling the assistant's turn, or by further turns."""

from __future__ import annotations

from typing import Any

from interwhen.models.base import Piece, Request
from interwhen.models.messages import as_turn

CONTINUE = "Continue exactly where you stopped. Do not repeat anything."
"""The user turn that asks for the rest, where the trace does not end with feedback."""

Turn = dict[str, Any]


def prompt_turns(request: Request) -> list[Turn]:
    """Render the prompt; a string is one user turn."""
    if isinstance(request.prompt, str):
        return [{"role": "user", "content": request.prompt}]
    return [as_turn(message) for message in request.prompt]


def prefill_turns(request: Request, reasoning_field: str | None) -> list[Turn]:
    """Render *request* with the trace (and its side text) as an unfinished last assistant turn.

    *reasoning_field* is where the server puts reasoning (``reasoning_content`` or ``reasoning``); ``None`` where
    reasoning is part of the text, between tags.
    """
    turns = prompt_turns(request)
    side = request.side or ""
    if reasoning_field is None:
        if text := request.prefix + side:
            turns.append({"role": "assistant", "content": text})
        return turns
    reasoning = "".join(piece.text for piece in request.pieces if piece.phase == "reasoning")
    answer = "".join(piece.text for piece in request.pieces if piece.phase == "answer")
    if request.pieces and request.pieces[-1].phase == "reasoning":
        reasoning += side
    else:
        answer += side
    if reasoning:
        turns.append({"role": "assistant", reasoning_field: reasoning, "content": answer})
    elif answer:
        turns.append({"role": "assistant", "content": answer})
    return turns


def extra_turns(request: Request) -> list[Turn]:
    """Render *request* with the trace as finished turns: ours and the model's words as assistant, feedback as user.

    Reasoning stands in the text of its turn: a template drops the reasoning field of turns that are over, and the
    model would not see what it has worked out.
    """
    turns = prompt_turns(request)
    pieces = [piece for piece in request.pieces if piece.said]
    for piece in pieces:
        _append(turns, "user" if piece.origin == "feedback" else "assistant", piece.said, joint=_joint(piece))
    if request.side:
        _append(turns, "user", request.side, joint="\n\n")
    elif pieces and pieces[-1].origin != "feedback":
        turns.append({"role": "user", "content": CONTINUE})
    return turns


def _joint(piece: Piece) -> str:
    return "\n\n" if piece.origin == "feedback" else ""


def _append(turns: list[Turn], role: str, text: str, *, joint: str) -> None:
    """Add *text* as a turn, or to the last turn where it has the same role: many templates insist on alternation."""
    if turns and turns[-1]["role"] == role and not turns[-1].keys() & {"tool_calls", "function_call"}:
        turns[-1] = {"role": role, "content": f"{turns[-1]['content']}{joint}{text}"}
    else:
        turns.append({"role": role, "content": text})
