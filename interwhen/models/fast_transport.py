"""The fast way to a server for asyncio and uvloop: httptools' parser right behind the loop (the extra ``fast``).

Between the socket and the reader of a body there are a parser in C and one wake-up. Nothing else runs for a chunk: no
timer, no task, no scope. See ``docs/decisions/0020-a-transport-of-our-own.md``.
"""

from __future__ import annotations

import asyncio
import functools
import re
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit

import anyio

from interwhen.errors import ConnectError, StreamTimeout, UsageError
from interwhen.models.connecting import connect, why_not
from interwhen.models.fast_connection import Connection
from interwhen.models.fast_pool import Pool, Server
from interwhen.models.proxies import environment_proxy, scheme_and_host
from interwhen.models.transport import HttpRequest, HttpResponse

if TYPE_CHECKING:
    import ssl

    from interwhen.models.httpx2_transport import Httpx2Transport

_NOT_IN_A_HEADER = re.compile(r"[\r\n\0]")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = frozenset(("content-length", "host", "transfer-encoding"))
"""Headers that say where a request goes and where it ends: two of them would be two requests."""
_SAFE = "/%:@!$&'()*+,;=~?"
"""What stays as it is in the path and the query of a URL."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


class _Place(NamedTuple):
    """A URL, taken apart: where its server is, and what a request says of it."""

    server: Server
    target: str
    name: str


class FastTransport:
    """Connections of our own, as many as there are streams; asyncio (or uvloop) only.

    *ssl_context* replaces the system's trust store. Servers for which the environment names a proxy, if *trust_env*,
    are reached by way of :class:`~interwhen.models.httpx2_transport.Httpx2Transport`. Each event loop has connections
    of its own, so that one transport may serve the loops of several threads.
    """

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None, trust_env: bool = True) -> None:
        self._ssl_context = ssl_context
        self._trust_env = trust_env
        self._pools: tuple[Pool, ...] = ()
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

    def _pool(self) -> Pool:
        """Return the pool of the running loop; those of loops that are over are forgotten."""
        loop = _running_loop()
        if loop is None:
            raise UsageError("the fast transport runs on asyncio only; use transport='httpx2'")
        for pool in self._pools:
            if pool.loop is loop:
                return pool
        pool = Pool(loop)
        with self._lock:
            self._pools = (*(each for each in self._pools if not each.loop.is_closed()), pool)
        return pool

    async def _connected(self, pool: Pool, server: Server, name: str, seconds: float | None) -> Connection:
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
            from interwhen.models.httpx2_transport import Httpx2Transport

            pool.way_round = Httpx2Transport(ssl_context=self._ssl_context)
        return pool.way_round


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


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
    return _Place(Server(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme]), target, name)


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
