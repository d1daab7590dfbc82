"""The fast way to a server for asyncio and uvloop: httptools' parser right behind the loop (the extra ``fast``).

Between the socket and the reader of a body there are a parser in C and one wake-up. Nothing else runs for a chunk: no
timer, no task, no scope. See ``docs/decisions/0020-a-transport-of-our-own.md``.
"""

from __future__ import annotations

import asyncio
import functools
import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit

import anyio

from interwhen.errors import ConnectError, StreamTimeout, UsageError
from interwhen.models.connecting import connect
from interwhen.models.fast_connection import Connection
from interwhen.models.proxies import environment_proxy, scheme_and_host
from interwhen.models.transport import HttpRequest, HttpResponse

if TYPE_CHECKING:
    import ssl

    from interwhen.models.httpx2_transport import Httpx2Transport

KEPT_CONNECTIONS = 64
"""Idle connections that are kept for a server; in use there may be any number."""
KEEPALIVE_SECONDS = 4.0
"""For how long an idle connection is kept: less than the 5 s after which uvicorn closes it."""
_NOT_IN_A_HEADER = re.compile(r"[\r\n\0]")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = frozenset(("content-length", "host", "transfer-encoding"))
"""Headers that say where a request goes and where it ends: two of them would be two requests."""
_SAFE = "/%:@!$&'()*+,;=~?"
"""What stays as it is in the path and the query of a URL."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


class _Server(NamedTuple):
    """Where connections go."""

    scheme: str
    host: str
    port: int


class _Place(NamedTuple):
    """A URL, taken apart: where its server is, and what a request says of it."""

    server: _Server
    target: str
    name: str


class FastTransport:
    """Connections of our own, as many as there are streams; asyncio (or uvloop) only.

    *ssl_context* replaces the system's trust store. Servers for which the environment names a proxy, if *trust_env*,
    are reached by way of :class:`~interwhen.models.httpx2_transport.Httpx2Transport`.
    """

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None, trust_env: bool = True) -> None:
        self._ssl_context = ssl_context
        self._trust_env = trust_env
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle: dict[_Server, list[Connection]] = {}
        self._open: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._proxied: dict[tuple[str, str], bool] = {}
        self._way_round: Httpx2Transport | None = None

    async def send(self, request: HttpRequest, *, connect_timeout: float | None) -> HttpResponse:
        """Send *request* and return the response once its head has come."""
        if self._trust_env and self._has_proxy(request.url):
            return await self._httpx2().send(request, connect_timeout=connect_timeout)
        place = _place(request.url)
        data = _encoded(request, place)
        loop = self._bound()
        connection = self._kept(place.server) or await self._connected(place.server, request.url, connect_timeout)
        answer = connection.ask(data, request.url, loop)
        await answer.head()
        return answer

    async def aclose(self) -> None:
        """Close every connection."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._idle.clear()
        connections = tuple(self._open)
        for connection in connections:
            connection.close()
        way_round, self._way_round = self._way_round, None
        if way_round is not None:
            await way_round.aclose()
        if connections:
            # The loop closes the sockets in its next turn.
            await asyncio.sleep(0)

    # ------------------------------------------------------------------ connections

    def _bound(self) -> asyncio.AbstractEventLoop:
        """Return the running loop; connections of another one, which is over, are forgotten."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError as exc:
            raise UsageError("the fast transport runs on asyncio only; use transport='httpx2'") from exc
        if loop is not self._loop:
            self._loop, self._sweep = loop, None
            self._idle.clear()
            self._open.clear()
        return loop

    def _kept(self, server: _Server) -> Connection | None:
        """Return the connection to *server* that was used last, if one is kept that is still good."""
        assert self._loop is not None
        kept = self._idle.get(server)
        while kept:
            connection = kept.pop()
            is_fresh = self._loop.time() - connection.idle_since < KEEPALIVE_SECONDS
            if connection.is_usable and is_fresh and not connection.has_news:
                return connection
            connection.abort()
        return None

    async def _connected(self, server: _Server, url: str, seconds: float | None) -> Connection:
        """Return a new connection to *server*."""
        loop = asyncio.get_running_loop()
        context = self._context() if server.scheme == "https" else None

        def made() -> Connection:
            return Connection(functools.partial(self._keep, server, loop), self._open.discard)

        try:
            with anyio.fail_after(seconds):
                _, connection = await connect(made, server.host, server.port, context=context)
        except TimeoutError as exc:
            raise StreamTimeout("connect", seconds or 0.0) from exc
        except (OSError, UnicodeError) as exc:  # ssl.SSLError is one; a label of a name may be empty or too long
            raise ConnectError(f"could not connect to {url!r} ({exc}); is the server running?") from exc
        if not connection.is_usable:
            raise ConnectError(f"{url!r} closed the connection before it was asked anything")
        self._open.add(connection)
        return connection

    def _context(self) -> ssl.SSLContext:
        """Return the context of TLS connections; the system's trust store is read once, when it is needed."""
        if self._ssl_context is None:
            import httpcore2

            self._ssl_context = httpcore2.default_ssl_context()
        return self._ssl_context

    def _keep(self, server: _Server, loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
        """Keep *connection* of *loop*, whose answer is over, for a while."""
        assert self._loop is not None
        if loop is not self._loop:  # another loop, maybe of another thread, has taken the transport over
            connection.abort()
            return
        kept = self._idle.setdefault(server, [])
        if len(kept) >= KEPT_CONNECTIONS:
            connection.abort()
            return
        connection.idle_since = self._loop.time()
        kept.append(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(KEEPALIVE_SECONDS, self._close_old)

    def _close_old(self) -> None:
        """Close what was not used for long, and come again while there is something left: one timer for all."""
        assert self._loop is not None
        self._sweep = None
        now = self._loop.time()
        for server, kept in tuple(self._idle.items()):
            fresh = [each for each in kept if each.is_usable and now - each.idle_since < KEEPALIVE_SECONDS]
            for connection in set(kept).difference(fresh):
                connection.abort()
            self._idle[server] = fresh
            if not fresh:
                del self._idle[server]
        if self._idle:
            self._sweep = self._loop.call_later(KEEPALIVE_SECONDS, self._close_old)

    # ------------------------------------------------------------------ proxies

    def _has_proxy(self, url: str) -> bool:
        """Tell whether the environment names a proxy for *url*; it is asked once for each server."""
        server = scheme_and_host(url)
        if server not in self._proxied:
            self._proxied[server] = environment_proxy(*server) is not None
        return self._proxied[server]

    def _httpx2(self) -> Httpx2Transport:
        if self._way_round is None:
            from interwhen.models.httpx2_transport import Httpx2Transport

            self._way_round = Httpx2Transport(ssl_context=self._ssl_context)
        return self._way_round


@functools.lru_cache(maxsize=256)
def _place(url: str) -> _Place:
    """Take *url* apart. Raises :class:`~interwhen.errors.UsageError` where it is none."""
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
    return _Place(_Server(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme]), target, name)


def _encoded(request: HttpRequest, place: _Place) -> bytes:
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
