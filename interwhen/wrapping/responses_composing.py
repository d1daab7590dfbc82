"""From events of a run to the events that a reader of the Responses API gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from interwhen.results import Result
from interwhen.wrapping.arrivals import Arrival, Field
from interwhen.wrapping.composing import Composer
from interwhen.wrapping.facts import Part
from interwhen.wrapping.responses_tap import ResponsesTap
from interwhen.wrapping.shapes import BLOCKED

Body = dict[str, Any]


class ResponsesShape:
    """Makes events like the last ones of the server; see :class:`~interwhen.wrapping.shapes.Shape`."""

    def __init__(self, tap: ResponsesTap) -> None:
        self._tap = tap

    def text(self, field: Field, text: str) -> Body:
        """Return an event of *text*, for the output item that was written last."""
        found = self._tap.last.get(field) or self._tap.last.get("content") or self._tap.first
        return self.with_text(found, field, text, whole=False)

    def with_text(self, data: bytes, field: Field, text: str, *, whole: bool) -> Body:  # noqa: ARG002  see Shape
        """Return the event *data* with other *text*."""
        body: Body = msgspec.json.decode(data)
        if "delta" not in body:  # there has been no text yet to be like
            index = max(self._tap.items - 1, 0)
            body = {"type": "response.output_text.delta", "item_id": "", "output_index": index, "content_index": 0}
        if body.get("logprobs") and not whole:
            body["logprobs"] = []
        return {**body, "delta": text}

    def end(self, last: bytes | None, result: Result, *, calls: bool) -> Body:
        """Return the event that ends the response, whose output is what stands; without *last*, it was blocked."""
        blocked = last is None
        body: Body = msgspec.json.decode(last if last is not None else self._tap.first)
        response: Body = dict(body.get("response") or {})
        output = [item for item in response.get("output") or () if item.get("type") not in ("message", "reasoning")]
        if not calls:
            output = [item for item in output if item.get("type") not in ("function_call", "custom_tool_call")]
        first: Body = msgspec.json.decode(self._tap.first)
        response["id"] = (first.get("response") or response).get("id", response.get("id"))
        text = {"type": "output_text", "text": result.answer, "annotations": []}
        message = {"id": "msg_interwhen", "type": "message", "role": "assistant", "status": "completed"}
        message["content"] = [text]  # type: ignore[assignment]
        response["output"] = [*([message] if result.answer else []), *output]
        response["status"] = "incomplete" if blocked else response.get("status", "completed")
        if blocked:
            response["incomplete_details"] = {"reason": BLOCKED}
        kind = "response.incomplete" if response["status"] == "incomplete" else "response.completed"
        return {"type": kind, "sequence_number": body.get("sequence_number", 0), "response": response}


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
        self._sequence = 0
        self._renumbers = False

    def _add(self, part: Part, start: int | None = None, lead: int = 0) -> None:
        if part.raw is None or self._tap.requests > 1:
            self._renumbers = True
        if self._renumbers:
            part.body = {**part.chunk(), "sequence_number": self._sequence}
            part.raw = None
        self._sequence += 1
        super()._add(part, start, lead)

    def _block(self, result: Result) -> None:
        self._add(Part(None, self._own.end(None, result, calls=False)))

    def _end(self, result: Result, last: Arrival | None) -> None:
        stand = result.finish_reason in ("tool_calls", "stop")
        for arrival in self._tap.calls if stand else ():
            self._add(Part(arrival.data))
        if last is None:
            return
        if self._renumbers or (self._tap.calls and not stand):
            self._add(Part(None, self._own.end(last.data, result, calls=stand)))
        else:
            self._add(Part(last.data))


def whole_of(parts: list[Part]) -> Body:
    """Return the response that *parts* spell: it is in the last event."""
    for part in reversed(parts):
        response = part.chunk().get("response")
        if isinstance(response, dict):
            return response
    return {}
