"""``interwhen bench precompute``: the whole report."""

from __future__ import annotations

import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import msgspec
from rich.table import Table

from interwhen._run import run
from interwhen._types.errors import MissingExtraError
from interwhen._types.models import Model, Request, Sampling
from interwhen._types.verdicts import Verdict
from interwhen.bench._precompute_local import LocalPrecompute
from interwhen.bench._precompute_world import FAMILIES, Case, FamilyName, Question, Rates, SimulatedModel, sources
from interwhen.bench._statistics import Estimate, estimate
from interwhen.precompute import ContextRef, Kind, MemoryShelf, Precomputer, Producer, Store
from interwhen.precompute._gate import Arm, Gate, GateRule, Pair, Stage, Weights
from interwhen.precompute._serving import ServeReady, choose_facts, with_facts
from interwhen.precompute.producers._statements import ask_for, numbered, read_statements
from interwhen.precompute.producers.answers import answers, compose
from interwhen.precompute.producers.facts import facts, notes_of

# The arms: the same questions on the same contexts, with nothing prepared, with facts, with answers, with both.

PreparedArm = Literal["nothing", "facts", "answers", "both"]
ARMS: tuple[PreparedArm, ...] = ("nothing", "facts", "answers", "both")
_KINDS: dict[PreparedArm, tuple[Kind, ...]] = {
    "nothing": (),
    "facts": ("facts",),
    "answers": ("answers",),
    "both": ("facts", "answers"),
}
_STEP_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Asked:
    """One question, answered."""

    generated: int
    read: int
    """Prompt tokens, as the simulated model counts them."""
    right: bool
    verified: bool
    items: tuple[str, ...]
    """The items that were used."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A context in which questions are asked."""

    case: Case
    model: SimulatedModel
    precomputer: Precomputer
    ref: ContextRef

    @property
    def offline(self) -> int:
        """Tokens that were generated ahead of time, those that came to nothing included."""
        return self.precomputer.contexts[self.ref.name].spending.cost.generated

    async def aclose(self) -> None:
        """Give back the store."""
        await self.precomputer.aclose()


def make_case(family: FamilyName, seed: int, questions: int, predictable: float) -> Case:
    """Return the case of *family* with this *seed*."""
    return FAMILIES[family](random.Random(f"{family} {seed}"), questions, predictable)  # noqa: S311  (a simulation)


async def prepare(
    case: Case, arm: PreparedArm, *, seed: int, passes: int, rates: Rates, min_gain: float = 2.0, misses: float = 0.0
) -> Setting:
    """Prepare *case* for *arm*, until nothing more is to be done, judged by a monitor that *misses* so much."""
    model = SimulatedModel(case, rates, seed=seed)
    producers: list[Producer] = [
        facts(link="chain" if case.family == "states" else "none", min_gain=min_gain, max_tokens=_STEP_TOKENS),
        answers(questions=[case.ask(about) for about in case.likely], max_tokens=_STEP_TOKENS),
    ]
    precomputer = Precomputer(
        Store(MemoryShelf()),
        model,
        [sources(misses=misses)],
        producers=producers,
        passes=passes,
        token_budget=1_000_000,
        step_tokens=_STEP_TOKENS,
        debounce=0.0,
        serving=ServeReady(),
    )
    ref = await precomputer.add("case", dict(case.pieces), kinds=_KINDS[arm])
    await precomputer.work()
    return Setting(case, model, precomputer, ref)


async def ask(setting: Setting, question: Question, *, bare: bool = False) -> Asked:
    """Ask *question*, with the monitors, and with what is ready (unless *bare*)."""
    read = setting.model.read
    prompt = compose(setting.case.text, question.text)
    async with setting.precomputer.run(prompt, context=None if bare else setting.ref) as supervised:
        result = await supervised.drain()
    ledger = result.ledger
    return Asked(
        ledger.kept + ledger.discarded + ledger.fork_tokens,
        setting.model.read - read,
        is_right(setting.case, question, result.text),
        result.answer_verified,
        result.precomputed,
    )


async def ask_trusting(case: Case, model: Model, question: Question, notes: Sequence[str]) -> bool:
    """Tell whether *question* comes out right with *notes* in the prompt, and nobody watching."""
    prompt = compose(case.text, question.text)
    lines = [(note, "") for note in notes]
    async with run(model, as_noted(prompt, lines, question.text)) as plain:
        result = await plain.drain()
    return is_right(case, question, result.text)


def as_noted(prompt: str, notes: Sequence[tuple[str, str]], question: str) -> str:
    """Return *prompt* with the *notes* that bear on *question*, chosen as they are served."""
    serving = ServeReady()
    chosen, _ = choose_facts(notes, question, most=serving.most, budget=serving.budget)
    found = with_facts(prompt, chosen) if chosen else prompt
    assert isinstance(found, str)
    return found


def is_right(case: Case, question: Question, text: str) -> bool:
    """Grade the last line of *text*: by the generator's answer, and by no verifier."""
    last = next(iter(reversed(text.strip().splitlines())), "")
    found = case.read(last)
    return found is not None and found[0] == question.about and case.right(question, found[1])


# The pass curve: what further passes of consolidation do to answers, with verified notes, unverified, and none.

NotesArm = Literal["verified", "leaky", "unverified", "verbatim"]
MISSES = 0.05
"""The part of the wrong statements that the verifier of the arm ``leaky`` passes."""
CURVE_PASSES = (1, 2, 4, 8)


class CurvePoint(msgspec.Struct, frozen=True):
    """Notes after so many passes, read by a model that trusts them while nobody watches."""

    family: FamilyName
    arm: NotesArm
    """``verified``: the facts that were accepted; the verifier is exact. ``leaky``: the same with one that misses a
    twentieth of what is wrong, while later passes build on it. ``unverified``: all that was proposed, as it was.
    ``verbatim``: no notes, the text alone."""
    passes: int
    accuracy: float
    facts: float
    """Notes a context, in the mean."""
    wrong: float
    """The share of them that the generator knows to be wrong."""


async def curve(
    family: FamilyName,
    *,
    contexts: int,
    questions: int,
    rates: Rates,
    seed: int = 0,
    most: Sequence[int] = CURVE_PASSES,
) -> list[CurvePoint]:
    """Return the points of one *family*, over so many *contexts*."""
    notes: dict[tuple[NotesArm, int], list[tuple[Case, SimulatedModel, list[str]]]] = {}
    for number in range(seed, seed + contexts):
        case = make_case(family, number, questions, 0.5)
        model = SimulatedModel(case, rates, seed=number)
        verified = await _verified(case, number, max(most), rates)
        leaky = await _verified(case, number, max(most), rates, misses=MISSES)
        unverified = await _unverified(case, model, max(most))
        for passes in most:
            by_arm: dict[NotesArm, dict[int, list[str]]] = {
                "verified": verified,
                "leaky": leaky,
                "unverified": unverified,
                "verbatim": {},
            }
            for arm, by_pass in by_arm.items():
                said = [note for at, found in sorted(by_pass.items()) if at <= passes for note in found]
                notes.setdefault((arm, passes), []).append((case, model, said))
    return [await _point(family, arm, passes, found) for (arm, passes), found in notes.items()]


async def _point(
    family: FamilyName, arm: NotesArm, passes: int, found: Sequence[tuple[Case, SimulatedModel, list[str]]]
) -> CurvePoint:
    right = [
        await ask_trusting(case, model, question, said) for case, model, said in found for question in case.questions
    ]
    said = [(case, note) for case, _, notes in found for note in notes]
    wrong = sum(_is_wrong(case, note) for case, note in said)
    return CurvePoint(
        family, arm, passes, sum(right) / len(right), len(said) / len(found), wrong / len(said) if said else 0.0
    )


async def _verified(case: Case, seed: int, passes: int, rates: Rates, *, misses: float = 0.0) -> dict[int, list[str]]:
    """Return the accepted facts by pass."""
    setting = await prepare(case, "facts", seed=seed, passes=passes, rates=rates, min_gain=0.0, misses=misses)
    found: dict[int, list[str]] = {}
    for item in setting.precomputer.ready(setting.ref):
        found.setdefault(int(item.step.rpartition("/")[2]), []).extend(fact.said for fact in notes_of(item).facts)
    await setting.aclose()
    return found


async def _unverified(case: Case, model: SimulatedModel, passes: int) -> dict[int, list[str]]:
    """Return all that is proposed, by pass, each pass building on those before it as if all were true."""
    found: dict[int, list[str]] = {}
    known: list[str] = []
    for number in range(1, passes + 1):
        for _, text in case.pieces:
            given = numbered(text, known)
            task, asked = ask_for(given, 12)
            reply = await model.complete(Request(f"{task}\n\n{asked}", sampling=Sampling(temperature=0.0)))
            said = [statement.said for statement in read_statements(reply.text, given)]
            found.setdefault(number, []).extend(said)
            known += said
    return found


def _is_wrong(case: Case, note: str) -> bool:
    read = case.read(note)
    return read is not None and case.truth.get(read[0]) != read[1]


# The gate, SIMULATED: items of stated worth before readers, and what the gate makes of them.

RATIOS = (0.1, 0.3, 0.5, 0.8, 0.95, 1.0, 1.05, 1.2, 2.0)
"""How long a run with the item is, beside one without."""
LIMIT = 1200
_SIZE = 300
_SPREAD = 0.3
_MEAN = -_SPREAD * _SPREAD / 2
"""So that the mean is 1."""


class GateRow(msgspec.Struct, frozen=True):
    """Items that make a run *ratio* times as long in the mean, and are read, at one weight of a reader's token."""

    ratio: float
    weight: float
    queries: int
    items: int
    cost: float
    """The gate's, over the better of always and never using the item."""
    kept: float
    """The share of items that ended so."""
    dropped: float


Worthless = Literal["steady", "noisy", "rare gain", "rare loss"]
"""Items that make no difference in the mean: runs that differ by little or by much, or hardly ever, and then by all."""
WORTHLESS: tuple[Worthless, ...] = get_args(Worthless)


class ErrorRow(msgspec.Struct, frozen=True):
    """Items that make no difference in the mean, looked at after each pair: every move is a false one."""

    item: Worthless
    items: int
    pairs: int
    kept: float
    dropped: float


def cost_row(ratio: float, weight: float, *, queries: int = 1000, items: int = 20, seed: int = 0) -> GateRow:
    """Return what *items* cost under the gate, and what became of them."""
    lives = [life(ratio, weight, queries, seed + number) for number in range(items)]
    gated, always, never = (sum(life[1][at] for life in lives) for at in range(3))
    kept, dropped = _shares([gate.stage for gate, _ in lives])
    return GateRow(ratio, weight, queries, items, gated / min(always, never), kept, dropped)


def error_row(item: Worthless, *, pairs: int = 400, items: int = 400, seed: int = 0) -> ErrorRow:
    """Return how many items are ever moved that make no difference."""
    first: list[Stage] = []
    for number in range(items):
        rng, gate = random.Random(f"{item} {seed} {number}"), Gate()  # noqa: S311  (a simulation)
        for _ in range(pairs):
            gate.observe(_pair(item, rng))
        first.append(gate.record.moves[0].to if gate.record.moves else "trial")
    kept, dropped = _shares(first)
    return ErrorRow(item, items, pairs, kept, dropped)


def _pair(item: Worthless, rng: random.Random) -> Pair:
    if item in ("steady", "noisy"):
        spread = 0.1 if item == "steady" else 0.4
        one, other = (min(LIMIT, int(_SIZE * rng.lognormvariate(0, spread))) for _ in range(2))
        return Pair(Arm(one), Arm(other), LIMIT)
    # Once in forty times the item saves (or costs) 390 tokens, else it costs (or saves) ten.
    more, less = (Arm(_SIZE + 390), Arm(_SIZE)) if rng.random() < 1 / 40 else (Arm(_SIZE), Arm(_SIZE + 10))
    return Pair(more, less, LIMIT) if item == "rare gain" else Pair(less, more, LIMIT)


def life(ratio: float, weight: float, queries: int, seed: int) -> tuple[Gate, tuple[float, float, float]]:
    """Return the gate of one item after so many queries, and what these cost: gated, always and never with the item."""
    weights = Weights(test=weight)
    rng, gate = random.Random(f"{ratio} {seed}"), Gate(rule=GateRule(weights=weights))  # noqa: S311  (a simulation)
    gated = always = never = 0.0
    for _ in range(queries):
        size = _SIZE * rng.lognormvariate(_MEAN, _SPREAD)
        without = Arm(min(LIMIT, int(size)), 200)
        used = Arm(min(LIMIT, int(size * ratio * rng.lognormvariate(_MEAN, _SPREAD))), 240)
        always, never = always + used.cost(weights), never + without.cost(weights)
        choice = gate.choose(rng.random())
        arm = used if choice.use else without
        gate.charge(arm, used=choice.use)
        gated += arm.cost(weights)
        if choice.pair:
            gate.observe(Pair(without, used, LIMIT, "without" if choice.use else "used"))
    return gate, (gated + gate.record.beside, always, never)


def _shares(stages: Sequence[Stage]) -> tuple[float, float]:
    return stages.count("kept") / len(stages), (stages.count("demoted") + stages.count("evicted")) / len(stages)


# Z3, warm and cold: the same questions on the same timetable, counted by Z3 itself, and timed.


class SolverRow(msgspec.Struct, frozen=True):
    """Questions on a timetable. ``spent`` is Z3's own deterministic count (``rlimit count``), a question."""

    conditions: int
    minimal: bool
    """Whether each verdict comes with reasons none of which is in vain."""
    questions: int
    cold_spent: float
    warm_spent: float
    cold_ms: float
    warm_ms: float
    same: bool
    """Whether both came to the same verdicts."""


def timetable(context: Any, jobs: int) -> dict[str, Any]:
    """Return a timetable of *jobs* as named conditions: jobs in chains, and pairs of jobs that share a machine."""
    import z3

    job = [z3.Int(f"job {number}", context) for number in range(jobs)]
    found = {f"job {at} is in time": z3.And(job[at] >= 0, job[at] <= 2 * jobs) for at in range(jobs)}
    for at in range(jobs - 3):
        found[f"job {at + 3} follows job {at}"] = job[at + 3] >= job[at] + 2 + at % 4
    for at in range(0, jobs - 1, 2):
        found[f"jobs {at} and {at + 1} share a machine"] = z3.Or(job[at] + 3 <= job[at + 1], job[at + 1] + 2 <= job[at])
    return found


def question(context: Any, jobs: int, number: int) -> Any:
    """Return a question on job *number*, for :meth:`~interwhen.toolkit.solving.Problem.follows`."""
    import z3

    return z3.Int(f"job {number}", context) <= (3 * jobs // 2 if number % 2 else 2 * jobs + 5)


def solver_rows(sizes: tuple[int, ...] = (20, 40, 60), questions: int = 12) -> tuple[SolverRow, ...]:
    """Return a row for each size, with and without minimal reasons; none where Z3 is not installed."""
    try:
        return tuple(solver_row(jobs, questions, minimal=minimal) for minimal in (False, True) for jobs in sizes)
    except MissingExtraError:
        return ()


def solver_row(jobs: int, questions: int, *, minimal: bool) -> SolverRow:
    """Ask *questions*, each of a warm problem and of one that is built for it. Raises :class:`MissingExtraError`."""
    from interwhen.toolkit.solving import Problem, WarmProblem, WarmProblems

    def build(found: Problem) -> None:
        for name, condition in timetable(found.context, jobs).items():
            found.require(name, condition)

    pool = WarmProblems(minimal=minimal)
    with pool.problem("timetable", build) as found:
        found.follows(question(found.context, jobs, 0))
        size = found.size
    spent, seconds = [0, 0], [0.0, 0.0]
    kinds: tuple[list[type[Verdict]], list[type[Verdict]]] = ([], [])
    for number in range(0, jobs, max(jobs // questions, 1)):
        begun = time.perf_counter()
        with pool.problem("timetable", build) as found:
            before = found.spent
            kinds[0].append(type(found.follows(question(found.context, jobs, number))))
            spent[0] += found.spent - before
        seconds[0] += time.perf_counter() - begun
        begun = time.perf_counter()
        fresh = WarmProblem(build, minimal=minimal, ahead=False)
        kinds[1].append(type(fresh.follows(question(fresh.context, jobs, number))))
        seconds[1] += time.perf_counter() - begun
        spent[1] += fresh.spent
    asked = len(kinds[0])
    return SolverRow(
        conditions=size,
        minimal=minimal,
        questions=asked,
        cold_spent=spent[1] / asked,
        warm_spent=spent[0] / asked,
        cold_ms=1e3 * seconds[1] / asked,
        warm_ms=1e3 * seconds[0] / asked,
        same=kinds[0] == kinds[1],
    )


PASSES = 4
_READING = Weights().reading


class CostRow(msgspec.Struct, frozen=True):
    """One arm on one family. Tokens are a query's, in the mean; costs are over those of ``nothing``."""

    family: FamilyName
    predictable: float
    """The share of questions that could have been foreseen."""
    arm: PreparedArm
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
    found: dict[PreparedArm, list[list[Asked]]] = {arm: [] for arm in ARMS}
    offline: dict[PreparedArm, list[int]] = {arm: [] for arm in ARMS}
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
    arm: PreparedArm,
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


# The report of ``interwhen bench precompute`` as tables.

_SIMULATED = "SIMULATED model: slips in {step:.0%} of its lines and {fact:.0%} of its proposals; {vague:.0%} are vague"


def tables(report: PrecomputeReport) -> list[Table]:
    """Return *report* as tables."""
    return [_costs(report), _curve(report), _gate(report), _errors(report), _solvers(report)]


def local_table(report: LocalPrecompute) -> Table:
    """Return the run with the local model as a table."""
    shown = _table(f"interwhen bench precompute · {report.model} · running totals", "what", "nothing", "precomputed")
    shown.add_row("right", f"{report.right_before:.0%}", f"{report.right_after:.0%}")
    shown.add_row("tokens a query", f"{report.generated_before:.1f}", f"{report.generated_after:.1f}")
    shown.add_row("answers stored", "", f"{report.answers_stored} of {report.problems}")
    shown.add_row("  of them wrong", "", f"{report.wrong_stored}")
    shown.add_row("facts stored", "", f"{report.facts_stored}")
    shown.add_row("tokens ahead of time, a context", "", f"{report.offline:.1f}")
    shown.add_row("cost a query at 10 queries, t = 10", "1", f"{report.cost_10:.2f}")
    shown.add_row("cost a query at 10 queries, t = 1", "1", f"{report.cost_1:.2f}")
    return shown


def _costs(report: PrecomputeReport) -> Table:
    shown = _table(
        f"interwhen bench precompute · {report.contexts} contexts of {report.questions} questions · {report.machine}",
        "family",
        "foreseen",
        "prepared",
        "tokens a query",
        "times fewer",
        "right",
        "ahead of time",
        "cost t=10",
        "cost t=1",
        "t=10, reading",
        "breaks even at",
    )
    for row in report.costs:
        shown.add_row(
            row.family,
            f"{row.predictable:.0%}",
            row.arm,
            f"{row.generated:.1f}",
            "none left" if row.fewer is None else f"{row.fewer:.1f}",
            f"{row.right:.1%}",
            f"{row.offline:.0f}",
            *(f"{row.cost[key]:.2f}" for key in ("10", "1", "10, reading")),
            "never" if row.break_even is None else f"{row.break_even:.1f} queries",
        )
    shown.caption = _SIMULATED.format(**report.rates)
    return shown


def _curve(report: PrecomputeReport) -> Table:
    shown = _table(
        "Passes, read by a model that nobody watches", "family", "notes", "passes", "right", "notes", "wrong"
    )
    for point in report.curve:
        row = (f"{point.accuracy:.1%}", f"{point.facts:.1f}", f"{point.wrong:.1%}")
        shown.add_row(point.family, point.arm, f"{point.passes}", *row)
    return shown


def _gate(report: PrecomputeReport) -> Table:
    shown = _table("The gate (simulated items)", "a run with it", "t", "cost over the better", "kept", "dropped")
    for row in report.gate:
        shares = (f"{row.kept:.0%}", f"{row.dropped:.0%}")
        shown.add_row(f"{row.ratio:.2f} times", f"{row.weight:g}", f"{row.cost:.3f}", *shares)
    return shown


def _errors(report: PrecomputeReport) -> Table:
    shown = _table("Items that make no difference, looked at after each pair", "item", "kept", "dropped", "bar")
    for row in report.errors:
        shown.add_row(row.item, f"{row.kept:.1%}", f"{row.dropped:.1%}", "≤ 5 % together")
    return shown


def _solvers(report: PrecomputeReport) -> Table:
    shown = _table(
        "Z3, a question",
        "conditions",
        "reasons",
        "cold",
        "warm",
        "times cheaper",
        "cold, ms",
        "warm, ms",
        "times faster",
    )
    for row in report.solvers:
        shown.add_row(
            f"{row.conditions}",
            "minimal" if row.minimal else "any",
            f"{row.cold_spent:,.0f}",
            f"{row.warm_spent:,.0f}",
            f"{row.cold_spent / row.warm_spent:.1f}",
            f"{row.cold_ms:.1f}",
            f"{row.warm_ms:.1f}",
            f"{row.cold_ms / row.warm_ms:.1f}",
        )
    shown.caption = "cold and warm in Z3's own count (rlimit count)"
    return shown


def _table(title: str, first: str, *others: str) -> Table:
    shown = Table(title=title, title_justify="left")
    shown.add_column(first)
    for name in others:
        shown.add_column(name, justify="right")
    return shown
