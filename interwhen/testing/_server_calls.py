"""Chat chunks with more than text: reasoning in a field of its own, tool calls in pieces, token counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interwhen.testing._server_events import data
from interwhen.testing._server_steps import Send


def delta(fields: Mapping[str, Any], *, finish_reason: str | None = None, **top: Any) -> Send:
    """Script a chat chunk with these *fields* in its delta, and *top* beside its choices."""
    body: dict[str, Any] = {
        "id": "scripted",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "scripted",
        "choices": [{"index": 0, "delta": dict(fields), "logprobs": None, "finish_reason": finish_reason}],
    }
    return Send(data(body | top))


def tool_call(name: str, arguments: str, *, call_id: str = "call_1", index: int = 0, size: int = 7) -> tuple[Send, ...]:
    """Script a tool call as servers stream it: its name first, then its arguments in pieces of *size* characters."""
    head = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
    pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    return (
        delta({"role": "assistant", "content": None, "tool_calls": [head]}),
        *(delta({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}) for piece in pieces),
    )


def counts(prompt: int, completion: int) -> Send:
    """Script the chunk that only counts tokens."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    body = {"id": "scripted", "object": "chat.completion.chunk", "created": 0, "model": "scripted", "choices": []}
    return Send(data({**body, "usage": usage}))
