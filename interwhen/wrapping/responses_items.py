"""The output items of a response as its reader knows them, whatever was cut and begun anew behind them.

A reader of the Responses API keeps books: an item is announced before it has text, is done once, and is done before the
response is. A correction breaks that: the server's item was left in the middle, and another request announces new
ones. Here each event is brought into line with what was told before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from interwhen.wrapping.arrivals import Field
from interwhen.wrapping.responses_item import Body, Item, Status
from interwhen.wrapping.responses_wire import ADDED, CALLS, DONE, WireEvent, WireItem

_OURS: Final = "interwhen.text"
_PART_ADDED = "response.content_part.added"
_PART_DONE = "response.content_part.done"
_TEXT = "response.output_text"
_HOLDS = {"output_text": "message", "summary_text": "reasoning"}
"""In which type of item a part of ours stands."""
_NONE = -1
"""The number of no item of the server."""


def own_text(field: Field, text: str) -> Body:
    """Return *text* of ours as an event that is none of the API yet: :meth:`Items.tell` finds a place for it."""
    return {"type": _OURS, "field": field, "delta": text}


class Items:
    """Follows what the reader is told. *start_of* returns with which of the server's items a request began."""

    def __init__(self, start_of: Callable[[int], int]) -> None:
        self._start_of = start_of
        self._open: dict[int, Item] = {}
        self._shown: dict[int, Item] = {}
        """By the number of the server's item, where the reader finds it."""
        self._names: set[str] = set()
        self._next = 0
        self.message = ""
        """The id of the message that was announced last."""
        self.corrected = False
        """Whether the reader was told text of ours."""
        self.calls: list[Body] = []
        """The calls that the reader has been told of."""

    def follow(self, event: WireEvent, data: bytes) -> None:
        """Note that the reader was told *event* (*data*), as the server sent it."""
        index = event.output_index
        if index is None:
            return
        if event.type == ADDED and event.item is not None:
            self._shown[index] = self._begin(index, event.item, data, index)
        elif event.type == DONE:
            self._end(index, event.item, data)
        elif (item := self._open.get(index)) is not None:
            item.note(event)

    def tell(self, body: Body) -> Iterator[Body]:
        """Yield the events to tell instead of *body*, the server's or one of ours, after what was told before."""
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

    def close(self, status: Status, *, before: int | None = None) -> Iterator[Body]:
        """Yield the events that end what is open: what came with requests *before* that item, or everything."""
        for item in tuple(self._open.values()):
            if before is None or item.source < before:
                for body in item.close(status):
                    yield self._told(body)

    def _announce(self, index: int, body: Body) -> Iterator[Body]:
        """Yield what to tell of a new item of the server; what was cut before it is done now, or goes on in it."""
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
        yield self._told({**body, "output_index": self._next, "item": item}, index)

    def _within(self, item: Item, index: int, body: Body) -> Iterator[Body]:
        """Yield what to tell of the server's item *index*, which the reader knows as *item*."""
        kind: str = body["type"]
        body = {**body, "output_index": item.index}
        if item.name and "item_id" in body:
            body["item_id"] = item.name
        if item.kind == "message" and isinstance(body.get("content_index"), int):
            part = item.own_part(index, body["content_index"], (body.get("part") or {}).get("type") or "output_text")
            if kind == _PART_ADDED and part.announced:
                return
            body["content_index"] = part.index
            if kind == f"{_TEXT}.done" and body.get("text") != part.text:
                body |= {"text": part.text, "logprobs": []}
            elif kind == _PART_DONE:
                body["part"] = part.like(body.get("part") or {})
        if kind == DONE:
            yield from map(self._told, [*item.close("completed")][:-1])
            body["item"] = item.done(index, body["item"])
        yield self._told(body)

    def _ours(self, field: Field, text: str) -> Iterator[Body]:
        self.corrected = True
        kinds = ("output_text",) if field == "content" else ("summary_text", "reasoning_text")
        item = next((item for item in self._open.values() if item.kind == _HOLDS[kinds[0]]), None)
        if item is None:
            yield from self.close("incomplete")
            yield self._told(self._made(_HOLDS[kinds[0]]), _NONE)
            item = self._open[self._next - 1]
        part = item.open_part(*kinds)
        if part is None:
            part = item.new_part(kinds[0], _NONE)
            yield self._told(item.added(part))
        yield self._told(item.text(part, text))

    def _made(self, kind: str) -> Body:
        """Return the event that announces an item of ours."""
        item: Body = {"type": kind, "summary": []}
        if kind == "message":
            item = {"type": kind, "role": "assistant", "status": "in_progress", "content": []}
        name = self._name("msg_interwhen" if kind == "message" else "rs_interwhen")
        return {"type": ADDED, "output_index": self._next, "item": {"id": name, **item}}

    def _name(self, name: str) -> str:
        """Return *name*, or another one where there is an item with that name: servers count for each request anew."""
        return f"{name}_{self._next}" if name in self._names else name

    def _told(self, body: Body, source: int | None = None) -> Body:
        """Note that the reader is told *body*, and return it."""
        event = msgspec.convert(body, WireEvent)
        index = event.output_index
        if index is None:
            return body
        if event.type == ADDED and event.item is not None:
            item = self._begin(index, event.item, body, index if source is None else source)
            if item.source != _NONE:
                self._shown[item.source] = item
        elif event.type == DONE:
            self._end(index, event.item, body)
        elif (known := self._open.get(index)) is not None:
            known.note(event)
        return body

    def _begin(self, index: int, item: WireItem, announced: bytes | Body, source: int) -> Item:
        self._next = max(self._next, index + 1)
        name = item.id or ""
        self._names.add(name)
        if item.type == "message":
            self.message = name
        found = self._open[index] = Item(index, item.type, name, announced, source)
        return found

    def _end(self, index: int, item: WireItem | None, done: bytes | Body) -> None:
        self._open.pop(index, None)
        if item is not None and item.type in CALLS:
            body = done if isinstance(done, dict) else msgspec.json.decode(done)
            self.calls.append(body["item"])
