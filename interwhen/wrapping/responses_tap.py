"""Streams of the Responses API: typed events, of which some carry text, reasoning, or a tool call."""

from __future__ import annotations

import bisect

import msgspec

from interwhen.errors import StreamProtocolError, UnexpectedForm, UpstreamError
from interwhen.models.base import Chunk, FinishReason, Piece, Usage
from interwhen.models.chunks import DONE, NOT_JSON, Decoded, count_of
from interwhen.models.refusals import refusal
from interwhen.tool_calls import ToolCall
from interwhen.wrapping.arrivals import Arrival, Field, Kind, Tap
from interwhen.wrapping.responses_vetting import ResponsesVetting
from interwhen.wrapping.responses_wire import CALLS, WireEvent, WireItem, WireResponse, decode_event
from interwhen.wrapping.responses_wire import DONE as ITEM_DONE

_TEXT = "response.output_text.delta"
_REASONING = ("response.reasoning_text.delta", "response.reasoning_summary_text.delta")
_PREAMBLE = ("response.created", "response.in_progress", "response.queued")
_INCOMPLETE: dict[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}


class ResponsesTap(Tap):
    """A :class:`~interwhen.wrapping.arrivals.Tap` for the Responses API.

    The output items of a later request are numbered on from those of the one before: to the reader it is one
    response.
    """

    def __init__(self, *, holds: bool = False) -> None:
        super().__init__(_nothing, "content")
        self._events = ResponsesVetting(holds=holds)
        self.vetting = self._events  # type: ignore[assignment]
        self.items = 0
        """How many output items there have been."""
        self._starts: list[int] = []
        self._called = False
        self._calls_of: set[int] = set()

    def begin(self, pieces: tuple[Piece, ...]) -> None:
        """Note that a stream begins that goes on from *pieces*."""
        super().begin(pieces)
        self._events.begin()
        self._starts.append(self.items)
        self._called = any(piece.call is not None for piece in pieces)
        self._calls_of = set()

    def start_of(self, index: int) -> int:
        """Return the number of the first output item of the request that item *index* came with."""
        return self._starts[bisect.bisect_right(self._starts, index) - 1] if self._starts else 0

    def decode(self, data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  see Decode
        """Decode one event of the stream, and keep it."""
        try:
            event = decode_event(data)
        except NOT_JSON as error:
            if data.strip() == b"[DONE]":
                return DONE
            raise StreamProtocolError(f"no event of the Responses API ({error})", offset=offset, sample=data) from error
        kind = event.type
        if not kind.startswith("response."):
            if kind == "error" or b'"error"' in data:
                raise _failure(data)
            if first:
                raise UnexpectedForm("an object that is no event of this API", offset=offset, sample=data)
        if kind == "response.failed":
            raise _failure(data)
        data = self._events.vetted(event, data)
        if self.requests > 1:
            if kind in _PREAMBLE:
                return None
            data = _renumbered(data, self._starts[-1])
        self.first = self.first or data
        if event.output_index is not None:
            self.items = max(self.items, event.output_index + self._starts[-1] + 1)
        return self._take(event, data)

    def _take(self, event: WireEvent, data: bytes) -> Decoded:
        kind, delta = event.type, event.delta
        if kind == _TEXT and isinstance(delta, str):
            return self._text(delta, data, "content")
        if kind in _REASONING and isinstance(delta, str):
            self.reasoning = "reasoning"
            return self._text(delta, data, "reasoning")
        item, index = event.item, event.output_index
        if item is not None and item.type in CALLS and index is not None:
            self._calls_of.add(index)
        if index in self._calls_of:
            self._add("call", "", data)
            if kind == ITEM_DONE and item is not None:
                call = _call(item)
                self._called = True
                self._at += len(call.text)
                return Chunk(call.text, tokens=1, call=call)
            return None
        if kind in ("response.completed", "response.incomplete"):
            self._add("end", "", data)
            return self._end(kind, event.response or WireResponse())
        self._add("text", "", data)
        return None

    def _text(self, text: str, data: bytes, field: Field) -> Chunk | None:
        self._add("text", text, data, field)
        return Chunk(text, "answer" if field == "content" else "reasoning") if text else None

    def _add(self, kind: Kind, text: str, data: bytes, field: Field = "content") -> None:
        self.queue.append(Arrival(kind, self._at, text, data, field, later=False))
        self._at += len(text)

    def _end(self, kind: str, response: WireResponse) -> Chunk:
        reason: FinishReason = "tool_calls" if self._called else "stop"
        if kind == "response.incomplete":
            details = response.incomplete_details
            reason = _INCOMPLETE.get(details.reason or "", "other") if details is not None else "other"
        usage = response.usage
        counted = None
        if usage is not None:
            cached = usage.input_tokens_details.cached_tokens if usage.input_tokens_details else None
            counted = Usage(count_of(usage.input_tokens), count_of(cached), count_of(usage.output_tokens))
        return Chunk("", tokens=0, finish_reason=reason, usage=counted)


def _call(item: WireItem) -> ToolCall:
    if item.type == "custom_tool_call":
        return ToolCall(item.call_id or "", item.name or "", item.input or "", "custom")
    return ToolCall(item.call_id or "", item.name or "", item.arguments or "")


def _renumbered(data: bytes, shift: int) -> bytes:
    body = msgspec.json.decode(data)
    if isinstance(body.get("output_index"), int):
        body["output_index"] += shift
    return msgspec.json.encode(body)


def _failure(data: bytes) -> UpstreamError:
    body = msgspec.json.decode(data)
    response = body.get("response")
    error = response.get("error") if isinstance(response, dict) else body.get("error") or body
    return refusal(msgspec.json.encode({"error": error}))


def _nothing(_data: bytes, _offset: int, _first: bool) -> Decoded:  # noqa: FBT001  see Decode
    return None
