"""The interface between the models and an HTTP library: requests, responses, timeouts, and opening a connection."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar
from urllib.parse import urlsplit

import anyio

if TYPE_CHECKING:
    import asyncio
    import ssl


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts in seconds; ``None`` waits forever.

    ``connect`` and ``first_token`` (here: until the response headers) bound the opening of a stream. The reader of an
    open stream enforces ``first_token``, ``inter_token`` and ``total`` by closing the stream: a timer per read would
    cost more than the read.

    ``idle`` ends nothing: after that silence within a line, monitors look at the unfinished line.

    ``min_rate`` (tokens a second) is an alarm, not a timer: a run whose model is slower reports it in its log and in
    ``result.wire``.
    """

    connect: float | None = 10.0
    first_token: float | None = 120.0
    inter_token: float | None = 60.0
    total: float | None = None
    min_rate: float | None = 1.0
    idle: float | None = 2.0


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request. Its ``headers`` may contain an API key, so its repr does not show them.

    Errors name ``alias``, if there is one, instead of the URL.
    """

    method: Literal["GET", "POST", "DELETE"]
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    alias: str = ""

    @property
    def name(self) -> str:
        """The alias or the URL, for errors."""
        return self.alias or self.url


class HttpResponse(Protocol):
    """A response whose head has arrived, and whose body is read as the bytes arrive.

    It may have a synchronous method ``settle()``, which closes it if it is complete and was read, and returns whether
    it did.
    """

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, with names in lower case."""
        ...

    async def receive(self) -> bytes:
        """Wait for bytes of the body; empty at its end.

        Raises :class:`~interwhen.models.ConnectError` if the connection breaks, and
        :class:`~interwhen.models.StreamClosed` as soon as another task calls :meth:`aclose`. No timer runs. Cancelling
        the waiting task closes the connection.
        """
        ...

    async def aclose(self) -> None:
        """Close: the connection is kept if the body was read to its end, and closed otherwise.

        Any task may call it, at any time, more than once. It does not wait for the server.
        """
        ...


class Transport(Protocol):
    """Sends requests, and keeps connections for the next ones."""

    async def send(self, request: HttpRequest, *, connect_timeout: float | None) -> HttpResponse:
        """Send *request* and return the response once its head has arrived.

        Raises :class:`~interwhen.models.ConnectError` (``stale`` if a kept connection broke before any byte of the
        response), and :class:`~interwhen.models.StreamTimeout` if there is no connection within *connect_timeout*
        seconds. Redirects are not followed.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


# The proxy that the environment names for a server.


def scheme_and_host(url: str) -> tuple[str, str]:
    """Return the scheme of *url*, and its host with the port, if it has one."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2]


def environment_proxy(scheme: str, host: str) -> str | None:
    """Return the proxy by ``http_proxy``, ``https_proxy``, ``all_proxy`` and ``no_proxy``, if any.

    On macOS and Windows, the settings of the system count, too.
    """
    import urllib.request  # with http.client and email, a tenth of the time that `import interwhen` may take

    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    return None if proxy is None or urllib.request.proxy_bypass(host) else proxy


# Opening a connection on the running asyncio loop, to the first address of a host that answers.

P = TypeVar("P", bound="asyncio.Protocol")

_TRY_SECONDS = 1.0
"""Time after which the next address of a host is tried."""


async def connect(
    factory: Callable[[], P],
    host: str,
    port: int,
    *,
    local: tuple[str, int] | None = None,
    context: ssl.SSLContext | None = None,
) -> tuple[asyncio.Transport, P]:
    """Try the addresses of *host* in turn, all but the last one for :data:`_TRY_SECONDS`; raises :class:`OSError`.

    With *context*, the connection uses TLS, and the certificate must be valid for *host*.
    """
    import asyncio

    # Not in parallel (RFC 8305): happy_eyeballs_delay of asyncio leaks a socket if it is cancelled in the wrong
    # iteration of the loop, and uvloop does not have it.
    loop = asyncio.get_running_loop()
    name = host if context is not None else None
    found = await _addresses(loop, host, port)
    for family, address in found[:-1]:
        with anyio.move_on_after(_TRY_SECONDS), contextlib.suppress(OSError):
            return await loop.create_connection(
                factory, address, port, family=family, local_addr=local, ssl=context, server_hostname=name
            )
    family, address = found[-1]
    return await loop.create_connection(
        factory, address, port, family=family, local_addr=local, ssl=context, server_hostname=name
    )


def describe_error(exc: OSError | UnicodeError) -> str:
    """Return why there is no connection, without the addresses that asyncio adds."""
    import ssl

    if isinstance(exc, OSError) and not isinstance(exc, (socket.gaierror, ssl.SSLError)) and exc.errno:
        return os.strerror(exc.errno)
    return str(exc)


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[tuple[int, str]]:
    """Return the addresses of *host*. A host that is an address needs no lookup in a thread."""
    with contextlib.suppress(ValueError):
        return [(socket.AF_INET if ip_address(host).version == 4 else socket.AF_INET6, host)]
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, str(address[0])) for family, *_, address in found]
