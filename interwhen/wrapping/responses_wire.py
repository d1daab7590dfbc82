"""Events of the Responses API, read as far as they are looked at."""

from __future__ import annotations

from typing import Any, Final

import msgspec

ADDED: Final = "response.output_item.added"
DONE: Final = "response.output_item.done"
CALLS: Final = ("function_call", "custom_tool_call")
"""Types of output items that are calls of the caller's tools."""


class WireItem(msgspec.Struct, frozen=True, gc=False):
    """An output item."""

    id: str | None = None
    type: str = ""
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None


class WirePart(msgspec.Struct, frozen=True, gc=False):
    """A part of an item's content or summary."""

    type: str = ""


class WireDetails(msgspec.Struct, frozen=True, gc=False):
    """Why a response is incomplete, or what its token counts are made of."""

    reason: str | None = None
    cached_tokens: int | None = None


class WireUsage(msgspec.Struct, frozen=True, gc=False):
    """Token counts."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: WireDetails | None = None


class WireResponse(msgspec.Struct, frozen=True, gc=False):
    """A response, without its output."""

    usage: WireUsage | None = None
    incomplete_details: WireDetails | None = None


class WireEvent(msgspec.Struct, frozen=True, gc=False):
    """One event."""

    type: str = ""
    delta: Any = None
    item: WireItem | None = None
    part: WirePart | None = None
    item_id: str | None = None
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None
    sequence_number: int | None = None
    response: WireResponse | None = None


decode_event = msgspec.json.Decoder(WireEvent).decode
