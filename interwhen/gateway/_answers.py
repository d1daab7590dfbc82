"""Answers to supervised calls: streamed, or whole."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import msgspec

from interwhen._types.errors import ModelError, UnknownContext
from interwhen._types.events import Event, Remedied, Retracted, StreamBroken, ViolationFound
from interwhen._types.ledger import ContextUse, Ledger
from interwhen._types.results import Result
from interwhen.clients import SupervisionInfo
from interwhen.clients._calls import Api, ApiCall, read_call
from interwhen.clients._chat_codec import Part, info_of_all
from interwhen.clients._supervision import Supervised, supervise, whole
from interwhen.gateway._config import Detail
from interwhen.gateway._contexts import unknown_context
from interwhen.gateway._exchange import Exchange, returned, sent, vet_form
from interwhen.gateway._gateway import Gateway
from interwhen.gateway._http_errors import Headers, HttpError
from interwhen.gateway._monitor_choice import FIELD, MonitorChoice
from interwhen.gateway._relay import SUPERVISION_OFF, counted
from interwhen.gateway._upstream import GatewayTransport, UpstreamServer
from interwhen.models._sse import END_MARK

# Encodes the parts of a supervised answer as an event stream or as a whole body, with the field ``interwhen``.

Render = Callable[[Sequence[Part]], bytes]

_encode = msgspec.json.Encoder(enc_hook=str).encode
_NOTABLE = (Retracted, ViolationFound, Remedied, StreamBroken)
BEAT_SECONDS = 10.0
"""How often a comment is sent while a strategy chooses: proxies close silent connections."""
_COUNTS = (
    "kept",
    "discarded",
    "fork_tokens",
    "prompt_tokens",
    "fork_prompt_tokens",
    "cached_tokens",
    "requests",
    "forks",
    "remedies",
)
"""The counts of a ledger that the header ``X-Interwhen-Ledger`` has."""
_LONG = frozenset(("text", "reasoning", "answer", "checks", "certificate", "journal"))
"""Fields of a result that ``brief`` leaves out."""


_UNQUOTED = re.compile(r"[^ !#-\[\]-~]")
"""Matches characters that a quoted string of a header cannot hold as they are."""


class _Typed(msgspec.Struct):
    type: str = ""


_typed = msgspec.json.Decoder(_Typed)


def renderer(api: Api, detail: Detail) -> Render:
    """Return a function that encodes parts of an answer as stream events of *api*."""
    if api == "responses":
        return lambda parts: b"".join(_named(_data(part, detail)) for part in parts)
    if detail == "off":
        return lambda parts: b"".join([b"data: %b\n\n" % part.line() for part in parts])

    def render(parts: Sequence[Part]) -> bytes:
        if len(parts) == 1:  # the hot path: one unchanged chunk of the upstream
            part = parts[0]
            info = part.info
            if detail == "brief" and part.raw is not None and not info.events and not info.lead and info.result is None:
                return b"data: %b\n\n" % part.raw.replace(b"\n", b" ")
        return b"".join([b"data: %b\n\n" % _data(part, detail) for part in parts])

    return render


def error_event(api: Api, http_error: HttpError) -> bytes:
    if api == "responses":
        said = {
            "type": "error",
            "code": http_error.code,
            "message": str(http_error),
            "param": None,
            "sequence_number": 0,
        }
        return _named(_encode(said))
    return b"data: %b\n\n" % http_error.body.replace(b"\n", b" ")


def whole_body(api: Api, parts: Sequence[Part], detail: Detail) -> bytes:
    """Join *parts* to the JSON body of an answer of *api* that is not streamed."""
    body = whole(api, parts)
    if detail != "off":
        field = _field(info_of_all(parts), detail)
        if field is not None:
            body[FIELD] = field
    return _encode(body)


def _data(part: Part, detail: Detail) -> bytes:
    field = None if detail == "off" else _field(part.info, detail)
    data = part.line()
    if field is None:
        return data
    head = data.rstrip()[:-1].rstrip()
    return b'%b%b"%b":%b}' % (head, b"" if head.endswith(b"{") else b",", FIELD.encode(), _encode(field))


def _named(data: bytes) -> bytes:
    # A line break in the type would end the line, and what follows would be another event.
    kind = " ".join(_typed.decode(data).type.splitlines())
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def _field(info: SupervisionInfo, detail: Detail) -> Any:
    # The short form is `None` if there is nothing to say.
    if detail == "full":
        return info
    events = [event for event in info.events if isinstance(event, _NOTABLE)]
    if not events and not info.lead and info.result is None:
        return None
    return _brief(info, events)


def _brief(info: SupervisionInfo, events: Sequence[Event]) -> dict[str, Any]:
    field: dict[str, Any] = {}
    if info.start is not None:
        field["start"] = info.start
    if info.lead:
        field["lead"] = info.lead
    if events:
        field["events"] = events
    if info.result is not None:
        field["result"] = _summary(info.result)
        field["call_id"] = info.call_id
    return field


def _summary(result: Result) -> dict[str, Any]:
    fields = {name: getattr(result, name) for name in result.__struct_fields__ if name not in _LONG}
    return {"type": result.status, "label": result.label, **fields, "checks": len(result.checks)}


async def answer(gateway: Gateway, exchange: Exchange, api: Api, path: str, choice: MonitorChoice) -> str:
    """Send the answer to the supervised call in *exchange*, and return its outcome as a label for the metrics.

    Raises :class:`HttpError` if the call fails before the answer begins, and the other errors of :func:`supervise`. A
    later error of the upstream becomes the end of the answer.
    """
    call = _call(api, choice.body)
    upstream = gateway.upstream_for(choice.model)
    transport = GatewayTransport(
        upstream, exchange.onward(path), sent(exchange.raw_headers, without=exchange.admitted_by)
    )
    try:
        endpoint = upstream.endpoint(choice.model)
        supervised = await supervise(call, choice.settings, transport, endpoint, exchange.origin)
    except ModelError as error:
        raise counted(gateway, upstream, error) from error
    except UnknownContext as error:
        raise unknown_context(error.name) from error
    exchange.supervised = supervised
    answering = _AnswerWriter(gateway, exchange, api, choice, upstream, supervised, transport)
    try:
        await (answering.stream() if call.streams else answering.whole())
    finally:
        await supervised.aclose()
        if supervised.is_switched_off:
            gateway.metrics.unsupervised.labels("off").inc()
        if supervised.refusal is not None:
            counted(gateway, upstream, supervised.refusal)
        if (result := supervised.result) is not None:
            gateway.metrics.ended(result)
    assert result is not None
    return result.label


@dataclass(frozen=True, slots=True)
class _AnswerWriter:
    gateway: Gateway
    exchange: Exchange
    api: Api
    choice: MonitorChoice
    upstream: UpstreamServer
    supervised: Supervised
    transport: GatewayTransport

    async def stream(self) -> None:
        # An error of the upstream becomes the last event. The Responses API has no end mark.
        exchange, parts_of = self.exchange, self.supervised.parts
        exchange.last_words = functools.partial(error_event, self.api)
        await exchange.start(200, self._head("text/event-stream; charset=utf-8"))
        render, write = renderer(self.api, self.choice.detail), exchange.write
        try:
            parts = await (self._first_parts() if self.choice.settings.strategy is not None else parts_of())
            self.gateway.metrics.first.observe(time.monotonic() - exchange.began)
            while parts:
                await write(render(parts))
                parts = await parts_of()
        except ModelError as error:
            await exchange.fail(counted(self.gateway, self.upstream, error))
        else:
            # Without an end mark of the upstream, none is sent: the answer may be cut.
            await exchange.end(b"" if self.api == "responses" or self.supervised.is_cut else END_MARK)

    async def _first_parts(self) -> list[Part]:
        # Meanwhile comments keep the connection alive.
        parts: list[Part] = []
        failed: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._beat, name="keep-alive comments")
            try:
                parts = await self.supervised.parts()
            except Exception as error:  # noqa: BLE001  raised below, since the group would wrap it
                failed = error
            group.cancel_scope.cancel()
        if failed is not None:
            raise failed
        return parts

    async def _beat(self) -> None:
        while True:
            await anyio.sleep(BEAT_SECONDS)
            await self.exchange.write(b": a strategy is choosing\n\n")

    async def whole(self) -> None:
        all_parts: list[Part] = []
        try:
            while parts := await self.supervised.parts():
                all_parts += parts
        except ModelError as error:
            raise counted(self.gateway, self.upstream, error) from error
        result = self.supervised.result
        assert result is not None
        head = [*self._head("application/json"), (b"x-interwhen-status", result.label.encode())]
        if self.choice.strategy:
            head.append((b"x-interwhen-ledger", _in_header(result.ledger)))
        await self.exchange.whole(200, head, whole_body(self.api, all_parts, self.choice.detail))

    def _head(self, kind: str) -> Headers:
        # Without a response, a stored answer is sent, and the upstream was not asked.
        response = self.transport.response
        use = self.supervised.context_use
        context = [(b"x-interwhen-context", _context_header(use))] if use is not None else []
        name = self.choice.strategy.encode("latin-1", "replace")
        strategy = [(b"x-interwhen-strategy", name)] if name else []
        off = [SUPERVISION_OFF] if self.supervised.is_switched_off else []
        return [
            *off,
            *([] if response is None else returned(response.headers, new_body=True)),
            (b"content-type", kind.encode()),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            (b"x-interwhen-monitors", self.choice.names.encode("latin-1", "replace")),
            *strategy,
            *context,
        ]


def _context_header(use: ContextUse) -> bytes:
    why = f'; why="{_UNQUOTED.sub("", use.why)[:200]}"' if use.why else ""
    return f"{use.name}; used={use.used}{why}".encode("latin-1", "replace")


def _in_header(ledger: Ledger) -> bytes:
    # Format the token counts of `ledger` as a header value: names and numbers, as a dictionary of RFC 9651.
    counts = {name.replace("_", "-"): getattr(ledger, name) for name in _COUNTS}
    return ", ".join(f"{name}={count}" for name, count in counts.items()).encode()


def _call(api: Api, body: Mapping[str, Any]) -> ApiCall:
    vet_form(body)
    try:
        call = read_call(api, body)
        _ = call.tools
    except (TypeError, AttributeError) as error:
        raise HttpError(
            400,
            "invalid_type",
            f"tools must be a list of objects as the API describes, got {body.get('tools')!r:.100}: "
            "correct the request",
        ) from error
    return call
