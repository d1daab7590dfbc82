"""A fast HTTP transport for asyncio and uvloop, with the parser of httptools (extra ``fast``).

See ``docs/decisions/reading-streams.md``.
"""

from __future__ import annotations

import asyncio
import functools
import re
import select
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import quote, urlsplit

import anyio
import httptools

from interwhen._types.errors import (
    ConnectError,
    ModelError,
    StreamClosed,
    StreamProtocolError,
    StreamTimeout,
    UsageError,
)
from interwhen.models._transport import (
    DEFAULT_PORTS,
    KEEPALIVE_SECONDS,
    KEPT_CONNECTIONS,
    HttpRequest,
    HttpResponse,
    connect,
    describe_error,
    environment_proxy,
    not_a_url,
    scheme_and_host,
)

if TYPE_CHECKING:
    import ssl

    from interwhen.models._httpx2_transport import Httpx2Transport


# One response: the connection feeds the parser, the parser calls the response, and one task reads it.

HIGH_WATER = 1 << 20
"""With more unread bytes, the loop stops reading from the socket."""
_MOST_WITHOUT_BODY = 1 << 18
"""How many bytes may arrive in a row without any body: head, trailers or chunk extensions."""


class FastResponse:
    """A response that arrives on a connection; see `HttpResponse`.

    *name* names the server in errors, and *line* is the connection.
    """

    __slots__ = (
        "_bodiless",
        "_closed",
        "_error",
        "_feed",
        "_framed",
        "_headers",
        "_is_whole",
        "_keep",
        "_line",
        "_loop",
        "_name",
        "_parser",
        "_parts",
        "_paused",
        "_received",
        "_size",
        "_waiter",
        "headers",
        "status",
    )

    def __init__(self, name: str, line: FastConnection, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0  # until the head has come
        self.headers: Mapping[str, str] = {}
        self._name = name
        self._line = line
        self._loop = loop
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._size = 0  # of the parts
        self._received = 0  # by the reader
        self._bodiless = 0
        self._framed = False  # whether the head says where the body ends
        self._keep = False
        self._paused = False
        self._is_whole = False
        self._closed = False
        self._error: ModelError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._feed: Callable[[bytes], None] = self._parser.feed_data

    async def head(self) -> None:
        while not self.status:
            if self._closed:
                raise StreamClosed
            if self._error is not None:
                raise self._error
            await self._wait()

    @property
    def has_begun(self) -> bool:
        return bool(self.status or self._bodiless or self._size)

    async def receive(self) -> bytes:
        parts = self._parts
        while not parts:
            if self._closed:
                raise StreamClosed
            if self._error is not None:
                raise self._error
            if self._is_whole:
                return b""
            # The same as _wait, without the call: this runs for every chunk.
            self._waiter = waiter = self._loop.create_future()
            try:
                await waiter
            except BaseException:
                self.close()
                raise
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._size = 0
        self._received += len(data)
        if self._paused:
            self._paused = False
            self._line.resume()
        return data

    async def aclose(self) -> None:
        if self._closed:
            return
        is_over = self._is_whole or self._error is not None
        self.close()
        if not is_over:
            await asyncio.sleep(0)  # the loop closes the socket in its next iteration

    def settle(self) -> bool:
        if not self._is_whole or self._parts:
            return False
        self.close()
        return True

    def close(self) -> None:
        # The rest of an incomplete response would come before the next one, so its connection closes.
        self._closed = True
        self._parts.clear()
        if not self._is_whole and self._error is None:
            self._line.abort()
        self._finish()

    async def _wait(self) -> None:
        self._waiter = waiter = self._loop.create_future()
        try:
            await waiter
        except BaseException:
            self.close()
            raise

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _finish(self) -> None:
        # Wake the reader, and delete the parser, because a reference cycle with it would keep this object alive.
        self._feed = _ignore
        self._parser = None
        self._wake()

    def take(self, data: bytes) -> None:
        # The connection calls this with all bytes that arrive. Errors wait for the reader.
        before = self._size
        try:
            self._feed(data)
        except httptools.HttpParserUpgrade:
            self._malformed("it switches to another protocol")
            return
        except httptools.HttpParserError as exc:
            self._malformed(str(exc) or type(exc).__name__)
            return
        if self._is_whole:
            self._finish()
            return
        if self._size == before:
            self._bodiless += len(data)
            if self._bodiless > _MOST_WITHOUT_BODY:
                self._malformed(f"{self._bodiless} bytes in a row without any body")
                return
        else:
            self._bodiless = 0
            if self._size > HIGH_WATER and not self._paused:
                self._paused = True
                self._line.pause()
        # The same as _wake, without the call: this runs for every chunk.
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def lost(self, exc: Exception | None) -> None:
        # `exc` is the error, `None` after an orderly end. An orderly end completes a response whose head does not say
        # where the body ends; any other response that was not complete is broken.
        if self.status and not self._framed and exc is None:
            self._is_whole = True
            self._finish()
            return
        came = self._received + self._size
        why = "the server closed it" if exc is None else f"{type(exc).__name__}: {exc}"
        self._fail(
            ConnectError(
                f"the connection to {self._name!r} broke after {came} bytes of the response ({why}): send "
                "the request again"
            )
        )

    def _malformed(self, why: str) -> None:
        self._line.abort()
        if self._is_whole:  # the error is in bytes after the response
            self._finish()
            return
        if self.status:
            came = self._received + self._size
            error: ModelError = ConnectError(
                f"the body of the response of {self._name!r} must be valid HTTP/1.1, got invalid framing "
                f"after {came} bytes ({why}): send the request again"
            )
        else:
            error = StreamProtocolError(
                f"the response of {self._name!r} must be HTTP/1.1, got something else ({why})",
                offset=0,
                hint="check host, port and scheme of base_url",
            )
        self._fail(error)

    def _fail(self, error: ModelError) -> None:
        if self._error is None and not self._is_whole:
            self._error = error
            self._finish()

    def on_header(self, name: bytes, value: bytes) -> None:
        # Ignore headers after the body (trailers).
        if not self.status:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        # Ignore interim responses (1xx), before the final one (RFC 9110, section 15.2).
        if self._is_whole:  # an unrequested second response in the same read
            return
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status < 200:
            self._headers.clear()
            return
        headers = self._headers
        coding = headers.get("transfer-encoding", "").lower()
        self._framed = coding.endswith("chunked") or (not coding and "content-length" in headers)
        self._keep = self._parser.should_keep_alive()
        self.headers = headers
        self.status = status

    def on_body(self, data: bytes) -> None:
        # Ignore it if the response is closed, or if it is of a second response.
        if self.status and not self._closed and not self._is_whole:
            self._parts.append(data)
            self._size += len(data)

    def on_message_complete(self) -> None:
        if self.status and not self._is_whole:
            self._is_whole = True
            self._line.release(keep=self._keep)

    def on_message_begin(self) -> None:
        if self._is_whole:
            self._line.abort()


def _ignore(_data: bytes) -> None:
    """Ignore *_data*, bytes that arrive after the end of a response."""


class FastConnection(asyncio.Protocol):
    """An HTTP connection for one request at a time."""

    # It calls `on_idle` after a response, if it can be used again, and `on_lost` when it is closed.

    __slots__ = ("_is_paused", "_on_idle", "_on_lost", "_response", "_transport", "idle_since")

    def __init__(self, on_idle: Callable[[FastConnection], None], on_lost: Callable[[FastConnection], None]) -> None:
        self.idle_since = 0.0
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._response: FastResponse | None = None
        self._transport: asyncio.Transport | None = None
        self._is_paused = False

    @property
    def is_usable(self) -> bool:
        return self._response is None and self._transport is not None and not self._transport.is_closing()

    @property
    def is_readable(self) -> bool:
        # Whether an idle connection must not be used again, for example because the server closed it.
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        number = sock.fileno() if sock is not None else -1
        if number < 0:
            return True
        if not hasattr(select, "poll"):  # Windows
            return bool(select.select([number], [], [], 0)[0])
        poll = select.poll()
        poll.register(number, select.POLLIN)
        return bool(poll.poll(0))

    def send_request(self, request: bytes, name: str, loop: asyncio.AbstractEventLoop) -> FastResponse:
        """Send the bytes *request* over the open connection. The returned response has not arrived yet."""
        assert self._transport is not None
        self._response = response = FastResponse(name, self, loop)
        self._transport.write(request)
        return response

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        # If the connection is idle, close it: the server must not send anything.
        response = self._response
        if response is None:
            self.abort()
        else:
            response.take(data)

    def eof_received(self) -> bool:
        # The server has closed its side. False: the loop closes the connection.
        self._part(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._part(exc)
        self._transport = None
        self._on_lost(self)

    def _part(self, exc: Exception | None) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.lost(exc)

    def pause(self) -> None:
        if self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def release(self, *, keep: bool) -> None:
        self._response = None
        self.resume()
        if keep and self.is_usable and self._transport is not None and not self._transport.get_write_buffer_size():
            self._on_idle(self)
        else:
            self.abort()

    def close(self) -> None:
        response = self._response
        if response is not None:
            response.close()
        self.abort()

    def abort(self) -> None:
        # Close the socket; the loop does this in its next iteration. A response that uses it gets no error.
        self._response = None
        if self._transport is not None:
            self._transport.abort()


# The connections on one event loop: those in use, and those kept for the next request.


class ServerAddress(NamedTuple):
    scheme: str
    host: str
    port: int


class ConnectionPool:
    """Only the thread of *loop* may use the connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._idle: dict[ServerAddress, list[FastConnection]] = {}
        self._open: set[FastConnection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self.proxied_transport: Httpx2Transport | None = None
        self._closing: asyncio.Task[None] | None = None

    def connection(self, server: ServerAddress) -> FastConnection:
        def keep(connection: FastConnection) -> None:
            self._keep(server, connection)

        return FastConnection(keep, self._open.discard)

    def add(self, connection: FastConnection) -> None:
        self._open.add(connection)

    def take_idle(self, server: ServerAddress) -> FastConnection | None:
        kept = self._idle.get(server)
        while kept:
            connection = kept.pop()
            is_fresh = self.loop.time() - connection.idle_since < KEEPALIVE_SECONDS
            if connection.is_usable and is_fresh and not connection.is_readable:
                return connection
            connection.abort()
        return None

    def drop_idle(self, server: ServerAddress) -> None:
        # One of them was dead, so the others may be dead too.
        for connection in self._idle.pop(server, ()):
            connection.abort()

    def close(self) -> bool:
        # `aclose` closes the connections to proxies, because it may wait.
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._idle.clear()
        connections = tuple(self._open)
        for connection in connections:
            connection.close()
        return bool(connections)

    async def aclose(self) -> None:
        any_here = self.close()
        proxied_transport, self.proxied_transport = self.proxied_transport, None
        if proxied_transport is not None:
            await proxied_transport.aclose()
        if any_here:
            await asyncio.sleep(0)  # the loop closes the sockets in its next iteration

    def close_soon(self) -> None:
        # Other threads schedule this call on the loop.
        self._closing = self.loop.create_task(self.aclose())

    def _keep(self, server: ServerAddress, connection: FastConnection) -> None:
        kept = self._idle.setdefault(server, [])
        if len(kept) >= KEPT_CONNECTIONS:
            connection.abort()
            return
        connection.idle_since = self.loop.time()
        kept.append(connection)
        if self._sweep is None:
            self._sweep = self.loop.call_later(KEEPALIVE_SECONDS, self._close_old)

    def _close_old(self) -> None:
        # One timer serves all connections.
        self._sweep = None
        now = self.loop.time()
        for server, kept in tuple(self._idle.items()):
            fresh = [each for each in kept if each.is_usable and now - each.idle_since < KEEPALIVE_SECONDS]
            for connection in set(kept).difference(fresh):
                connection.abort()
            self._idle[server] = fresh
            if not fresh:
                del self._idle[server]
        if self._idle:
            self._sweep = self.loop.call_later(KEEPALIVE_SECONDS, self._close_old)


_NOT_IN_A_HEADER = re.compile(r"[\r\n\0]")
_SAFE = "/%:@!$&'()*+,;=~?"
"""Characters that are not escaped in the path and the query of a URL."""


class _Target(NamedTuple):
    """A parsed URL: *target* is path and query, and *name* the ``host`` header."""

    server: ServerAddress
    target: str
    name: str


class FastTransport:
    """A transport that spends less time on each chunk than `Httpx2Transport`: for hundreds of streams in one process.

    It runs on asyncio and uvloop, not on trio, and parses responses with httptools, one connection per open stream.
    *ssl_context* replaces the default TLS context, which uses the trust store of the system. With *trust_env*, requests
    to a server for which the environment names a proxy use `Httpx2Transport`. Each event loop
    has its own connections, so one transport can serve the loops of several threads.
    """

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None, trust_env: bool = True) -> None:
        self._ssl_context = ssl_context
        self._trust_env = trust_env
        self._pools: tuple[ConnectionPool, ...] = ()
        self._lock = threading.Lock()
        self._proxied: dict[tuple[str, str], bool] = {}

    async def send(self, request: HttpRequest, *, connect_timeout: float | None) -> HttpResponse:
        """Send *request*, and return the response when its head has arrived.

        Raises the errors of `Transport.send`, :class:`StreamClosed` if the transport is closed
        while it waits for the head, and :class:`~interwhen.UsageError` outside asyncio.
        """
        place = _parse_url(request.url)
        if self._trust_env and self._has_proxy(request.url):
            return await self._proxied_transport().send(request, connect_timeout=connect_timeout)
        data = _encode(request, place)
        pool = self._pool()
        kept = pool.take_idle(place.server)
        connection = kept or await self._connect(pool, place.server, request.name, connect_timeout)
        response = connection.send_request(data, request.name, pool.loop)
        try:
            await response.head()
        except ConnectError as error:
            if kept is not None and not response.has_begun:
                error.stale = True
                pool.drop_idle(place.server)
            raise
        return response

    async def aclose(self) -> None:
        """Close all open connections. For another loop, this is only scheduled there."""
        with self._lock:
            pools, self._pools = self._pools, ()
        running = _running_loop()
        for pool in pools:
            if pool.loop is running:
                await pool.aclose()
            elif not pool.loop.is_closed():
                with suppress(RuntimeError):  # the loop was closed after the check
                    pool.loop.call_soon_threadsafe(pool.close_soon)

    def _pool(self) -> ConnectionPool:
        loop = _running_loop()
        if loop is None:
            raise UsageError("transport='fast' must run on asyncio, got another event loop: use transport='httpx2'")
        for pool in self._pools:
            if pool.loop is loop:
                return pool
        pool = ConnectionPool(loop)
        with self._lock:
            self._pools = (*(each for each in self._pools if not each.loop.is_closed()), pool)
        return pool

    async def _connect(
        self, pool: ConnectionPool, server: ServerAddress, name: str, seconds: float | None
    ) -> FastConnection:
        context = self._context() if server.scheme == "https" else None
        try:
            with anyio.fail_after(seconds):
                _, connection = await connect(
                    lambda: pool.connection(server), server.host, server.port, context=context
                )
        except TimeoutError as exc:
            raise StreamTimeout("connect", seconds or 0.0) from exc
        except (OSError, UnicodeError) as exc:  # SSLError is an OSError
            raise ConnectError(
                f"could not connect to {name!r} ({describe_error(exc)}): check that the server is running, "
                "and its host and port"
            ) from exc
        if not connection.is_usable:
            raise ConnectError(
                f"{name!r} closed the connection before a request was sent: check the server's log, and the "
                "port and scheme of base_url"
            )
        pool.add(connection)
        return connection

    def _context(self) -> ssl.SSLContext:
        # The first call reads the trust store of the system, unless a context was given.
        if self._ssl_context is None:
            import httpcore2

            self._ssl_context = httpcore2.default_ssl_context()
        return self._ssl_context

    def _has_proxy(self, url: str) -> bool:
        server = scheme_and_host(url)
        if server not in self._proxied:
            self._proxied[server] = environment_proxy(*server) is not None
        return self._proxied[server]

    def _proxied_transport(self) -> Httpx2Transport:
        pool = self._pool()
        if pool.proxied_transport is None:
            from interwhen.models._httpx2_transport import Httpx2Transport

            pool.proxied_transport = Httpx2Transport(ssl_context=self._ssl_context)
        return pool.proxied_transport


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


@functools.lru_cache(maxsize=256)
def _parse_url(url: str) -> _Target:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        name = parts.netloc.rpartition("@")[2].encode("ascii" if url.isascii() else "idna").decode()
    except ValueError as exc:  # UnicodeError is one
        raise UsageError(f"{not_a_url(url)} ({exc})") from exc
    if parts.scheme not in DEFAULT_PORTS or not host or _NOT_IN_A_HEADER.search(name):
        raise UsageError(not_a_url(url))
    query = f"?{quote(parts.query, safe=_SAFE)}" if parts.query else ""
    target = quote(parts.path or "/", safe=_SAFE) + query
    return _Target(ServerAddress(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme]), target, name)


def _encode(request: HttpRequest, place: _Target) -> bytes:
    lines = [f"{request.method} {place.target} HTTP/1.1\r\nhost: {place.name}".encode("latin-1")]
    lines += [b"%s: %s" % field for field in request.header_fields()]
    if request.method == "POST":
        lines.append(b"content-length: %d" % len(request.body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + request.body
