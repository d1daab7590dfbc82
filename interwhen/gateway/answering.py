"""Answers to supervised calls: chunk by chunk, or whole."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import Any

from interwhen.errors import ModelError
from interwhen.gateway.bodies import vet_form
from interwhen.gateway.choosing import Choice
from interwhen.gateway.exchanging import Exchange
from interwhen.gateway.gateway import Gateway
from interwhen.gateway.headers import returned, sent
from interwhen.gateway.noting import noted
from interwhen.gateway.problems import Headers, Problem
from interwhen.gateway.rendering import DONE, error_event, renderer, whole_body
from interwhen.gateway.wire import GatewayWire, Upstream
from interwhen.wrapping import Part
from interwhen.wrapping.calls import Api, Call, read_call
from interwhen.wrapping.supervised import Supervised, supervise


async def answer(gateway: Gateway, exchange: Exchange, api: Api, path: str, choice: Choice) -> str:
    """Answer a supervised call. Returns how it ended, for the metrics; raises :class:`Problem` before it begins."""
    call = _call(api, choice.body)
    upstream = gateway.upstream_for(choice.model)
    wire = GatewayWire(upstream, path, sent(exchange.raw_headers, without=exchange.admitted_by))
    try:
        supervised = await supervise(call, choice.settings, wire, upstream.endpoint)
    except ModelError as error:
        raise noted(gateway, upstream, error) from error
    try:
        if call.streams:
            await _stream(
                gateway,
                exchange,
                upstream,
                supervised,
                _head(wire, choice, "text/event-stream; charset=utf-8"),
                choice,
                api,
            )
        else:
            parts = await _all(gateway, upstream, supervised)
            head = _head(wire, choice, "application/json")
            if (result := supervised.result) is not None:
                head.append((b"x-interwhen-status", result.status.encode()))
            await exchange.whole(200, head, whole_body(api, parts, choice.tell))
    finally:
        await supervised.aclose()
        if (result := supervised.result) is not None:
            gateway.meters.ended(result)
    assert result is not None
    return result.status


async def _stream(
    gateway: Gateway,
    exchange: Exchange,
    upstream: Upstream,
    supervised: Supervised,
    head: Headers,
    choice: Choice,
    api: Api,
) -> None:
    exchange.last_words = functools.partial(error_event, api)
    await exchange.start(200, head)
    render, write, parts_of = renderer(api, choice.tell), exchange.write, supervised.parts
    try:
        parts = await parts_of()
        gateway.meters.first.observe(time.monotonic() - exchange.began)
        while parts:
            await write(render(parts))
            parts = await parts_of()
    except ModelError as error:
        await exchange.fail(noted(gateway, upstream, error))
    else:
        await exchange.end(b"" if api == "responses" else DONE)


async def _all(gateway: Gateway, upstream: Upstream, supervised: Supervised) -> list[Part]:
    found: list[Part] = []
    try:
        while parts := await supervised.parts():
            found += parts
    except ModelError as error:
        raise noted(gateway, upstream, error) from error
    return found


def _call(api: Api, body: Mapping[str, Any]) -> Call:
    vet_form(body)
    try:
        call = read_call(api, body)
        _ = call.tools
    except (TypeError, AttributeError) as error:
        raise Problem(400, "invalid_type", "the request's tools do not have the form that the API describes") from error
    return call


def _head(wire: GatewayWire, choice: Choice, kind: str) -> Headers:
    assert wire.response is not None
    return [
        *returned(wire.response.headers, new_body=True),
        (b"content-type", kind.encode()),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),
        (b"x-interwhen-monitors", choice.names.encode("latin-1", "replace")),
    ]
