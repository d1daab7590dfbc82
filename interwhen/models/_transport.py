"""The interface between models and HTTP libraries: requests, responses and timeouts. It also opens connections."""

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

from interwhen._types.errors import without_user

if TYPE_CHECKING:
    import asyncio
    import ssl


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts in seconds; ``None`` means no limit.

    ``connect`` limits opening a connection. ``first_token`` limits the wait for the response headers, and again for the
    first text. ``inter_token`` limits the time between two texts, and ``total`` the whole stream. The reader of an open
    stream enforces the last three by closing the stream, because a timer for each read would cost more than the read.

    ``idle`` does not end a stream. If no text arrives for that time within a line, monitors check the unfinished line.

    ``min_rate`` (tokens per second) does not end a stream either. If a model is slower, its run reports this in the log
    and in ``result.wire``.
    """

    connect: float | None = 10.0
    first_token: float | None = 120.0
    inter_token: float | None = 60.0
    total: float | None = None
    min_rate: float | None = 1.0
    idle: float | None = 2.0


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """An HTTP request. The ``headers`` may contain an API key, so the repr does not show them.

    If ``alias`` is not empty, error messages show it instead of the URL.
    """

    method: Literal["GET", "POST", "DELETE"]
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    alias: str = ""

    @property
    def name(self) -> str:
        """The name for error messages: the alias, or the URL without one."""
        return self.alias or self.url


class HttpResponse(Protocol):
    """An HTTP response whose head has arrived. Its body is read while it arrives.

    A response may have a synchronous method ``settle()``. It closes the response if that is complete and was read, and
    returns whether the response is closed now.
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
        """Wait for bytes of the body and return them; empty at the end of the body.

        Raises :class:`~interwhen.models.ConnectError` if the connection breaks, and
        :class:`~interwhen.models.StreamClosed` as soon as another task calls :meth:`aclose`. There is no timeout. If
        the waiting task is cancelled, the connection closes.
        """
        ...

    async def aclose(self) -> None:
        """Close the response. The connection stays open for other requests if the body was read to its end.

        Any task may call this at any time, also more than once. It does not wait for the server.
        """
        ...


class Transport(Protocol):
    """Sends HTTP requests, and keeps connections open for later requests."""

    async def send(self, request: HttpRequest, *, connect_timeout: float | None) -> HttpResponse:
        """Send *request* and return the response once its head has arrived. Redirects are not followed.

        Raises :class:`~interwhen.models.StreamTimeout` if there is no connection within *connect_timeout* seconds, and
        :class:`~interwhen.models.ConnectError` if the connection fails. The attribute ``stale`` of this error is true
        if a reused connection broke before any byte of the response arrived.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


# The proxy that the environment names for a server.


def scheme_and_host(url: str) -> tuple[str, str]:
    """Return the scheme of *url*, and its host with the port, if *url* has a port."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2]


def environment_proxy(scheme: str, host: str) -> str | None:
    """Return the URL of the proxy for *host* that the environment names; ``None`` if there is none.

    The variables are ``http_proxy``, ``https_proxy``, ``all_proxy`` and ``no_proxy``. On macOS and Windows, the
    settings of the system count too.
    """
    import urllib.request  # with http.client and email, a tenth of the time that `import interwhen` may take

    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    return None if proxy is None or urllib.request.proxy_bypass(host) else proxy


# Opening a connection on the running asyncio loop. A host may have several addresses; the first that answers is used.

P = TypeVar("P", bound="asyncio.Protocol")

_TRY_SECONDS = 1.0
"""How many seconds to wait for one address of a host before the next address is tried."""


async def connect(
    factory: Callable[[], P],
    host: str,
    port: int,
    *,
    local: tuple[str, int] | None = None,
    context: ssl.SSLContext | None = None,
) -> tuple[asyncio.Transport, P]:
    """Connect to the first address of *host* that answers. Return the asyncio transport and the protocol.

    The addresses are tried one after the other, each for :data:`_TRY_SECONDS`, the last one without a limit. *factory*
    makes the protocol, and *local* is the local address. With *context*, the connection uses TLS, and the certificate
    must be valid for *host*. Raises :class:`OSError` if no address answers.
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


def not_a_url(url: str) -> str:
    """Return the error message for *url*, which is not the URL of an HTTP server."""
    return (
        f"the URL of a server must begin with http:// or https:// and name a host, got {without_user(url)!r:.200}: "
        "correct base_url"
    )


def describe_error(exc: OSError | UnicodeError) -> str:
    """Return the reason why connecting failed, without the addresses that asyncio adds to the message of *exc*."""
    import ssl

    if isinstance(exc, OSError) and not isinstance(exc, (socket.gaierror, ssl.SSLError)) and exc.errno:
        return os.strerror(exc.errno)
    return str(exc)


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[tuple[int, str]]:
    """Return the family and address of each address of *host*. If *host* is an IP address, there is no DNS lookup."""
    with contextlib.suppress(ValueError):
        return [(socket.AF_INET if ip_address(host).version == 4 else socket.AF_INET6, host)]
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, str(address[0])) for family, *_, address in found]
