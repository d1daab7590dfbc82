"""One ASGI request and its answer; request bodies; and the headers that are passed on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal

import anyio
import msgspec
from starlette.types import Receive, Scope, Send

from interwhen._types.errors import DECODE_ERRORS
from interwhen._types.results import Result
from interwhen.clients._call_record import CallOrigin, trace_id_of
from interwhen.clients._supervision import Supervised
from interwhen.gateway._config import GatewayLimits
from interwhen.gateway._http_errors import Headers, HttpError, overloaded, shutting_down, too_many
from interwhen.gateway._json_bodies import SECONDS, TooManyValues, decode_object

Reason = Literal["", "left", "slow", "cut"]
"""Why a call ended before its answer was complete.

``left``: the client left. ``slow``: the client read nothing. ``cut``: the gateway shuts down. Empty: it did not.
"""


class Exchange:
    """One HTTP request, and the state of its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.raw_headers: Headers = scope["headers"]
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.raw_headers}
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        self.path = path.decode("latin-1").partition("?")[0]
        """The path as the client sent it, with escapes."""
        self.query: str = scope.get("query_string", b"").decode("latin-1")
        self.decoded_path: str = scope["path"]
        self.receive = receive
        self.body_bytes = 0
        """The bytes of its body that have come; 0 after :meth:`Bodies.release`."""
        self.admitted_by = ""
        """The header that held the gateway's own key; empty if no key is needed."""
        self.monitors = ""
        """The names of the answer's monitors, for the log."""
        self.strategy = ""
        self.began = time.monotonic()
        self.origin = CallOrigin("gateway", trace_id=trace_id_of(self.headers.get("traceparent")))
        """Identifies this call: its answer, its log event and its audit record have the id."""
        self.model = ""
        self.supervised: Supervised | None = None
        """``None`` until the upstream has accepted the call, and for a call that is passed on."""
        self.refusal: Result | None = None
        """The result of a call whose prompt was refused."""
        self.started = False
        """Whether the head of the answer was sent, or is being sent."""
        self.ended = False
        """Whether the whole answer was sent."""
        self.blocked_since: float | None = None
        """The time since which a write waits for the client to read; ``None`` if no write waits."""
        self.silent_since: float | None = None
        """The time since which a relayed answer waits for more of the upstream's body; ``None`` if it does not wait."""
        self.stall: Callable[[], None] | None = None
        """Ends a relayed answer whose upstream is silent for too long."""
        self.reason: Reason = ""
        self.last_words: Callable[[HttpError], bytes] | None = None
        """Encodes an error as the end of an answer that has begun; ``None`` if that is not possible."""
        self._send = send
        self._scope: anyio.CancelScope | None = None

    @property
    def head_size(self) -> int:
        return len(self.path) + len(self.query) + sum([len(name) + len(value) for name, value in self.raw_headers])

    def onward(self, path: str) -> str:
        return f"{path}?{self.query}" if self.query else path

    async def start(self, status: int, headers: Headers) -> None:
        self.started = True
        headers = [*headers, (b"x-interwhen-call", self.origin.call_id.encode())]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes) -> None:
        # If the client does not read, this waits, and `blocked_since` says so.
        self.blocked_since = time.monotonic()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self.blocked_since = None  # not in a `finally`: after an exception the call is over

    async def end(self, data: bytes = b"") -> None:
        self.blocked_since = time.monotonic()
        await self._send({"type": "http.response.body", "body": data, "more_body": False})
        self.blocked_since = None
        self.ended = True

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        await self.start(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self.end(body)

    async def fail(self, http_error: HttpError) -> None:
        # The status of an answer that has begun was sent, so the error can only be its last event.
        if not self.started:
            await self.start(http_error.status, http_error.headers)
            await self.end(http_error.body)
        elif not self.ended and self.last_words is not None:
            await self.end(self.last_words(http_error))

    def leave(self, reason: Reason) -> None:
        # If it is not running, or is being cancelled already, this does nothing.
        if not self.reason and self._scope is not None:
            self.reason = reason
            self._scope.cancel()

    async def during(self, work: Callable[[], Awaitable[None]]) -> None:
        # Cancel it if the client disconnects or `leave` is called. If `work` was cancelled, `reason` says why.
        # A bare task and no task group: ASGI servers run on asyncio, and a group costs ten times as much for each call.
        client = asyncio.get_running_loop().create_task(self._watch(), name="client")
        try:
            with anyio.CancelScope() as self._scope:
                await work()
        finally:
            self._scope = None
            client.cancel()

    async def _watch(self) -> None:
        try:
            while (await self.receive())["type"] != "http.disconnect":
                pass
        finally:
            self.leave("left")


class ClientGone(Exception):
    """Raised if the client closes the connection before the request body has been read."""


class _Form(msgspec.Struct):
    """The types of fields of a supervised body that the gateway reads. Other fields are left to the upstream."""

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


msgspec.json.Decoder(_Form)  # evaluates the annotations now, and not while streams are read


class Bodies:
    """Reads request bodies, and limits the size and the time of each, the size of all, and how many arrive in parts."""

    def __init__(self, limits: GatewayLimits) -> None:
        self._limits = limits
        self._most = limits.concurrent + limits.waiting
        self._timers: set[asyncio.Timeout] = set()
        self._is_over = False
        self.parted = 0
        """How many bodies are being read in parts."""
        self.bytes = 0
        """The arrived bytes of all bodies that are being read, or whose requests are being served."""

    async def read(self, exchange: Exchange) -> bytes:
        # Return the body of a request. Its bytes count as in flight until `release` is called.
        limits = self._limits
        size = exchange.headers.get("content-length", "")
        if size.isdigit() and int(size) > limits.body_bytes:
            raise _too_large(limits)
        if size.isdigit():
            self._vet_room(int(size))
        with suppress(TimeoutError):
            # asyncio's own timeout: ASGI servers run on asyncio, and a scope of anyio takes four times as long.
            async with asyncio.timeout(limits.body_seconds) as timer:
                self._timers.add(timer)
                try:
                    return await self._read(exchange)
                finally:
                    self._timers.discard(timer)
        if self._is_over:
            raise shutting_down()
        raise HttpError(
            408,
            "request_timeout",
            f"the request body must arrive within {limits.body_seconds:g} s, and did not: send it faster",
            close=True,
        )

    def end(self) -> None:
        # Refuse all requests whose bodies are still arriving, because the gateway shuts down.
        self._is_over = True
        for timer in self._timers:
            timer.reschedule(0.0)

    def release(self, exchange: Exchange) -> None:
        # Stop counting the body of `exchange`, because its request has ended.
        self.bytes -= exchange.body_bytes
        exchange.body_bytes = 0

    async def fields(self, body: bytes) -> dict[str, Any]:
        most = self._limits.body_values
        try:
            return await decode_object(body, most)
        except TooManyValues:
            why = f"the request body must have at most {most:,} JSON values, got more: send less"
            raise HttpError(413, "request_too_complex", why) from None
        except TimeoutError:
            raise overloaded(SECONDS) from None
        except msgspec.ValidationError as error:
            raise HttpError(
                400,
                "malformed_body",
                f"the request body must be a JSON object, got another value ({error}): correct the request",
            ) from error
        except DECODE_ERRORS as error:
            raise HttpError(
                400, "malformed_body", f"the request body must be valid JSON, and is not ({error}): correct the request"
            ) from error

    def _vet_room(self, size: int) -> None:
        if self.bytes + size > self._limits.bytes_in_flight:
            raise too_many(
                f"the bodies of all requests in flight must have at most {self._limits.bytes_in_flight:,} "
                "bytes together, got more",
                close=True,
            )

    def _take(self, exchange: Exchange, part: bytes) -> None:
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
        if is_whole:  # most bodies come in one part
            return part
        if self.parted >= self._most:
            raise too_many(f"at most {self._most} request bodies may be read at one time, got one more", close=True)
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
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message.get("body", b""), not message.get("more_body", False)


def vet_form(fields: Mapping[str, Any]) -> None:
    # Only the fields that the gateway reads are checked, and each of them may be `null`.
    try:
        msgspec.convert(fields, _Form)
    except msgspec.ValidationError as error:
        param = str(error).partition("`$.")[2].partition("`")[0]
        raise HttpError(
            400,
            "invalid_type",
            f"the request body must have the types of the API, and a field has another: {error}; correct this field",
            param=param or None,
        ) from error


def _too_large(limits: GatewayLimits) -> HttpError:
    return HttpError(
        413,
        "request_too_large",
        f"the request body must have at most {limits.body_bytes:,} bytes, got more: send less",
        close=True,
    )


# The headers that are passed to an upstream, and those that are returned to the client.

OURS = b"x-interwhen-"
"""The prefix of the gateway's own headers."""

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
    # Left out are the header `without`, hop-by-hop headers, those of the gateway (`x-interwhen-...`), and headers such
    # as `host` and `cookie`. An uncompressed answer is asked for.
    fields: dict[str, str] = {}
    named = ""
    for raw, value in headers:
        if raw in _NOT_SENT or raw.startswith(OURS):
            if raw == b"connection":
                named = f"{named},{value.decode('latin-1')}"
            continue
        name = raw.decode("latin-1")
        if name != without:
            text = value.decode("latin-1")
            fields[name] = f"{fields[name]}, {text}" if name in fields else text
    for name in _named(named):
        fields.pop(name, None)
    # Supervised answers must be readable, and decompressing only to compress again costs time.
    fields["accept-encoding"] = "identity"
    return fields


def returned(headers: Mapping[str, str], *, new_body: bool) -> Headers:
    # Left out are hop-by-hop headers, `content-length`, `date`, `server`, `set-cookie` and `x-interwhen-...`; with
    # `new_body` also `content-type`, `content-encoding` and `cache-control`.
    left_out = _NOT_RETURNED | _OF_THE_BODY if new_body else _NOT_RETURNED
    if "connection" in headers:
        left_out = left_out | _named(headers["connection"])
    return [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in headers.items()
        if name not in left_out and not name.encode("latin-1").startswith(OURS)
    ]


def _named(connection: str) -> frozenset[str]:
    # Return the names that `connection`, a `Connection` header, lists (RFC 9110, 7.6.1).
    return frozenset(name.strip().lower() for name in connection.split(","))
