"""Event loops for synchronous code, each in its own thread: one for a run, or one for all users of a client."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

    from anyio.from_thread import BlockingPortal

T = TypeVar("T")
Started: TypeAlias = "Future[tuple[BlockingPortal, asyncio.AbstractEventLoop, anyio.Event]]"
"""Resolves, once a loop runs, to its portal, the loop, and the event that ends it; or to the error of its start."""

_END_SECONDS = 5.0
"""The longest wait in seconds of :meth:`Running.end`."""


class Running:
    """An event loop in a separate thread. It runs until :meth:`end` is called or the process ends.

    *options* are the ``backend_options`` of :func:`anyio.run`. Raises the error if the loop cannot start.
    """

    # Not ``anyio.from_thread.start_blocking_portal``: it waits for its thread without a limit. Its suspended generator
    # also raises if the garbage collector finalizes it in its own thread, or at the end of the interpreter.

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        from concurrent.futures import Future

        ready: Started = Future()
        self.clients: dict[str, Any] = {}
        """HTTP clients that belong to this loop, which closes them when it ends, as far as its time allows."""
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
        # Whether this process started the loop. A forked process has no threads of its parent.
        return self._process == os.getpid()

    def call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        # Await `function(*args)` on the loop and return its result. This blocks the calling thread. Raises
        # `RuntimeError` if the loop has ended, `concurrent.futures.CancelledError` if it ends meanwhile, and the
        # exceptions of `function`.
        return self._portal.call(function, *args)

    def during(self, manager: AbstractAsyncContextManager[T]) -> AbstractContextManager[T]:
        return self._portal.wrap_async_context_manager(manager)

    def start(self, function: Callable[[], Awaitable[object]]) -> None:
        self._portal.start_task_soon(function)

    def soon(self, function: Callable[[], object]) -> None:
        # Does nothing after the loop has ended.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def end(self) -> None:
        atexit.unregister(self.end)
        if self.is_here:
            self.soon(self._ending.set)
            if threading.current_thread() is not self._thread:  # the garbage collector may call this in any thread
                self._thread.join(_END_SECONDS)


class LoopThread:
    """The event loop of one client. It starts when it is first used, and ends with :meth:`close` or with the client."""

    # After `close`, the next use starts another one.

    _known: ClassVar[weakref.WeakKeyDictionary[Any, LoopThread]] = weakref.WeakKeyDictionary()
    _lock = threading.Lock()

    def __init__(self) -> None:
        self._now: Running | None = None
        self._own_lock = threading.Lock()

    @classmethod
    def of(cls, client: Any) -> LoopThread:
        with cls._lock:
            thread = cls._known.get(client)
            if thread is None:
                thread = cls._known[client] = cls()
                weakref.finalize(client, thread.close)
            return thread

    def running(self) -> Running:
        with self._own_lock:
            if self._now is None or not self._now.is_here:
                self._now = Running()
            return self._now

    def close(self) -> None:
        with self._own_lock:
            now, self._now = self._now, None
        if now is not None:
            now.end()


def _end_unused(ready: Started) -> None:
    # End the loop of `ready` as soon as it runs, because the thread that started it was interrupted.
    if ready.exception() is None:
        _, loop, ending = ready.result()
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(ending.set)


def _run(ready: Started, clients: dict[str, Any], options: dict[str, Any]) -> None:
    """Run an event loop until its end event is set, then close *clients*, for at most 2.5 seconds."""
    import asyncio  # a large part of the time to import interwhen

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
