"""From the chunks of an answer to the answer as one response body."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from interwhen.wrapping.calls import Api
from interwhen.wrapping.facts import Part
from interwhen.wrapping.responses_composing import whole_of

Body = dict[str, Any]


def whole(api: Api, parts: Iterable[Part]) -> Body:
    """Return the response body that *parts* spell, as the server would have sent it at once."""
    if api == "responses":
        return whole_of(list(parts))
    body: Body = {}
    choice: Body = {"index": 0}
    text = ""
    message: Body = {"role": "assistant", "content": None}
    for part in parts:
        chunk = part.chunk()
        for name, value in chunk.items():
            if name not in ("choices", "object") and (value is not None or name not in body):
                body[name] = value
        for found in chunk.get("choices") or ():
            text += found.get("text") or ""
            _merge_choice(choice, found)
            _merge(message, found.get("delta") or {})
    calls = message.get("tool_calls")
    if calls is not None:
        message["tool_calls"] = [{k: v for k, v in call.items() if k != "index"} for call in calls]
    choice.setdefault("finish_reason", None)
    said = {"message": message} if api == "chat" else {"text": text}
    choice = {"index": 0, **said, **choice}
    body["object"] = "chat.completion" if api == "chat" else "text_completion"
    body["choices"] = [choice]
    if body.get("usage", 0) is None:
        del body["usage"]
    return body


def _merge_choice(choice: Body, found: Body) -> None:
    for name, value in found.items():
        if name in ("delta", "text", "index"):
            continue
        if name == "logprobs" and isinstance(value, dict) and isinstance(choice.get(name), dict):
            _merge(choice[name], value)
        elif value is not None or name not in choice:
            choice[name] = value


def _merge(into: Body, more: Body) -> None:
    """Add *more* to *into*: texts and lists go on, calls by their index, all else is replaced."""
    for name, value in more.items():
        known = into.get(name)
        if name in ("role", "type", "id", "index"):
            into[name] = value if value is not None else known
        elif known is None:
            into[name] = value if name != "tool_calls" else _calls([], value or [])
        elif name == "tool_calls":
            into[name] = _calls(known, value or [])
        elif isinstance(known, str | list):
            into[name] = known + value if type(value) is type(known) else known  # type: ignore[operator]
        elif isinstance(known, dict) and isinstance(value, dict):
            _merge(known, value)
        elif value is not None:
            into[name] = value


def _calls(known: list[Body], more: list[Body]) -> list[Body]:
    for piece in more:
        index, name_of_call = piece.get("index") or 0, piece.get("id")
        same = [
            c
            for c in known
            if (c.get("index") or 0) == index and not (name_of_call and c.get("id") not in (None, name_of_call))
        ]
        if same:
            _merge(same[-1], piece)
        else:
            fresh: Body = {}
            _merge(fresh, piece)
            known = [*known, fresh]
    return known
