"""Meters and timers of the main stream: one clock reading an arrival, one timer a run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import anyio

from interwhen.ledger import Timing
from interwhen.models.transport import Timeouts


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


async def keep_time(
    meter: Meter,
    timeouts: Timeouts,
    seconds: float | None,
    on_stall: Callable[[str, float], None],
    on_spent: Callable[[float], None],
    look: Callable[[float], float] | None = None,
) -> None:
    """Watch the timers of a run until cancelled.

    One sleep to the next instant at which anything could be due, then a look at the meter: no timer is set or
    cancelled for a token. ``on_stall`` gets the timer's name and its seconds, once for each wait. ``look`` is told
    the time and says when it wants to be told again.
    """
    # Cancelled, it ends like any other task: one that is cancelled keeps its frames, in a ring with its exception, and
    # the run with them, until the collector comes.
    with suppress(anyio.get_cancelled_exc_class()):
        await _watch(meter, timeouts, seconds, on_stall, on_spent, look)


async def _watch(
    meter: Meter,
    timeouts: Timeouts,
    seconds: float | None,
    on_stall: Callable[[str, float], None],
    on_spent: Callable[[float], None],
    look: Callable[[float], float] | None,
) -> None:
    total = timeouts.total
    limits = [limit for limit in (timeouts.first_token, timeouts.inter_token) if limit is not None]
    reported = -1.0
    while True:
        now = anyio.current_time()
        wake = float("inf") if look is None else look(now)
        if seconds is not None:
            if now >= meter.started + seconds:
                on_spent(seconds)
                return
            wake = meter.started + seconds
        if total is not None:
            if now >= meter.started + total:
                on_stall("total", total)
                total = None
            else:
                wake = min(wake, meter.started + total)
        if limits:
            timer = "inter_token" if meter.has_text else "first_token"
            limit = timeouts.inter_token if meter.has_text else timeouts.first_token
            wake = min(wake, now + min(limits))  # a wait that begins after this look cannot be over before
            if limit is not None and meter.waiting and reported != meter.since:
                if now >= meter.since + limit:
                    reported = meter.since
                    on_stall(timer, limit)
                else:
                    wake = min(wake, meter.since + limit)
        if wake == float("inf"):
            await anyio.sleep_forever()
        await anyio.sleep(max(wake - now, 0.001))
