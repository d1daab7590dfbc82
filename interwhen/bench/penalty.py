"""What verifiers cost a reader when nothing is wrong: the same stream bare and supervised, pair by pair."""

from __future__ import annotations

import platform
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import anyio

from interwhen.bench.penalty_attribution import Clocked
from interwhen.bench.penalty_flows import Flow, read_bare, read_supervised
from interwhen.bench.penalty_report import Arm, Penalty, Round, report_of
from interwhen.bench.penalty_sources import Opened, Source, open_source
from interwhen.errors import UsageError
from interwhen.models.base import Model, Request
from interwhen.monitors import Monitor

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
