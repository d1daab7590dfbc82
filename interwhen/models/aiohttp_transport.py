"""A faster way to a server for asyncio: aiohttp, whose HTTP parser is written in C (the extra ``fast``)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import aiohttp
import yarl

from interwhen.errors import ConnectError, ModelError, StreamClosed, StreamProtocolError, StreamTimeout, UsageError
from interwhen.models.proxies import environment_proxy, scheme_and_host
from interwhen.models.transport import HttpRequest, HttpResponse

if TYPE_CHECKING:
    import ssl

# A read after the connection is lost is a RuntimeError.
_FOREIGN = (aiohttp.ClientError, OSError, TimeoutError, RuntimeError)


def translate(exc: Exception, url: str, *, received: int = 0) -> ModelError:
    """Say in our words what aiohttp raised for a request to *url* after *received* bytes of the body."""
    if isinstance(exc, aiohttp.ClientConnectorError):
        return ConnectError(f"could not connect to {url!r} ({exc}); is the server running?")
    if isinstance(exc, aiohttp.ClientResponseError):
        return StreamProtocolError(f"{url!r} does not speak HTTP/1.1 ({exc.message})", offset=received)
    return ConnectError(f"the connection to {url!r} broke after {received} bytes ({type(exc).__name__}: {exc})")


class AiohttpResponse:
    """A response; see :class:`~interwhen.models.transport.HttpResponse`."""

    def __init__(self, url: str, response: aiohttp.ClientResponse) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
        self._url = url
        self._response = response
        self._read = response.content.readany
        self._received = 0
        self._closed = False
        self._lost = _lost(response)
        if self._lost is not None:
            self._lost.add_done_callback(self._wake)

    async def receive(self) -> bytes:
        """Wait for bytes of the body; empty at its end."""
        if self._closed:
            raise StreamClosed("the stream is closed")
        try:
            data = await self._read()
        except _FOREIGN as exc:
            closed = self._closed
            self._close()
            if closed:
                raise StreamClosed("the stream was closed while it was read") from exc
            raise translate(exc, self._url, received=self._received) from exc
        except BaseException:
            self._close()
            raise
        if self._closed:
            raise StreamClosed("the stream was closed while it was read")
        if not data and self._lost is not None:
            self._lost.remove_done_callback(self._wake)
        self._received += len(data)
        return data

    async def aclose(self) -> None:
        """Close now. A parked :meth:`receive` raises; a body at its end has given its connection back already."""
        if not self._closed:
            self._close()
            # The loop closes the socket in its next turn.
            await asyncio.sleep(0)

    def _close(self) -> None:
        self._closed = True
        self._response.close()
        if self._lost is not None:
            self._lost.remove_done_callback(self._wake)

    def _wake(self, _: asyncio.Future[None]) -> None:
        """Wake a parked reader when its connection is gone; after a framing error in the body aiohttp forgets to."""
        content = self._response.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the body's framing is wrong, or it was cut off"))


class AiohttpTransport:
    """Connections of aiohttp, as many as there are streams; asyncio (or uvloop) only.

    *ssl_context* replaces the system's trust store; the environment's proxies are used if *trust_env*. They are looked
    up here, once for each server: aiohttp would ask two threads at each request, and send the names and passwords of a
    ``.netrc`` that nobody meant for a model server.
    """

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None, trust_env: bool = True) -> None:
        self._ssl_context = ssl_context
        self._trust_env = trust_env
        self._session: aiohttp.ClientSession | None = None
        self._proxies: dict[tuple[str, str], yarl.URL | None] = {}

    async def send(self, request: HttpRequest, *, connect_timeout: float | None) -> HttpResponse:
        """Send *request* and return the response once its head has come."""
        timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout)
        try:
            response = await self._opened().request(
                request.method,
                yarl.URL(request.url),
                headers=dict(request.headers),
                data=request.body if request.method == "POST" else None,
                timeout=timeout,
                allow_redirects=False,
                proxy=self._proxy(request.url),
            )
        except aiohttp.ConnectionTimeoutError as exc:
            raise StreamTimeout("connect", connect_timeout or 0.0) from exc
        except aiohttp.InvalidURL as exc:
            raise UsageError(f"{request.url!r} is no http:// or https:// URL") from exc
        except _FOREIGN as exc:
            raise translate(exc, request.url) from exc
        return AiohttpResponse(request.url, response)

    async def aclose(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _proxy(self, url: str) -> yarl.URL | None:
        """Return the proxy for *url*; a name and a password in its address are for the proxy."""
        if not self._trust_env:
            return None
        server = scheme_and_host(url)
        if server not in self._proxies:
            proxy = environment_proxy(*server)
            self._proxies[server] = None if proxy is None else _parsed(proxy)
        return self._proxies[server]

    def _opened(self) -> aiohttp.ClientSession:
        """Return the session, made on first use because it binds itself to the running loop."""
        if self._session is None:
            try:
                asyncio.get_running_loop()
            except RuntimeError as exc:
                raise UsageError("the aiohttp transport runs on asyncio only; use transport='httpx2'") from exc
            connector = aiohttp.TCPConnector(limit=0, ssl=self._ssl_context or True, keepalive_timeout=4.0)
            self._session = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=1 << 18,
            )
        return self._session


def _parsed(proxy: str) -> yarl.URL:
    url = yarl.URL(proxy)
    if url.scheme not in ("http", "https"):
        raise UsageError(f"aiohttp does not speak to a {url.scheme!r} proxy; use transport='httpx2'")
    return url


def _lost(response: aiohttp.ClientResponse) -> asyncio.Future[None] | None:
    """Return the future that is done when the connection of *response* is lost; ``None`` where it is over already."""
    connection = response.connection
    protocol = None if connection is None else connection.protocol
    lost = None if protocol is None else protocol.closed
    if lost is not None:
        # Once for a connection, however many responses it serves: the exception of a lost one is not a surprise.
        lost.remove_done_callback(_retrieve)
        lost.add_done_callback(_retrieve)
    return lost


def _retrieve(lost: asyncio.Future[None]) -> None:
    if not lost.cancelled():
        lost.exception()
