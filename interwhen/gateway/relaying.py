"""Requests that pass through as they are."""

from __future__ import annotations

from typing import Literal, cast

import anyio

from interwhen.errors import ModelError, StreamTimeout
from interwhen.gateway.exchanging import Exchange
from interwhen.gateway.gateway import Gateway
from interwhen.gateway.headers import returned, sent
from interwhen.gateway.noting import noted
from interwhen.gateway.wire import Method, Upstream

Unwatched = Literal["unmonitored", "stored", "generated", "unknown"]
"""Why no monitor reads an answer that may be text of a model: the call has none, or its route is not supervised."""


async def relay(
    gateway: Gateway,
    exchange: Exchange,
    upstream: Upstream,
    path: str,
    body: bytes,
    *,
    unwatched: Unwatched | None = None,
) -> str:
    """Send a request on as it is, and return its answer as it is; *unwatched* answers are counted."""
    only_head = exchange.method == "HEAD"
    method = "GET" if only_head else cast("Method", exchange.method)
    headers = sent(exchange.raw_headers, without=exchange.admitted_by)
    limit = gateway.timeouts.first_token
    try:
        with anyio.fail_after(limit):
            response = await upstream.send(upstream.request(method, exchange.onward(path), headers, body))
    except TimeoutError as error:
        late = StreamTimeout("first_token", limit or 0.0)
        raise noted(gateway, upstream, late) from error
    except ModelError as error:
        raise noted(gateway, upstream, error) from error
    try:
        if unwatched is not None and response.status < 400:
            gateway.meters.unwatched.labels(unwatched).inc()
        unseen = (b"x-interwhen-monitors", b"none")
        await exchange.start(response.status, [*returned(response.headers, new_body=False), unseen])
        while not only_head and (data := await response.receive()):
            await exchange.write(data)
        await exchange.end()
    except ModelError as error:
        # The answer has begun and is not ours to end: its connection breaks, as the upstream's did.
        noted(gateway, upstream, error)
        return "failed"
    finally:
        await response.aclose()
    return "passed" if response.status < 500 else "failed"
