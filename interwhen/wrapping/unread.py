"""Text that a reader gets and no monitor reads: refusals, and reasoning that comes in details only."""

from __future__ import annotations

from typing import Any

import msgspec

from interwhen.models.chunks import NOT_JSON
from interwhen.results import Doubt, Result, Unverified, Verified


class _Delta(msgspec.Struct, frozen=True, gc=False):
    refusal: Any = None
    reasoning_details: Any = None
    reasoning_content: Any = None
    reasoning: Any = None


class _Choice(msgspec.Struct, frozen=True, gc=False):
    delta: _Delta | None = None


class _Body(msgspec.Struct, frozen=True, gc=False):
    choices: list[_Choice] | None = None


_decode = msgspec.json.Decoder(_Body).decode
_COMMON = [name for name in Unverified.__struct_fields__ if name != "doubts"]


def unread_field(data: bytes) -> str:
    """Return which field of the chat chunk *data* holds text that is not read; empty where there is none."""
    if b'"refusal"' not in data and b'"reasoning_details"' not in data:
        return ""
    try:
        choices = _decode(data).choices
    except NOT_JSON:
        return ""  # such a chunk is shown to nobody
    delta = choices[0].delta if choices else None
    if delta is None:
        return ""
    if delta.refusal:
        return "refusal"
    # Who sends details sends their text as reasoning, too, which is read. Encrypted ones have none.
    said = _text_of(delta.reasoning_details)
    return "reasoning_details" if said and said != (delta.reasoning_content or delta.reasoning) else ""


def doubted(result: Result, unread: str) -> Result:
    """Return *result*, which is not verified where the reader was given a field *unread* that nobody has read."""
    if not unread or not isinstance(result, Verified | Unverified):
        return result
    doubts = result.doubts if isinstance(result, Unverified) else ()
    common = {name: getattr(result, name) for name in _COMMON}
    return Unverified(
        **common, doubts=(*doubts, Doubt("", None, f"no monitor reads the field {unread!r} of the answer"))
    )


def _text_of(details: Any) -> str:
    items = details if isinstance(details, list) else [details]
    texts = [item.get("text") or item.get("summary") or "" for item in items if isinstance(item, dict)]
    return "".join(map(str, texts))
