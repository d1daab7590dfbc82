"""The default HTTP transport, for asyncio and trio. It uses httpcore2, the connection layer of httpx2."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote, urlsplit

import anyio
import httpcore2

from interwhen._types.errors import (
    ConnectError,
    ModelError,
    StreamClosed,
    StreamProtocolError,
    StreamTimeout,
    UsageError,
    without_user,
)
from interwhen.models._transport import (
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
    from collections.abc import AsyncGenerator


# A network backend of httpcore2 for asyncio. Each read costs one future.
#
# The backend of httpcore2 opens a cancel scope for each read and registers the socket with the selector again, which
# costs more than the read. Here the loop reads ahead, up to a limit, and a reader waits only if no bytes have arrived.
# Read timeouts are not supported; to end a read, close the stream.

_HIGH_WATER = 1 << 20
"""The number of unread bytes above which the loop stops reading from the socket."""


class _StreamProtocol(asyncio.Protocol):
    """Stores the bytes of one connection until they are read."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.parts: list[bytes] = []
        self.size = 0
        self.paused = False
        self.ended = False
        self.error: Exception | None = None
        self.waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.parts.append(data)
        self.size += len(data)
        if self.size > _HIGH_WATER and not self.paused and self.transport is not None:
            self.paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self.ended = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self.error = exc
        self._wake()

    def _wake(self) -> None:
        waiter = self.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def take(self) -> bytes:
        parts = self.parts
        self.parts = []
        self.size = 0
        if self.paused and self.transport is not None:
            self.paused = False
            self.transport.resume_reading()
        return parts[0] if len(parts) == 1 else b"".join(parts)


class AsyncioStream(httpcore2.AsyncNetworkStream):
    """A TCP or TLS connection, for httpcore2."""

    def __init__(self, transport: asyncio.Transport, protocol: _StreamProtocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._closed = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002, ASYNC109
        protocol = self._protocol
        while not protocol.parts:
            if self._closed:
                raise httpcore2.ReadError("the stream must be open while it is read, and this side closed it")
            if protocol.error is not None:
                raise httpcore2.ReadError(str(protocol.error)) from protocol.error
            if protocol.ended:
                return b""
            protocol.waiter = self._loop.create_future()
            try:
                await protocol.waiter
            finally:
                protocol.waiter = None
        if self._closed:
            raise httpcore2.ReadError("the stream must be open while it is read, and this side closed it")
        return protocol.take()

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109
        # Does not wait until it is sent, because a request is small.
        if self._closed or self._transport.is_closing():
            raise httpcore2.WriteError("the connection must be open for a request, and was closed before")
        self._transport.write(buffer)

    async def aclose(self) -> None:
        self._closed = True
        self._transport.abort()
        self._protocol._wake()  # noqa: SLF001  the two classes are one object; asyncio needs two
        await anyio.lowlevel.checkpoint()  # the loop closes the socket in its next iteration

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore2.AsyncNetworkStream:
        try:
            with anyio.fail_after(timeout):
                transport = await self._loop.start_tls(
                    self._transport, self._protocol, ssl_context, server_hostname=server_hostname
                )
        except TimeoutError as exc:
            self._transport.abort()
            raise httpcore2.ConnectTimeout(str(exc)) from exc
        except OSError as exc:  # ssl.SSLError is an OSError
            self._transport.abort()
            raise httpcore2.ConnectError(str(exc)) from exc
        except BaseException:
            self._transport.abort()
            raise
        if transport is None:
            raise httpcore2.ConnectError(
                "the server must complete the TLS handshake, and closed the connection: check scheme and port"
            )
        self._protocol.transport = transport
        return AsyncioStream(transport, self._protocol)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # for an idle connection: any byte or end that arrived means that it is dead
            return self._protocol.ended or bool(self._protocol.parts) or self._transport.is_closing()
        names = {"ssl_object": "ssl_object", "socket": "socket", "client_addr": "sockname", "server_addr": "peername"}
        return self._transport.get_extra_info(names[info]) if info in names else None


class AsyncioBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections on the running asyncio (or uvloop) loop."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[tuple[Any, ...]] | None = None,  # noqa: ARG002
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of *host* that answers. Ignores *socket_options*."""
        local = (local_address, 0) if local_address else None
        try:
            with anyio.fail_after(timeout):
                transport, protocol = await connect(_StreamProtocol, host, port, local=local)
        except TimeoutError as exc:
            raise httpcore2.ConnectTimeout(str(exc)) from exc
        except OSError as exc:
            raise httpcore2.ConnectError(describe_error(exc)) from exc
        return AsyncioStream(transport, protocol)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


_CLOSE_SECONDS = 1.0


def translate(exc: Exception, name: str, *, received: int = 0) -> ModelError:
    """Convert an exception of httpcore2. *received* is the number of bytes of the body so far."""
    if isinstance(exc, httpcore2.TimeoutException):
        return ConnectError(
            f"the connection to {name!r} timed out ({_reason(exc)}): check that the server still answers, "
            "or allow more time"
        )
    if isinstance(exc, httpcore2.ProtocolError) and received == 0 and "disconnected" not in str(exc):
        return StreamProtocolError(
            f"the response of {name!r} must be HTTP/1.1, got something else ({exc})",
            offset=0,
            hint="check host, port and scheme of base_url",
        )
    if isinstance(exc, httpcore2.ConnectError):
        return ConnectError(
            f"could not connect to {name!r} ({_reason(exc)}): check that the server is running, and its host and port"
        )
    return ConnectError(
        f"the connection to {name!r} broke after {received} bytes of the response ({type(exc).__name__}: "
        f"{_reason(exc)}): send the request again"
    )


def _reason(exc: BaseException) -> str:
    while not str(exc):
        inner = exc.__cause__ or next((arg for arg in exc.args if isinstance(arg, BaseException)), None)
        if inner is None:
            break
        exc = inner
    return str(exc) or type(exc).__name__


class Httpx2Response:
    """Makes *response*, which httpcore2 opened, an `HttpResponse`."""

    def __init__(self, name: str, response: httpcore2.Response) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
        }
        self._name = name
        self._response = response
        # The generator of httpcore2's PoolByteStream. Closing it closes the generators below it.
        stream = cast("AsyncIterator[bytes]", response.stream)
        self._parts = cast("AsyncGenerator[bytes, None]", stream.__aiter__())
        self._received = 0
        self._reading = False
        self._closed = False
        self._broken = False

    async def receive(self) -> bytes:
        if self._closed or self._broken:
            raise StreamClosed
        self._reading = True
        try:
            data = await self._parts.__anext__()
        except StopAsyncIteration:
            data = b""
        except Exception as exc:
            if self._closed:
                raise StreamClosed from exc
            self._broken = True
            raise translate(exc, self._name, received=self._received) from exc
        except BaseException:
            # A cancelled generator is exhausted: its next StopAsyncIteration does not mean the end of the body.
            self._broken = True
            raise
        finally:
            self._reading = False
        if self._closed:
            # The bytes arrived before `aclose` was called: the generator does not know that the connection is closed.
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await self._parts.aclose()
            raise StreamClosed
        self._received += len(data)
        return data

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            if not self._reading:
                await self._parts.aclose()
            await self._response.aclose()


class Httpx2Transport:
    """The default transport, with one connection per open stream.

    *ssl_context* replaces the default TLS context, which uses the trust store of the system. *proxy* is the URL of a
    proxy. Without it, the proxies of the environment are used (``HTTPS_PROXY``, ``NO_PROXY``, ...), unless *trust_env*
    is false.
    """

    def __init__(
        self, *, ssl_context: ssl.SSLContext | None = None, proxy: str | None = None, trust_env: bool = True
    ) -> None:
        self._ssl_context = ssl_context
        self._proxy = proxy
        self._trust_env = trust_env
        self._pools: dict[str | None, httpcore2.AsyncConnectionPool] = {}

    async def send(self, request: HttpRequest, *, connect_timeout: float | None) -> HttpResponse:
        """Send *request*, and return the response when its head has arrived.

        *connect_timeout* limits each step of connecting (TCP, TLS). Raises the errors of
        `Transport.send`.
        """
        url = _ascii_url(request.url)
        headers = [(b"host", _host(request.url)), *request.header_fields()]
        if request.method == "POST":
            headers.append((b"content-length", str(len(request.body)).encode()))
        is_kept = True

        async def trace(name: str, _info: object) -> None:
            nonlocal is_kept
            if name.endswith("connect_tcp.started"):
                is_kept = False

        sent = httpcore2.Request(
            request.method,
            url,
            headers=headers,
            content=request.body,
            extensions={"timeout": {"connect": connect_timeout}, "trace": trace},
        )
        pool = self._pool(request.url)
        try:
            response = await pool.handle_async_request(sent)
        except httpcore2.ConnectTimeout as exc:
            raise StreamTimeout("connect", connect_timeout or 0.0) from exc
        except httpcore2.UnsupportedProtocol as exc:
            raise UsageError(not_a_url(request.url)) from exc
        except Exception as exc:
            error = translate(exc, request.name)
            if isinstance(error, ConnectError) and not isinstance(exc, httpcore2.TimeoutException):
                error.stale = is_kept
            raise error from exc
        return Httpx2Response(request.name, response)

    async def aclose(self) -> None:
        """Close the connections. This waits for at most one second."""
        pools, self._pools = self._pools, {}
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            for pool in pools.values():
                await pool.aclose()

    def _pool(self, url: str) -> httpcore2.AsyncConnectionPool:
        scheme, host = scheme_and_host(url)
        proxy = self._proxy or (environment_proxy(scheme, host) if self._trust_env else None)
        key = f"{scheme} {proxy}"
        pool = self._pools.get(key)
        if pool is None:
            # Without a context, httpcore2 would read the CA bundle for each connection.
            if scheme == "https" and self._ssl_context is None:
                self._ssl_context = httpcore2.default_ssl_context()
            pool = self._pools[key] = self._new_pool(proxy)
        return pool

    def _new_pool(self, proxy: str | None) -> httpcore2.AsyncConnectionPool:
        return httpcore2.AsyncConnectionPool(
            ssl_context=self._ssl_context,
            proxy=None if proxy is None else _proxy(proxy),
            max_connections=None,
            max_keepalive_connections=KEPT_CONNECTIONS,
            keepalive_expiry=KEEPALIVE_SECONDS,
            network_backend=AsyncioBackend() if _on_asyncio() else None,
        )


def _on_asyncio() -> bool:
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")


def _proxy(url: str) -> httpcore2.Proxy:
    url = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(url)
        is_proxy = parts.scheme in _PROXY_SCHEMES and parts.hostname and parts.port != 0 and url.isascii()
    except ValueError:  # an invalid host or port
        is_proxy = False
    if not is_proxy:
        raise UsageError(
            f"a proxy must be a URL such as 'http://host:port', got {without_user(url)!r:.200}: correct proxy= or the "
            "environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY)"
        )
    if parts.scheme.startswith("socks") and find_spec("socksio") is None:
        raise UsageError(
            f"a SOCKS proxy must have the package socksio, got {without_user(url)!r:.200}: install socksio"
        )
    auth = None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
    return httpcore2.Proxy(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(), auth=auth)


def _ascii_url(url: str) -> httpcore2.URL:
    if url.isascii():
        return httpcore2.URL(url)
    try:
        host = _host(url).decode()
    except UnicodeError as exc:
        raise UsageError(f"{not_a_url(url)} ({exc})") from exc
    return httpcore2.URL(quote(urlsplit(url)._replace(netloc=host).geturl(), safe=_SAFE))


_SAFE = "%/:?[]@!$&'()*+,;=~"
"""Characters that are not escaped in a URL."""


def _host(url: str) -> bytes:
    return scheme_and_host(url)[1].encode("idna" if not url.isascii() else "ascii")
