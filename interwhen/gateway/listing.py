"""The models of all upstreams, as one list."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec

from interwhen.errors import ModelError
from interwhen.gateway.exchanging import Exchange
from interwhen.gateway.gateway import Gateway
from interwhen.gateway.headers import sent
from interwhen.gateway.noting import noted
from interwhen.gateway.problems import Problem
from interwhen.gateway.relaying import relay
from interwhen.gateway.wire import Upstream

_ALL = ("*",)


async def list_models(gateway: Gateway, exchange: Exchange) -> str:
    """Answer ``GET /v1/models``: what the upstreams list, as far as it goes to them."""
    if len(gateway.upstreams) == 1 and gateway.upstreams[0].patterns == _ALL:
        return await relay(gateway, exchange, gateway.upstreams[0], "models", b"")
    headers = sent(exchange.raw_headers, without=exchange.admitted_by)
    found: list[list[dict[str, Any]]] = [[] for _ in gateway.upstreams]
    problems: list[Problem] = []

    async def ask(number: int, upstream: Upstream) -> None:
        try:
            cards = _cards(await upstream.ask(upstream.request("GET", "models", headers)))
        except ModelError as error:
            problems.append(noted(gateway, upstream, error))
            return
        found[number] = [card for card in cards if gateway.serves(upstream, str(card.get("id", "")))]

    async with anyio.create_task_group() as group:
        for number, upstream in enumerate(gateway.upstreams):
            group.start_soon(ask, number, upstream, name="models")
    if len(problems) == len(gateway.upstreams):
        raise problems[0]
    body = msgspec.json.encode({"object": "list", "data": [card for cards in found for card in cards]})
    await exchange.whole(200, [(b"content-type", b"application/json")], body)
    return "passed"


def _cards(body: bytes) -> list[dict[str, Any]]:
    try:
        data = msgspec.json.decode(body)["data"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return []
    return [card for card in data if isinstance(card, dict)] if isinstance(data, list) else []
