"""Opening a connection on the running asyncio loop, by the first address of a host that answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from typing import TypeVar

import anyio

P = TypeVar("P", bound=asyncio.Protocol)

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
    if isinstance(exc, OSError) and not isinstance(exc, (socket.gaierror, ssl.SSLError)) and exc.errno:
        return os.strerror(exc.errno)
    return str(exc)


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[tuple[int, str]]:
    """Return the addresses of *host*; one that is an address already needs no thread to be looked up."""
    with contextlib.suppress(ValueError):
        return [(socket.AF_INET if ip_address(host).version == 4 else socket.AF_INET6, host)]
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, str(address[0])) for family, *_, address in found]
