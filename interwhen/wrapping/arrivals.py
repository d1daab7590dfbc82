"""The chunks of the server, kept by the place of their text in the trace, until the reader may see them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from interwhen.models.base import Chunk, Piece
from interwhen.models.chunks import DONE, Decode, Decoded
from interwhen.wrapping.call_assembly import CallAssembler
from interwhen.wrapping.vetting import Vetting

Kind = Literal["text", "call", "end", "usage", "ours"]
"""Text or nothing at all; a piece of a tool call; a finish reason; token counts only; text that we wrote."""

Field = Literal["content", "reasoning_content", "reasoning", "text"]
"""Which field of a chunk holds its text."""


_BACKSLASH = 92

_NO_PLACES: Mapping[int, int] = MappingProxyType({})


class Arrival:
    """One chunk of the server, or one insertion of ours."""

    __slots__ = ("calls", "cut", "data", "field", "kind", "later", "piece", "places", "shift", "split", "start", "text")

    def __init__(self, kind: Kind, start: int, text: str, data: bytes, field: Field, *, later: bool) -> None:
        self.kind: Kind = kind
        self.start = start
        self.text = text
        self.data = data
        self.field: Field = field
        self.later = later
        """Whether it belongs to a later request than the first one, so that its id is another."""
        self.calls: tuple[int, ...] = ()
        """The numbers of the calls that its pieces of tool calls belong to, one a piece."""
        self.places: Mapping[int, int] = _NO_PLACES
        """Where the calls stand that are whole, by number. One that is not stands nowhere: it is never shown."""
        self.shift = 0
        """How many calls of earlier requests stand: its own are numbered on from them."""
        self.cut = False
        """Whether ``text`` is only the beginning of what the chunk said."""
        self.split = 0
        """For a chunk with reasoning and answer: how long the reasoning is."""
        self.piece: Piece | None = None
        """For an insertion: what the trace says about it."""

    @property
    def end(self) -> int:
        """Where its text ends in the trace."""
        return self.start + len(self.text)

    def goes(self, kept: int) -> bool:
        """Tell whether a cut that keeps *kept* characters leaves nothing of it."""
        if self.kind == "call" and not self.text:
            return self.calls_go(kept)
        if self.kind in ("end", "usage"):
            return not self.text or self.start >= kept
        return self.start >= max(kept, 1)

    def calls_go(self, kept: int) -> bool:
        """Tell whether a cut that keeps *kept* characters leaves none of its calls."""
        if not self.calls:
            return self.start >= kept  # the call itself stands right behind
        return all(self.places.get(number, kept) >= kept for number in self.calls)

    def cut_calls(self, kept: int) -> None:
        """Take out the pieces of calls that a cut which keeps *kept* characters leaves nothing of."""
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


class Tap:
    """Decodes the streams of one call, and keeps their chunks in ``queue``, in the order of the trace.

    ``queue`` mirrors the trace: what a rewind cuts goes, and what we insert stands in it.
    """

    def __init__(self, decode: Decode, field: Field, *, holds: bool = False) -> None:
        self.queue: deque[Arrival] = deque()
        self.calls: list[Arrival] = []
        """Chunks with pieces of tool calls that were taken out of the queue, to be shown at the end."""
        self.first: bytes = b""
        """The first chunk there was: what all others of ours are made like."""
        self.reasoning: Field | None = None
        """The field in which reasoning comes, once one has."""
        self.vetting = Vetting("chat" if field == "content" else "completions", holds=holds)
        """What the answer had that no monitor reads; *holds*: which is held back, then."""
        self._decode = decode
        self._field: Field = field
        self._at = 0
        self.requests = 0
        """How many streams have begun."""
        self._calls = CallAssembler()
        self._call_tokens = 0
        self._places: dict[int, int] = {}
        self._shift = 0

    def begin(self, pieces: tuple[Piece, ...]) -> None:
        """Note that a stream begins that goes on from *pieces*."""
        self.requests += 1
        self._calls = CallAssembler()
        self._call_tokens = 0
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

    def insert(self, start: int, piece: Piece) -> None:
        """Note that *piece* of ours stands at *start*, unless the stream that goes on from it has begun already.

        It may be a part of what :meth:`begin` was told of: a gate releases text as far as it has been checked.
        """
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
        arrival = Arrival("ours", start, piece.text, b"", self._field_of(piece), later=True)
        arrival.piece = piece
        self.queue.append(arrival)

    def decode(self, data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  see Decode
        """Decode one event of the stream, and keep it."""
        found = self._decode(data, offset, first)
        if found is DONE:
            return found
        # Nearly every chunk is like the one before it but for its text, and so has nothing else to look at.
        vetting = self.vetting
        size = len(data)
        if (
            size < vetting.least
            or not data.startswith(vetting.before)
            or not data.endswith(vetting.after)
            or data.find(b'"', vetting.begin, size - vetting.rest) >= 0
            or data[size - vetting.rest - 1] == _BACKSLASH
        ):
            data = vetting.vetted(data)
            if not self.first:
                self.first = data
        if self._calls.is_open or vetting.has_calls:
            return self._with_calls(data, found)
        self._keep(data, found, ())
        return found

    def _keep(self, data: bytes, found: Decoded, calls: tuple[int, ...]) -> None:
        at, later = self._at, self.requests > 1
        if type(found) is Chunk:
            text = found.text
            kind: Kind = "call" if calls else "text"
            if found.finish_reason is not None:
                kind = "end"
            elif not text and found.usage is not None:
                kind = "usage"
            field = self._field if found.phase == "answer" else self._reasoning_field(data)
            self.queue.append(Arrival(kind, at, text, data, field, later=later))
            self._at = at + len(text)
        elif isinstance(found, tuple):
            text = "".join(chunk.text for chunk in found)
            kind = "end" if found[-1].finish_reason is not None else "text"
            arrival = Arrival(kind, at, text, data, self._reasoning_field(data), later=later)
            arrival.split = len(found[0].text)
            self.queue.append(arrival)
            self._at = at + len(text)
        else:
            self.queue.append(Arrival("call" if calls else "text", at, "", data, self._field, later=later))
        if calls:
            last = self.queue[-1]
            last.calls, last.places, last.shift = calls, self._places, self._shift

    def _with_calls(self, data: bytes, found: Decoded) -> Decoded:
        """Take a chunk that may bring pieces of tool calls; the whole calls are chunks of their own."""
        pieces, whole = self._calls.feed(data)
        reason = found[-1].finish_reason if isinstance(found, tuple) else None
        reason = found.finish_reason if isinstance(found, Chunk) else reason
        if pieces:
            self._call_tokens += 1
        chunks: list[Chunk] = []
        if isinstance(found, tuple):
            chunks = list(found)
        elif isinstance(found, Chunk):
            chunks = [found]
        # The text of a chunk stands before the calls that it ends.
        self._keep(data, found, pieces)
        end = chunks.pop() if reason is not None and chunks and not chunks[-1].text else None
        if reason is not None:
            whole += self._calls.end(reason)
        for number, call in whole:
            self._places[number] = self._at
            chunks.append(Chunk(call.text, tokens=self._call_tokens, call=call))
            self._call_tokens = 0
            self._at += len(call.text)
        if end is not None:
            chunks.append(end)
        elif reason is not None and whole:
            chunks.append(Chunk("", tokens=0, finish_reason=reason))
        return chunks[0] if len(chunks) == 1 else tuple(chunks) or None

    def _reasoning_field(self, data: bytes) -> Field:
        if self.reasoning is None:
            self.reasoning = "reasoning_content" if b'"reasoning_content":"' in data.replace(b" ", b"") else "reasoning"
        return self.reasoning

    def _field_of(self, piece: Piece) -> Field:
        return self.reasoning if piece.phase == "reasoning" and self.reasoning is not None else self._field
