"""Shares the prompts of an evaluation among several servers: health, weights, and limits that adapt.

Each run keeps the server that it began on. The limit of each server follows AIMD (Chiu and Jain, 1989), as TCP does: it
grows by about one for each round of successes while it is used up, and shrinks when the server refuses or becomes slow.
A server that fails is left alone for a while, and then tried with one run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import anyio
import msgspec

from interwhen import UsageError
from interwhen._types.errors import ModelError
from interwhen.models import Retries

_SHRINK = 0.7
"""The factor for the limit of a server after it refused a run."""
_EASE = 0.9
"""The factor for the limit of a server after a slow first token."""
_SLOW = 4.0
"""A first token is slow if it took this many times the usual time ..."""
_SLOW_SECONDS = 1.0
"""... and at least this many seconds more than that."""
_RETRIES = Retries()
"""A server that failed is left alone as long as a model waits before it asks again."""
_LONGEST_REST = 60.0
"""The longest rest of a server that refused, in seconds, whatever it asks for."""


class EndpointReport(msgspec.Struct):
    """How the runs of one server ended, and its limit of simultaneous runs."""

    url: str
    limit: float = 8.0
    """How many runs it may have at the same time, except after a failure."""
    busy: int = 0
    """Runs that it has now."""
    runs: int = 0
    """Runs that ended with a result."""
    failures: int = 0
    """Runs that the server broke off or could not begin."""
    refusals: int = 0
    """Runs that the server refused because it was overloaded."""
    usual_first_token: float | None = None
    """Smoothed, in seconds; ``None`` before the first one."""


class Endpoint(EndpointReport, kw_only=True):
    """One server. It never waits; :class:`Fleet` does."""

    weight: float = 1.0
    """Its share of runs, relative to the other servers."""
    most: float = 256.0
    """The highest value of ``limit``."""
    rests_until: float = -math.inf
    """No run begins before this time."""
    failing_since: float | None = None
    """The time of the first failure or refusal after the last answer; ``None``: there was none since."""
    trouble: str = ""
    """The last failure or refusal, for messages."""
    _in_a_row: int = 0
    """Failures since the last result."""
    _shrunk_at: float = -math.inf
    """When ``limit`` last decreased. Runs that began before say nothing about the new limit."""

    def has_room(self, now: float) -> bool:
        # After a failure, one run at a time tries the server.
        if now < self.rests_until:
            return False
        return self.busy < (1 if self._in_a_row else max(1, int(self.limit)))

    @property
    def load(self) -> float:
        # Of the servers that have room, the one with the lowest load gets the next run.
        return (self.busy + 1) / (max(self.limit, 1.0) * self.weight)

    def begin(self) -> None:
        self.busy += 1

    def end(self, begun: float, now: float, first_token: float | None) -> None:
        # `first_token` is the time to the first token, in seconds. A slow one shrinks the limit by a factor; else it
        # grows by about one per `limit` runs, if it was used up.
        used_up = self.busy >= int(self.limit)
        self.busy -= 1
        self.runs += 1
        self._in_a_row, self.failing_since = 0, None
        usual = first_token if self.usual_first_token is None else self.usual_first_token
        if first_token is not None and usual is not None and first_token > max(_SLOW * usual, usual + _SLOW_SECONDS):
            self._shrink(_EASE, begun, now)
        elif used_up:
            self.limit = min(self.limit + 1 / max(self.limit, 1.0), self.most)
        if first_token is not None and usual is not None:
            self.usual_first_token = 0.9 * usual + 0.1 * min(first_token, 2 * usual)

    def refuse(self, begun: float, now: float, after: float | None, trouble: str = "") -> None:
        """Record that the server refused a run because it is overloaded; shrink the limit if it has not since *begun*.

        *after* is how many seconds the server asked to wait; no run begins for this time, but at most for 60 seconds.
        """
        self.busy -= 1
        self.refusals += 1
        self._note(now, trouble)
        self._shrink(_SHRINK, begun, now)
        if after is not None:
            self.rests_until = max(self.rests_until, now + min(after, _LONGEST_REST))

    def fail(self, now: float, error: ModelError) -> None:
        # The server rests for the pause that a model makes before a retry, after so many failures in a row.
        self.busy -= 1
        self.failures += 1
        self._note(now, str(error))
        self.rests_until = now + min(_RETRIES.pause(self._in_a_row, error), _LONGEST_REST)
        self._in_a_row += 1

    def _note(self, now: float, trouble: str) -> None:
        self.failing_since = now if self.failing_since is None else self.failing_since
        self.trouble = trouble or self.trouble

    def drop(self) -> None:
        self.busy -= 1

    def report(self) -> EndpointReport:
        return msgspec.convert(self, EndpointReport, from_attributes=True)

    def _shrink(self, factor: float, begun: float, now: float) -> None:
        if begun >= self._shrunk_at:
            self.limit = max(1.0, self.limit * factor)
            self._shrunk_at = now


@dataclass(slots=True)
class Fleet:
    """The servers of an evaluation. Raises :class:`~interwhen.UsageError` if there is none, or if one is named twice.

    *patience* is how long, in seconds, all servers together may fail before :meth:`take` gives up.
    """

    endpoints: Sequence[Endpoint]
    patience: float = 300.0
    clock: Callable[[], float] = anyio.current_time
    """In seconds."""
    _changed: anyio.Event | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        urls = [one.url for one in self.endpoints]
        if not urls or len(set(urls)) < len(urls):
            raise UsageError(
                f"--endpoint must name at least one server, and each once, got {', '.join(urls) or 'none'}"
            )

    async def take(self) -> Endpoint:
        # Counts the run as begun, so the caller must report its end to the server. Raises `UsageError` as `_vet` does.
        while True:
            now = self.clock()
            self._vet(now)
            free = [one for one in self.endpoints if one.has_room(now)]
            if free:
                best = min(free, key=lambda one: one.load)
                best.begin()
                return best
            resting = [one.rests_until for one in self.endpoints if one.rests_until > now]
            self._changed = anyio.Event()
            with anyio.move_on_after(min(resting, default=math.inf) - now):
                await self._changed.wait()

    def _vet(self, now: float) -> None:
        # A server with a running run has not failed: the answer may be long.
        since = [now if one.failing_since is None or one.busy else one.failing_since for one in self.endpoints]
        if now - max(since) > self.patience:
            troubles = "; ".join(f"{one.url}: {one.trouble or 'no answer'}" for one in self.endpoints)
            raise UsageError(
                f"at least one server must answer, and for {self.patience:g} s none did ({troubles}): look at the "
                "servers, and run the same command again to continue"
            )

    def wake(self) -> None:
        # Let `take` look again, because a run has ended.
        if self._changed is not None:
            self._changed.set()


def read_endpoint(text: str, *, limit: float, most: float) -> Endpoint:
    url, sign, written = text.rpartition("=")
    if not sign or ("?" in url and not written.replace(".", "", 1).isdecimal()):  # an equal sign of a query
        url, written = text, "1"
    try:
        weight = float(written)
    except ValueError:
        weight = math.nan
    if not url.startswith(("http://", "https://")) or not 0 < weight < math.inf:
        raise UsageError(
            f"--endpoint must be URL or URL=WEIGHT with a positive weight, got {text!r}; write for example "
            "http://localhost:8000/v1=2"
        )
    return Endpoint(url.rstrip("/"), min(limit, most), weight=weight, most=most)
