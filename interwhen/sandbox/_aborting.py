"""A blocking run in a thread that a cancellation ends at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")


class Abort:
    """Lets another thread end a run: what the run registers is called once, also when it is registered late."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kill: Callable[[], None] | None = None
        self._aborted = False

    @property
    def aborted(self) -> bool:
        """Whether the run was told to end."""
        return self._aborted

    def kill_with(self, kill: Callable[[], None] | None) -> None:
        """Say how to end the run from here on; None says that there is nothing left to end."""
        with self._lock:
            self._kill = kill
            if self._aborted and kill is not None:
                kill()

    def __call__(self) -> None:
        """End the run."""
        with self._lock:
            self._aborted = True
            if self._kill is not None:
                self._kill()


async def in_thread(work: Callable[[Abort], T], limiter: anyio.CapacityLimiter) -> T:
    """Do *work* in a thread and return its result; a cancellation aborts it and waits until it has ended."""
    abort = Abort()
    ended = anyio.Event()
    results: list[T] = []
    errors: list[Exception] = []

    async def follow() -> None:
        # Shielded, because nothing of a program may be left behind; bounded, because aborted work ends by itself.
        with anyio.CancelScope(shield=True):
            try:
                results.append(await anyio.to_thread.run_sync(work, abort, limiter=anyio.CapacityLimiter(1)))
            except Exception as error:  # noqa: BLE001  (raised again below, outside the group that would wrap it)
                errors.append(error)
        ended.set()

    async with limiter, anyio.create_task_group() as group:
        group.start_soon(follow, name="sandbox run")
        try:
            await ended.wait()
        finally:
            abort()
    for error in errors:
        raise error
    return results[0]
