"""Keeps the server's chunks, with the trace offset of their text, until the reader may see them."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from interwhen._types.errors import DECODE_ERRORS
from interwhen._types.models import Chunk, Piece
from interwhen.clients._held_scores import HeldScores
from interwhen.clients._known_fields import (
    FIELDS,
    NAMES_KEPT,
    OURS,
    SCORED,
    RequestStrings,
    Sifted,
    Stands,
    Table,
    sift,
    strict_decoder,
)
from interwhen.models._chunks import DONE, CallAssembler, Decode, Decoded

Kind = Literal["text", "call", "end", "usage", "ours"]
"""The content of a chunk.

``text``: text, possibly empty. ``call``: a piece of a tool call. ``end``: a finish reason.
``usage``: only token counts. ``ours``: text that interwhen inserted.
"""

Field = Literal["content", "reasoning_content", "reasoning", "text"]
"""The field of a chunk that holds its text."""


_BACKSLASH = 92

_NO_PLACES: Mapping[int, int] = MappingProxyType({})


_DECODERS = {api: strict_decoder(FIELDS[api], api) for api in ("chat", "completions")}
_TEXT = re.compile(rb'"(?:content|text|reasoning_content|reasoning)": ?"(?!")')
"""Matches the beginning of a chunk's text, never inside a JSON string, where quotation marks are escaped."""
_OFTEN = 16
"""Each of the first 16 filtered chunks may be remembered, then only every 16th."""


class FieldFilter:
    """Finds text that no monitor reads in the answer to *request*. With *holds*, such text is removed or replaced."""

    __slots__ = ("_asked", "_request", "holds", "unmonitored")

    def __init__(self, *, holds: bool, request: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._request = request
        self._asked: RequestStrings | None = None
        self.holds = holds
        self.unmonitored: dict[str, bool] = {}
        """The first 8 fields with unmonitored text, and whether this text was held back."""

    def note(self, name: str) -> None:
        if len(self.unmonitored) < NAMES_KEPT:
            self.unmonitored.setdefault(name, self.holds)

    def sift(self, body: Mapping[str, Any], table: Table, stands: Stands) -> Sifted:
        self._asked = self._asked or RequestStrings(self._request)
        return sift(body, table, stands, self._asked)


class ChunkFieldFilter(FieldFilter):
    """The filter for the chunks of the chat and the completions API."""

    # It remembers the bytes of a clean chunk (one without such text) `before` and `after` its text. A chunk that
    # differs from it only in this text does not have to be filtered: it begins and ends with the same bytes, has no
    # quotation mark between them, and no backslash directly before `after`.

    __slots__ = (
        "_api",
        "_decode",
        "_scores",
        "_stops",
        "after",
        "before",
        "begin",
        "has_calls",
        "least",
        "looked",
        "rest",
    )

    def __init__(
        self, api: Literal["chat", "completions"], *, holds: bool, request: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        super().__init__(holds=holds, request=request)
        stop = request.get("stop")
        self._stops = [stop] if isinstance(stop, str) else [each for each in stop or () if isinstance(each, str)]
        self._stops += [""] if request.get("stop_token_ids") else []
        self._api: Literal["chat", "completions"] = api
        self._decode = _DECODERS[api].decode
        self.before = self.after = b""
        self.begin = self.rest = 0
        """The lengths of ``before`` and ``after``."""
        self.least = 1 << 62
        """The size of the smallest chunk that can match the remembered one."""
        self.looked = 0
        """How many chunks were filtered."""
        self.has_calls = False
        """Whether the last filtered chunk may hold pieces of tool calls."""
        self._scores: HeldScores | None = None

    def restart(self) -> None:
        # Forget the tokens that wait for their text, because another stream begins.
        self._scores = None

    def filtered(self, data: bytes) -> bytes:
        # The field `interwhen` is always removed: a server must not imitate supervision info.
        self.least = 1 << 62
        self.looked += 1
        try:
            chunk = self._decode(data)
        except DECODE_ERRORS:
            shown, is_sound = self._sifted(data)
        else:
            delta = getattr(chunk.choices[0], "delta", None) if chunk.choices else None
            self.has_calls = bool(delta and (delta.tool_calls or delta.function_call))
            shown, is_sound = data, not _says_two_things(delta)
            if not is_sound:
                shown, is_sound = self._sifted(data)
        if self._scores is not None or SCORED.search(data):
            shown = self._with_scores(shown)
            is_sound = is_sound and self._scores is None  # the next chunk has other tokens
        if is_sound and (self.looked <= _OFTEN or not self.looked % _OFTEN):
            self._remember(data)
        return shown

    def _with_scores(self, data: bytes) -> bytes:
        try:
            choice = msgspec.json.decode(data)["choices"][0]
        except (*DECODE_ERRORS, LookupError, TypeError):
            return data
        scores = choice.get("logprobs")
        if scores is None and self._scores is None:
            return data
        self._scores = self._scores or HeldScores()
        said = choice if self._api == "completions" else choice.get("delta") or {}
        reasoning = said.get("reasoning_content") or said.get("reasoning")
        texts = [said.get("content"), said.get("text"), *_call_texts(said), reasoning]
        *answer, reasoning = [text if isinstance(text, str) else "" for text in texts]
        shown = self._scores.take(scores, "".join(answer), reasoning)
        if choice.get("finish_reason") is not None:
            self._scores.finish(self._stops)
        if self._scores.differs:
            self.note("choices.logprobs")
        if not self.holds or shown == scores:
            return data
        body = msgspec.json.decode(data)
        body["choices"][0]["logprobs"] = shown
        return msgspec.json.encode(body)

    def _sifted(self, data: bytes) -> tuple[bytes, bool]:
        try:
            body: dict[str, Any] = msgspec.json.decode(data)
        except DECODE_ERRORS:
            return data, False  # the decoder raises an error for such a chunk
        ours = body.pop(OURS, None) is not None
        choices = body.get("choices") or [{}]
        delta = choices[0].get("delta") if self._api == "chat" else None
        self.has_calls = bool(delta and (delta.get("tool_calls") or delta.get("function_call")))
        reasoning = (delta.get("reasoning_content") or delta.get("reasoning") or "") if delta else ""

        def stands(place: str, text: str) -> str:
            # A server that sends details sends their text as reasoning, too. Encrypted details have no text.
            assert delta is not None
            return text if _text_of(delta.get(place.split(".")[-2])) == reasoning else ""

        value, names = self.sift(body, FIELDS[self._api], stands)
        if reasoning and delta and (other := delta.get("reasoning")) and other != reasoning:
            names = (*names, "choices.delta.reasoning")
            value["choices"][0]["delta"]["reasoning"] = ""
        for name in names:
            self.note(name)
        if not (names and self.holds):
            return (msgspec.json.encode(body) if ours else data), not (names or ours)
        return msgspec.json.encode(value), False

    def _remember(self, data: bytes) -> None:
        beginnings = _TEXT.findall(data)
        if len(beginnings) != 1:
            return
        begin = data.index(beginnings[0]) + len(beginnings[0])
        end = data.find(b'"', begin)
        if end < 0 or data[end - 1] == _BACKSLASH:
            return
        self.before, self.after, self.begin, self.rest = data[:begin], data[end:], begin, len(data) - end
        self.least = self.begin + self.rest


def _call_texts(said: Mapping[str, Any]) -> Iterator[Any]:
    calls = [*(said.get("tool_calls") or ()), {"function": said.get("function_call")}]
    for call in calls:
        made = (call.get("function") or call.get("custom") or {}) if isinstance(call, Mapping) else {}
        yield from (made.get(name) for name in ("name", "arguments", "input"))


def _says_two_things(delta: Any) -> bool:
    return bool(delta and delta.reasoning_content and delta.reasoning and delta.reasoning != delta.reasoning_content)


def _text_of(details: Any) -> str:
    items = details if isinstance(details, list) else [details]
    texts = [
        item.get("text") or item.get("summary") or item.get("thinking") for item in items if isinstance(item, dict)
    ]
    return "".join(text for text in texts if isinstance(text, str))


class BufferedChunk:
    """One chunk from the server, or one text that interwhen inserted, with the offset of its text in the trace."""

    __slots__ = ("calls", "cut", "data", "field", "kind", "later", "piece", "places", "shift", "split", "start", "text")

    def __init__(self, kind: Kind, start: int, text: str, data: bytes, field: Field, *, later: bool) -> None:
        self.kind: Kind = kind
        self.start = start
        self.text = text
        self.data = data
        """The chunk as JSON; empty for text that interwhen inserted."""
        self.field: Field = field
        self.later = later
        """Whether it is not from the first request, so that the id of the first chunk must replace its own. False for
        the Responses API."""
        self.calls: tuple[int, ...] = ()
        """For each of its pieces of tool calls, the number of the call."""
        self.places: Mapping[int, int] = _NO_PLACES
        """The trace offset of each complete call, by its number."""
        self.shift = 0
        """How many calls of earlier requests were kept. The reader's number of a call is its own number plus this."""
        self.cut = False
        """Whether ``text`` or the calls are only a part of those in ``data``, so that the composer must write a new
        chunk."""
        self.split = 0
        """For a chunk with reasoning and answer: the length of the reasoning."""
        self.piece: Piece | None = None
        """For text that interwhen inserted: its piece of the trace."""

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    def goes(self, kept: int) -> bool:
        if self.kind == "call" and not self.text:
            return self.calls_go(kept)
        if self.kind in ("end", "usage"):
            return not self.text or self.start >= kept
        return self.start >= max(kept, 1)

    def calls_go(self, kept: int) -> bool:
        # A call without a place is not complete, so its pieces are removed.
        if not self.calls:
            return self.start >= kept  # the call follows directly
        return all(self.places.get(number, kept) >= kept for number in self.calls)

    def cut_calls(self, kept: int) -> None:
        # A chunk without its calls is shown for its text only: `cut` makes the composer write a new chunk with it.
        gone = [self.places.get(number, kept) >= kept for number in self.calls]
        if all(gone):
            self.kind, self.cut, self.calls = "text", True, ()
        elif any(gone):
            body = msgspec.json.decode(self.data)
            delta = body["choices"][0]["delta"]
            pieces = delta.get("tool_calls") or []
            delta["tool_calls"] = [piece for piece, goes in zip(pieces, gone, strict=False) if not goes]
            if len(gone) > len(pieces) and gone[-1]:
                del delta["function_call"]
            self.calls = tuple(number for number, goes in zip(self.calls, gone, strict=True) if not goes)
            self.data = msgspec.json.encode(body)


class ChunkBuffer:
    """Decodes the streams of one call, and stores their chunks in ``queue``, in the order of the trace."""

    # `field` is the chunk's field for text of the answer. `request` is the body of the request, whose strings a server
    # may repeat.

    def __init__(
        self, decode: Decode, field: Field, *, holds: bool = False, request: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        self.queue: deque[BufferedChunk] = deque()
        self.calls: list[BufferedChunk] = []
        """Chunks with pieces of tool calls, which left the queue and wait for the end."""
        self.first: bytes = b""
        """The template of the chunks that interwhen makes."""
        self.reasoning: Field | None = None
        """``None`` before any reasoning has come."""
        self.field_filter = ChunkFieldFilter(
            "chat" if field == "content" else "completions", holds=holds, request=request
        )
        self._decode = decode
        self._field: Field = field
        self._at = 0
        self.requests = 0
        self.counted: dict[int, bytes] = {}
        """The last chunk of each request that had the server's token counts, by the number of the request."""
        self.call_extras: dict[str, Any] = {}
        """The field ``extra_content`` of calls, by their ids. Gemini needs it back with the calls."""
        self._calls = CallAssembler(self.call_extras)
        self._places: dict[int, int] = {}
        self._shift = 0

    @property
    def usages(self) -> list[dict[str, Any]]:
        return [usage for data in self.counted.values() if isinstance(usage := self._usage_in(data), dict)]

    def _usage_in(self, data: bytes) -> object:
        return msgspec.json.decode(data).get("usage")

    def begin(self, pieces: tuple[Piece, ...]) -> None:
        # Chunks that the trace has lost are removed, and text that interwhen has added is inserted.
        self.requests += 1
        self.field_filter.restart()
        self._calls = CallAssembler(self.call_extras)
        self._places = {}
        self._shift = sum(piece.call is not None for piece in pieces)
        self._at = base = sum(len(piece.text) for piece in pieces)
        kept = base
        ours: list[Piece] = []
        for piece in reversed(pieces):
            if piece.origin == "model":
                break
            ours.append(piece)
            kept -= len(piece.text)
        self._cut(kept)
        for piece in reversed(ours):
            self._insert(kept, piece)
            kept += len(piece.text)

    def splice(self, start: int, dropped: int, to: int) -> None:
        # For `Stream.splice`: the text of this stream begins at `start`, and its first `dropped` characters repeat kept
        # text.
        fresh = [arrival for arrival in self.queue if arrival.start >= start and arrival.kind != "ours"]
        for _ in fresh:
            self.queue.pop()
        self._cut(to)
        end = start + dropped
        for arrival in fresh:
            gone = min(max(end - arrival.start, 0), len(arrival.text))
            if gone:
                arrival.text, arrival.cut = arrival.text[gone:], True
                arrival.split = max(arrival.split - gone, 0)
            arrival.start = max(arrival.start, end) + to - end
        self.queue.extend(fresh)
        for number, place in self._places.items():
            self._places[number] = place + to - end
        self._at += to - end

    def insert(self, start: int, piece: Piece) -> None:
        end = start + len(piece.text)
        if not any(known.kind == "ours" and known.start <= start and end <= known.end for known in self.queue):
            self._cut(start)
            self._insert(start, piece)

    def _cut(self, kept: int) -> None:
        queue = self.queue
        self.calls = [arrival for arrival in self.calls if not arrival.calls_go(kept)]
        while queue and queue[-1].goes(kept):
            queue.pop()
        for arrival in (*self.calls, *queue):
            if arrival.calls and arrival.kind == "call":
                arrival.cut_calls(kept)
        last = queue[-1] if queue else None
        if last is not None and (last.end > kept or last.kind == "end"):  # cut within a chunk
            last.text = last.text[: kept - last.start]
            last.cut, last.kind = True, "text" if last.kind == "end" else last.kind

    def _insert(self, start: int, piece: Piece) -> None:
        arrival = BufferedChunk("ours", start, piece.text, b"", self._field_of(piece), later=True)
        arrival.piece = piece
        self.queue.append(arrival)

    def decode(self, data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  see Decode
        decoded = self._decode(data, offset, first)
        if decoded is DONE:
            return decoded
        # Nearly every chunk differs from the one before in its text only, so nothing else in it needs a look.
        field_filter = self.field_filter
        size = len(data)
        if (
            size < field_filter.least
            or not data.startswith(field_filter.before)
            or not data.endswith(field_filter.after)
            or data.find(b'"', field_filter.begin, size - field_filter.rest) >= 0
            or data[size - field_filter.rest - 1] == _BACKSLASH
        ):
            data = field_filter.filtered(data)
            if not self.first:
                self.first = data
        if self._calls.is_open or field_filter.has_calls:
            return self._with_calls(data, decoded, offset)
        self._keep(data, decoded, ())
        return decoded

    def _keep(self, data: bytes, decoded: Decoded, calls: tuple[int, ...]) -> None:
        at, later = self._at, self.requests > 1
        if type(decoded) is Chunk:
            text = decoded.text
            kind: Kind = "text"
            if decoded.finish_reason is not None:
                kind = "end"
            elif calls:
                kind = "call"
            elif not text and decoded.usage is not None:
                kind = "usage"
            if decoded.usage is not None:
                self.counted[self.requests] = data
            field = self._field if decoded.phase == "answer" else self._reasoning_field(data)
            self.queue.append(BufferedChunk(kind, at, text, data, field, later=later))
            self._at = at + len(text)
        elif isinstance(decoded, tuple):
            text = "".join(chunk.text for chunk in decoded)
            kind = "end" if decoded[-1].finish_reason is not None else "call" if calls else "text"
            arrival = BufferedChunk(kind, at, text, data, self._reasoning_field(data), later=later)
            arrival.split = len(decoded[0].text)
            if decoded[-1].usage is not None:
                self.counted[self.requests] = data
            self.queue.append(arrival)
            self._at = at + len(text)
        else:
            self.queue.append(BufferedChunk("call" if calls else "text", at, "", data, self._field, later=later))
        if calls:
            last = self.queue[-1]
            last.calls, last.places, last.shift = calls, self._places, self._shift

    def _with_calls(self, data: bytes, decoded: Decoded, offset: int) -> Decoded:
        # Pieces of a call are stored when they come; the run gets the call as a separate chunk when it is complete.
        read = self._calls.read(data, decoded, offset)
        # The text of a chunk comes before the calls that it completes.
        self._keep(data, decoded, read.pieces)
        for number, call in read.whole:
            self._places[number] = self._at
            self._at += len(call.text)
        return read.chunks

    def _reasoning_field(self, data: bytes) -> Field:
        if self.reasoning is None:
            self.reasoning = "reasoning_content" if b'"reasoning_content":"' in data.replace(b" ", b"") else "reasoning"
        return self.reasoning

    def _field_of(self, piece: Piece) -> Field:
        return self.reasoning if piece.phase == "reasoning" and self.reasoning is not None else self._field
