"""Request bodies: bounded, in time, and of a form that can be worked with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
from starlette.types import Receive

from interwhen.gateway.config import Limits
from interwhen.gateway.problems import Problem, shutting_down, too_many


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

    async def read(self, headers: Mapping[str, str], receive: Receive) -> bytes:
        """Return the body of a request. Raises :class:`Problem`, and :class:`ClientGone`."""
        limits = self._limits
        size = headers.get("content-length", "")
        if size.isdigit() and int(size) > limits.body_bytes:
            raise _too_large(limits)
        with suppress(TimeoutError):
            # asyncio's own, as ASGI servers have asyncio: a scope of anyio takes four times as long, before each call.
            async with asyncio.timeout(limits.body_seconds) as timer:
                self._timers.add(timer)
                try:
                    return await self._read(receive)
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

    async def _read(self, receive: Receive) -> bytes:
        limits = self._limits
        part, is_whole = await _part(receive)
        if len(part) > limits.body_bytes:
            raise _too_large(limits)
        if is_whole:  # as most of them come
            return part
        if self.parted >= self._most:
            raise too_many(f"the bodies of {self._most} requests are being read already", close=True)
        self.parted += 1
        try:
            body = bytearray(part)
            while not is_whole:
                part, is_whole = await _part(receive)
                body += part
                if len(body) > limits.body_bytes:
                    raise _too_large(limits)
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
