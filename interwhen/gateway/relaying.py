"""Requests that pass through as they are."""

from __future__ import annotations

import math
import time
from typing import Literal, cast

import anyio

from interwhen.errors import ModelError, StreamTimeout
from interwhen.gateway.exchanging import Exchange
from interwhen.gateway.gateway import Gateway
from interwhen.gateway.headers import returned, sent
from interwhen.gateway.noting import noted
from interwhen.gateway.problems import Headers
from interwhen.gateway.wire import Method, Upstream

Unwatched = Literal["unmonitored", "off", "stored", "generated", "unknown"]
"""Why no monitor reads an answer that may be text of a model: the call has none, the kill switch is off, or
its route is not supervised."""


async def relay(
    gateway: Gateway,
    exchange: Exchange,
    upstream: Upstream,
    path: str,
    body: bytes,
    *,
    unwatched: Unwatched | None = None,
) -> str:
    """Send a request on as it is, and return its answer as it is; *unwatched* answers are counted.

    Its head is sent once the first bytes of its body have come: an upstream that is silent until then is a 504.
    """
    patience = gateway.timeouts
    outcome = ""
    with anyio.CancelScope() as scope:
        if patience.first_token is not None:
            scope.deadline = anyio.current_time() + patience.first_token
        outcome = await _relayed(gateway, exchange, upstream, path, body, unwatched, scope)
    if not scope.cancelled_caught:
        return outcome
    if not exchange.started:
        raise noted(gateway, upstream, StreamTimeout("first_token", patience.first_token or 0.0))
    noted(gateway, upstream, StreamTimeout("inter_token", patience.inter_token or 0.0))
    return "failed"  # its connection breaks: see below


async def _relayed(
    gateway: Gateway,
    exchange: Exchange,
    upstream: Upstream,
    path: str,
    body: bytes,
    unwatched: Unwatched | None,
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
        if unwatched is not None and response.status < 400:
            gateway.meters.unwatched.labels(unwatched).inc()
        unseen: Headers = [(b"x-interwhen-monitors", b"none")]
        if unwatched == "off":
            unseen.append((b"x-interwhen-supervision", b"off"))
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
        problem = noted(gateway, upstream, error)
        if not exchange.started:
            raise problem from error
        # The answer has begun and is not ours to end: its connection breaks, as the upstream's did.
        return "failed"
    finally:
        exchange.stall = None
        await response.aclose()
    return "passed" if response.status < 500 else "failed"
