"""Events of the Responses API, and the filter for their unmonitored text."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from interwhen._types.errors import DECODE_ERRORS
from interwhen.clients._chunk_buffer import FieldFilter
from interwhen.clients._held_scores import HeldTokens, with_scores_of_text
from interwhen.clients._known_fields import (
    FIELDS,
    OURS,
    READ_EVENTS,
    SCORED,
    Table,
    strict_decoder,
)

ADDED: Final = "response.output_item.added"
RESPONSE_DONE: Final = "response.output_item.done"
TEXT_DONE: Final = "response.output_text.done"
CALLS: Final = ("function_call", "custom_tool_call")
"""Types of output items that are calls of the caller's tools."""


class WireItem(msgspec.Struct, frozen=True, gc=False):
    """An output item, as far as it is read."""

    id: str | None = None
    type: str = ""
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None


class WirePart(msgspec.Struct, frozen=True, gc=False):
    """A part of the content or summary of an item."""

    type: str = ""


class WireDetails(msgspec.Struct, frozen=True, gc=False):
    """The reason why a response is incomplete, or the details of token counts."""

    reason: str | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class ResponsesUsage(msgspec.Struct, frozen=True, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: WireDetails | None = None
    output_tokens_details: WireDetails | None = None


class WireResponse(msgspec.Struct, frozen=True, gc=False):
    """A response without its output."""

    status: Any = None
    usage: ResponsesUsage | None = None
    incomplete_details: WireDetails | None = None


class WireEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream of the Responses API, as far as it is read."""

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


# The filter for the events of the Responses API; see :mod:`~interwhen.clients._known_fields`.
#
# The API sends each text several times: in pieces, and when its part, its item and the response are done. Monitors read
# the pieces, and calls when their item is done; all other copies must be equal to that text.

_PIECE: Table = {name: kind for name, kind in FIELDS["responses"].items() if not isinstance(kind, dict)}
_decode_piece = strict_decoder(_PIECE, "event").decode
_UNREAD: Table = {name: kind for name, kind in FIELDS["responses"].items() if name != "delta"}
CALL_PIECES: Final = ("response.function_call_arguments.", "response.custom_tool_call_input.")
"""The prefixes of events with the arguments of a call."""


class ResponsesFieldFilter(FieldFilter):
    def __init__(self, *, holds: bool, request: Mapping[str, Any] = MappingProxyType({})) -> None:
        super().__init__(holds=holds, request=request)
        self._texts: dict[tuple[int | None, int | None, int | None], list[str]] = {}
        """The texts that monitors read, by item and part."""
        self._calls: dict[int | None, list[str]] = {}
        """The pieces of calls, by item."""
        self._tokens: dict[tuple[int | None, int | None, int | None], HeldTokens] = {}
        """The tokens of each part whose log-probabilities wait for their text."""
        self._said: dict[tuple[int | None, str], str] = {}
        """The name and the arguments in the announcement of each call, by item and field."""
        self._made: list[str] = []
        """The names and arguments of complete calls."""
        self.differing: set[int | None] = set()
        """The items of calls whose pieces or announcement differ from the complete call."""

    def restart(self) -> None:
        # Forget the texts of the last request, because the items of the next one are numbered from 0 again.
        for known in (self._texts, self._tokens, self._calls, self._said):
            known.clear()
        self._made.clear()
        self.differing.clear()

    def filtered(self, event: WireEvent, data: bytes) -> bytes:
        # The field `interwhen` is always removed: a server must not imitate supervision info.
        shown = self._sifted(event, data)
        if not (self._tokens or SCORED.search(shown)):
            return shown
        try:
            body = msgspec.json.decode(shown)
        except DECODE_ERRORS:
            return shown  # the decoder raises an error for such an event
        place = (event.output_index, event.content_index, event.summary_index)
        held = self._tokens.setdefault(place, HeldTokens()) if event.type in READ_EVENTS else None
        scored, differs = with_scores_of_text(body, held)
        if event.type == TEXT_DONE and (ended := self._tokens.get(place)) is not None:
            ended.finish()
            differs = differs or ended.differs
        if differs:
            self.note(f"logprobs of {event.type:.100}")
        return shown if not self.holds or scored == body else msgspec.json.encode(scored)

    def _sifted(self, event: WireEvent, data: bytes) -> bytes:
        kind, delta = event.type, event.delta
        is_read = kind in READ_EVENTS and isinstance(delta, str)
        if is_read:
            self._read(event, delta)
            try:
                _decode_piece(data)
            except DECODE_ERRORS:
                pass
            else:
                return data
        try:
            body: dict[str, Any] = msgspec.json.decode(data)
        except DECODE_ERRORS:
            return data  # the decoder raises an error for such an event
        ours = body.pop(OURS, None) is not None
        if kind == RESPONSE_DONE and event.item is not None and event.item.type in CALLS:
            self._whole(event)

        def stands(place: str, text: str) -> str:
            return text if not text or self._stands(event, place, text) else self._instead(place)

        value, names = self.sift(body, FIELDS["responses"] if is_read else _UNREAD, stands)
        for name in names:
            self.note(f"{name} of {kind:.100}")
        if names and self.holds:
            return msgspec.json.encode(value)
        return msgspec.json.encode(body) if ours else data

    def _read(self, event: WireEvent, delta: str) -> None:
        if event.type.startswith(CALL_PIECES):
            self._calls.setdefault(event.output_index, []).append(delta)
        else:
            place = (event.output_index, event.content_index, event.summary_index)
            self._texts.setdefault(place, []).append(delta)

    def _whole(self, event: WireEvent) -> None:
        # Monitors read the complete call, so pieces or an announcement that differ from it are unmonitored text.
        item, index = event.item, event.output_index
        assert item is not None
        name, made = item.name or "", (item.input if item.type == "custom_tool_call" else item.arguments) or ""
        self._made += (name, made)
        pieces = self._calls.get(index)
        for field, text in (("name", name), ("arguments", made)):
            said = self._said.get((index, field), "")
            if (said and said != text) or (field == "arguments" and pieces is not None and "".join(pieces) != made):
                self.note(f"{field} of {event.type}")
                self.differing.add(index)

    def _stands(self, event: WireEvent, place: str, text: str) -> bool:
        field = place.rpartition(".")[2]
        if field in ("name", "arguments", "input"):
            is_name, index = field == "name", event.output_index
            is_piece = event.type.startswith(CALL_PIECES)
            if is_piece and not is_name and index in self._calls:
                known = "".join(self._calls[index])
            elif is_piece or (event.type == ADDED and event.item is not None and event.item.type in CALLS):
                # Only the first form is stored; `_whole` compares it with the complete call.
                known = self._said.setdefault((index, "name" if is_name else "arguments"), text)
            else:
                return text in self._made
            if known != text:
                self.differing.add(index)
            return known == text
        return any("".join(pieces) == text for pieces in self._texts.values())

    def _instead(self, place: str) -> str:
        if place.endswith("text") and len(self._texts) == 1:
            return "".join(*self._texts.values())
        return ""
