"""Which violation counts: the earliest in the trace, not the one that was found first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from interwhen._core.policies import may_end
from interwhen._core.release import gates
from interwhen._core.work import Job, Ref
from interwhen.monitors import Monitor
from interwhen.spans import Span
from interwhen.verdicts import Violation


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that must change the course of the run, at an absolute place of the trace.

    ``violation`` is ``None`` where nothing can be mended: a check ended without a verdict and the release rule holds
    its text back, or a gate refuted a claim that has no place; ``why`` says how.
    """

    span: Span
    ref: Ref
    violation: Violation | None
    why: str

    def order(self, monitors: Sequence[Monitor]) -> tuple[int, int, bool, str, str, str]:
        """Return the key that ranks candidates: by place, then by names, never by time or list order."""
        monitor = monitors[self.ref.monitor]
        return (
            self.span.start,
            self.span.end,
            self.violation is None,
            monitor.verifier.name,
            monitor.name,
            self.ref.claim.key,
        )


def refutation(ref: Ref, violation: Violation) -> Candidate:
    """Return the candidate for the claim of *ref*, refuted by *violation*.

    A wrong part outside the claim cannot be meant: the claim is refuted as a whole then, and no repair fits it.
    """
    span = ref.span
    where = violation.where
    if where is not None and ref.claim.span is not None:
        if where.end <= len(span):
            span = where.shifted(span.start)
        else:
            violation = msgspec.structs.replace(violation, where=None, repair=None)
    return Candidate(span, ref, violation, violation.why)


def earliest(candidates: Iterable[Candidate], monitors: Sequence[Monitor]) -> Candidate:
    """Return the candidate that counts."""
    return min(candidates, key=lambda candidate: candidate.order(monitors))


def must_wait(best: Candidate, jobs: Iterable[Job], monitors: Sequence[Monitor]) -> bool:
    """Tell whether an open job may still bring a candidate that ranks before *best*."""
    return any(_may_precede(best.span.start, job, monitors) for job in jobs)


def _may_precede(start: int, job: Job, monitors: Sequence[Monitor]) -> bool:
    if job.refs is None:
        return monitors[job.monitor].delivery != "observe" and job.segment.span.start <= start
    return any(_may_act(ref, monitors[ref.monitor]) and ref.span.start <= start for ref in job.refs)


def _may_act(ref: Ref, monitor: Monitor) -> bool:
    """Tell whether some outcome could change the course. A claim without a span can only keep a gate shut."""
    acts = monitor.delivery != "observe" and ref.claim.span is not None
    return acts or gates(monitor.delivery) or may_end(monitor)
