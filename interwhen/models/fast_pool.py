"""The connections of the fast transport on one event loop: those in use, and those kept for the next request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from interwhen.models.fast_connection import Connection

if TYPE_CHECKING:
    from interwhen.models.httpx2_transport import Httpx2Transport

KEPT_CONNECTIONS = 64
"""Idle connections that are kept for a server; in use there may be any number."""
KEEPALIVE_SECONDS = 4.0
"""For how long an idle connection is kept: less than the 5 s after which uvicorn closes it."""


class Server(NamedTuple):
    """Where connections go."""

    scheme: str
    host: str
    port: int


class Pool:
    """Connections of *loop*, each of which its own thread alone may touch."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._idle: dict[Server, list[Connection]] = {}
        self._open: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self.way_round: Httpx2Transport | None = None
        """What reaches the servers behind a proxy."""
        self._closing: asyncio.Task[None] | None = None

    def connection(self, server: Server) -> Connection:
        """Return a connection that is to be made to *server*; it comes back here when its answer is over."""

        def keep(connection: Connection) -> None:
            self._keep(server, connection)

        return Connection(keep, self._open.discard)

    def opened(self, connection: Connection) -> None:
        """Take note that *connection* is there."""
        self._open.add(connection)

    def kept(self, server: Server) -> Connection | None:
        """Return the connection to *server* that was used last, if one is kept that is still good."""
        kept = self._idle.get(server)
        while kept:
            connection = kept.pop()
            is_fresh = self.loop.time() - connection.idle_since < KEEPALIVE_SECONDS
            if connection.is_usable and is_fresh and not connection.has_news:
                return connection
            connection.abort()
        return None

    def forget(self, server: Server) -> None:
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

    def _keep(self, server: Server, connection: Connection) -> None:
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
