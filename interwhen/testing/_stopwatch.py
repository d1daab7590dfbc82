"""Times what a monitor does on its own: preparing and extracting."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

from interwhen.monitors import Extractor, Fork, Monitor
from interwhen.tasks import Task
from interwhen.trackers import Tracker

_MOST_CLAIMS = 10_001
"""One more than a run takes from one segment."""


class Stopwatch:
    """What was measured of one monitor over the turns of one trace."""

    def __init__(self) -> None:
        self.extracting = 0.0
        self.preparing: list[float] = []
        self.aside = 0
        """How often the preparation said that this is no problem of its kind."""
        self.failed: list[tuple[int, str]] = []
        """The preparations that raised: which one, and what."""

    def on(self, monitor: Monitor) -> Monitor:
        """Return *monitor* with this watch on it."""
        return replace(monitor, extractor=self._extractor(monitor.extractor), prepare=self._prepare(monitor.prepare))

    def _extractor(self, extractor: Extractor) -> Extractor:
        match extractor:
            case Tracker():
                return self._tracker(extractor)
            case Fork(parse=parse):
                known: Any = parse
                timed: Any = self._tracker(known) if isinstance(known, Tracker) else self._reading(known)
                return replace(extractor, parse=timed)
            case parser:
                return self._reading(parser)

    def _tracker(self, tracker: Tracker[Any]) -> Tracker[Any]:
        return Tracker(tracker.start, self._stepping(tracker.step))

    def _reading(self, read: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            with self._extracts():
                return _taken(read(*given))

        return timed

    def _stepping(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            with self._extracts():
                state, claims = step(*given)
                return state, _taken(claims)

        return timed

    @contextmanager
    def _extracts(self) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.extracting += time.perf_counter() - begun

    def _prepare(self, prepare: Callable[[Task], Any] | None) -> Callable[[Task], Any] | None:
        if prepare is None:
            return None
        if inspect.iscoroutinefunction(prepare):

            async def waited(task: Task) -> Any:
                with self._prepares():
                    return self._noted(await prepare(task))

            return waited

        def called(task: Task) -> Any:
            with self._prepares():
                return self._noted(prepare(task))

        return called

    @contextmanager
    def _prepares(self) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        except Exception as error:
            self.failed.append((len(self.preparing), f"prepare: {type(error).__name__}: {error}"))
            raise
        finally:
            self.preparing.append(time.perf_counter() - begun)

    def _noted(self, prepared: Any) -> Any:
        self.aside += prepared is None
        return prepared


def _taken(claims: Any) -> Any:
    """Let a generator do its work now, so that it is timed."""
    return tuple(islice(claims, _MOST_CLAIMS)) if isinstance(claims, Iterator) else claims
