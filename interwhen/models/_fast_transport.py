"""The fast way to a server for asyncio and uvloop: httptools' parser right behind the loop (the extra ``fast``).

Between the socket and the reader of a body there are a parser in C and one wake-up. Nothing else runs for a chunk: no
timer, no task, no scope. See ``docs/decisions/0020-a-transport-of-our-own.md``.
"""

from __future__ import annotations

import asyncio
import functools
import re
import select
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast
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
from interwhen.models._transport import HttpRequest, HttpResponse, connect, environment_proxy, scheme_and_host, why_not

if TYPE_CHECKING:
    import ssl

    from interwhen.models._httpx2_transport import Httpx2Transport


# One answer on a connection of the fast transport: what the parser finds in it, and whoever waits for that.

HIGH_WATER = 1 << 20
"""Bytes that may wait unread before the loop stops reading from the socket."""
_MOST_WITHOUT_BODY = 1 << 18
"""Bytes that may come without any of the body (a head, trailers, extensions of a chunk) before that is no answer."""


class ResponseConnection(Protocol):
    """The connection that an answer comes on."""

    def pause(self) -> None:
        """Stop reading from the socket."""
        ...

    def resume(self) -> None:
        """Go on reading."""
        ...

    def release(self, *, keep: bool) -> None:
        """Take the connection back: the answer is whole. It is closed unless *keep*."""
        ...

    def abort(self) -> None:
        """Close the socket now."""
        ...


class FastResponse:
    """A response; see :class:`~interwhen.models.HttpResponse`. The connection feeds it, one task reads it.

    All that has come by the time the reader looks is handed over together, for one wake-up of its task.
    """

    __slots__ = (
        "_closed",
        "_dry",
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

    def __init__(self, name: str, line: ResponseConnection, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0  # until the head has come
        self.headers: Mapping[str, str] = {}
        self._name = name
        self._line = line
        self._loop = loop
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._size = 0  # of the parts
        self._received = 0  # by the reader
        self._dry = 0
        self._framed = False  # whether the head says where the body ends
        self._keep = False
        self._paused = False
        self._is_whole = False
        self._closed = False
        self._error: ModelError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._feed: Callable[[bytes], None] = self._parser.feed_data

    # ------------------------------------------------------------------ the reader's side

    async def head(self) -> None:
        """Wait for the status and the headers; raises :class:`~interwhen.ModelError` where none come."""
        while not self.status:
            if self._closed:
                raise StreamClosed("the transport was closed before an answer came")
            if self._error is not None:
                raise self._error
            await self._wait()

    @property
    def has_begun(self) -> bool:
        """Whether anything of it has come, be it a part of its head."""
        return bool(self.status or self._dry or self._size)

    async def receive(self) -> bytes:
        """Wait for bytes of the body; empty at its end."""
        parts = self._parts
        while not parts:
            if self._closed:
                raise StreamClosed("the stream is closed")
            if self._error is not None:
                raise self._error
            if self._is_whole:
                return b""
            # As in _wait, without the call: this is for every chunk.
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
        """Close now. A parked :meth:`receive` raises; an answer that is whole has given its connection back already."""
        if self._closed:
            return
        is_over = self._is_whole or self._error is not None
        self.close()
        if not is_over:
            # The loop closes the socket in its next turn.
            await asyncio.sleep(0)

    def settle(self) -> bool:
        """Close now if the answer is whole and all of it has been read; tells whether that was so."""
        if not self._is_whole or self._parts:
            return False
        self.close()
        return True

    def close(self) -> None:
        """Close the connection, unless the answer is whole, and forget what was not read."""
        self._closed = True
        self._parts.clear()
        if not self._is_whole and self._error is None:
            self._line.abort()
        self._over()

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

    def _over(self) -> None:
        """Wake whoever waits, and part with the parser: the two know each other."""
        self._feed = _nothing
        self._parser = None
        self._wake()

    # ------------------------------------------------------------------ the connection's side

    def take(self, data: bytes) -> None:
        """Take *data*, which came on the connection."""
        before = self._size
        try:
            self._feed(data)
        except httptools.HttpParserUpgrade:
            self._malformed("it changes to another protocol, which was not asked for")
            return
        except httptools.HttpParserError as exc:
            self._malformed(str(exc) or type(exc).__name__)
            return
        if self._is_whole:
            self._over()
            return
        if self._size == before:
            self._dry += len(data)
            if self._dry > _MOST_WITHOUT_BODY:
                self._malformed(f"{self._dry} bytes without any of the body")
                return
        else:
            self._dry = 0
            if self._size > HIGH_WATER and not self._paused:
                self._paused = True
                self._line.pause()
        # As _wake, without the call: this is for every chunk.
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def lost(self, exc: Exception | None) -> None:
        """Take note that nothing more will come: the end of a body that has no other mark, or a broken connection."""
        if self.status and not self._framed and exc is None:
            self._is_whole = True
            self._over()
            return
        came = self._received + self._size
        why = "the server closed it" if exc is None else f"{type(exc).__name__}: {exc}"
        self._fail(ConnectError(f"the connection to {self._name!r} broke after {came} bytes ({why})"))

    def _malformed(self, why: str) -> None:
        self._line.abort()
        if self._is_whole:  # whatever follows it
            self._over()
            return
        if self.status:
            came = self._received + self._size
            error: ModelError = ConnectError(f"the body of {self._name!r} is framed wrongly after {came} bytes ({why})")
        else:
            error = StreamProtocolError(f"{self._name!r} does not speak HTTP/1.1 ({why})", offset=0)
        self._fail(error)

    def _fail(self, error: ModelError) -> None:
        if self._error is None and not self._is_whole:
            self._error = error
            self._over()

    # ------------------------------------------------------------------ what the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers, which come behind the body, are not looked at."""
        if not self.status:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Take the head; that of an interim answer (1xx) is followed by the one that counts."""
        if self._is_whole:  # of an answer that nobody asked for, in the same read
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
        """Keep a part of the body, unless nobody wants it, or it is that of another answer."""
        if self.status and not self._closed and not self._is_whole:
            self._parts.append(data)
            self._size += len(data)

    def on_message_complete(self) -> None:
        """Give the connection back at the end of the answer."""
        if self.status and not self._is_whole:
            self._is_whole = True
            self._line.release(keep=self._keep)

    def on_message_begin(self) -> None:
        """Refuse to keep a connection on which a second answer comes that nobody asked for."""
        if self._is_whole:
            self._line.abort()


def _nothing(_data: bytes) -> None:
    """Take what comes for an answer that is over."""


# One connection of the fast transport, which serves one answer after the other.


class FastConnection(asyncio.Protocol):
    """What the loop calls. *on_idle* hears when it can be asked for the next answer, *on_lost* when it is gone."""

    __slots__ = ("_answer", "_is_paused", "_on_idle", "_on_lost", "_transport", "idle_since")

    def __init__(self, on_idle: Callable[[FastConnection], None], on_lost: Callable[[FastConnection], None]) -> None:
        self.idle_since = 0.0
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._answer: FastResponse | None = None
        self._transport: asyncio.Transport | None = None
        self._is_paused = False

    @property
    def is_usable(self) -> bool:
        """Whether a request can be sent on it."""
        return self._answer is None and self._transport is not None and not self._transport.is_closing()

    @property
    def has_news(self) -> bool:
        """Whether something has come that the loop has not handed over yet: an end, or an answer that nobody asked for.

        Where the loop was held for a while, the next request would take it for its own.
        """
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        number = sock.fileno() if sock is not None else -1
        if number < 0:
            return True
        if not hasattr(select, "poll"):  # Windows
            return bool(select.select([number], [], [], 0)[0])
        poll = select.poll()
        poll.register(number, select.POLLIN)
        return bool(poll.poll(0))

    def ask(self, request: bytes, name: str, loop: asyncio.AbstractEventLoop) -> FastResponse:
        """Send *request* and return its answer, of which nothing has come yet. *name* is for its errors."""
        assert self._transport is not None
        self._answer = answer = FastResponse(name, self, loop)
        self._transport.write(request)
        return answer

    # ------------------------------------------------------------------ the loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the loop's own end."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand *data* to the answer; an idle connection on which something comes is out of step."""
        answer = self._answer
        if answer is None:
            self.abort()
        else:
            answer.take(data)

    def eof_received(self) -> bool:
        """End the answer; the loop closes the connection."""
        self._part(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End the answer."""
        self._part(exc)
        self._transport = None
        self._on_lost(self)

    def _part(self, exc: Exception | None) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.lost(exc)

    # ------------------------------------------------------------------ the answer's side

    def pause(self) -> None:
        """Stop reading from the socket."""
        if self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Go on reading."""
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def release(self, *, keep: bool) -> None:
        """Part with the answer, which is whole. It may have come before all of the request had gone out."""
        self._answer = None
        self.resume()
        if keep and self.is_usable and self._transport is not None and not self._transport.get_write_buffer_size():
            self._on_idle(self)
        else:
            self.abort()

    def close(self) -> None:
        """Close the socket now, whoever waits for an answer on it."""
        answer = self._answer
        if answer is not None:
            answer.close()
        self.abort()

    def abort(self) -> None:
        """Close the socket now (the loop does in its next turn), without a word to the answer, which asks for it."""
        self._answer = None
        if self._transport is not None:
            self._transport.abort()


# The connections of the fast transport on one event loop: those in use, and those kept for the next request.

KEPT_CONNECTIONS = 64
"""Idle connections that are kept for a server; in use there may be any number."""
KEEPALIVE_SECONDS = 4.0
"""For how long an idle connection is kept: less than the 5 s after which uvicorn closes it."""


class ServerAddress(NamedTuple):
    """Where connections go."""

    scheme: str
    host: str
    port: int


class ConnectionPool:
    """Connections of *loop*, each of which its own thread alone may touch."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._idle: dict[ServerAddress, list[FastConnection]] = {}
        self._open: set[FastConnection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self.way_round: Httpx2Transport | None = None
        """What reaches the servers behind a proxy."""
        self._closing: asyncio.Task[None] | None = None

    def connection(self, server: ServerAddress) -> FastConnection:
        """Return a connection that is to be made to *server*; it comes back here when its answer is over."""

        def keep(connection: FastConnection) -> None:
            self._keep(server, connection)

        return FastConnection(keep, self._open.discard)

    def opened(self, connection: FastConnection) -> None:
        """Take note that *connection* is there."""
        self._open.add(connection)

    def kept(self, server: ServerAddress) -> FastConnection | None:
        """Return the connection to *server* that was used last, if one is kept that is still good."""
        kept = self._idle.get(server)
        while kept:
            connection = kept.pop()
            is_fresh = self.loop.time() - connection.idle_since < KEEPALIVE_SECONDS
            if connection.is_usable and is_fresh and not connection.has_news:
                return connection
            connection.abort()
        return None

    def forget(self, server: ServerAddress) -> None:
        """Close what is kept for *server*: one of them was found dead, and so may be the others."""
        for connection in self._idle.pop(server, ()):
            connection.abort()

    def close(self) -> bool:
        """Close all connections (the loop does in its next turn); tell whether there were any."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._idle.clear()
        connections = tuple(self._open)
        for connection in connections:
            connection.close()
        return bool(connections)

    async def aclose(self) -> None:
        """Close all connections, those to proxies included."""
        any_here = self.close()
        way_round, self.way_round = self.way_round, None
        if way_round is not None:
            await way_round.aclose()
        if any_here:
            await asyncio.sleep(0)  # the loop closes the sockets in its next turn

    def close_soon(self) -> None:
        """Close all connections; called in the loop, which another thread asks to."""
        self._closing = self.loop.create_task(self.aclose())

    def _keep(self, server: ServerAddress, connection: FastConnection) -> None:
        """Keep *connection*, whose answer is over, for a while."""
        kept = self._idle.setdefault(server, [])
        if len(kept) >= KEPT_CONNECTIONS:
            connection.abort()
            return
        connection.idle_since = self.loop.time()
        kept.append(connection)
        if self._sweep is None:
            self._sweep = self.loop.call_later(KEEPALIVE_SECONDS, self._close_old)

    def _close_old(self) -> None:
        """Close what was not used for long, and come again while there is something left: one timer for all."""
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
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = frozenset(("content-length", "host", "transfer-encoding"))
"""Headers that say where a request goes and where it ends: two of them would be two requests."""
_SAFE = "/%:@!$&'()*+,;=~?"
"""What stays as it is in the path and the query of a URL."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


class _Target(NamedTuple):
    """A URL, taken apart: where its server is, and what a request says of it."""

    server: ServerAddress
    target: str
    name: str


class FastTransport:
    """Connections of our own, as many as there are streams; asyncio (or uvloop) only.

    *ssl_context* replaces the system's trust store. Servers for which the environment names a proxy, if *trust_env*,
    are reached by way of :class:`~interwhen.models.Httpx2Transport`. Each event loop has connections
    of its own, so that one transport may serve the loops of several threads.
    """

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None, trust_env: bool = True) -> None:
        self._ssl_context = ssl_context
        self._trust_env = trust_env
        self._pools: tuple[ConnectionPool, ...] = ()
        self._lock = threading.Lock()
        self._proxied: dict[tuple[str, str], bool] = {}

    async def send(self, request: HttpRequest, *, connect_timeout: float | None) -> HttpResponse:
        """Send *request* and return the response once its head has come."""
        if self._trust_env and self._has_proxy(request.url):
            return await self._way_round().send(request, connect_timeout=connect_timeout)
        place = _place(request.url)
        data = _encoded(request, place)
        pool = self._pool()
        kept = pool.kept(place.server)
        connection = kept or await self._connected(pool, place.server, request.name, connect_timeout)
        answer = connection.ask(data, request.name, pool.loop)
        try:
            await answer.head()
        except ConnectError as error:
            if kept is not None and not answer.has_begun:
                error.stale = True
                pool.forget(place.server)
            raise
        return answer

    async def aclose(self) -> None:
        """Close every connection; those of a loop that runs in another thread, in that loop's next turn."""
        with self._lock:
            pools, self._pools = self._pools, ()
        running = _running_loop()
        for pool in pools:
            if pool.loop is running:
                await pool.aclose()
            elif not pool.loop.is_closed():
                with suppress(RuntimeError):  # it was closed at this very moment
                    pool.loop.call_soon_threadsafe(pool.close_soon)

    # ------------------------------------------------------------------ connections

    def _pool(self) -> ConnectionPool:
        """Return the pool of the running loop; those of loops that are over are forgotten."""
        loop = _running_loop()
        if loop is None:
            raise UsageError("the fast transport runs on asyncio only; use transport='httpx2'")
        for pool in self._pools:
            if pool.loop is loop:
                return pool
        pool = ConnectionPool(loop)
        with self._lock:
            self._pools = (*(each for each in self._pools if not each.loop.is_closed()), pool)
        return pool

    async def _connected(
        self, pool: ConnectionPool, server: ServerAddress, name: str, seconds: float | None
    ) -> FastConnection:
        """Return a new connection to *server*."""
        context = self._context() if server.scheme == "https" else None
        try:
            with anyio.fail_after(seconds):
                _, connection = await connect(
                    lambda: pool.connection(server), server.host, server.port, context=context
                )
        except TimeoutError as exc:
            raise StreamTimeout("connect", seconds or 0.0) from exc
        except (OSError, UnicodeError) as exc:  # ssl.SSLError is one; a label of a name may be empty or too long
            raise ConnectError(f"could not connect to {name!r} ({why_not(exc)}); is the server running?") from exc
        if not connection.is_usable:
            raise ConnectError(f"{name!r} closed the connection before it was asked anything")
        pool.opened(connection)
        return connection

    def _context(self) -> ssl.SSLContext:
        """Return the context of TLS connections; the system's trust store is read once, when it is needed."""
        if self._ssl_context is None:
            import httpcore2

            self._ssl_context = httpcore2.default_ssl_context()
        return self._ssl_context

    # ------------------------------------------------------------------ proxies

    def _has_proxy(self, url: str) -> bool:
        """Tell whether the environment names a proxy for *url*; it is asked once for each server."""
        server = scheme_and_host(url)
        if server not in self._proxied:
            self._proxied[server] = environment_proxy(*server) is not None
        return self._proxied[server]

    def _way_round(self) -> Httpx2Transport:
        pool = self._pool()
        if pool.way_round is None:
            from interwhen.models._httpx2_transport import Httpx2Transport

            pool.way_round = Httpx2Transport(ssl_context=self._ssl_context)
        return pool.way_round


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


@functools.lru_cache(maxsize=256)
def _place(url: str) -> _Target:
    """Take *url* apart. Raises :class:`~interwhen.UsageError` where it is none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        name = parts.netloc.rpartition("@")[2].encode("ascii" if url.isascii() else "idna").decode()
    except ValueError as exc:  # UnicodeError is one
        raise UsageError(f"{url!r} is no http:// or https:// URL ({exc})") from exc
    if parts.scheme not in _DEFAULT_PORTS or not host or _NOT_IN_A_HEADER.search(name):
        raise UsageError(f"{url!r} is no http:// or https:// URL")
    query = f"?{quote(parts.query, safe=_SAFE)}" if parts.query else ""
    target = quote(parts.path or "/", safe=_SAFE) + query
    return _Target(ServerAddress(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme]), target, name)


def _encoded(request: HttpRequest, place: _Target) -> bytes:
    """Return *request* as it goes over the wire."""
    lines = [f"{request.method} {place.target} HTTP/1.1", f"host: {place.name}"]
    for name, value in request.headers.items():
        if name.lower() in _OURS or not _NAME.fullmatch(name):
            raise UsageError(f"the header {name!r:.100} cannot be set; take it out of headers={{...}}")
        lines.append(f"{name}: {value}")
    if request.method == "POST":
        lines.append(f"content-length: {len(request.body)}")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1 or "\0" in head:
        raise UsageError("a header holds a line end; look for one in the key and in headers={...}")
    try:
        return f"{head}\r\n\r\n".encode("latin-1") + request.body
    except UnicodeEncodeError as exc:
        raise UsageError(f"a header holds {exc.object[exc.start : exc.end]!r}, which HTTP cannot carry") from exc
