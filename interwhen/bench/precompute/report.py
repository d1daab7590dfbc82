"""``interwhen bench precompute``: the whole report."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable, Sequence

import msgspec

from interwhen.bench.precompute.arms import ARMS, Arm, Asked, ask, make_case, prepare
from interwhen.bench.precompute.curve import CurvePoint, curve
from interwhen.bench.precompute.families import FAMILIES, FamilyName
from interwhen.bench.precompute.gating import RATIOS, WORTHLESS, ErrorRow, GateRow, cost_row, error_row
from interwhen.bench.precompute.simulated import Rates
from interwhen.bench.precompute.solvers import SolverRow, solver_rows
from interwhen.bench.stats import Estimate, estimate
from interwhen.precompute.gate import Weights

PASSES = 4
_READING = Weights().reading


class CostRow(msgspec.Struct, frozen=True):
    """One arm on one family. Tokens are a query's, in the mean; costs are over those of ``nothing``."""

    family: FamilyName
    predictable: float
    """The share of questions that could have been foreseen."""
    arm: Arm
    queries: int
    generated: float
    """Tokens that are generated while a reader waits."""
    read: float
    """Prompt tokens."""
    offline: float
    """Tokens that were generated ahead of time, a context."""
    right: float
    verified: float
    fewer: float | None
    """How many times fewer tokens than with nothing prepared; ``None``: none at all were generated."""
    saved: Estimate
    """Tokens saved a query: over contexts, the median with its interval."""
    cost: dict[str, float]
    """The cost a query at 10 queries a context, where a reader's token weighs 10 (``"10"``) and 1 (``"1"``), offline
    tokens included; and ``"10, reading"``, where prompt tokens count too."""
    break_even: float | None
    """From so many queries a context on it is cheaper than nothing, at weight 10; ``None``: it never is."""


class PrecomputeReport(msgspec.Struct, frozen=True):
    """All of it. Everything here comes from a SIMULATED model."""

    machine: str
    seed: int
    contexts: int
    questions: int
    rates: dict[str, float]
    costs: tuple[CostRow, ...]
    curve: tuple[CurvePoint, ...]
    gate: tuple[GateRow, ...]
    errors: tuple[ErrorRow, ...]
    solvers: tuple[SolverRow, ...]
    """Z3 warm and cold; empty where it is not installed."""


async def measure(
    *,
    contexts: int = 12,
    questions: int = 10,
    predictable: Sequence[float] = (1.0, 0.5, 0.0),
    families: Sequence[FamilyName] = tuple(FAMILIES),
    gate_items: int = 20,
    jobs: tuple[int, ...] = (20, 40, 60),
    seed: int = 0,
    say: Callable[[str], None] = lambda _line: None,
) -> PrecomputeReport:
    """Ask all questions in all arms, draw the pass curve, and let the gate decide on simulated items.

    *jobs* are the sizes of the timetables that Z3 is asked about.
    """
    rates = Rates()
    costs: list[CostRow] = []
    points: list[CurvePoint] = []
    for family in families:
        for share in predictable:
            say(f"{family}, {share:.0%} of the questions foreseen: {contexts} contexts of {questions} questions")
            costs += await cost_rows(family, share, contexts=contexts, questions=questions, rates=rates, seed=seed)
        say(f"{family}: passes")
        points += await curve(family, contexts=contexts, questions=questions, rates=rates, seed=seed)
    say(f"the gate: {gate_items} items of each worth")
    gate = tuple(cost_row(ratio, weight, items=gate_items, seed=seed) for weight in (10.0, 1.0) for ratio in RATIOS)
    errors = tuple(error_row(item, items=20 * gate_items, seed=seed) for item in WORTHLESS)
    return PrecomputeReport(
        machine=f"{platform.machine()}, Python {platform.python_version()}, {platform.system()}",
        seed=seed,
        contexts=contexts,
        questions=questions,
        rates={"step": rates.step, "fact": rates.fact, "vague": rates.vague},
        costs=tuple(costs),
        curve=tuple(points),
        gate=gate,
        errors=errors,
        solvers=solver_rows(jobs),
    )


async def cost_rows(
    family: FamilyName, predictable: float, *, contexts: int, questions: int, rates: Rates, seed: int
) -> list[CostRow]:
    """Return a row for each arm, over the same questions."""
    found: dict[Arm, list[list[Asked]]] = {arm: [] for arm in ARMS}
    offline: dict[Arm, list[int]] = {arm: [] for arm in ARMS}
    for number in range(seed, seed + contexts):
        for arm in ARMS:
            case = make_case(family, number, questions, predictable)
            setting = await prepare(case, arm, seed=number, passes=PASSES, rates=rates)
            found[arm].append([await ask(setting, question) for question in case.questions])
            offline[arm].append(setting.offline)
            await setting.aclose()
    return [_row(family, predictable, arm, found[arm], found["nothing"], offline[arm]) for arm in ARMS]


def _row(
    family: FamilyName,
    predictable: float,
    arm: Arm,
    found: Sequence[Sequence[Asked]],
    bare: Sequence[Sequence[Asked]],
    offline: Sequence[int],
) -> CostRow:
    asked, before = ([one for context in contexts for one in context] for contexts in (found, bare))
    generated, usual = (statistics.fmean(one.generated for one in group) for group in (asked, before))
    read, usually_read = (statistics.fmean(one.read for one in group) for group in (asked, before))
    spent = statistics.fmean(offline)
    saved = [_mean(past) - _mean(now) for past, now in zip(bare, found, strict=True)]
    reading, usually_reading = generated + _READING * read, usual + _READING * usually_read
    return CostRow(
        family,
        predictable,
        arm,
        len(asked),
        generated,
        read,
        spent,
        statistics.fmean(one.right for one in asked),
        statistics.fmean(one.verified for one in asked),
        usual / generated if generated else None,
        estimate(saved),
        {
            "10": (spent / 10 + 10 * generated) / (10 * usual),
            "1": (spent / 10 + generated) / usual,
            "10, reading": (spent / 10 + 10 * reading) / (10 * usually_reading),
        },
        spent / (10 * (usual - generated)) if usual > generated else None,
    )


def _mean(asked: Sequence[Asked]) -> float:
    return statistics.fmean(one.generated for one in asked)
