"""Converts events of a run to events of the Responses API."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

from interwhen._types.errors import DECODE_ERRORS, StreamProtocolError, UnexpectedForm, UpstreamError
from interwhen._types.models import Chunk, FinishReason, Piece, Usage
from interwhen._types.results import Result
from interwhen._types.segments import ToolCall
from interwhen.clients._calls import ApiCall, Settings
from interwhen.clients._chat_codec import BLOCKED, Composer, Part, is_one_request, was_ended
from interwhen.clients._chunk_buffer import BufferedChunk, ChunkBuffer, Field, Kind
from interwhen.clients._responses_fields import (
    ADDED,
    CALL_PIECES,
    CALLS,
    RESPONSE_DONE,
    ResponsesFieldFilter,
    WireEvent,
    WireItem,
    WireResponse,
    decode_event,
)
from interwhen.clients._responses_fields import RESPONSE_DONE as ITEM_DONE
from interwhen.clients._usage import RESPONSES, usage_of_call
from interwhen.models._chunks import DONE, Decoded, count_of
from interwhen.models._transport import refusal

# One output item of a response, as the reader has received it.

ItemBody = dict[str, Any]
Status = Literal["completed", "incomplete"]

_STEMS = {
    "response.output_text": "output_text",
    "response.refusal": "refusal",
    "response.reasoning_text": "reasoning_text",
    "response.reasoning_summary_text": "summary_text",
}
"""The prefixes of events with text, and the type of the part that the text belongs to."""
_NAMES = {kind: stem for stem, kind in _STEMS.items()}
_HINT = "check that base_url is that of an OpenAI-compatible API"


class ItemPart:
    """One part of the content or of the summary of an output item, as far as the reader has got it.

    *index* is its number for the reader.
    """

    __slots__ = ("announced", "closed", "index", "kind", "pieces", "said", "source")

    def __init__(self, kind: str, index: int, source: int) -> None:
        self.kind = kind
        self.index = index
        self.source = source
        """The number of the server's item that its text comes from; negative if there is none."""
        self.pieces: list[str] = []
        self.announced = False
        self.said = False
        """Whether the event for the end of its text was sent. ``closed`` is the same for the end of the part."""
        self.closed = False

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def body(self) -> ItemBody:
        return self.like({})

    @property
    def extras(self) -> ItemBody:
        return {"logprobs": []} if self.kind == "output_text" else {}

    def like(self, given: ItemBody) -> ItemBody:
        if self.kind not in _NAMES:
            return {"type": self.kind, **given}
        own: ItemBody = {"type": self.kind, "refusal" if self.kind == "refusal" else "text": self.text}
        return {"annotations": [], **given, **own} if self.kind == "output_text" else {**given, **own}


class OutputItem:
    """An output item that the reader knows (by the event *announced*), and that has not ended yet."""

    def __init__(self, index: int, kind: str, name: str, announced: bytes | ItemBody, source: int) -> None:
        self.index = index
        """Its number for the reader."""
        self.kind = kind
        self.name = name
        """Its id for the reader."""
        self.source = source
        """The number of the last of the server's items that it shows; negative if it has only text of interwhen."""
        self.parts: list[ItemPart] = []
        self._announced = announced

    def note(self, event: WireEvent) -> None:
        stem, _, what = event.type.rpartition(".")
        if (kind := _STEMS.get(stem)) is not None:
            part = self._part(kind, event)
            if what == "delta":
                part.pieces.append(event.delta)
            else:
                part.said = True
        elif stem in ("response.content_part", "response.reasoning_summary_part") and event.part is not None:
            part = self._part(event.part.type, event)
            part.announced, part.closed = True, what == "done"

    def open_part(self, *kinds: str) -> ItemPart | None:
        candidates = (part for part in reversed(self.parts) if part.kind in kinds)
        return next((part for part in candidates if not (part.said or part.closed)), None)

    def own_part(self, source: int, number: int, kind: str) -> ItemPart:
        # After a cut, a part of the next request continues an open part of the same `kind`.
        own = [part for part in self.parts if part.source == source]
        if number < len(own):
            return own[number]
        cut = self.open_part(kind)
        if cut is None or cut.source == source:
            cut = self.new_part(kind, source)
        cut.source = source
        return cut

    def new_part(self, kind: str, source: int) -> ItemPart:
        is_summary = kind == "summary_text"
        number = sum((part.kind == "summary_text") == is_summary for part in self.parts)
        self.parts.append(ItemPart(kind, number, source))
        return self.parts[-1]

    def added(self, part: ItemPart) -> ItemBody:
        holder = "reasoning_summary_part" if part.kind == "summary_text" else "content_part"
        return {"type": f"response.{holder}.added", **self._place(part), "part": part.body}

    def text(self, part: ItemPart, text: str) -> ItemBody:
        return {"type": f"{_NAMES[part.kind]}.delta", **self._place(part), "delta": text, **part.extras}

    def close(self, status: Status) -> Iterator[ItemBody]:
        for part in self.parts:
            place, body = self._place(part), part.body
            if not part.said and (stem := _NAMES.get(part.kind)):
                said = {name: value for name, value in body.items() if name in ("text", "refusal")}
                yield {"type": f"{stem}.done", **place, **said, **part.extras}
            if part.announced and not part.closed:
                holder = "reasoning_summary_part" if part.kind == "summary_text" else "content_part"
                yield {"type": f"response.{holder}.done", **place, "part": body}
        yield {"type": RESPONSE_DONE, "output_index": self.index, "item": self._whole(status)}

    def done(self, source: int, given: ItemBody) -> ItemBody:
        body = {**given, "id": self.name} if self.name else given
        if self.kind != "message":
            return body
        said = iter(given.get("content") or ())
        content = [part.like(next(said, {}) if part.source == source else {}) for part in self.parts]
        return {**body, "content": content}

    def _whole(self, status: Status) -> ItemBody:
        given = self._announced if isinstance(self._announced, dict) else msgspec.json.decode(self._announced)
        body: ItemBody = {**given["item"], "id": self.name} if self.name else {**given["item"]}
        if self.kind == "message" or "status" in body:
            body["status"] = status
        for field, kinds in (("content", ("output_text", "refusal", "reasoning_text")), ("summary", ("summary_text",))):
            if parts := [part.body for part in self.parts if part.kind in kinds]:
                body[field] = parts
        return body

    def _place(self, part: ItemPart) -> ItemBody:
        name = "summary_index" if part.kind == "summary_text" else "content_index"
        return {"item_id": self.name, "output_index": self.index, name: part.index}

    def _part(self, kind: str, event: WireEvent) -> ItemPart:
        is_summary = kind == "summary_text"
        index = (event.summary_index if is_summary else event.content_index) or 0
        for part in self.parts:
            if part.index == index and (part.kind == "summary_text") == is_summary:
                return part
        return self.new_part(kind, self.source)


# Keeps the output items of a response consistent for the reader, also after a cut and another request.
#
# A reader of the Responses API expects that an item is announced before it has text, is done once, and is done before
# the response is. A correction breaks this: the server's item stops in the middle, and another request announces new
# items. So each event is changed to fit the events that were sent before.

_OURS: Final = "interwhen.text"
"""The type of an event with text of interwhen, which :meth:`OutputItems.send` puts into an output item."""
_PART_ADDED = "response.content_part.added"
_PART_DONE = "response.content_part.done"
_TEXT_ITEM = "response.output_text"
_HOLDS = {"output_text": "message", "summary_text": "reasoning"}
"""For each type of part that interwhen adds: the type of the item that holds the part."""
_NO_ITEMS = -1
"""Used as the server's number of an item that the server did not send."""


class OutputItems:
    """Tracks the output items that the reader knows, and renumbers the server's events to fit them.

    *start_of* maps the server's number of an item to that of the first item of the same request.
    """

    def __init__(self, start_of: Callable[[int], int]) -> None:
        self._start_of = start_of
        self._open: dict[int, OutputItem] = {}
        self._shown: dict[int, OutputItem] = {}
        """The reader's items, by the server's number of the item."""
        self._names: set[str] = set()
        self._next = 0
        self.message = ""
        """The id of the last message that was announced."""
        self.corrected = False
        """Whether the reader got text of interwhen."""
        self.calls: list[ItemBody] = []
        """The calls that the reader got."""

    def follow(self, event: WireEvent, raw: bytes | ItemBody, source: int | None = None) -> None:
        """Update the known items after the reader got *event*, as the bytes or the JSON object *raw*.

        *source* is the server's index of the item (default: the index in the event).
        """
        index = event.output_index
        if index is None:
            return
        if event.type == ADDED and event.item is not None:
            item = self._begin(index, event.item, raw, index if source is None else source)
            if item.source != _NO_ITEMS:
                self._shown[item.source] = item
        elif event.type == RESPONSE_DONE:
            self._end(index, event.item, raw)
        elif (known := self._open.get(index)) is not None:
            known.note(event)

    def send(self, body: ItemBody) -> Iterator[ItemBody]:
        # Of an item that the reader does not know or that has ended, only text is shown.
        kind, index = body["type"], body.get("output_index")
        if kind == _OURS:
            yield from self._ours(body["field"], body["delta"])
        elif index is None:
            yield body
        elif kind == ADDED and isinstance(body.get("item"), dict):
            yield from self._announce(index, body)
        elif (item := self._shown.get(index)) is not None and self._open.get(item.index) is item:
            yield from self._within(item, index, body)
        elif isinstance(body.get("delta"), str) and kind.endswith("text.delta"):
            yield from self._ours("reasoning" if "reasoning" in kind else "content", body["delta"])

    def close(self, status: Status, *, before: int | None = None) -> Iterator[ItemBody]:
        for item in tuple(self._open.values()):
            if before is None or item.source < before:
                for body in item.close(status):
                    yield self._sent(body)

    def _announce(self, index: int, body: ItemBody) -> Iterator[ItemBody]:
        # A new message continues the item of a message that was cut. Other items that were cut end as incomplete.
        item, start = body["item"], self._start_of(index)
        if item.get("type") == "message":
            cut = next((item for item in self._open.values() if item.kind == "message" and item.source < start), None)
            if cut is not None:
                cut.source = index
                self._shown[index] = cut
                yield from self.close("incomplete", before=start)
                return
        yield from self.close("incomplete", before=start)
        if item.get("id"):
            item = {**item, "id": self._name(item["id"])}
        yield self._sent({**body, "output_index": self._next, "item": item}, index)

    def _within(self, item: OutputItem, index: int, body: ItemBody) -> Iterator[ItemBody]:
        kind: str = body["type"]
        body = {**body, "output_index": item.index}
        if item.name and "item_id" in body:
            body["item_id"] = item.name
        if item.kind == "message" and isinstance(body.get("content_index"), int):
            part = item.own_part(index, body["content_index"], (body.get("part") or {}).get("type") or "output_text")
            if kind == _PART_ADDED and part.announced:
                return
            body["content_index"] = part.index
            if kind == f"{_TEXT_ITEM}.done" and body.get("text") != part.text:
                body |= {"text": part.text, "logprobs": []}
            elif kind == _PART_DONE:
                body["part"] = part.like(body.get("part") or {})
        if kind == RESPONSE_DONE:
            yield from map(self._sent, [*item.close("completed")][:-1])
            body["item"] = item.done(index, body["item"])
        yield self._sent(body)

    def _ours(self, field: Field, text: str) -> Iterator[ItemBody]:
        self.corrected = True
        kinds = ("output_text",) if field == "content" else ("summary_text", "reasoning_text")
        item = next((item for item in self._open.values() if item.kind == _HOLDS[kinds[0]]), None)
        if item is None:
            yield from self.close("incomplete")
            yield self._sent(self._made(_HOLDS[kinds[0]]), _NO_ITEMS)
            item = self._open[self._next - 1]
        part = item.open_part(*kinds)
        if part is None:
            part = item.new_part(kinds[0], _NO_ITEMS)
            yield self._sent(item.added(part))
        yield self._sent(item.text(part, text))

    def _made(self, kind: str) -> ItemBody:
        item: ItemBody = {"type": kind, "summary": []}
        if kind == "message":
            item = {"type": kind, "role": "assistant", "status": "in_progress", "content": []}
        name = self._name("msg_interwhen" if kind == "message" else "rs_interwhen")
        return {"type": ADDED, "output_index": self._next, "item": {"id": name, **item}}

    def _name(self, name: str) -> str:
        # Ids must differ within the response, and another request may use the same ones again.
        return f"{name}_{self._next}" if name in self._names else name

    def _sent(self, body: ItemBody, source: int | None = None) -> ItemBody:
        self.follow(msgspec.convert(body, WireEvent), body, source)
        return body

    def _begin(self, index: int, item: WireItem, announced: bytes | ItemBody, source: int) -> OutputItem:
        self._next = max(self._next, index + 1)
        name = item.id or ""
        self._names.add(name)
        if item.type == "message":
            self.message = name
        output_item = self._open[index] = OutputItem(index, item.type, name, announced, source)
        return output_item

    def _end(self, index: int, item: WireItem | None, done: bytes | ItemBody) -> None:
        self._open.pop(index, None)
        if item is not None and item.type in CALLS:
            body = done if isinstance(done, dict) else msgspec.json.decode(done)
            self.calls.append(body["item"])


# Streams of the Responses API: typed events, some of them with text, reasoning, or a tool call.

_TEXT = "response.output_text.delta"
_REASONING = ("response.reasoning_text.delta", "response.reasoning_summary_text.delta")
_PREAMBLE = ("response.created", "response.in_progress", "response.queued")
_INCOMPLETE: dict[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}


class ResponsesChunkBuffer(ChunkBuffer):
    # The reader gets one response for all requests, so the numbers of output items continue from request to request.

    def __init__(self, *, holds: bool = False, request: Mapping[str, Any] = MappingProxyType({})) -> None:
        super().__init__(_nothing, "content")
        self._events = ResponsesFieldFilter(holds=holds, request=request)
        self.field_filter = self._events  # type: ignore[assignment]
        self.items = 0
        """The number of output items so far."""
        self._starts: list[int] = []
        self._called = False
        self._calls_of: set[int | None] = set()
        self.whole_calls: set[int] = set()
        """The numbers of the items of complete calls, which monitors have read. Only these calls may be shown."""
        self._thoughts: set[int] = set()
        """The reasoning items of this request that have no text yet, or only a summary."""

    def begin(self, pieces: tuple[Piece, ...]) -> None:
        super().begin(pieces)
        self._starts.append(self.items)
        self._called = any(piece.call is not None for piece in pieces)
        self._calls_of = set()
        self._thoughts = set()

    def start_of(self, index: int) -> int:
        return self._starts[bisect.bisect_right(self._starts, index) - 1] if self._starts else 0

    def decode(self, data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  see Decode
        try:
            event = decode_event(data)
        except DECODE_ERRORS as error:
            if data.strip() == b"[DONE]":
                return DONE
            raise StreamProtocolError(
                f"an event must be one of the Responses API, got something else ({error})",
                offset=offset,
                sample=data,
                hint=_HINT,
            ) from error
        kind = event.type
        if not kind.startswith("response."):
            if kind == "error" or b'"error"' in data:
                raise _failure(data)
            if first:
                raise UnexpectedForm(
                    "an event must be one of the Responses API, got another object",
                    offset=offset,
                    sample=data,
                    hint=_HINT,
                )
        if kind == "response.failed":
            raise _failure(data)
        data = self._events.filtered(event, data)
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
            if kind == _REASONING[0] and event.output_index is not None:
                self._thoughts.discard(event.output_index)
            return self._text(delta, data, "reasoning")
        item, index = event.item, event.output_index
        is_call = kind.startswith(CALL_PIECES) or (item is not None and item.type in CALLS)
        if is_call:
            self._calls_of.add(index)
        if kind == ADDED and item is not None and item.type == "reasoning" and index is not None:
            self._thoughts.add(index)
        if is_call or (index is not None and index in self._calls_of):
            self._add("call", "", data)
            return self._whole_call(item, index) if kind == ITEM_DONE and item is not None else None
        if kind in ("response.completed", "response.incomplete"):
            self._add("end", "", data)
            return self._end(kind, event.response or WireResponse(), data)
        self._add("text", "", data)
        return None

    def _text(self, text: str, data: bytes, field: Field) -> Chunk | None:
        self._add("text", text, data, field)
        return Chunk(text, "answer" if field == "content" else "reasoning") if text else None

    def _add(self, kind: Kind, text: str, data: bytes, field: Field = "content") -> None:
        self.queue.append(BufferedChunk(kind, self._at, text, data, field, later=False))
        self._at += len(text)

    def _whole_call(self, item: WireItem, index: int | None) -> Chunk:
        call = _call(item)
        self._called = True
        if index is not None and index not in self._events.differing:
            self.whole_calls.add(index + self._starts[-1])
        self._at += len(call.text)
        return Chunk(call.text, tokens=1, call=call)

    def _usage_in(self, data: bytes) -> object:
        return msgspec.json.decode(data)["response"]["usage"]

    def _end(self, kind: str, response: WireResponse, data: bytes) -> Chunk:
        if any(index is None or index + self._starts[-1] not in self.whole_calls for index in self._calls_of):
            self._events.unmonitored.setdefault("item of a call that is not whole", True)
        reason: FinishReason = "tool_calls" if self._called else "stop"
        # vLLM sends response.completed for an answer that it cut, too.
        if kind == "response.incomplete" or response.status not in (None, "completed"):
            details = response.incomplete_details
            reason = _INCOMPLETE.get(details.reason or "", "other") if details is not None else "other"
        usage = response.usage
        if usage is not None:
            self.counted[self.requests] = data
        counted = Usage(hides_reasoning=True) if self._thoughts else None
        if usage is not None:
            cached = usage.input_tokens_details.cached_tokens if usage.input_tokens_details else None
            thoughts = count_of(usage.output_tokens_details.reasoning_tokens) if usage.output_tokens_details else None
            counted = Usage(
                count_of(usage.input_tokens),
                count_of(cached),
                count_of(usage.output_tokens),
                reasoning_tokens=thoughts,
                hides_reasoning=bool(self._thoughts) and thoughts != 0,
            )
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


Body = dict[str, Any]

_NONE: Body = {"id": "resp_interwhen", "object": "response", "created_at": 0, "status": "in_progress", "output": []}
"""The response if the server sent none."""


class ResponsesTemplate:
    """Makes events of the Responses API for text of interwhen, for changed text, and for the end of the response."""

    # The server's first event in `buffer` gives the id and the other fields.

    def __init__(self, buffer: ResponsesChunkBuffer) -> None:
        self.buffer = buffer

    def text(self, field: Field, text: str) -> Body:
        if text:
            return {"type": _OURS, "field": field, "delta": text}
        return {"type": "response.in_progress", "response": self._first()}

    def begin(self, body: Body) -> None:
        """Do nothing, because a response begins with a separate event."""

    def with_text(self, data: bytes, field: Field, text: str, *, whole: bool) -> Body:  # noqa: ARG002  see Shape
        # The event itself says which `field` it has. Its log-probabilities describe the `whole` text only.
        body: Body = msgspec.json.decode(data)
        if body.get("logprobs") and not whole:
            body["logprobs"] = []
        return {**body, "delta": text}

    def end(self, last: bytes | None, result: Result, items: OutputItems, note: str = "") -> Body:
        """Return the event that ends the response: the server's *last* event, with the output that was kept.

        *result* has the text of the answer, after which the reader got *note*, and *items* the tool calls. Without
        *last*, the response ends as blocked.
        """
        said: Body = msgspec.json.decode(last) if last is not None else {}
        response: Body = said.get("response") or self._first()
        given = response.get("output") or ()
        # Keep items of built-in tools, and reasoning items, which the caller must send back together with tool calls.
        output = [item for item in given if item.get("type") not in ("message", *CALLS)]
        other = [part for item in given if item.get("type") == "message" for part in item.get("content") or ()]
        text = f"{result.answer}{note}" if result.answer else note.lstrip("\n")
        content: list[Body] = [{"type": "output_text", "text": text, "annotations": []}]
        # A whole answer has no white space before a call, which a stream may have.
        has_text = bool(text.strip() if items.calls or last is None else text)
        content = content[:has_text] + [part for part in other if part.get("type") != "output_text"]
        message = {"id": items.message or "msg_interwhen", "type": "message", "role": "assistant"}
        if content:
            output.append({**message, "status": "completed", "content": content})
        response = {**response, "id": self._first().get("id", response.get("id")), "output": [*output, *items.calls]}
        if last is None:
            response |= {"status": "incomplete", "incomplete_details": {"reason": BLOCKED}}
        if not is_one_request(result) or was_ended(result, self.buffer):
            details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
            response["usage"] = details | usage_of_call(self.buffer.usages, result.ledger, RESPONSES)
        kind = "response.incomplete" if response.get("status") == "incomplete" else "response.completed"
        return {**said, "type": kind, "response": response}

    def cut(self, result: Result, items: OutputItems) -> Body:
        # The only reason is the token limit.
        body = self.end(None, result, items)
        details = {"reason": "max_output_tokens"} if result.finish_reason == "length" else None
        return {**body, "response": {**body["response"], "incomplete_details": details}}

    def _first(self) -> Body:
        first = self.buffer.first
        return (msgspec.json.decode(first).get("response") if first else None) or dict(_NONE)


class ResponsesComposer(Composer):
    """A :class:`~interwhen.clients._chat_codec.Composer` for the Responses API."""

    # Its last event usually contains the whole response with the final text.

    def __init__(
        self, buffer: ChunkBuffer, trace: Callable[[], str], call: ApiCall, settings: Settings, *, splits: bool
    ) -> None:
        super().__init__(buffer, trace, call, settings, splits=splits)
        assert isinstance(buffer, ResponsesChunkBuffer)
        self._wants_usage = False  # the response has the token counts
        self._own = ResponsesTemplate(buffer)
        self._template_made = self._own  # type: ignore[assignment]
        self._items = OutputItems(buffer.start_of)
        self._sequence = -1
        self._rewrites = False
        """Whether an event was added or changed, so that new sequence numbers are needed."""

    def _add(self, part: Part, start: int | None = None, lead: int = 0) -> None:
        if part.raw is not None and not self._rewrites and self._buffer.requests == 1:
            event = decode_event(part.raw)
            number = event.sequence_number
            if number is None or self._sequence < 0 or number == self._sequence + 1:
                self._sequence = self._sequence + 1 if number is None else number
                self._items.follow(event, part.raw)
                super()._add(part, start, lead)
                return
        self._send(self._items.send(part.chunk()), start, lead)

    def _send(self, bodies: Iterable[Body], start: int | None = None, lead: int = 0) -> None:
        """Add *bodies* with new sequence numbers. *start* and *lead* describe the last one, which has the text."""
        self._rewrites = True
        events = [*bodies]
        for number, body in enumerate(events, start=1):
            self._sequence += 1
            part = Part(None, {**body, "sequence_number": self._sequence})
            if number < len(events):
                super()._add(part)
            else:
                super()._add(part, start, lead)

    def _block(self, result: Result) -> None:
        note = self._abstain(result)
        self._send([*self._items.close("incomplete"), self._own.end(None, result, self._items, note)])

    def _end(self, result: Result, last: BufferedChunk | None) -> None:
        stand = result.finish_reason in ("tool_calls", "stop")
        whole = self._own.buffer.whole_calls
        for arrival in self._buffer.calls if stand else ():
            if decode_event(arrival.data).output_index in whole:
                self._add(Part(arrival.data))
        if last is None:
            if self._hold or was_ended(result, self._buffer):
                self._send([*self._items.close("incomplete"), self._own.cut(result, self._items)])
            return
        is_plain = is_one_request(result) and not self._items.corrected and self._has_calls_of(last.data)
        if not is_plain:
            self._send([*self._items.close("completed"), self._own.end(last.data, result, self._items)])
        else:
            self._add(Part(last.data))

    def _has_calls_of(self, data: bytes) -> bool:
        output = (msgspec.json.decode(data).get("response") or {}).get("output") or ()
        names = ("call_id", "name", "arguments", "input")
        shown = [[call.get(name) for name in names] for call in self._items.calls]
        return all([item.get(name) for name in names] in shown for item in output if item.get("type") in CALLS)


def whole_of(parts: list[Part]) -> Body:
    for part in reversed(parts):
        response = part.chunk().get("response")
        if isinstance(response, dict):
            return response
    return {}
