"""What the reader may see: release of text behind gates, and the verified frontier."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from interwhen._core.intake import Intake
from interwhen._core.work import Ref, Work
from interwhen.events import Delta, Event, FrontierMoved, Retracted
from interwhen.monitors import GATING, Monitor


class Gates:
    """Holds text back until the checks of gating monitors are settled; without gates, holds nothing."""

    __slots__ = (
        "_final", "_gating", "_intake", "_required", "_transcript", "_work", "frontier", "released",
    )  # fmt: skip

    def __init__(self, monitors: Sequence[Monitor], intake: Intake, work: Work) -> None:
        self.released = 0
        """Up to where the reader has been shown the trace."""
        self.frontier = 0
        """Up to where every due check of a required monitor has passed."""
        self._intake = intake
        self._transcript = intake.transcript
        self._work = work
        self._gating = [number for number, monitor in enumerate(monitors) if monitor.delivery in GATING]
        self._required = [number for number, monitor in enumerate(monitors) if monitor.required]
        self._final = [number for number, monitor in enumerate(monitors) if monitor.delivery == "final"]

    @property
    def holding(self) -> bool:
        """Whether any monitor holds text back."""
        return bool(self._gating or self._final)

    def release(self, events: deque[Event], *, ended: bool) -> None:
        """Show the reader what may be shown now."""
        limit = self._transcript.length if ended else self._limit()
        if limit > self.released:
            for run in self._transcript.runs(self.released, limit):
                events.append(Delta(run.text, run.start, run.phase, run.origin, run.call, run.refused))
            self.released = limit

    def advance(self, events: deque[Event]) -> None:
        """Tell the reader if the verified frontier has moved."""
        if not self._required:
            return
        work = self._work
        if not work.touched:
            return  # who held it back last still does: the others need not be asked
        work.touched = False
        frontier, work.watched = min((self._verified(number), number) for number in self._required)
        if frontier > self.frontier:
            self.frontier = frontier
            events.append(FrontierMoved(frontier))

    def settled(self, refuted: Iterable[Ref] = ()) -> int:
        """Return up to where no monitor that holds text back has anything open, not even seen, or *refuted*.

        This is what a run may keep that ends before its time. A ``final`` monitor holds the answer only.
        """
        settled = self._settled()
        first = {ref.monitor: ref.segment.span.start for ref in sorted(refuted, key=_start, reverse=True)}
        for number in self._gating:
            settled = min(settled, first.get(number, settled))
        if self._final:
            answer = self._answer_start()
            for number in self._final:
                cleared = min(self._cleared(number, None), first.get(number, self._transcript.length))
                settled = min(settled, max(cleared, answer))
        return settled

    def _settled(self) -> int:
        length = self._transcript.length
        return min((self._cleared(number, None) for number in self._gating), default=length)

    def _limit(self) -> int:
        limit = min(self._settled(), self._transcript.length)
        return min(limit, self._answer_start()) if self._final else limit

    def retract(self, to: int, events: deque[Event]) -> None:
        """Take back what was shown of the text from *to* on."""
        if self.released > to:
            self.released = to
            events.append(Retracted(to))
        self.frontier = min(self.frontier, to)

    def _verified(self, monitor: int) -> int:
        return self._cleared(monitor, self._work.first_unclear(monitor))

    def _cleared(self, monitor: int, unclear: int | None) -> int:
        """Return up to where *monitor* has nothing open."""
        cleared = self._intake.hold(monitor)
        opened = self._work.first_open(monitor)
        if opened is not None and opened < cleared:
            cleared = opened
        return unclear if unclear is not None and unclear < cleared else cleared

    def _answer_start(self) -> int:
        return next((at for at, phase in self._transcript.phases if phase == "answer"), self._transcript.length)


def _start(ref: Ref) -> int:
    return ref.segment.span.start
