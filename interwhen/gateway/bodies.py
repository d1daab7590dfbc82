"""Request bodies: bounded, in time, and of a form that can be worked with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
from starlette.types import Receive

from interwhen.gateway.config import Limits
from interwhen.gateway.exchanging import Exchange
from interwhen.gateway.problems import Problem, shutting_down, too_many
from interwhen.models.json_size import has_more_values


class ClientGone(Exception):
    """The client has closed the connection."""


class _Form(msgspec.Struct):
    """What must hold of a body that is supervised; all else is the upstream's business."""

    model: str | None = None
    messages: list[dict[str, Any]] | None = None
    prompt: str | list[Any] | None = None
    input: str | list[Any] | None = None
    tools: list[dict[str, Any]] | None = None
    functions: list[dict[str, Any]] | None = None
    modalities: list[Any] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    seed: int | None = None


class Bodies:
    """Reads the bodies of requests. So many at once may come in parts: they are in no place and in no queue."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._most = limits.concurrent + limits.waiting
        self._timers: set[asyncio.Timeout] = set()
        self._is_over = False
        self.parted = 0
        """How many bodies are being read that come in parts."""
        self.bytes = 0
        """How many bytes there are of bodies that are being read, or whose requests are being served."""

    async def read(self, exchange: Exchange) -> bytes:
        """Return the body of a request. Raises :class:`Problem`, and :class:`ClientGone`.

        Its bytes are in flight until :meth:`release`.
        """
        limits = self._limits
        size = exchange.headers.get("content-length", "")
        if size.isdigit() and int(size) > limits.body_bytes:
            raise _too_large(limits)
        if size.isdigit():
            self._vet_room(int(size))
        with suppress(TimeoutError):
            # asyncio's own, as ASGI servers have asyncio: a scope of anyio takes four times as long, before each call.
            async with asyncio.timeout(limits.body_seconds) as timer:
                self._timers.add(timer)
                try:
                    return await self._read(exchange)
                finally:
                    self._timers.discard(timer)
        if self._is_over:
            raise shutting_down()
        raise Problem(
            408, "request_timeout", f"the request's body did not come within {limits.body_seconds:g} s", close=True
        )

    def end(self) -> None:
        """Turn away whoever is still sending a body: they are to ask elsewhere."""
        self._is_over = True
        for timer in self._timers:
            timer.reschedule(0.0)

    def release(self, exchange: Exchange) -> None:
        """Forget the body of *exchange*, which is over."""
        self.bytes -= exchange.body_bytes
        exchange.body_bytes = 0

    async def fields(self, body: bytes) -> dict[str, Any]:
        """Return the JSON object in *body*. Raises :class:`Problem` where it is none, or has too many values."""
        most = self._limits.body_values
        if len(body) > most and await has_more_values(body, most):
            raise Problem(413, "request_too_complex", f"the request's body has more than {most:,} JSON values")
        return read_fields(body)

    def _vet_room(self, size: int) -> None:
        if self.bytes + size > self._limits.bytes_in_flight:
            raise too_many(
                f"the bodies of requests that are being served have {self._limits.bytes_in_flight:,} bytes already",
                close=True,
            )

    def _take(self, exchange: Exchange, part: bytes) -> None:
        """Count *part* of a body, if there is room for it. Raises :class:`Problem`."""
        size = len(part)
        if exchange.body_bytes + size > self._limits.body_bytes:
            raise _too_large(self._limits)
        self._vet_room(size)
        self.bytes += size
        exchange.body_bytes += size

    async def _read(self, exchange: Exchange) -> bytes:
        receive = exchange.receive
        part, is_whole = await _part(receive)
        self._take(exchange, part)
        if is_whole:  # as most of them come
            return part
        if self.parted >= self._most:
            raise too_many(f"the bodies of {self._most} requests are being read already", close=True)
        self.parted += 1
        try:
            body = bytearray(part)
            while not is_whole:
                part, is_whole = await _part(receive)
                self._take(exchange, part)
                body += part
            return bytes(body)
        finally:
            self.parted -= 1


async def _part(receive: Receive) -> tuple[bytes, bool]:
    """Return what has come of a body, and whether that is the rest of it."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message.get("body", b""), not message.get("more_body", False)


_OBJECT = msgspec.json.Decoder(dict[str, Any])


def read_fields(body: bytes) -> dict[str, Any]:
    """Return the JSON object in *body*. Raises :class:`Problem` where it is none."""
    try:
        return _OBJECT.decode(body)
    except msgspec.ValidationError as error:
        raise Problem(400, "malformed_body", f"the request's body must be a JSON object ({error})") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "malformed_body", f"the request's body is no JSON that can be read ({error})") from error


def vet_form(fields: Mapping[str, Any]) -> None:
    """Raise :class:`Problem` where what we must look at is not what the API says it is."""
    try:
        msgspec.convert(fields, _Form)
    except msgspec.ValidationError as error:
        param = str(error).partition("`$.")[2].partition("`")[0]
        raise Problem(400, "invalid_type", f"the request's body does not fit: {error}", param=param or None) from error


def _too_large(limits: Limits) -> Problem:
    return Problem(
        413, "request_too_large", f"the request's body is larger than {limits.body_bytes:,} bytes", close=True
    )
