"""One output item of a response, as far as its reader has been told of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from interwhen.wrapping.responses_wire import DONE, WireEvent

Body = dict[str, Any]
Status = Literal["completed", "incomplete"]

_STEMS = {
    "response.output_text": "output_text",
    "response.refusal": "refusal",
    "response.reasoning_text": "reasoning_text",
    "response.reasoning_summary_text": "summary_text",
}
"""What events with text are named after, and the type of the part that their text belongs to."""
_NAMES = {kind: stem for stem, kind in _STEMS.items()}


class Part:
    """One part of an item's content, or of its summary."""

    __slots__ = ("announced", "closed", "index", "kind", "pieces", "said", "source")

    def __init__(self, kind: str, index: int, source: int) -> None:
        self.kind = kind
        self.index = index
        self.source = source
        """The item of the server whose text it takes; negative: none."""
        self.pieces: list[str] = []
        self.announced = False
        self.said = False
        """Whether its text was said to be all."""
        self.closed = False

    @property
    def text(self) -> str:
        """Its text so far."""
        return "".join(self.pieces)

    @property
    def body(self) -> Body:
        """The part as the API writes it."""
        return self.like({})

    @property
    def extras(self) -> Body:
        """What events about its text have besides."""
        return {"logprobs": []} if self.kind == "output_text" else {}

    def like(self, given: Body) -> Body:
        """Return the part as the API writes it, with the other fields of *given*."""
        if self.kind not in _NAMES:
            return {"type": self.kind, **given}
        own: Body = {"type": self.kind, "refusal" if self.kind == "refusal" else "text": self.text}
        return {"annotations": [], **given, **own} if self.kind == "output_text" else {**given, **own}


class Item:
    """An output item that was announced and is not done."""

    def __init__(self, index: int, kind: str, name: str, announced: bytes | Body, source: int) -> None:
        self.index = index
        """Its number, for the reader."""
        self.kind = kind
        self.name = name
        """Its id, for the reader."""
        self.source = source
        """The number of the server's item that it shows, the last of them; negative: only text of ours."""
        self.parts: list[Part] = []
        self._announced = announced

    def note(self, event: WireEvent) -> None:
        """Note that the reader was told *event*, which is about this item."""
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

    def open_part(self, *kinds: str) -> Part | None:
        """Return the last part of one of *kinds* that text may be added to."""
        found = (part for part in reversed(self.parts) if part.kind in kinds)
        return next((part for part in found if not (part.said or part.closed)), None)

    def own_part(self, source: int, number: int, kind: str) -> Part:
        """Return where the reader finds part *number* of the server's item *source*: it may go on with a cut one."""
        own = [part for part in self.parts if part.source == source]
        if number < len(own):
            return own[number]
        cut = self.open_part(kind)
        if cut is None or cut.source == source:
            cut = self.new_part(kind, source)
        cut.source = source
        return cut

    def new_part(self, kind: str, source: int) -> Part:
        """Add a part and return it; it is not announced."""
        is_summary = kind == "summary_text"
        number = sum((part.kind == "summary_text") == is_summary for part in self.parts)
        self.parts.append(Part(kind, number, source))
        return self.parts[-1]

    def added(self, part: Part) -> Body:
        """Return the event that announces *part*."""
        holder = "reasoning_summary_part" if part.kind == "summary_text" else "content_part"
        return {"type": f"response.{holder}.added", **self._place(part), "part": part.body}

    def text(self, part: Part, text: str) -> Body:
        """Return the event that adds *text* to *part*."""
        return {"type": f"{_NAMES[part.kind]}.delta", **self._place(part), "delta": text, **part.extras}

    def close(self, status: Status) -> Iterator[Body]:
        """Yield the events that end what is open of it."""
        for part in self.parts:
            place, body = self._place(part), part.body
            if not part.said and (stem := _NAMES.get(part.kind)):
                said = {name: value for name, value in body.items() if name in ("text", "refusal")}
                yield {"type": f"{stem}.done", **place, **said, **part.extras}
            if part.announced and not part.closed:
                holder = "reasoning_summary_part" if part.kind == "summary_text" else "content_part"
                yield {"type": f"response.{holder}.done", **place, "part": body}
        yield {"type": DONE, "output_index": self.index, "item": self._whole(status)}

    def done(self, source: int, given: Body) -> Body:
        """Return the server's item *given*, which is done, with the texts that the reader was told."""
        found = {**given, "id": self.name} if self.name else given
        if self.kind != "message":
            return found
        said = iter(given.get("content") or ())
        content = [part.like(next(said, {}) if part.source == source else {}) for part in self.parts]
        return {**found, "content": content}

    def _whole(self, status: Status) -> Body:
        given = self._announced if isinstance(self._announced, dict) else msgspec.json.decode(self._announced)
        found: Body = {**given["item"], "id": self.name} if self.name else {**given["item"]}
        if self.kind == "message" or "status" in found:
            found["status"] = status
        for field, kinds in (("content", ("output_text", "refusal", "reasoning_text")), ("summary", ("summary_text",))):
            if parts := [part.body for part in self.parts if part.kind in kinds]:
                found[field] = parts
        return found

    def _place(self, part: Part) -> Body:
        name = "summary_index" if part.kind == "summary_text" else "content_index"
        return {"item_id": self.name, "output_index": self.index, name: part.index}

    def _part(self, kind: str, event: WireEvent) -> Part:
        is_summary = kind == "summary_text"
        index = (event.summary_index if is_summary else event.content_index) or 0
        for part in self.parts:
            if part.index == index and (part.kind == "summary_text") == is_summary:
                return part
        return self.new_part(kind, self.source)
