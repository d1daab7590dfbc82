"""What was odd about the way to the model, over all streams of a run."""

from __future__ import annotations

from msgspec.structs import replace

from interwhen._engine.pace import Pace
from interwhen.models.notes import KEPT_SAMPLES, StreamNotes
from interwhen.wire_report import WireReport


class WireMeter:
    """Adds up what the streams noticed, those included that a killed process had read."""

    def __init__(self) -> None:
        self.notes: list[StreamNotes] = []
        """One for each stream of this process, where its adapter takes notes."""
        self.pace: Pace | None = None
        self._before = WireReport()
        self._wasted = 0

    def recall(self, report: WireReport | None, wasted: int) -> None:
        """Go on from what was counted before this process took the run over."""
        self._before = report or WireReport()
        self._wasted = wasted

    def finish(self, now: float) -> None:
        """Judge the pace up to *now*, for the last time."""
        if self.pace is not None:
            self.pace.finish(now)

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
        slowest = None if self.pace is None else self.pace.slowest
        if self.pace is None or slowest is None:
            return whole
        if whole.slowest_rate is not None:
            slowest = min(slowest, whole.slowest_rate)
        return replace(whole, slow_seconds=whole.slow_seconds + self.pace.slow_seconds, slowest_rate=slowest)

    def wasted(self, now: float) -> int:
        """Return how many tokens may have been generated for nobody by *now*."""
        return self._wasted + sum(note.ghost.wasted(now) for note in self.notes if note.ghost is not None)
