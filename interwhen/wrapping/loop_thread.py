"""The event loop of a client for plain code: in a thread of its own, shared by all threads that use the client."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    import asyncio

    from anyio.from_thread import BlockingPortal

T = TypeVar("T")


class Running:
    """One event loop that runs in a thread."""

    def __init__(self) -> None:
        from anyio.from_thread import start_blocking_portal  # asyncio is much of the cost of importing interwhen

        self._stack = ExitStack()
        self._portal: BlockingPortal = self._stack.enter_context(start_blocking_portal("asyncio"))
        self._loop, self._thread = self._portal.call(_here)
        self.clients: dict[str, Any] = {}
        """HTTP clients that live on this loop."""

    def call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Await *function* on the loop. Raises :class:`RuntimeError` once it has ended."""
        return self._portal.call(function, *args)

    def start(self, function: Callable[[], Awaitable[object]]) -> None:
        """Start *function* on the loop and do not wait for it."""
        self._portal.start_task_soon(function)

    def soon(self, function: Callable[[], object]) -> None:
        """Call *function* on the loop and do not wait for it; nothing happens once the loop has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def end(self) -> None:
        """End the loop, with all that still runs on it."""
        if threading.get_ident() == self._thread:  # a collector may run anywhere
            threading.Thread(target=self.end, name="interwhen close").start()
            return
        clients, self.clients = self.clients, {}
        with suppress(RuntimeError):
            for client in clients.values():
                self._portal.call(client.aclose)
            self._portal.call(self._portal.stop, True)
        self._stack.close()


class LoopThread:
    """An event loop that begins with the first call and ends with :meth:`close`, or with its client."""

    _known: ClassVar[weakref.WeakKeyDictionary[Any, LoopThread]] = weakref.WeakKeyDictionary()
    _lock = threading.Lock()

    def __init__(self) -> None:
        self._now: Running | None = None
        self._own_lock = threading.Lock()

    @classmethod
    def of(cls, client: Any) -> LoopThread:
        """Return the loop for *client*, the same for all who ask."""
        with cls._lock:
            found = cls._known.get(client)
            if found is None:
                found = cls._known[client] = cls()
                weakref.finalize(client, found.close)
            return found

    def running(self) -> Running:
        """Return the loop, started if it has to be."""
        with self._own_lock:
            if self._now is None:
                self._now = Running()
            return self._now

    def close(self) -> None:
        """End the loop, if it runs."""
        with self._own_lock:
            now, self._now = self._now, None
        if now is not None:
            now.end()


async def _here() -> tuple[asyncio.AbstractEventLoop, int]:
    import asyncio

    return asyncio.get_running_loop(), threading.get_ident()
