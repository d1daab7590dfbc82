"""Finds tool calls in the raw text of a model. docs/tool-calls.md lists the formats."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from interwhen._core.segmenter import scanner_for
from interwhen._core.transcript import Transcript
from interwhen._core.written_calls import openings_of, read_offer
from interwhen._types.segments import CallFormat, ToolCall
from interwhen._types.triggers import ToolCalls


class RawAnswer(NamedTuple):
    """An answer: *text* without the tool calls, and *calls*."""

    text: str
    calls: tuple[ToolCall, ...]


def raw_calls(chat: Mapping[str, Any]) -> RawCalls | None:
    return RawCalls(chat) if chat.get("tools") and chat.get("tool_choice") != "none" else None


class RawCalls:
    """Reads the tool calls between tags. *chat* has the fields of the request."""

    def __init__(self, chat: Mapping[str, Any]) -> None:
        self._offer = read_offer("", {name: chat[name] for name in ("tools", "functions") if name in chat})

    def read(self, text: str) -> RawAnswer:
        # If one call cannot be parsed, all of `text` stays text, the other calls too.
        transcript = Transcript("answer")
        transcript.append(text, 0)
        scanner = scanner_for(ToolCalls(formats=_MARKED), self._offer)
        calls: list[ToolCall] = []
        other, at = "", 0
        for span in scanner.flush(transcript):
            written = scanner.written
            if written is None or written.problem or not written.calls:
                return RawAnswer(text, ())
            calls += written.calls
            other += text[at : span.start]
            at = span.end
        return RawAnswer((other + text[at:]).strip(), tuple(calls)) if calls else RawAnswer(text, ())


def has_call(text: str) -> bool:
    return _OPENING.search(text) is not None


def may_begin_call(text: str) -> bool:
    tail = text[-_LONGEST:]
    starts = [at for at, sign in enumerate(tail) if sign in "<["]
    return any(opening.startswith(tail[at:]) for at in starts for opening in _OPENINGS)


def wire_calls(calls: tuple[ToolCall, ...]) -> list[dict[str, Any]]:
    return [
        {
            "index": index,
            "id": f"call_{secrets.token_hex(12)}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for index, call in enumerate(calls)
    ]


_MARKED: tuple[CallFormat, ...] = (
    "tagged",
    "function_tag",
    "invoke",
    "mistral",
    "deepseek",
    "kimi",
    "harmony",
    "gemma",
    "llama",
    "phi",
    "other",
)
"""The formats between tags. Calls without tags stay text."""
_ALL = [each for each in openings_of(ToolCalls(formats=_MARKED), read_offer("", {})) if each.text[0] in "<["]
_OPENINGS = tuple(dict.fromkeys(opening.text for opening in _ALL))
_OPENING = re.compile("|".join(map(re.escape, _OPENINGS)))
_ENDS_OF_TURN = ("<|eom_id|>", "<|eot_id|>")
_CLOSINGS = (closing for opening in _ALL for closing in opening.closings if closing not in _ENDS_OF_TURN)
CALL_TOKENS = (*_OPENINGS, *dict.fromkeys(_CLOSINGS))
"""The tags around calls. If a server hides special tokens, it must be asked to show these."""
_LONGEST = max(map(len, _OPENINGS))
