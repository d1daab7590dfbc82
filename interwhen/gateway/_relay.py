"""Requests that pass to the upstream without supervision, and their answers."""

from __future__ import annotations

import math
import time
from typing import Any, Literal, cast

import anyio
import msgspec

from interwhen._types.errors import DECODE_ERRORS, ModelError, StreamTimeout
from interwhen._types.log import log_warning
from interwhen.gateway._exchange import Exchange, returned, sent
from interwhen.gateway._gateway import Gateway
from interwhen.gateway._http_errors import Headers, HttpError, http_error_of
from interwhen.gateway._upstream import Method, UpstreamServer


def counted(gateway: Gateway, upstream: UpstreamServer, error: ModelError) -> HttpError:
    http_error = http_error_of(error)
    gateway.metrics.upstream_errors.labels(upstream.host, _kind(http_error)).inc()
    log_warning("upstream.failed", upstream=upstream.host, error=type(error).__name__, status=http_error.status)
    return http_error


def _kind(http_error: HttpError) -> str:
    own = ("upstream_unreachable", "upstream_timeout", "upstream_protocol")
    return http_error.code if http_error.code in own else f"status_{http_error.status}"


Unsupervised = Literal["unmonitored", "off", "stored", "generated", "unknown"]
"""Why no monitor reads an answer.

``unmonitored``: the call has no monitors. ``off``: supervision is switched off. The others: the kind of the route."""


SUPERVISION_OFF = (b"x-interwhen-supervision", b"off")
"""The header of an answer that was not supervised to its end, because supervision is switched off."""


async def relay(
    gateway: Gateway,
    exchange: Exchange,
    upstream: UpstreamServer,
    path: str,
    body: bytes,
    *,
    unsupervised: Unsupervised | None = None,
) -> str:
    # Pass the request in `exchange` and its answer on. Return `passed` or `failed`. The upstream gets `path` and
    # `body`. `unsupervised` is the reason why no monitor reads the answer; the metrics count it unless the answer is an
    # error. The head of the answer is sent only with the first bytes of its body, so that an upstream that sends no
    # body in time still gives the error 504. Raises `HttpError` if the upstream fails before that. If it fails later,
    # the answer stays incomplete. The outcome is then `failed`, as for a status of 500 or more.
    patience = gateway.timeouts
    outcome = ""
    with anyio.CancelScope() as scope:
        if patience.first_token is not None:
            scope.deadline = anyio.current_time() + patience.first_token
        outcome = await _relayed(gateway, exchange, upstream, path, body, unsupervised, scope)
    if not scope.cancelled_caught:
        return outcome
    if not exchange.started:
        raise counted(gateway, upstream, StreamTimeout("first_token", patience.first_token or 0.0))
    counted(gateway, upstream, StreamTimeout("inter_token", patience.inter_token or 0.0))
    return "failed"  # uvicorn breaks the connection of an unfinished answer


async def _relayed(
    gateway: Gateway,
    exchange: Exchange,
    upstream: UpstreamServer,
    path: str,
    body: bytes,
    unsupervised: Unsupervised | None,
    scope: anyio.CancelScope,
) -> str:
    only_head = exchange.method == "HEAD"
    method = "GET" if only_head else cast("Method", exchange.method)
    headers = sent(exchange.raw_headers, without=exchange.admitted_by)
    try:
        response = await upstream.send(upstream.request(method, exchange.onward(path), headers, body))
    except ModelError as error:
        raise counted(gateway, upstream, error) from error
    try:
        data = b"" if only_head else await response.receive()
        scope.deadline = math.inf
        if unsupervised is not None and response.status < 400:
            gateway.metrics.unsupervised.labels(unsupervised).inc()
        unseen: Headers = [(b"x-interwhen-monitors", b"none")]
        if unsupervised == "off":
            unseen.append(SUPERVISION_OFF)
        await exchange.start(response.status, [*returned(response.headers, new_body=False), *unseen])
        exchange.stall = scope.cancel
        while data:
            await exchange.write(data)
            # A timer for each read would cost more: the gateway checks all waiting calls periodically.
            exchange.silent_since = time.monotonic()
            data = await response.receive()
            exchange.silent_since = None
        await exchange.end()
    except ModelError as error:
        http_error = counted(gateway, upstream, error)
        if not exchange.started:
            raise http_error from error
        # The answer has begun, so no error can be sent: the connection breaks, as the upstream's did.
        return "failed"
    finally:
        exchange.stall = None
        await response.aclose()
    return "passed" if response.status < 500 else "failed"


_ALL = ("*",)


async def list_models(gateway: Gateway, exchange: Exchange) -> str:
    # If several upstreams have a model, only the upstream that gets the calls to it lists it.
    if len(gateway.upstreams) == 1 and gateway.upstreams[0].patterns == _ALL:
        return await relay(gateway, exchange, gateway.upstreams[0], "models", b"")
    headers = sent(exchange.raw_headers, without=exchange.admitted_by)
    model_cards: list[list[dict[str, Any]]] = [[] for _ in gateway.upstreams]
    http_errors: list[HttpError] = []

    async def ask(number: int, upstream: UpstreamServer) -> None:
        try:
            cards = _cards(await upstream.ask(upstream.request("GET", "models", headers)))
        except ModelError as error:
            http_errors.append(counted(gateway, upstream, error))
            return
        model_cards[number] = [card for card in cards if gateway.serves(upstream, str(card.get("id", "")))]

    async with anyio.create_task_group() as group:
        for number, upstream in enumerate(gateway.upstreams):
            group.start_soon(ask, number, upstream, name="models")
    if len(http_errors) == len(gateway.upstreams):
        raise http_errors[0]
    body = msgspec.json.encode({"object": "list", "data": [card for cards in model_cards for card in cards]})
    await exchange.whole(200, [(b"content-type", b"application/json")], body)
    return "passed"


async def lists_model(gateway: Gateway, exchange: Exchange, model: str) -> bool:
    # An upstream that fails lists nothing.
    model = model.partition("#")[0]
    headers = {**sent(exchange.raw_headers, without=exchange.admitted_by), "accept": "application/json"}
    headers.pop("content-type", None)
    for upstream in gateway.upstreams:
        if gateway.serves(upstream, model):
            try:
                return any(
                    card.get("id") == model
                    for card in _cards(await upstream.ask(upstream.request("GET", "models", headers)))
                )
            except ModelError as error:
                counted(gateway, upstream, error)
    return False


def _cards(body: bytes) -> list[dict[str, Any]]:
    try:
        data = msgspec.json.decode(body)["data"]
    except (KeyError, TypeError, *DECODE_ERRORS):
        return []
    return [card for card in data if isinstance(card, dict)] if isinstance(data, list) else []
