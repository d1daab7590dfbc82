"""The way to a server: one small Protocol, so that the HTTP library is a choice."""

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
    """How long to wait, in seconds; ``None`` waits for ever.

    ``connect`` and ``first_token`` (here: until the response headers) bound the opening of a stream. While a stream
    is read, whoever reads it enforces ``first_token``, ``inter_token`` and ``total``, by closing the stream: a timer
    per read would cost more than the read.

    ``idle`` ends nothing: once the model is silent for so long within a line, its monitors look at what there is of it.

    ``min_rate`` (tokens a second) is an alarm and not a timer: a run that waits for a slower model says so in its log
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
    """A request as it goes out. Its ``headers`` may hold a key, so they are not in its repr.

    With an ``alias``, errors name that instead of the URL.
    """

    method: Literal["GET", "POST", "DELETE"]
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    alias: str = ""

    @property
    def name(self) -> str:
        """What errors call the place it goes to."""
        return self.alias or self.url


class HttpResponse(Protocol):
    """An answer whose head has come, and whose body is read as the bytes arrive.

    It may have a plain method ``settle()``, which closes it if it is whole and was read, and tells whether it did.
    """

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, their names in lower case."""
        ...

    async def receive(self) -> bytes:
        """Wait for bytes of the body; empty at its end.

        Raises :class:`~interwhen.models.ConnectError` where the connection broke, and
        :class:`~interwhen.models.StreamClosed` at once where another task calls :meth:`aclose` meanwhile. No timer
        runs; cancelling the waiting task closes the connection.
        """
        ...

    async def aclose(self) -> None:
        """Close: a body that was read to its end gives its connection back, any other closes it.

        Any task may call it, at any time, twice; it does not wait for the server.
        """
        ...


class Transport(Protocol):
    """Sends requests over connections that it keeps."""

    async def send(self, request: HttpRequest, *, connect_timeout: float | None) -> HttpResponse:
        """Send *request* and return the response once its head has come.

        Raises :class:`~interwhen.models.ConnectError` (``stale`` where it was a kept connection that broke before
        anything of an answer had come), and :class:`~interwhen.models.StreamTimeout` where no connection came about
        in *connect_timeout* seconds. Redirects are not followed.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


# Which proxy of the environment stands before a server.


def scheme_and_host(url: str) -> tuple[str, str]:
    """Return the scheme of *url*, and its host with the port, if it names one."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2]


def environment_proxy(scheme: str, host: str) -> str | None:
    """Return the proxy that ``http_proxy``, ``https_proxy``, ``all_proxy`` and ``no_proxy`` ask for, if any.

    On macOS and Windows the system's settings count, too.
    """
    import urllib.request  # with http.client and email, a tenth of the time that `import interwhen` may take

    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    return None if proxy is None or urllib.request.proxy_bypass(host) else proxy


# Opening a connection on the running asyncio loop, by the first address of a host that answers.

P = TypeVar("P", bound="asyncio.Protocol")

_TRY_SECONDS = 1.0
"""How long an address may take before the next one is tried."""


async def connect(
    factory: Callable[[], P],
    host: str,
    port: int,
    *,
    local: tuple[str, int] | None = None,
    context: ssl.SSLContext | None = None,
) -> tuple[asyncio.Transport, P]:
    """Try the addresses of *host* in turn, all but the last one only for a moment; raises :class:`OSError`.

    With *context*, TLS is spoken, and the certificate must be that of *host*. Trying addresses in parallel (RFC 8305,
    asyncio's ``happy_eyeballs_delay``) leaves a socket open where it is cancelled at the wrong turn of the loop, and
    uvloop cannot do it.
    """
    import asyncio

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


def why_not(exc: OSError | UnicodeError) -> str:
    """Return why there is no connection, without the addresses that asyncio writes beside it."""
    import ssl

    if isinstance(exc, OSError) and not isinstance(exc, (socket.gaierror, ssl.SSLError)) and exc.errno:
        return os.strerror(exc.errno)
    return str(exc)


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[tuple[int, str]]:
    """Return the addresses of *host*; one that is an address already needs no thread to be looked up."""
    with contextlib.suppress(ValueError):
        return [(socket.AF_INET if ip_address(host).version == 4 else socket.AF_INET6, host)]
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, str(address[0])) for family, *_, address in found]
