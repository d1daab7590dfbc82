"""The event loop of a client for plain code: in a thread of its own, shared by all threads that use the client."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

T = TypeVar("T")


class LoopThread:
    """An event loop that begins with the first call and ends with :meth:`close`, or with its client."""

    _known: weakref.WeakKeyDictionary[Any, LoopThread] = weakref.WeakKeyDictionary()
    _lock = threading.Lock()

    def __init__(self) -> None:
        self._portal: BlockingPortal | None = None
        self._stack = ExitStack()
        self._own_lock = threading.Lock()
        self.clients: dict[str, Any] = {}
        """HTTP clients that live on this loop."""

    @classmethod
    def of(cls, client: Any) -> LoopThread:
        """Return the loop for *client*, the same for all who ask."""
        with cls._lock:
            found = cls._known.get(client)
            if found is None:
                found = cls._known[client] = cls()
                weakref.finalize(client, found.close)
            return found

    def call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Await *function* on the loop; may be called by any thread."""
        return self._running().call(function, *args)

    def close(self) -> None:
        """End the loop and close what lives on it."""
        with self._own_lock:
            portal, self._portal = self._portal, None
            if portal is None:
                return
            clients, self.clients = self.clients, {}
            for client in clients.values():
                portal.call(client.aclose)
            self._stack.close()

    def _running(self) -> BlockingPortal:
        portal = self._portal
        if portal is None:
            with self._own_lock:
                portal = self._portal
                if portal is None:
                    portal = self._portal = self._stack.enter_context(start_blocking_portal("asyncio"))
        return portal
