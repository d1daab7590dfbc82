"""What was odd about the way to the model, over all streams of a run."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from interwhen._engine.pace import Pace
from interwhen._engine.watch import Meter
from interwhen.models.notes import KEPT_SAMPLES, StreamNotes
from interwhen.wire_report import WireReport


class WireMeter:
    """Adds up what the streams noticed, those included that a killed process had read."""

    def __init__(self) -> None:
        self.notes: list[StreamNotes] = []
        """One for each stream of this process, where its adapter takes notes."""
        self._pace: Pace | None = None
        self._before = WireReport()
        self._wasted = 0

    def recall(self, report: WireReport | None, wasted: int) -> None:
        """Go on from what was counted before this process took the run over."""
        self._before = report or WireReport()
        self._wasted = wasted

    def keep_pace(
        self, meter: Meter, min_rate: float | None, tokens: Callable[[], int]
    ) -> Callable[[float], float] | None:
        """Judge the pace from now on, if a *min_rate* is asked for; return what is to be told the time for that."""
        self._pace = None if min_rate is None else Pace(meter, min_rate, tokens)
        return None if self._pace is None else self._pace.look

    def finish(self, now: float) -> None:
        """Judge the pace up to *now*, for the last time."""
        if self._pace is not None:
            self._pace.finish(now)

    def report(self) -> WireReport:
        """Return what there is up to now."""
        whole = self._before
        for note in self.notes:
            if note.is_odd:
                whole = replace(
                    whole,
                    skipped_events=whole.skipped_events + note.skipped_events,
                    skipped=(*whole.skipped, *note.skipped)[:KEPT_SAMPLES],
                    replaced_events=whole.replaced_events + note.replaced_events,
                    bytes_after_end=whole.bytes_after_end + note.bytes_after_end,
                )
        slowest = None if self._pace is None else self._pace.slowest
        if self._pace is None or slowest is None:
            return whole
        if whole.slowest_rate is not None:
            slowest = min(slowest, whole.slowest_rate)
        return replace(whole, slow_seconds=whole.slow_seconds + self._pace.slow_seconds, slowest_rate=slowest)

    def wasted(self, now: float) -> int:
        """Return how many tokens may have been generated for nobody by *now*."""
        return self._wasted + sum(note.ghost.wasted(now) for note in self.notes if note.ghost is not None)
