"""Who costs what in a supervised run: the time that each monitor takes on the event loop, in checks, and at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from interwhen.claims import Claim
from interwhen.models.base import Completion, Model, Request
from interwhen.monitors import Fork, Monitor
from interwhen.results import CheckRecord, Result
from interwhen.segments import Segment
from interwhen.trackers import Tracker
from interwhen.verdicts import Errored, Judged, Pass, Unknown


class MonitorCost(msgspec.Struct, frozen=True, kw_only=True):
    """What one monitor did in one run; times are in seconds."""

    monitor: str
    checks: int
    passed: int
    open: int
    """Checks that neither passed nor refuted."""
    checking: float
    """Time in its checks, summed. They run beside the stream."""
    on_loop: float
    """Time for which it held the event loop: its parser, and its checks where they run in line. Text that arrives
    meanwhile waits. (A fork's and a tracker's reading of replies is not timed.)"""
    held: float
    """Of other times that the loop was held for over 20 ms, those that the watchdog laid at its door."""
    tail: float
    """How long after the end of the stream its last check was settled: the run cannot end before."""


class Clocked:
    """A monitor whose parser is timed."""

    def __init__(self, monitor: Monitor) -> None:
        self._parsing = 0.0
        self._inner = monitor
        extractor = monitor.extractor
        if not isinstance(extractor, Fork | Tracker):
            monitor = replace(monitor, extractor=self._parse)
        self.monitor = monitor
        """What is given to a run."""

    def reset(self) -> None:
        """Begin anew: what was counted belongs to another run."""
        self._parsing = 0.0

    def _parse(self, segment: Segment, *prepared: Any) -> list[Claim]:
        begun = time.perf_counter()
        extractor: Any = self._inner.extractor
        claims = list(extractor(segment, *prepared))
        self._parsing += time.perf_counter() - begun
        return claims

    def cost(self, result: Result, last_check: Mapping[str, float], ended: float) -> MonitorCost:
        """Return what the monitor did in the run of *result*, whose stream ended *ended* seconds after its start."""
        name, who = self._inner.name, self._inner.verifier
        mine = [check for check in result.checks if check.monitor == name]
        checking = sum(check.seconds for check in mine)
        owners = (f"verifier {who.name!r}", f"extractor of {name!r}")
        return MonitorCost(
            monitor=name,
            checks=len(mine),
            passed=sum(_is(check, Pass) for check in mine),
            open=sum(_is(check, Unknown) or not isinstance(check.outcome, Judged) for check in mine),
            checking=checking,
            on_loop=self._parsing + (checking if who.worker == "inline" else 0.0),
            held=sum(held.seconds for held in result.timing.held if held.what in owners),
            tail=max(last_check.get(name, 0.0) - ended, 0.0) if ended else 0.0,
        )


def _is(check: CheckRecord, kind: type[Pass | Unknown | Errored]) -> bool:
    return isinstance(check.outcome, Judged) and isinstance(check.outcome.verdict, kind)


class Watched:
    """A model that notes when its forks run; all else is that of the model it wraps."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.begun = 0.0
        self.forks: list[tuple[float, float]] = []
        """For each fork, when it was asked and when it was answered, in seconds since ``begun``."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    @property
    def name(self) -> str:
        """The name of the model."""
        return self._model.name

    async def capabilities(self) -> Any:
        """Say what the model can do."""
        return await self._model.capabilities()

    async def stream(self, request: Request) -> Any:
        """Open the model's own stream: nothing stands in its way."""
        return await self._model.stream(request)

    async def complete(self, request: Request) -> Completion:
        """Pass a fork through, and note how long it takes."""
        asked = time.perf_counter() - self.begun
        try:
            return await self._model.complete(request)
        finally:
            self.forks.append((asked, time.perf_counter() - self.begun))

    async def aclose(self) -> None:
        """Close the model."""
        await self._model.aclose()
