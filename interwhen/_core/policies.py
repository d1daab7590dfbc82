"""What a check that proved nothing means for the run, and whether it is tried again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from interwhen._core.release import Kind, fate_of, kind_of, way_of
from interwhen._core.work import Ref
from interwhen.failing import Retry
from interwhen.monitors import Monitor
from interwhen.verdicts import Outcome


def ends(monitor: Monitor, outcome: Outcome) -> bool:
    """Tell whether *outcome*, which is no pass and no violation, ends the run."""
    return _stops(monitor, kind_of(outcome))


def may_end(monitor: Monitor) -> bool:
    """Tell whether any check of *monitor* that proves nothing could end the run."""
    return _stops(monitor, "unknown") or _stops(monitor, "failure")


def pause_before_next(refs: Iterable[Ref], monitors: Sequence[Monitor], tries: int) -> float | None:
    """Return the pause before a check that failed *tries* times is tried again; ``None``: it is not.

    Of the monitors that wait for it, the most patient one decides.
    """
    policies = [policy for ref in refs if isinstance(policy := monitors[ref.monitor].on_error, Retry)]
    patient = max(policies, key=lambda policy: (policy.times, policy.pause), default=None)
    return patient.before(tries) if patient is not None and tries <= patient.times else None


def _stops(monitor: Monitor, kind: Kind) -> bool:
    fate = fate_of(kind, way_of(monitor.delivery), unproven=monitor.unproven, on_error=monitor.on_error)
    return fate in ("held", "retracted")
