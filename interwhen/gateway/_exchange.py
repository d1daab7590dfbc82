"""One request and its answer, as ASGI has them, and the call that is being served meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal

import anyio
import msgspec
from starlette.types import Receive, Scope, Send

from interwhen.gateway._config import GatewayLimits
from interwhen.gateway._http_errors import Headers, HttpError, overloaded, shutting_down, too_many
from interwhen.gateway._json_bodies import SECONDS, TooManyValues, decode_object

Reason = Literal["", "left", "slow", "cut"]
"""Why a call was ended before its answer was: the client left, or took nothing, or the gateway shuts down."""


class Exchange:
    """A request, and what has been sent of its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.raw_headers: Headers = scope["headers"]
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.raw_headers}
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        self.path = path.decode("latin-1").partition("?")[0]
        """The path as it came, with its escapes."""
        self.query: str = scope.get("query_string", b"").decode("latin-1")
        """The query, as it came."""
        self.decoded_path: str = scope["path"]
        self.receive = receive
        self.body_bytes = 0
        """How much of its body has come; see :class:`~interwhen.gateway._exchange.Bodies`."""
        self.admitted_by = ""
        """The header that brought our own key, if one did."""
        self.monitors = ""
        """The names of the monitors that watch the answer, for the log."""
        self.began = time.monotonic()
        self.started = False
        self.ended = False
        self.blocked_since: float | None = None
        """Since when the client has taken nothing of what is being sent."""
        self.silent_since: float | None = None
        """Since when the upstream of what passes through is waited for, within its body."""
        self.stall: Callable[[], None] | None = None
        """Ends what passes through, because its upstream is silent for too long."""
        self.reason: Reason = ""
        self.last_words: Callable[[HttpError], bytes] | None = None
        """How a body that has begun is ended with a problem; ``None``: it cannot be."""
        self._send = send
        self._scope: anyio.CancelScope | None = None

    @property
    def head_size(self) -> int:
        """The bytes of the path, the query and the headers."""
        return len(self.path) + len(self.query) + sum([len(name) + len(value) for name, value in self.raw_headers])

    def onward(self, path: str) -> str:
        """Return *path* with the query, for an upstream."""
        return f"{path}?{self.query}" if self.query else path

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head of the answer."""
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes) -> None:
        """Send a piece of the body; waits while the client takes nothing."""
        self.blocked_since = time.monotonic()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self.blocked_since = None  # after an exception the call is over anyway

    async def end(self, data: bytes = b"") -> None:
        """Send the last piece of the body."""
        self.blocked_since = time.monotonic()
        await self._send({"type": "http.response.body", "body": data, "more_body": False})
        self.blocked_since = None
        self.ended = True

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Send an answer at once."""
        await self.start(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self.end(body)

    async def fail(self, http_error: HttpError) -> None:
        """Send *problem* as the answer, or as the end of one that has begun, if it can be."""
        if not self.started:
            await self.start(http_error.status, http_error.headers)
            await self.end(http_error.body)
        elif not self.ended and self.last_words is not None:
            await self.end(self.last_words(http_error))

    def leave(self, reason: Reason) -> None:
        """End the call now, because of *reason*."""
        if not self.reason and self._scope is not None:
            self.reason = reason
            self._scope.cancel()

    async def during(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do *work* until it is done, the client leaves, or :meth:`leave` is called. Raises what it raises."""
        # A bare task, not a task group: ASGI servers have asyncio, and a group costs a call ten times as much.
        client = asyncio.get_running_loop().create_task(self._watch(), name="client")
        try:
            with anyio.CancelScope() as self._scope:
                await work()
        finally:
            self._scope = None
            client.cancel()

    async def _watch(self) -> None:
        """Notice that the client leaves."""
        try:
            while (await self.receive())["type"] != "http.disconnect":
                pass
        finally:
            self.leave("left")


# Request bodies: bounded, in time, and of a form that can be worked with.


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

    def __init__(self, limits: GatewayLimits) -> None:
        self._limits = limits
        self._most = limits.concurrent + limits.waiting
        self._timers: set[asyncio.Timeout] = set()
        self._is_over = False
        self.parted = 0
        """How many bodies are being read that come in parts."""
        self.bytes = 0
        """How many bytes there are of bodies that are being read, or whose requests are being served."""

    async def read(self, exchange: Exchange) -> bytes:
        """Return the body of a request. Raises :class:`HttpError`, and :class:`ClientGone`.

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
        raise HttpError(
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
        """Return the JSON object in *body*. Raises :class:`HttpError` where it is none, or has too many values."""
        most = self._limits.body_values
        try:
            return await decode_object(body, most)
        except TooManyValues:
            why = f"the request's body has more than {most:,} JSON values"
            raise HttpError(413, "request_too_complex", why) from None
        except TimeoutError:
            raise overloaded(SECONDS) from None
        except msgspec.ValidationError as error:
            raise HttpError(400, "malformed_body", f"the request's body must be a JSON object ({error})") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise HttpError(
                400, "malformed_body", f"the request's body is no JSON that can be read ({error})"
            ) from error

    def _vet_room(self, size: int) -> None:
        if self.bytes + size > self._limits.bytes_in_flight:
            raise too_many(
                f"the bodies of requests that are being served have {self._limits.bytes_in_flight:,} bytes already",
                close=True,
            )

    def _take(self, exchange: Exchange, part: bytes) -> None:
        """Count *part* of a body, if there is room for it. Raises :class:`HttpError`."""
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


def vet_form(fields: Mapping[str, Any]) -> None:
    """Raise :class:`HttpError` where what we must look at is not what the API says it is."""
    try:
        msgspec.convert(fields, _Form)
    except msgspec.ValidationError as error:
        param = str(error).partition("`$.")[2].partition("`")[0]
        raise HttpError(
            400, "invalid_type", f"the request's body does not fit: {error}", param=param or None
        ) from error


def _too_large(limits: GatewayLimits) -> HttpError:
    return HttpError(
        413, "request_too_large", f"the request's body is larger than {limits.body_bytes:,} bytes", close=True
    )


# Which headers go on to an upstream, and which come back.

OURS = b"x-interwhen-"
"""What the names of our own headers begin with."""

_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
_NOT_SENT = _HOP_BY_HOP | {b"host", b"content-length", b"expect", b"accept-encoding", b"cookie", b"origin", b"referer"}
_NOT_RETURNED = frozenset(name.decode() for name in _HOP_BY_HOP) | {"content-length", "date", "server", "set-cookie"}
_OF_THE_BODY = frozenset(("content-type", "content-encoding", "cache-control"))


def sent(headers: Iterable[tuple[bytes, bytes]], *, without: str = "") -> dict[str, str]:
    """Return what goes on of a request's *headers*, its keys included, but for the one that is called *without*."""
    found: dict[str, str] = {}
    named = ""
    for raw, value in headers:
        if raw in _NOT_SENT or raw.startswith(OURS):
            if raw == b"connection":
                named = f"{named},{value.decode('latin-1')}"
            continue
        name = raw.decode("latin-1")
        if name != without:
            text = value.decode("latin-1")
            found[name] = f"{found[name]}, {text}" if name in found else text
    for name in _named(named):
        found.pop(name, None)
    # What is supervised must be read, and the rest is not worth decoding and encoding anew.
    found["accept-encoding"] = "identity"
    return found


def returned(headers: Mapping[str, str], *, new_body: bool) -> Headers:
    """Return what comes back of an upstream's *headers*; *new_body*: those about its body do not fit any more."""
    left_out = _NOT_RETURNED | _OF_THE_BODY if new_body else _NOT_RETURNED
    if "connection" in headers:
        left_out = left_out | _named(headers["connection"])
    return [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in headers.items()
        if name not in left_out and not name.encode("latin-1").startswith(OURS)
    ]


def _named(connection: str) -> frozenset[str]:
    """Return the headers that *connection*, the value of that header, makes hop-by-hop (RFC 9110, 7.6.1)."""
    return frozenset(name.strip().lower() for name in connection.split(","))
