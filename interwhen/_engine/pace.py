"""How fast the model writes while it is waited for: an alarm where that is too slow, never an error."""

from __future__ import annotations

from collections.abc import Callable

from interwhen._engine.watch import Meter
from interwhen._log import log_warning

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
