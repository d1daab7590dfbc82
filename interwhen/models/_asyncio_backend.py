"""A network backend of httpcore2 for asyncio whose reads cost one future.

The stock backend opens a cancel scope around each read and registers the socket with the selector anew, which
together cost more than the read. Here the loop reads on its own, up to a mark, and a reader waits only where
nothing has come. Timeouts of reads are not supported: closing the stream ends a read.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from typing import Any, cast

import anyio
import httpcore2

from interwhen.models.connecting import connect, why_not

_HIGH_WATER = 1 << 20
"""Bytes that may wait unread before the loop stops reading from the socket."""


class _Protocol(asyncio.Protocol):
    """What the loop calls; holds the bytes that have come."""

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
    """A TCP or TLS connection."""

    def __init__(self, transport: asyncio.Transport, protocol: _Protocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._closed = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002, ASYNC109
        """Wait for bytes; returns all that have come, which may be more than *max_bytes*."""
        protocol = self._protocol
        while not protocol.parts:
            if self._closed:
                raise httpcore2.ReadError("the stream was closed")
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
            raise httpcore2.ReadError("the stream was closed")
        return protocol.take()

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109
        """Hand *buffer* to the loop; a request is small, so there is no wait until the socket took it."""
        if self._closed or self._transport.is_closing():
            raise httpcore2.WriteError("the connection is closed")
        self._transport.write(buffer)

    async def aclose(self) -> None:
        """Close the socket now; a waiting read raises."""
        self._closed = True
        self._transport.abort()
        self._protocol._wake()  # noqa: SLF001  the two classes are one thing; the loop asks for two
        # The loop closes the socket in its next turn.
        await anyio.lowlevel.checkpoint()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore2.AsyncNetworkStream:
        """Speak TLS from here on."""
        try:
            with anyio.fail_after(timeout):
                transport = await self._loop.start_tls(
                    self._transport, self._protocol, ssl_context, server_hostname=server_hostname
                )
        except TimeoutError as exc:
            self._transport.abort()
            raise httpcore2.ConnectTimeout(str(exc)) from exc
        except OSError as exc:  # ssl.SSLError is one
            self._transport.abort()
            raise httpcore2.ConnectError(str(exc)) from exc
        except BaseException:
            self._transport.abort()
            raise
        if transport is None:
            raise httpcore2.ConnectError("the connection was lost in the TLS handshake")
        self._protocol.transport = transport
        return AsyncioStream(transport, self._protocol)

    def get_extra_info(self, info: str) -> Any:
        """Answer what httpcore2 asks."""
        if info == "is_readable":  # asked of idle connections: anything that came means it is dead
            return self._protocol.ended or bool(self._protocol.parts) or self._transport.is_closing()
        names = {"ssl_object": "ssl_object", "socket": "socket", "client_addr": "sockname", "server_addr": "peername"}
        return self._transport.get_extra_info(names[info]) if info in names else None


class AsyncioBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections through the running asyncio (or uvloop) loop."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[tuple[Any, ...]] | None = None,  # noqa: ARG002
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to *host*, by the first of its addresses that answers."""
        local = (local_address, 0) if local_address else None
        try:
            with anyio.fail_after(timeout):
                transport, protocol = await connect(_Protocol, host, port, local=local)
        except TimeoutError as exc:
            raise httpcore2.ConnectTimeout(str(exc)) from exc
        except OSError as exc:
            raise httpcore2.ConnectError(why_not(exc)) from exc
        return AsyncioStream(transport, protocol)

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await anyio.sleep(seconds)
