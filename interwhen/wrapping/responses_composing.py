"""From events of a run to the events that a reader of the Responses API gets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from interwhen.results import Result
from interwhen.wrapping.arrivals import Arrival, Field
from interwhen.wrapping.composing import Composer
from interwhen.wrapping.facts import Part
from interwhen.wrapping.responses_items import Items, own_text
from interwhen.wrapping.responses_tap import ResponsesTap
from interwhen.wrapping.responses_wire import CALLS, decode_event
from interwhen.wrapping.shapes import BLOCKED

Body = dict[str, Any]

_NONE: Body = {"id": "resp_interwhen", "object": "response", "created_at": 0, "status": "in_progress", "output": []}
"""The response where the server sent none."""


class ResponsesShape:
    """Makes events of one response; see :class:`~interwhen.wrapping.shapes.Shape`."""

    def __init__(self, tap: ResponsesTap) -> None:
        self._tap = tap

    def text(self, field: Field, text: str) -> Body:
        """Return an event of *text*; without any, one that says nothing but that the response goes on."""
        return own_text(field, text) if text else {"type": "response.in_progress", "response": self._first()}

    def begin(self, body: Body) -> None:
        """Do nothing: a response begins with an event of its own."""

    def with_text(self, data: bytes, field: Field, text: str, *, whole: bool) -> Body:  # noqa: ARG002  see Shape
        """Return the event *data* with other *text*; the log-probabilities go unless it is *whole*."""
        body: Body = msgspec.json.decode(data)
        if body.get("logprobs") and not whole:
            body["logprobs"] = []
        return {**body, "delta": text}

    def end(self, last: bytes | None, result: Result, items: Items) -> Body:
        """Return the event that ends the response: the server's *last* one with the output that stands.

        Without *last*, the response was blocked.
        """
        said: Body = msgspec.json.decode(last) if last is not None else {}
        response: Body = said.get("response") or self._first()
        given = response.get("output") or ()
        # What the model called on its own account, and the reasoning that the calls of tools must be given back with.
        output = [item for item in given if item.get("type") not in ("message", *CALLS)]
        other = [part for item in given if item.get("type") == "message" for part in item.get("content") or ()]
        content: list[Body] = [{"type": "output_text", "text": result.answer, "annotations": []}]
        content = content[: bool(result.answer)] + [part for part in other if part.get("type") != "output_text"]
        message = {"id": items.message or "msg_interwhen", "type": "message", "role": "assistant"}
        if content:
            output.append({**message, "status": "completed", "content": content})
        response = {**response, "id": self._first().get("id", response.get("id")), "output": [*output, *items.calls]}
        if last is None:
            response |= {"status": "incomplete", "incomplete_details": {"reason": BLOCKED}}
        kind = "response.incomplete" if response.get("status") == "incomplete" else "response.completed"
        return {**said, "type": kind, "response": response}

    def cut(self, result: Result, items: Items) -> Body:
        """Return the response that stands where the server never ended it: as an event that says no more than that."""
        found = self.end(None, result, items)
        return {**found, "response": {**found["response"], "incomplete_details": None}}

    def _first(self) -> Body:
        first = self._tap.first
        return (msgspec.json.decode(first).get("response") if first else None) or dict(_NONE)


class ResponsesComposer(Composer):
    """A :class:`~interwhen.wrapping.composing.Composer` for the Responses API.

    Its last event holds the whole response: that has the text that stands, whatever was shown and taken back.
    """

    def __init__(
        self, tap: ResponsesTap, trace: Callable[[], str], *, hold: bool, splits: bool, correction: str
    ) -> None:
        super().__init__(tap, trace, chat=True, hold=hold, splits=splits, wants_usage=False, correction=correction)
        self._own = ResponsesShape(tap)
        self._shape_made = self._own  # type: ignore[assignment]
        self._items = Items(tap.start_of)
        self._sequence = -1
        """The number of the last event."""
        self._rewrites = False
        """Whether an event of ours was told: then those of the server have other numbers."""

    def _add(self, part: Part, start: int | None = None, lead: int = 0) -> None:
        if part.raw is not None and not self._rewrites and self._tap.requests == 1:
            event = decode_event(part.raw)
            number = event.sequence_number
            if number is None or self._sequence < 0 or number == self._sequence + 1:
                self._sequence = self._sequence + 1 if number is None else number
                self._items.follow(event, part.raw)
                super()._add(part, start, lead)
                return
        self._tell(self._items.tell(part.chunk()), start, lead)

    def _tell(self, bodies: Iterable[Body], start: int | None = None, lead: int = 0) -> None:
        """Add events of ours; text that stands at *start* is in the last of them."""
        self._rewrites = True
        found = [*bodies]
        for number, body in enumerate(found, start=1):
            self._sequence += 1
            part = Part(None, {**body, "sequence_number": self._sequence})
            if number < len(found):
                super()._add(part)
            else:
                super()._add(part, start, lead)

    def _block(self, result: Result) -> None:
        self._tell([*self._items.close("incomplete"), self._own.end(None, result, self._items)])

    def _end(self, result: Result, last: Arrival | None) -> None:
        stand = result.finish_reason in ("tool_calls", "stop")
        for arrival in self._tap.calls if stand else ():
            self._add(Part(arrival.data))
        if last is None:
            if self._hold:
                self._tell([*self._items.close("incomplete"), self._own.cut(result, self._items)])
            return
        if self._tap.requests > 1 or self._items.corrected or (self._tap.calls and not stand):
            self._tell([*self._items.close("completed"), self._own.end(last.data, result, self._items)])
        else:
            self._add(Part(last.data))


def whole_of(parts: list[Part]) -> Body:
    """Return the response that *parts* spell: it is in the last event."""
    for part in reversed(parts):
        response = part.chunk().get("response")
        if isinstance(response, dict):
            return response
    return {}
