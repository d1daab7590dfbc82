"""An alarm: calls a function that says itself when it wants to be called next, and costs nothing until then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import anyio
from anyio.abc import TaskGroup

_NEVER = float("inf")
_LEAST = 0.001
"""Seconds between two calls, at the least."""


class Alarm:
    """Calls *check* with the time on *clock*, which returns when to call it again (``inf``: never), until stopped.

    The first call is made by whoever starts it, and the others in tasks of *group*, which ends where one raises. In
    between there is a timer of the loop on asyncio, since a task that sleeps costs as much as the rest of a short run;
    elsewhere there is such a task.
    """

    __slots__ = ("_check", "_clock", "_group", "_handle", "_task")

    def __init__(self, group: TaskGroup, clock: Callable[[], float], check: Callable[[float], float]) -> None:
        self._group = group
        self._clock = clock
        self._check = check
        self._handle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Make the first call."""
        now = self._clock()
        wake = self._check(now)
        if wake == _NEVER or self._check is _nothing:  # what it told may have ended the run, which stopped us
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._group.start_soon(self._sleep, wake, name="timers")
        else:
            self._handle = loop.call_at(max(wake, now + _LEAST), self._ring, loop)

    def stop(self) -> None:
        """Make no call any more, and let go of whom they were for."""
        self._check = _nothing
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        # The loop calls outside any task, where nothing of anyio works, a task group included.
        self._task = loop.create_task(self._enter())

    async def _enter(self) -> None:
        if self._check is not _nothing:
            self._group.start_soon(self._again, name="timers")

    async def _again(self) -> None:
        self.start()

    async def _sleep(self, wake: float) -> None:
        # Cancelled, it ends like any other task: one that is cancelled keeps its frames, in a ring with its exception,
        # and the run with them, until the collector comes.
        with suppress(anyio.get_cancelled_exc_class()):
            while wake != _NEVER:
                await anyio.sleep(max(wake - self._clock(), _LEAST))
                wake = self._check(self._clock())


def _nothing(_now: float) -> float:
    return _NEVER
