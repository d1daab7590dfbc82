"""Chunks of our own making, in the likeness of the server's."""

from __future__ import annotations

from typing import Any

import msgspec

from interwhen.models.base import FinishReason
from interwhen.wrapping.arrivals import Field

Body = dict[str, Any]

_NONE: Body = {"id": "interwhen", "created": 0, "model": ""}
"""How chunks begin where the server sent none."""

BLOCKED = "content_filter"
"""The finish reason of an answer that was withheld or ended by a monitor: the API's own word for it."""

_FINISH: dict[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
}


def wire_reason(reason: FinishReason | None) -> str | None:
    """Return the API's word for *reason*; ``None`` where the server did not say any."""
    return None if reason is None else _FINISH.get(reason)


class Shape:
    """Makes chunks of one API like *first*, the first one of the server; empty where there was none."""

    def __init__(self, first: bytes, *, chat: bool) -> None:
        self._chat = chat
        kind = "chat.completion.chunk" if chat else "text_completion"
        found: Body = msgspec.json.decode(first) if first else {**_NONE, "object": kind}
        self._head = {name: value for name, value in found.items() if name not in ("choices", "usage", "error")}
        choices = found.get("choices") or [{}]
        self._role = (choices[0].get("delta") or {}).get("role")
        self._extras = {name: None for name in choices[0] if name in ("logprobs", "finish_reason")}

    def begin(self, body: Body) -> None:
        """Make *body* the first one that the reader sees: it says whose turn it is, as the server's first one did."""
        for choice in body.get("choices") or () if self._role else ():
            choice["delta"] = {"role": self._role, **(choice.get("delta") or {})}

    def text(self, field: Field, text: str) -> Body:
        """Return a chunk of *text*."""
        return self._chunk({"delta": {field: text}} if self._chat else {"text": text})

    def finish(self, reason: str) -> Body:
        """Return the chunk that ends an answer."""
        return self._chunk(
            {"delta": {}, "finish_reason": reason} if self._chat else {"text": "", "finish_reason": reason}
        )

    def usage(self, usage: Body) -> Body:
        """Return a chunk of token counts."""
        return {**self._head, "choices": [], "usage": usage}

    def again(self, data: bytes) -> Body:
        """Return the server's chunk *data* as one of the same answer as the first: with its id, without a role."""
        found: Body = msgspec.json.decode(data)
        found |= {name: self._head[name] for name in ("id", "created", "model") if name in self._head}
        for choice in found.get("choices") or ():
            delta = choice.get("delta")
            if isinstance(delta, dict):
                delta.pop("role", None)
        return found

    def with_text(self, data: bytes, field: Field, text: str, *, whole: bool) -> Body:
        """Return the server's chunk *data* with other *text*; the log-probabilities go unless it is *whole*."""
        found = self.again(data)
        choice = found["choices"][0]
        if self._chat:
            choice["delta"] = {field: text}
        else:
            choice["text"] = text
        if not whole and choice.get("logprobs") is not None:
            choice["logprobs"] = None
        choice["finish_reason"] = None
        found.pop("usage", None)
        return found

    def rest(self, data: bytes, shift: int = 0) -> Body:
        """Return the server's chunk *data* without its text, which was shown; its calls are numbered on by *shift*."""
        found = self.again(data)
        for choice in found.get("choices") or ():
            delta = choice.get("delta")
            if isinstance(delta, dict):
                for name in ("content", "reasoning_content", "reasoning"):
                    delta.pop(name, None)
                for call in (delta.get("tool_calls") or ()) if shift else ():
                    call["index"] = (call.get("index") or 0) + shift
            if "text" in choice:
                choice["text"] = ""
        return found

    def without_calls(self, data: bytes, reason: str) -> Body:
        """Return the server's chunk *data* without text and tool calls, ended by *reason*."""
        found = self.rest(data)
        choice = found["choices"][0]
        delta = choice.get("delta")
        if isinstance(delta, dict):
            for name in ("tool_calls", "function_call"):
                delta.pop(name, None)
        choice["finish_reason"] = reason
        return found

    def _chunk(self, choice: Body) -> Body:
        return {**self._head, "choices": [{"index": 0, **self._extras, **choice}]}
