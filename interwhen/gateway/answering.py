"""Answers to supervised calls: chunk by chunk, or whole."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interwhen.errors import ModelError
from interwhen.gateway.bodies import vet_form
from interwhen.gateway.choosing import Choice
from interwhen.gateway.exchanging import Exchange
from interwhen.gateway.gateway import Gateway
from interwhen.gateway.headers import returned, sent
from interwhen.gateway.noting import noted
from interwhen.gateway.problems import Headers, Problem
from interwhen.gateway.rendering import error_event, renderer, whole_body
from interwhen.gateway.wire import GatewayWire, Upstream
from interwhen.models.sse import END_MARK
from interwhen.wrapping import Part
from interwhen.wrapping.calls import Api, Call, read_call
from interwhen.wrapping.supervised import Supervised, supervise


async def answer(gateway: Gateway, exchange: Exchange, api: Api, path: str, choice: Choice) -> str:
    """Answer a supervised call. Returns how it ended, for the metrics; raises :class:`Problem` before it begins."""
    call = _call(api, choice.body)
    upstream = gateway.upstream_for(choice.model)
    wire = GatewayWire(upstream, exchange.onward(path), sent(exchange.raw_headers, without=exchange.admitted_by))
    try:
        supervised = await supervise(call, choice.settings, wire, upstream.endpoint(choice.model))
    except ModelError as error:
        raise noted(gateway, upstream, error) from error
    answering = _Answer(gateway, exchange, api, choice, upstream, supervised, wire)
    try:
        await (answering.stream() if call.streams else answering.whole())
    finally:
        await supervised.aclose()
        if (result := supervised.result) is not None:
            gateway.meters.ended(result)
    assert result is not None
    return result.label


@dataclass(frozen=True, slots=True)
class _Answer:
    gateway: Gateway
    exchange: Exchange
    api: Api
    choice: Choice
    upstream: Upstream
    supervised: Supervised
    wire: GatewayWire

    async def stream(self) -> None:
        """Send the chunks as they come. An error of the upstream is the last event there is."""
        exchange, parts_of = self.exchange, self.supervised.parts
        exchange.last_words = functools.partial(error_event, self.api)
        await exchange.start(200, self._head("text/event-stream; charset=utf-8"))
        render, write = renderer(self.api, self.choice.tell), exchange.write
        try:
            parts = await parts_of()
            self.gateway.meters.first.observe(time.monotonic() - exchange.began)
            while parts:
                await write(render(parts))
                parts = await parts_of()
        except ModelError as error:
            await exchange.fail(noted(self.gateway, self.upstream, error))
        else:
            # An end that the upstream never said is not ours to say.
            await exchange.end(b"" if self.api == "responses" or self.supervised.is_cut else END_MARK)

    async def whole(self) -> None:
        """Send the answer once it stands. Raises :class:`Problem` where there is none."""
        found: list[Part] = []
        try:
            while parts := await self.supervised.parts():
                found += parts
        except ModelError as error:
            raise noted(self.gateway, self.upstream, error) from error
        result = self.supervised.result
        assert result is not None
        head = [*self._head("application/json"), (b"x-interwhen-status", result.label.encode())]
        await self.exchange.whole(200, head, whole_body(self.api, found, self.choice.tell))

    def _head(self, kind: str) -> Headers:
        assert self.wire.response is not None
        return [
            *returned(self.wire.response.headers, new_body=True),
            (b"content-type", kind.encode()),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            (b"x-interwhen-monitors", self.choice.names.encode("latin-1", "replace")),
        ]


def _call(api: Api, body: Mapping[str, Any]) -> Call:
    vet_form(body)
    try:
        call = read_call(api, body)
        _ = call.tools
    except (TypeError, AttributeError) as error:
        raise Problem(400, "invalid_type", "the request's tools do not have the form that the API describes") from error
    return call
