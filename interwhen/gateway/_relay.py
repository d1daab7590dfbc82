"""Requests that pass through as they are."""

from __future__ import annotations

import math
import time
from typing import Any, Literal, cast

import anyio
import msgspec

from interwhen._log import log_warning
from interwhen._types.errors import ModelError, StreamTimeout
from interwhen.gateway._exchange import Exchange, returned, sent
from interwhen.gateway._gateway import Gateway
from interwhen.gateway._http_errors import Headers, HttpError, http_error_of
from interwhen.gateway._upstream import Method, UpstreamServer

# Errors of upstreams, counted and logged.


def noted(gateway: Gateway, upstream: UpstreamServer, error: ModelError) -> HttpError:
    """Return *error* as a problem, once it is counted and logged."""
    http_error = http_error_of(error)
    gateway.metrics.upstream_errors.labels(upstream.host, _kind(http_error)).inc()
    log_warning("upstream.failed", upstream=upstream.host, error=type(error).__name__, status=http_error.status)
    return http_error


def _kind(http_error: HttpError) -> str:
    """Return a label for *problem*; an upstream's own codes are not ours to bound."""
    own = ("upstream_unreachable", "upstream_timeout", "upstream_protocol")
    return http_error.code if http_error.code in own else f"status_{http_error.status}"


Unsupervised = Literal["unmonitored", "off", "stored", "generated", "unknown"]
"""Why no monitor reads an answer that may be text of a model: the call has none, the kill switch is off, or
its route is not supervised."""


SUPERVISION_OFF = (b"x-interwhen-supervision", b"off")
"""The header of an answer that the kill switch lets pass."""


async def relay(
    gateway: Gateway,
    exchange: Exchange,
    upstream: UpstreamServer,
    path: str,
    body: bytes,
    *,
    unsupervised: Unsupervised | None = None,
) -> str:
    """Send a request on as it is, and return its answer as it is; *unwatched* answers are counted.

    Its head is sent once the first bytes of its body have come: an upstream that is silent until then is a 504.
    """
    patience = gateway.timeouts
    outcome = ""
    with anyio.CancelScope() as scope:
        if patience.first_token is not None:
            scope.deadline = anyio.current_time() + patience.first_token
        outcome = await _relayed(gateway, exchange, upstream, path, body, unsupervised, scope)
    if not scope.cancelled_caught:
        return outcome
    if not exchange.started:
        raise noted(gateway, upstream, StreamTimeout("first_token", patience.first_token or 0.0))
    noted(gateway, upstream, StreamTimeout("inter_token", patience.inter_token or 0.0))
    return "failed"  # its connection breaks: see below


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
        raise noted(gateway, upstream, error) from error
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
            # No timer of its own: the gateway looks at all that wait now and then.
            exchange.silent_since = time.monotonic()
            data = await response.receive()
            exchange.silent_since = None
        await exchange.end()
    except ModelError as error:
        http_error = noted(gateway, upstream, error)
        if not exchange.started:
            raise http_error from error
        # The answer has begun and is not ours to end: its connection breaks, as the upstream's did.
        return "failed"
    finally:
        exchange.stall = None
        await response.aclose()
    return "passed" if response.status < 500 else "failed"


# The models of all upstreams, as one list.

_ALL = ("*",)


async def list_models(gateway: Gateway, exchange: Exchange) -> str:
    """Answer ``GET /v1/models``: what the upstreams list, as far as it goes to them."""
    if len(gateway.upstreams) == 1 and gateway.upstreams[0].patterns == _ALL:
        return await relay(gateway, exchange, gateway.upstreams[0], "models", b"")
    headers = sent(exchange.raw_headers, without=exchange.admitted_by)
    found: list[list[dict[str, Any]]] = [[] for _ in gateway.upstreams]
    http_errors: list[HttpError] = []

    async def ask(number: int, upstream: UpstreamServer) -> None:
        try:
            cards = _cards(await upstream.ask(upstream.request("GET", "models", headers)))
        except ModelError as error:
            http_errors.append(noted(gateway, upstream, error))
            return
        found[number] = [card for card in cards if gateway.serves(upstream, str(card.get("id", "")))]

    async with anyio.create_task_group() as group:
        for number, upstream in enumerate(gateway.upstreams):
            group.start_soon(ask, number, upstream, name="models")
    if len(http_errors) == len(gateway.upstreams):
        raise http_errors[0]
    body = msgspec.json.encode({"object": "list", "data": [card for cards in found for card in cards]})
    await exchange.whole(200, [(b"content-type", b"application/json")], body)
    return "passed"


def _cards(body: bytes) -> list[dict[str, Any]]:
    try:
        data = msgspec.json.decode(body)["data"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return []
    return [card for card in data if isinstance(card, dict)] if isinstance(data, list) else []
