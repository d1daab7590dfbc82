"""Event loops for plain code, each in a thread of its own: of one run, or shared by all that use one client."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import anyio

if TYPE_CHECKING:
    import asyncio

    from anyio.from_thread import BlockingPortal

T = TypeVar("T")
Ready: TypeAlias = "Future[tuple[BlockingPortal, asyncio.AbstractEventLoop, anyio.Event]]"
"""The ways to a loop, once it runs."""

_END_SECONDS = 5.0
"""How long the end of a loop is waited for. It is over in milliseconds, unless something blocks the loop itself."""


class Running:
    """One event loop that runs in a thread until :meth:`end`, which the end of the process calls where nobody did.

    The thread is our own and not one of ``anyio.from_thread.start_blocking_portal``. That one is a suspended
    generator: it raises wherever it is collected if its own thread does that, or the interpreter is going down, and
    it waits for its thread without a limit. Where Ctrl-C interrupts the start, the loop ends by itself.
    """

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        ready: Ready = Future()
        self.clients: dict[str, Any] = {}
        """HTTP clients that live on this loop."""
        self._process = os.getpid()
        self._thread = threading.Thread(
            target=_run, args=(ready, self.clients, dict(options or {})), name="interwhen loop", daemon=True
        )
        try:
            self._thread.start()
            self._portal, self._loop, self._ending = ready.result()
            atexit.register(self.end)
        except BaseException:
            ready.add_done_callback(_end_unused)
            raise

    @property
    def is_here(self) -> bool:
        """Whether its thread is one of this process: a fork has none of its parent's."""
        return self._process == os.getpid()

    def call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Await *function* on the loop. Raises :class:`RuntimeError` once it has ended."""
        return self._portal.call(function, *args)

    def during(self, manager: AbstractAsyncContextManager[T]) -> AbstractContextManager[T]:
        """Return *manager* for plain code: it is entered and left on the loop, in one task."""
        return self._portal.wrap_async_context_manager(manager)

    def start(self, function: Callable[[], Awaitable[object]]) -> None:
        """Start *function* on the loop and do not wait for it."""
        self._portal.start_task_soon(function)

    def soon(self, function: Callable[[], object]) -> None:
        """Call *function* on the loop and do not wait for it; nothing happens once the loop has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def end(self) -> None:
        """End the loop, with all that still runs on it, and wait for that; where this is its own thread, do not."""
        atexit.unregister(self.end)
        if self.is_here:
            self.soon(self._ending.set)
            if threading.current_thread() is not self._thread:  # a collector may run anywhere
                self._thread.join(_END_SECONDS)


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
            if self._now is None or not self._now.is_here:
                self._now = Running()
            return self._now

    def close(self) -> None:
        """End the loop, if it runs."""
        with self._own_lock:
            now, self._now = self._now, None
        if now is not None:
            now.end()


def _end_unused(ready: Ready) -> None:
    """End a loop whose start was interrupted, once it runs."""
    if ready.exception() is None:
        _, loop, ending = ready.result()
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(ending.set)


def _run(ready: Ready, clients: dict[str, Any], options: dict[str, Any]) -> None:
    """Run a loop until it is told to end, and hand over the ways to it."""
    import asyncio  # much of the cost of importing interwhen

    from anyio.from_thread import BlockingPortal

    async def main() -> None:
        async with BlockingPortal() as portal:
            ending = anyio.Event()
            ready.set_result((portal, asyncio.get_running_loop(), ending))
            await ending.wait()
            with anyio.move_on_after(_END_SECONDS / 2):
                for client in clients.values():
                    await client.aclose()
            await portal.stop(cancel_remaining=True)

    try:
        anyio.run(main, backend_options=options)
    except BaseException as error:
        if ready.done():
            raise
        ready.set_exception(error)
