"""How the penalty changes with one thing: the verifiers' latency, polls, monitors, streams at once, or length."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, assert_never

import msgspec

from interwhen.bench.paired import Mean
from interwhen.bench.penalty import Plan, measure
from interwhen.bench.penalty_monitors import Waiting, passing
from interwhen.bench.penalty_report import Penalty
from interwhen.bench.penalty_sources import Endpoint, Local, Replayed, Source
from interwhen.errors import UsageError
from interwhen.monitors import Monitor

Axis = Literal["verifier-latency", "polls", "monitors", "concurrency", "length"]
VALUES: dict[Axis, tuple[int, ...]] = {
    "verifier-latency": (0, 10, 100, 1000),
    "polls": (100, 200, 400, 800, 1600),
    "monitors": (0, 1, 2, 5, 10, 20),
    "concurrency": (1, 2, 4, 8, 16),
    "length": (125, 250, 500, 1000),
}
"""Milliseconds; characters between two polls; monitors; streams at once; tokens."""
UNITS: dict[Axis, str] = {
    "verifier-latency": "ms a check",
    "polls": "characters a poll",
    "monitors": "monitors",
    "concurrency": "streams at once",
    "length": "tokens",
}


@dataclass(frozen=True, slots=True)
class Setup:
    """What is measured: streams, and who watches them."""

    source: Source = field(default_factory=Replayed)
    plan: Plan = field(default_factory=Plan)
    chosen: tuple[Monitor, ...] = ()
    """The monitors; empty: *monitors* ones of a known cost."""
    monitors: int = 5
    verifier_seconds: float = 0.1
    waiting: Waiting = "async"
    poll_chars: int | None = None
    forks: bool = False

    def watchers(self) -> Sequence[Monitor]:
        """Return the monitors."""
        return self.chosen or passing(
            self.monitors,
            verifier_seconds=self.verifier_seconds,
            waiting=self.waiting,
            poll_chars=self.poll_chars,
            forks=self.forks,
        )

    async def measure(self) -> Penalty:
        """Measure it; raises as :func:`interwhen.bench.penalty.measure` does."""
        return await measure(self.source, self.watchers(), self.plan)

    def at(self, axis: Axis, value: int) -> Setup:
        """Return the same with one thing changed."""
        match axis:
            case "verifier-latency":
                return replace(self, verifier_seconds=value / 1e3)
            case "polls":
                return replace(self, poll_chars=value)
            case "monitors":
                return replace(self, monitors=value)
            case "concurrency":
                return replace(self, plan=replace(self.plan, concurrency=value))
            case "length":
                return replace(self, source=_of_length(self.source, value))
            case _:
                assert_never(axis)


def _of_length(source: Source, tokens: int) -> Source:
    match source:
        case Replayed():
            return replace(source, chunks=tokens)
        case Local() | Endpoint():
            return replace(source, tokens=tokens)
        case _:
            assert_never(source)


class SweepRow(msgspec.Struct, frozen=True, kw_only=True):
    """The penalty at one value."""

    value: int
    correct: int
    tokens: Mean
    bare_seconds: float
    total_added_ms: Mean
    total_percent: Mean
    first_added_ms: Mean
    gap_p99_added_ms: Mean
    tail_ms: Mean


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report of a sweep."""

    machine: str
    source: str
    axis: Axis
    unit: str
    rows: tuple[SweepRow, ...]
    slope: float | None
    """Milliseconds that one more unit adds to the total, by least squares over the rows; ``None``: one row. For
    lengths, 0 says that the penalty does not grow with the trace."""


async def run_sweep(setup: Setup, axis: Axis, values: Sequence[int] = ()) -> Sweep:
    """Measure the penalty at each of *values*, or at the usual ones. Raises :class:`UsageError` on what cannot be."""
    chosen = tuple(dict.fromkeys(values)) or VALUES[axis]
    if setup.chosen and axis in ("verifier-latency", "polls", "monitors"):
        raise UsageError(f"--sweep {axis} changes the benchmark's own monitors, so it does not go with --monitor")
    if min(chosen) < (0 if axis in ("verifier-latency", "monitors") else 1):
        raise UsageError(f"--values {','.join(map(str, chosen))}: too small for --sweep {axis}")
    rows: list[SweepRow] = []
    machine = source = ""
    for value in chosen:
        setup.plan.say(f"{value} {UNITS[axis]}")
        found = await setup.at(axis, value).measure()
        machine, source = found.machine, found.source
        rows.append(_row(value, found))
    slope = None
    if len(rows) > 1:
        slope = statistics.linear_regression(chosen, [row.total_added_ms.mean for row in rows]).slope
    return Sweep(machine=machine, source=source, axis=axis, unit=UNITS[axis], rows=tuple(rows), slope=slope)


def _row(value: int, found: Penalty) -> SweepRow:
    total = found.difference("total")
    added = total.added
    return SweepRow(
        value=value,
        correct=found.correct,
        tokens=found.tokens,
        bare_seconds=total.before.median,
        total_added_ms=Mean(added.mean * 1e3, added.low * 1e3, added.high * 1e3, added.n),
        total_percent=total.percent,
        first_added_ms=found.difference("first").added,
        gap_p99_added_ms=found.difference("gap p99").added,
        tail_ms=found.tail_ms,
    )
