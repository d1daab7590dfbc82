"""Meters and timers of the main stream: one clock reading an arrival, one timer a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup

from interwhen._log import log_warning
from interwhen._types.ledger import Timing
from interwhen.models._transport import Timeouts

if TYPE_CHECKING:
    # Imported where it is used: a program that runs on asyncio has imported it, and no other should wait for it.
    import asyncio


class Meter:
    """Measures when text arrives. All times are in seconds on the clock it is given."""

    __slots__ = (
        "_clock",
        "first",
        "largest_gap",
        "last",
        "paused",
        "since",
        "started",
        "stopped_at",
        "waited",
        "waiting",
    )

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.started = clock()
        self.first: float | None = None
        self.largest_gap = 0.0
        self.paused = 0.0
        self.waited = 0.0
        """For how long the model was waited for between its tokens, summed."""
        self.since = self.started
        """When the reader began to wait for what is awaited now."""
        self.waiting = False
        """Whether the reader waits for the model: only then can the model be late."""
        self.stopped_at: float | None = None
        self.last: float | None = None
        """When the current stream brought text last; ``None``: it has brought none."""

    def wait(self) -> None:
        """Note that the reader begins to wait for text."""
        self.since = self._clock()
        self.waiting = True

    def opened(self) -> None:
        """Note that a new stream began: the gap across a request is not a gap between tokens."""
        self.last = None

    def stopped(self) -> float:
        """Note that a violation was found: the reader waits from now on."""
        now = self._clock()
        if self.stopped_at is None:
            self.stopped_at = now
        return now

    @property
    def has_text(self) -> bool:
        """Whether the current stream has brought text."""
        return self.last is not None

    def waited_until(self, now: float) -> float:
        """Return ``waited``, with the wait that goes on at *now*."""
        if not self.waiting or self.last is None:
            return self.waited
        return self.waited + now - max(self.last, self.since)

    def timing(self, now: float, ended_at: float | None, close_latency: tuple[float, ...]) -> Timing:
        """Return what has been measured, for a run that is over at *now*."""
        return Timing(
            total=now - self.started,
            first_token=self.first,
            largest_gap=self.largest_gap,
            tail=now - ended_at if ended_at is not None else 0.0,
            paused=self.paused,
            close_latency=close_latency,
        )

    def begun(self, now: float) -> None:
        """Note the first text of a stream."""
        if self.first is None:
            self.first = now - self.started
        if self.stopped_at is not None:
            self.paused += now - self.stopped_at
            self.stopped_at = None


_DEAD = 5
"""A stream that is silent for so many times ``Timeouts.idle`` may well be dead."""
_SOON = 0.9
"""The part of ``Timeouts.inter_token`` after which it is taken for dead, at the latest: then comes the reconnect."""


class Timers:
    """The timers of a run: which instant is the next at which anything could be due, and what is due then.

    *on_stall* gets the timer's name and its seconds, once for each wait; *on_spent* the budget of *seconds*. *look* is
    told the time and says when it wants to be told again. *on_idle* hears twice of a silence: when it has become one,
    and when the stream may well be dead.
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
        """How long the two silences are; empty: nobody asks."""
        if on_idle is not None and timeouts.idle is not None:
            most = float("inf") if timeouts.inter_token is None else timeouts.inter_token
            self._idle = min(timeouts.idle, most / 2), min(timeouts.idle * _DEAD, most * _SOON)
            self._limits.append(self._idle[0])
        self._silence = (-1.0, 0)
        """The wait that was told of last, and how often it was."""
        self._on_idle = on_idle
        self._on_stall = on_stall
        self._on_spent = on_spent
        self._look = look
        self._reported = -1.0

    def check(self, now: float) -> float:
        """Tell what is due *now*; return when to check again (``inf``: never). A look at the meter, whatever came."""
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
            # A wait that begins after this look cannot be over before.
            wake = min(wake, now + min(self._limits), self._check_wait(now))
        if self._idle and self._meter.waiting and self._meter.has_text:
            wake = min(wake, self._check_idle(now))
        return wake

    def _check_idle(self, now: float) -> float:
        """Tell of a silence that has become one by *now*; return when there is more to tell of it."""
        since = self._meter.since
        told = self._silence[1] if self._silence[0] == since else 0
        if told < len(self._idle) and now >= since + self._idle[told]:
            self._silence = (since, told + 1)
            assert self._on_idle is not None
            self._on_idle(self._idle[told], told > 0)
            told += 1
        return since + self._idle[told] if told < len(self._idle) else float("inf")

    def _check_wait(self, now: float) -> float:
        """Tell of the wait for the model if it is too long by *now*; return when it will be."""
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


# An alarm: calls a function that says itself when it wants to be called next, and costs nothing until then.

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
        import asyncio

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


# The clock of the event loop that is running: real, uvloop's, or virtual.


def loop_clock() -> Callable[[], float]:
    """Return the running loop's clock, in seconds. asyncio's own costs a sixth of ``anyio.current_time``."""
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return anyio.current_time
    # asyncio's own loop tells the monotonic time by way of a method; twice a token, that is worth going around.
    return time.monotonic if getattr(type(loop), "time", None) is asyncio.BaseEventLoop.time else loop.time


def loop_caller() -> Callable[[Callable[[], object]], object]:
    """Return what calls a function on the running loop soon, from any thread."""
    loop: Any = current_loop()
    return getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon  # type: ignore[no-any-return]


def current_loop() -> object:
    """Return what identifies the running event loop."""
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        import trio

        return trio.lowlevel.current_trio_token()


# Waking whoever waits, at no cost while nobody does.


class Wakeup:
    """Wakes the task that waits for it. What rings while nobody waits is not heard: look first, then wait."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: anyio.Event | None = None

    def notify(self) -> None:
        """Wake whoever waits."""
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        """Wait until it rings."""
        self._event = anyio.Event()
        await self._event.wait()


# How fast the model writes while it is waited for: an alarm where that is too slow, never an error.

WINDOW = 10.0
"""Seconds between two looks. A rate is taken over the part of them in which the model was waited for."""


class Pace:
    """Compares what came with *min_rate* tokens a second, once a window; costs a token nothing.

    Time before the first token of a request and time that the reader takes do not count.
    """

    def __init__(self, meter: Meter, min_rate: float, tokens: Callable[[], int]) -> None:
        self._meter = meter
        self._min_rate = min_rate
        self._tokens = tokens
        self._due = meter.since + WINDOW  # a run that goes on began long ago, in another process
        self._waited = 0.0
        self._seen = tokens()
        self.slow_seconds = 0.0
        self.slowest: float | None = None

    def look(self, now: float) -> float:
        """Judge the window that is over at *now*, if one is; return when to look again."""
        if now >= self._due:
            self._due = now + WINDOW
            self._judge(self._meter.waited_until(now))
        return self._due

    def finish(self, now: float) -> None:
        """Judge what there is of the last window."""
        self._judge(self._meter.waited_until(now))

    def _judge(self, waited: float) -> None:
        seconds, self._waited = waited - self._waited, waited
        seen = self._tokens()
        tokens, self._seen = seen - self._seen, seen
        # Less than half a window says little: one late token would be an alarm.
        if seconds < WINDOW / 2 or tokens >= self._min_rate * seconds:
            return
        rate = tokens / seconds
        self.slow_seconds += seconds
        self.slowest = rate if self.slowest is None else min(self.slowest, rate)
        log_warning("stream.slow", rate=round(rate, 3), min_rate=self._min_rate, seconds=round(seconds, 3))


# Telling a cancellation of our task from the stray exception of something that it waited for.


def is_own_cancellation() -> bool:
    """Tell whether somebody cancelled the current task, rather than something that it awaits.

    On asyncio, waiting for a cancelled future raises the same exception. Left alone in a task of ours, it would
    end the whole task group without a word.
    """
    import asyncio

    try:
        task = asyncio.current_task()
    except RuntimeError:  # trio, where a cancellation can come from a scope only
        return True
    return task is None or task.cancelling() > 0
