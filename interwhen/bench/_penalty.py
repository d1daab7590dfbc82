"""What verifiers cost a reader when nothing is wrong: the same stream bare and supervised, pair by pair.

Why: docs/decisions/0023-measuring-the-penalty.md.
"""

from __future__ import annotations

import platform
import random
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, assert_never

import anyio
import msgspec

from interwhen._types.errors import UsageError
from interwhen._types.models import Model, Request
from interwhen._types.monitors import Monitor
from interwhen.bench._penalty_report import Arm, Penalty, Round, report_of
from interwhen.bench._penalty_runs import (
    Clocked,
    Endpoint,
    Flow,
    Local,
    Opened,
    Replayed,
    Source,
    Waiting,
    open_source,
    passing,
    read_bare,
    read_supervised,
)
from interwhen.bench._statistics import Mean

Say = Callable[[str], None]


def _silent(_line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How is measured. Raises :class:`UsageError` on numbers that cannot be."""

    pairs: int = 20
    concurrency: int = 1
    """Streams of an arm that run at once; a pair is then a crowd of each."""
    control: bool = False
    """Also run the bare arm twice a pair: what differs between these two is noise."""
    leave_one_out: bool = False
    """Also run each pair without each monitor in turn, to see what that saves."""
    seed: int = 0
    say: Say = field(default=_silent)

    def __post_init__(self) -> None:
        if self.pairs < 1 or self.concurrency < 1:
            raise UsageError(f"pairs={self.pairs} and concurrency={self.concurrency}: both must be at least 1")


async def measure(source: Source, monitors: Sequence[Monitor], plan: Plan) -> Penalty:
    """Return what *monitors* add to the streams of *source*.

    The runs of a pair get the same request and seed and follow one another in random order; one pair before the first
    warms up. Only pairs in which no violation interrupted count; the others are listed. Raises :class:`UsageError`
    where none counts.
    """
    async with open_source(source, plan.seed) as opened:
        plan.say(f"{opened.name}: {plan.pairs} pairs, {plan.concurrency} at a time, {len(monitors)} monitors")
        rounds = await _rounds(opened, monitors, plan)
    found = report_of(
        rounds,
        machine=f"{platform.machine()}, Python {platform.python_version()}, {platform.system()}",
        source=opened.name,
        monitors=[monitor.name for monitor in monitors],
        concurrency=plan.concurrency,
        seed=plan.seed,
    )
    if found is None:
        raise UsageError(
            f"no pair of {len(rounds)} was a correct run, so there is no penalty on correct runs to tell "
            f"(the first: {rounds[0].why_not}); take other monitors, prompts or a better model"
        )
    return found


async def _rounds(opened: Opened, monitors: Sequence[Monitor], plan: Plan) -> list[Round]:
    rng = random.Random(plan.seed)  # noqa: S311  (an order, not secrets)
    rounds: list[Round] = []
    for number in range(-1, plan.pairs):
        model, request = opened.pair(max(number, 0))
        arms = _arms(model, request, monitors, plan)
        names = list(arms)
        rng.shuffle(names)
        flows = {name: await _at_once(arms[name], plan.concurrency) for name in names}
        if number >= 0:  # the first round warms up
            rounds.append(Round(number, flows))
            plan.say(f"pair {number + 1} of {plan.pairs}{_short(rounds[-1])}")
    return rounds


def _short(done: Round) -> str:
    if done.why_not:
        return f": not counted, {done.why_not}"
    bare, supervised = (done.flows[arm][0].total for arm in ("bare", "supervised"))
    return f": {bare:.3f} s bare, {supervised:.3f} s supervised"


def _arms(
    model: Model, request: Request, monitors: Sequence[Monitor], plan: Plan
) -> dict[Arm, Callable[[], Awaitable[Flow]]]:
    def watched(chosen: Sequence[Monitor]) -> Awaitable[Flow]:
        # Made anew for each run: each has its own clock.
        return read_supervised(model, request, [Clocked(monitor) for monitor in chosen])

    bare = partial(read_bare, model, request)
    arms: dict[Arm, Callable[[], Awaitable[Flow]]] = {"bare": bare, "supervised": partial(watched, monitors)}
    if plan.control:
        arms["control"] = bare
    if plan.leave_one_out:
        for left_out in monitors:
            rest = [monitor for monitor in monitors if monitor is not left_out]
            arms[f"without {left_out.name}"] = partial(watched, rest)
    return arms


async def _at_once(read: Callable[[], Awaitable[Flow]], count: int) -> tuple[Flow, ...]:
    """Run *read* *count* times at once."""
    flows: list[Flow | None] = [None] * count

    async def one(number: int) -> None:
        flows[number] = await read()

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(one, number, name=f"stream {number}")
    return tuple(flow for flow in flows if flow is not None)


# How the penalty changes with one thing: the verifiers' latency, polls, monitors, streams at once, or length.

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
        """Measure it; raises as :func:`interwhen.bench._penalty.measure` does."""
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
