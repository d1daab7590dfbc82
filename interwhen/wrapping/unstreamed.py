"""Servers that do not stream: their whole answer, as the stream that it would have been."""

from __future__ import annotations

from typing import Any

import msgspec

from interwhen.errors import StreamProtocolError
from interwhen.models.sse import DEFAULT_LIMIT, END_MARK
from interwhen.models.transport import HttpResponse
from interwhen.wrapping.calls import Api

Body = dict[str, Any]
_MAX_BODY = 16 << 20


class Told:
    """A response whose body is known; see :class:`~interwhen.models.transport.HttpResponse`."""

    status = 200

    def __init__(self, body: bytes) -> None:
        self.event_bytes = max(len(body), DEFAULT_LIMIT)
        """How large one event may be: the answer is bounded as a whole already."""
        self.headers = {"content-type": "text/event-stream"}
        self._body = body

    async def receive(self) -> bytes:
        """Return the body, then nothing."""
        body, self._body = self._body, b""
        return body

    async def aclose(self) -> None:
        """Do nothing."""


async def streamed(api: Api, response: HttpResponse) -> HttpResponse:
    """Return *response* as a stream, where it is a whole answer in JSON.

    Raises :class:`~interwhen.errors.StreamProtocolError` where that is larger than 16 MiB.
    """
    if not response.headers.get("content-type", "").startswith("application/json"):
        return response
    body = bytearray()
    try:
        while len(body) <= _MAX_BODY and (data := await response.receive()):
            body += data
    finally:
        await response.aclose()
    if len(body) > _MAX_BODY:
        raise StreamProtocolError(
            f"an answer larger than {_MAX_BODY} bytes", offset=_MAX_BODY, sample=bytes(body[:200])
        )
    return Told(as_events(api, bytes(body)))


def as_events(api: Api, data: bytes) -> bytes:
    """Return the event stream that says what the whole answer *data* says."""
    try:
        body = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        body = None
    if not isinstance(body, dict) or (body.get("error") and not body.get("choices")):
        return b"data: " + data.strip() + b"\n\n"  # for the decoder to refuse
    events = _responses(body) if api == "responses" else _choices(body, api)
    return b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events) + END_MARK


def _choices(body: Body, api: Api) -> list[Body]:
    usage = body.pop("usage", None)
    events = [body]
    if api == "chat":
        body["object"] = "chat.completion.chunk"
        for choice in body.get("choices") or ():
            message = choice.pop("message", None) or {}
            for number, call in enumerate(message.get("tool_calls") or ()):
                call.setdefault("index", number)
            choice["delta"] = message
    if usage is not None:
        events.append({**body, "choices": [], "usage": usage})
    return events


def _responses(body: Body) -> list[Body]:
    events: list[Body] = []
    for index, item in enumerate(body.get("output") or ()):
        place = {"output_index": index, "item_id": item.get("id", "")}
        # As it is announced in a stream: its texts follow.
        begun = {name: [] if name in ("content", "summary") and value else value for name, value in item.items()}
        events.append({"type": "response.output_item.added", "output_index": index, "item": begun})
        summary = item.get("summary") or ()
        events += [
            {
                "type": "response.reasoning_summary_text.delta",
                **place,
                "summary_index": number,
                "delta": part.get("text") or "",
            }
            for number, part in enumerate(summary)
        ]
        for number, part in enumerate(item.get("content") or ()):
            place["content_index"] = number
            kind = "reasoning_text" if item.get("type") == "reasoning" else "output_text"
            if part.get("type") == "refusal":
                events.append({"type": "response.refusal.delta", **place, "delta": part.get("refusal") or ""})
            elif part.get("type") == kind:
                events.append({"type": f"response.{kind}.delta", **place, "delta": part.get("text") or ""})
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    status = "incomplete" if body.get("status") == "incomplete" else "completed"
    return [*events, {"type": f"response.{status}", "response": body}]
