"""Meters and timers of the main stream: one clock reading an arrival, one timer a run."""

from __future__ import annotations

from collections.abc import Callable

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
        "_idle", "_limits", "_look", "_meter", "_on_idle", "_on_spent", "_on_stall", "_reported", "_seconds",
        "_silence", "_timeouts", "_total",
    )  # fmt: skip

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
