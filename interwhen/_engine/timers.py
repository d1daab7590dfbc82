"""The timeouts of the main stream and the time budget of the run. A run has one timer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup

from interwhen._engine.stream import Meter
from interwhen._types.models import Timeouts

if TYPE_CHECKING:
    # Imported where it is used, so that a program on trio does not wait for the import of asyncio.
    import asyncio


_DEAD = 5
"""A stream that is silent for this many times ``Timeouts.idle`` is probably dead."""
_SOON = 0.9
"""A stream counts as probably dead at the latest after this part of ``Timeouts.inter_token``."""


class Timers:
    """Calls the callback of each timer of a run that is due, and computes when the next one is due.

    *look* gets the current time, and returns the time of its next call. *on_idle* gets the length of a silence of a
    stream that has sent text, and whether the stream is probably dead.
    """

    __slots__ = (
        "_idle",
        "_limits",
        "_look",
        "_meter",
        "_on_idle",
        "_on_spent",
        "_on_stall",
        "_reported",
        "_seconds",
        "_silence",
        "_timeouts",
        "_total",
    )

    def __init__(
        self,
        meter: Meter,
        timeouts: Timeouts,
        seconds: float | None,
        on_stall: Callable[[str, float], None],
        on_spent: Callable[[float], None],
        look: Callable[[float], float] | None = None,
        on_idle: Callable[[float, bool], None] | None = None,
    ) -> None:
        self._meter = meter
        self._timeouts = timeouts
        self._seconds = seconds
        self._total = timeouts.total
        self._limits = [limit for limit in (timeouts.first_token, timeouts.inter_token) if limit is not None]
        self._idle: tuple[float, ...] = ()
        """The short and the long silence, in seconds; empty without *on_idle*."""
        if on_idle is not None and timeouts.idle is not None:
            most = float("inf") if timeouts.inter_token is None else timeouts.inter_token
            self._idle = min(timeouts.idle, most / 2), min(timeouts.idle * _DEAD, most * _SOON)
            self._limits.append(self._idle[0])
        self._silence = (-1.0, 0)
        """The start of the last wait that was reported as a silence, and the number of its reports."""
        self._on_idle = on_idle
        self._on_stall = on_stall
        self._on_spent = on_spent
        self._look = look
        self._reported = -1.0

    def check(self, now: float) -> float:
        wake = float("inf") if self._look is None else self._look(now)
        meter = self._meter
        if self._seconds is not None:
            if now >= meter.started + self._seconds:
                self._on_spent(self._seconds)
                return float("inf")
            wake = min(wake, meter.started + self._seconds)
        if self._total is not None:
            total = self._total
            if now >= meter.started + total:
                self._total = None
                self._on_stall("total", total)
            else:
                wake = min(wake, meter.started + total)
        if self._limits:
            # A wait that begins after this check cannot run out earlier.
            wake = min(wake, now + min(self._limits), self._check_wait(now))
        if self._idle and self._meter.waiting and self._meter.has_text:
            wake = min(wake, self._check_idle(now))
        return wake

    def _check_idle(self, now: float) -> float:
        since = self._meter.since
        told = self._silence[1] if self._silence[0] == since else 0
        if told < len(self._idle) and now >= since + self._idle[told]:
            self._silence = (since, told + 1)
            assert self._on_idle is not None
            self._on_idle(self._idle[told], told > 0)
            told += 1
        return since + self._idle[told] if told < len(self._idle) else float("inf")

    def _check_wait(self, now: float) -> float:
        meter, timeouts = self._meter, self._timeouts
        timer = "inter_token" if meter.has_text else "first_token"
        limit = timeouts.inter_token if meter.has_text else timeouts.first_token
        if limit is None or not meter.waiting or self._reported == meter.since:
            return float("inf")
        if now < meter.since + limit:
            return meter.since + limit
        self._reported = meter.since
        self._on_stall(timer, limit)
        return float("inf")


# A timer whose callback returns the time of its next call. Between two calls it costs nothing.

_NEVER = float("inf")
_LEAST = 0.001
"""The shortest time between two calls, in seconds."""


class Alarm:
    """Calls *check* repeatedly with the current time on *clock*, until :meth:`stop` is called.

    *check* returns the time of its next call (``inf``: there are no more calls). :meth:`start` makes the first call.
    Tasks of *group* make the others, so that an exception ends the group.
    """

    __slots__ = ("_check", "_clock", "_group", "_handle", "_task")

    def __init__(self, group: TaskGroup, clock: Callable[[], float], check: Callable[[float], float]) -> None:
        self._group = group
        self._clock = clock
        self._check = check
        self._handle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        now = self._clock()
        wake = self._check(now)
        if wake == _NEVER or self._check is _nothing:  # the check may have ended the run, which called stop()
            return
        import asyncio

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._group.start_soon(self._sleep, wake, name="timers")
        else:
            self._handle = loop.call_at(max(wake, now + _LEAST), self._ring, loop)

    def stop(self) -> None:
        self._check = _nothing
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        # The loop calls this method outside of any task, where anyio does not work. So create a task to use the group.
        self._task = loop.create_task(self._enter())

    async def _enter(self) -> None:
        if self._check is not _nothing:
            self._group.start_soon(self._again, name="timers")

    async def _again(self) -> None:
        self.start()

    async def _sleep(self, wake: float) -> None:
        # Return normally when cancelled: a task that ends by an exception keeps its frames, and the run with them, in a
        # reference cycle until the garbage collector runs.
        with suppress(anyio.get_cancelled_exc_class()):
            while wake != _NEVER:
                await anyio.sleep(max(wake - self._clock(), _LEAST))
                wake = self._check(self._clock())


def _nothing(_now: float) -> float:
    return _NEVER
