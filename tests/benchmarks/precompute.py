"""``python -m tests.benchmarks precompute``: measures what precompute saves, and what the serving gate decides.

By default, a SIMULATED model makes mistakes at stated rates, with the real engine and store.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from interwhen import Model, Sampling, UsageError, run
from interwhen._types.vetting import Above, Positive, vetted
from interwhen.bench._experiment import Experiment, command_of, say
from interwhen.bench._report import Chart, Report, Row, Series, Table
from interwhen.bench._statistics import Estimate, estimate
from interwhen.models import Request
from interwhen.precompute import ContextRef, Kind, MemoryShelf, Precomputer, Producer, Store
from interwhen.precompute._gate import Arm, Gate, GateRule, Pair, Stage, Weights
from interwhen.precompute._served_items import ServeReady, choose_facts, with_facts
from interwhen.precompute.producers._statements import ask_for, numbered, read_statements
from interwhen.precompute.producers.answers import answers, compose
from interwhen.precompute.producers.facts import facts, notes_of
from tests.benchmarks.precompute_local import measure_local
from tests.benchmarks.precompute_world import (
    FAMILIES,
    Case,
    CaseQuestion,
    FamilyName,
    MistakeRates,
    SlippingModel,
    sources,
)

# The arms ask the same questions about the same contexts: with nothing prepared, with facts, with answers, with both.

PreparedArm = Literal["nothing", "facts", "answers", "both"]
_KINDS: dict[PreparedArm, tuple[Kind, ...]] = {
    "nothing": (),
    "facts": ("facts",),
    "answers": ("answers",),
    "both": ("facts", "answers"),
}
_STEP_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Asked:
    """The result of asking one question: generated tokens, prompt tokens, whether the answer is right and verified."""

    generated: int
    read: int
    """Prompt tokens, as the simulated model counts them."""
    right: bool
    verified: bool
    items: tuple[str, ...]
    """The precomputed items that the run used."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A prepared context: its case with the questions, the simulated model, and the precomputer with its items."""

    case: Case
    model: SlippingModel
    precomputer: Precomputer
    ref: ContextRef

    @property
    def offline(self) -> int:
        """Tokens that precompute generated, whether or not it stored their result."""
        return self.precomputer.contexts[self.ref.name].spending.cost.generated


def make_case(family: FamilyName, seed: int, questions: int, predictable: float) -> Case:
    """Generate a context with *questions* questions of *family*; the same arguments give the same case.

    *predictable* is the probability that a question can be foreseen.
    """
    return FAMILIES[family](random.Random(f"{family} {seed}"), questions, predictable)


async def prepare(
    case: Case,
    arm: PreparedArm,
    *,
    seed: int,
    passes: int,
    rates: MistakeRates,
    min_gain: float = 2.0,
    misses: float = 0.0,
) -> Setting:
    """Run precompute for *case*, and return the prepared context.

    *arm* selects what is prepared. *rates* are the probabilities of the mistakes of the simulated model. *passes* is
    how often precompute goes over the context at most. *misses* is about the share of wrong statements that the monitor
    passes.
    """
    model = SlippingModel(case, rates, seed=seed)
    producers: list[Producer] = [
        facts(
            link="chain" if case.family == "states" else "none",
            min_gain=min_gain,
            max_tokens=_STEP_TOKENS,
            grounding="monitors",  # they work out each statement from the text
        ),
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


async def ask(setting: Setting, question: CaseQuestion, *, bare: bool = False) -> Asked:
    """Ask *question* about the context of *setting*, in a run with its monitors.

    The run may use the precomputed items, unless *bare* is true.
    """
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


async def ask_trusting(case: Case, model: Model, question: CaseQuestion, notes: Sequence[str]) -> bool:
    """Return whether *model* answers *question* right if no monitor checks the answer.

    The most relevant of *notes* for the question are in the prompt.
    """
    prompt = compose(case.text, question.text)
    lines = [(note, "") for note in notes]
    async with run(model, as_noted(prompt, lines, question.text)) as plain:
        result = await plain.drain()
    return is_right(case, question, result.text)


def as_noted(prompt: str, notes: Sequence[tuple[str, str]], question: str) -> str:
    """Return *prompt* with the most relevant of *notes* (text and id) for *question*, chosen as facts are."""
    serving = ServeReady()
    chosen, _ = choose_facts(notes, question, most=serving.most, budget=serving.budget)
    found = with_facts(prompt, chosen) if chosen else prompt
    assert isinstance(found, str)
    return found


def is_right(case: Case, question: CaseQuestion, text: str) -> bool:
    """Return whether the last line of *text* answers *question* right. The generator of *case* knows the answer."""
    last = next(iter(reversed(text.strip().splitlines())), "")
    found = case.read(last)
    return found is not None and found[0] == question.about and case.right(question, found[1])


# The pass curve: how more passes of consolidation change answers, with verified notes, unverified notes, and no notes.
#
# ``verified``: the facts that an exact verifier accepted. ``leaky``: the facts that a verifier accepted which misses a
# twentieth of the errors; later passes build on these errors. ``unverified``: all proposed facts. ``verbatim``: only
# the text, without notes.

MISSES = 0.05
"""About the share of the wrong statements that the verifier of the arm ``leaky`` passes."""
CURVE_PASSES = (1, 2, 4, 8)


class CurvePoint(NamedTuple):
    """One point of the pass curve: how right the answers of a model are that trusts the notes of the first passes."""

    accuracy: float
    """The share of right answers, from 0 to 1."""
    notes: float
    """The mean number of notes per context."""
    wrong: float
    """The share of notes that state a wrong value, by the generator; 0 if there are no notes."""


_Read = tuple[Case, SlippingModel, list[str]]
"""A case, the model that answers its questions, and the notes for its prompts."""


async def curve(
    family: FamilyName,
    *,
    contexts: int,
    questions: int,
    rates: MistakeRates,
    seed: int = 0,
    most: Sequence[int] = CURVE_PASSES,
) -> dict[tuple[str, int], CurvePoint]:
    """Return the pass curve: the accuracy of a model that trusts the notes, by kind of notes and number of passes.

    *contexts* contexts of *family* are generated, with *questions* questions each.
    """
    found: dict[tuple[str, int], list[_Read]] = {}
    for number in range(seed, seed + contexts):
        case = make_case(family, number, questions, 0.5)
        model = SlippingModel(case, rates, seed=number)
        by_arm: dict[str, dict[int, list[str]]] = {
            "verified": await _verified(case, number, max(most), rates),
            "leaky": await _verified(case, number, max(most), rates, misses=MISSES),
            "unverified": await _unverified(case, model, max(most)),
            "verbatim": {},
        }
        for arm, by_pass in by_arm.items():
            for passes in most:
                notes = [note for at, said in sorted(by_pass.items()) if at <= passes for note in said]
                found.setdefault((arm, passes), []).append((case, model, notes))
    return {key: await _point(read) for key, read in found.items()}


async def _point(found: Sequence[_Read]) -> CurvePoint:
    right = [
        await ask_trusting(case, model, question, notes) for case, model, notes in found for question in case.questions
    ]
    wrong = [_is_wrong(case, note) for case, _, notes in found for note in notes]
    return CurvePoint(sum(right) / len(right), len(wrong) / len(found), statistics.fmean(wrong) if wrong else 0.0)


async def _verified(
    case: Case, seed: int, passes: int, rates: MistakeRates, *, misses: float = 0.0
) -> dict[int, list[str]]:
    """Return the facts that precompute derives from *case* in *passes* passes, by the number of the pass.

    *misses* is about the share of wrong statements that the monitor passes.
    """
    setting = await prepare(case, "facts", seed=seed, passes=passes, rates=rates, min_gain=0.0, misses=misses)
    found: dict[int, list[str]] = {}
    for item in setting.precomputer.ready(setting.ref):
        found.setdefault(int(item.step.rpartition("/")[2]), []).extend(fact.said for fact in notes_of(item).facts)
    await setting.precomputer.aclose()
    return found


async def _unverified(case: Case, model: SlippingModel, passes: int) -> dict[int, list[str]]:
    """Let *model* propose statements about *case* in *passes* passes. Return those of each pass, by its number.

    A pass builds on the earlier proposals, which nothing has checked.
    """
    found: dict[int, list[str]] = {}
    known: list[str] = []
    for number in range(1, passes + 1):
        for _, text in case.pieces:
            given = numbered(text, known)
            reply = await model.complete(Request(ask_for(given, 12), sampling=Sampling(temperature=0.0)))
            said = [statement.said for statement in read_statements(reply.text, given)]
            found.setdefault(number, []).extend(said)
            known += said
    return found


def _is_wrong(case: Case, note: str) -> bool:
    read = case.read(note)
    return read is not None and case.truth.get(read[0]) != read[1]


# The serving gate, SIMULATED: items of known usefulness are served, and the gate decides about them.

RATIOS = (0.1, 0.3, 0.5, 0.8, 0.95, 1.0, 1.05, 1.2, 2.0)
"""The mean length of runs with the item, divided by that of runs without it, before the limit of tokens."""
LIMIT = 1200
_SIZE = 300
_SPREAD = 0.3
_MEAN = -_SPREAD * _SPREAD / 2
"""The mean of the normal distribution, so that the log-normal factor has mean 1."""


Worthless = Literal["steady", "noisy", "rare gain", "rare loss"]
"""Items without a mean effect. Runs differ by a little (``steady``) or by a lot (``noisy``), or rarely by a lot."""
WORTHLESS: tuple[Worthless, ...] = get_args(Worthless)


def cost_row(ratio: float, weight: float, *, queries: int = 1000, items: int = 20, seed: int = 0) -> dict[str, float]:
    """Simulate how the serving gate decides about *items* prepared items, and what the queries cost.

    An item makes a run *ratio* times as long on average, before the limit of tokens. A token that a reader waits for
    costs *weight* times as much as another one. The result ``cost`` is divided by the lower cost of always or never
    using the item. ``kept`` and ``dropped`` are shares of the items.
    """
    runs = [life(ratio, weight, queries, seed + number) for number in range(items)]
    gated, always, never = (sum(costs[at] for _, costs in runs) for at in range(3))
    kept, dropped = _shares([gate.stage for gate, _ in runs])
    return {"cost": gated / min(always, never), "kept": kept, "dropped": dropped}


def queries_until_decided(ratio: float, limit: int, seed: int, most: int = 2000) -> tuple[Stage, int]:
    """Return the first decision of the gate about an item, and after how many queries it came.

    Without a decision, the result is ``trial`` and *most*. Before the limit of *limit* tokens, a run with the item is
    *ratio* times as long, on average, as one without it.
    """
    rng, gate = random.Random(f"{ratio} {limit} {seed}"), Gate()
    for query in range(1, most + 1):
        size = limit / 10 * rng.lognormvariate(_MEAN, _SPREAD)
        without = Arm(min(limit, round(size)))
        used = Arm(min(limit, round(size * ratio * rng.lognormvariate(_MEAN, _SPREAD))))
        choice = gate.choose(rng.random())
        gate.charge(used if choice.use else without, used=choice.use)
        if choice.pair and gate.observe(Pair(without, used, limit, "without" if choice.use else "used")):
            return gate.stage, query
    return gate.stage, most


def error_row(item: Worthless, *, pairs: int = 400, items: int = 400, seed: int = 0) -> dict[str, float]:
    """Simulate how often the gate decides about *items* items that have no mean effect.

    Each item is measured in *pairs* pairs of runs. The result has the shares of the items that the gate's first
    decision keeps or drops.
    """
    first: list[Stage] = []
    for number in range(items):
        rng, gate = random.Random(f"{item} {seed} {number}"), Gate()
        for _ in range(pairs):
            gate.observe(_pair(item, rng))
        first.append(gate.record.moves[0].to if gate.record.moves else "trial")
    kept, dropped = _shares(first)
    return {"kept": kept, "dropped": dropped}


def _pair(item: Worthless, rng: random.Random) -> Pair:
    if item in ("steady", "noisy"):
        spread = 0.1 if item == "steady" else 0.4
        one, other = (min(LIMIT, int(_SIZE * rng.lognormvariate(0, spread))) for _ in range(2))
        return Pair(Arm(one), Arm(other), LIMIT)
    # In one of nineteen runs the item saves (or costs) 390 of 690 tokens, otherwise it costs (or saves) 10 of 310. The
    # mean of these shares is 0.
    often, rare = 10 / (_SIZE + 10), 390 / (_SIZE + 390)
    is_rare = rng.random() < often / (often + rare)
    more, less = (Arm(_SIZE + 390), Arm(_SIZE)) if is_rare else (Arm(_SIZE), Arm(_SIZE + 10))
    return Pair(more, less, LIMIT) if item == "rare gain" else Pair(less, more, LIMIT)


def life(ratio: float, weight: float, queries: int, seed: int) -> tuple[Gate, tuple[float, float, float]]:
    """Simulate *queries* queries with one item, and return the gate of the item and three total costs.

    The costs are those with the gate and its second runs of pairs, with the item in every query, and with the item in
    no query. *ratio* and *weight* are those of :func:`cost_row`.
    """
    weights = Weights(test=weight)
    rng, gate = random.Random(f"{ratio} {seed}"), Gate(rule=GateRule(weights=weights))
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


# The report.

PASSES = 4
_SIMULATED = (
    "SIMULATED model: mistakes in {0.step:.0%} of its lines and {0.fact:.0%} of its proposals; {0.vague:.0%} are vague."
)


class PreparedCost(NamedTuple):
    """The costs of one arm (what was prepared) on contexts of one family.

    The fields from ``fewer`` on compare the arm with the arm ``nothing``.
    """

    generated: float
    """Tokens generated per query, while a reader waits."""
    offline: float
    """Tokens that precompute generated per context."""
    right: float
    """The share of right answers, from 0 to 1."""
    verified: float
    """The share of verified answers, from 0 to 1."""
    fewer: float | None
    """Tokens per query with nothing prepared, divided by :attr:`generated`; ``None`` if that is 0."""
    saved: Estimate
    """Tokens saved per query: the median over contexts, with its interval."""
    cost_10: float
    """The cost per query at 10 queries per context, including offline tokens, if a reader's token weighs 10."""
    cost_1: float
    """As :attr:`cost_10`, if a reader's token weighs 1."""
    cost_reading: float
    """As :attr:`cost_10`, including the prompt tokens of the queries."""
    break_even: float | None
    """The number of queries per context from which the arm is cheaper than ``nothing`` at weight 10; ``None`` if
    it never is."""


async def cost_rows(
    family: FamilyName,
    predictable: float,
    *,
    contexts: int,
    questions: int,
    rates: MistakeRates,
    seed: int,
    minutes: float | None = None,
) -> dict[PreparedArm, PreparedCost]:
    """Measure the costs of each arm with the same questions, and return them by arm.

    *predictable* is the probability that a question can be foreseen. After *minutes* minutes, no further context
    begins.
    """

    async def prepared(arm: PreparedArm, number: int) -> tuple[list[Asked], int]:
        case = make_case(family, seed + number, questions, predictable)
        setting = await prepare(case, arm, seed=seed + number, passes=PASSES, rates=rates)
        asked = [await ask(setting, question) for question in case.questions]
        offline = setting.offline
        await setting.precomputer.aclose()
        return asked, offline

    found = await Experiment(tuple(_KINDS), contexts, seed, warm_up=0, minutes=minutes).run(prepared)
    return {arm: _cost(runs, found["nothing"]) for arm, runs in found.items()}


def _cost(runs: Sequence[tuple[list[Asked], int]], bare: Sequence[tuple[list[Asked], int]]) -> PreparedCost:
    def mean(name: str, of: Sequence[tuple[list[Asked], int]]) -> float:
        return statistics.fmean(getattr(one, name) for asked, _ in of for one in asked)

    generated, usual = (mean("generated", of) for of in (runs, bare))
    reading = Weights().reading
    weighed, usual_weighed = (mean("generated", of) + reading * mean("read", of) for of in (runs, bare))
    offline = statistics.fmean(spent for _, spent in runs)
    saved = [mean("generated", [past]) - mean("generated", [now]) for past, now in zip(bare, runs, strict=True)]
    return PreparedCost(
        generated=generated,
        offline=offline,
        right=mean("right", runs),
        verified=mean("verified", runs),
        fewer=usual / generated if generated else None,
        saved=estimate(saved),
        cost_10=(offline / 10 + 10 * generated) / (10 * usual),
        cost_1=(offline / 10 + generated) / usual,
        cost_reading=(offline / 10 + 10 * weighed) / (10 * usual_weighed),
        break_even=offline / (10 * (usual - generated)) if usual > generated else None,
    )


@vetted("--")
async def precompute(
    *,
    model: str = "simulated",
    contexts: Positive = 8,
    questions: Positive = 10,
    gate_items: Positive = 20,
    seed: int = 0,
    minutes: Above | None = None,
) -> Report:
    """Measure what work ahead of time saves, on generated contexts, and what the serving gate decides.

    By default, a SIMULATED model makes mistakes at stated rates, with the real engine and store. ``--model local`` runs
    the real local model instead, on running totals, and without the gate.

    Parameters
    ----------
    model
        "simulated", "local" (the tiny model that comes with interwhen) or "local:PATH.gguf".
    contexts
        How many contexts are generated for each family and each share of predictable questions. The local model gets
        five times as many problems.
    questions
        How many questions are asked about each context.
    gate_items
        For how many simulated items of each worth the gate decides.
    seed
        The seed of all random choices.
    minutes
        Begin no further context for a family and share after this many minutes with them. The rest is not limited.
    """
    kind, _, spec = model.partition(":")
    if kind == "local":
        from interwhen.models._local import open_local

        async with open_local(spec) as opened:
            return await measure_local(opened, problems=5 * contexts, seed=seed)
    if model != "simulated":
        raise UsageError(f"--model must be 'simulated', 'local' or 'local:PATH.gguf', got {model!r}; correct it")
    return await simulate(contexts=contexts, questions=questions, gate_items=gate_items, seed=seed, minutes=minutes)


async def simulate(
    *,
    contexts: int,
    questions: int,
    gate_items: int,
    seed: int = 0,
    minutes: float | None = None,
    predictable: Sequence[float] = (1.0, 0.5, 0.0),
    families: Sequence[FamilyName] = tuple(FAMILIES),
) -> Report:
    """Run the whole simulated benchmark of precompute, and return its report.

    After *minutes* minutes, no further context of a family and share begins.
    """
    rates = MistakeRates()
    costs: list[Row] = []
    points: dict[FamilyName, dict[tuple[str, int], CurvePoint]] = {}
    for family in families:
        for share in predictable:
            say(f"{family}, {share:.0%} of the questions foreseen: {contexts} contexts of {questions} questions")
            found = await cost_rows(
                family, share, contexts=contexts, questions=questions, rates=rates, seed=seed, minutes=minutes
            )
            costs += [_cost_row(family, share, arm, cost) for arm, cost in found.items()]
        say(f"{family}: passes")
        points[family] = await curve(family, contexts=contexts, questions=questions, rates=rates, seed=seed)
    say(f"the gate: {gate_items} items of each worth")
    notes: list[Row] = [
        {
            "family": family,
            "notes": arm,
            "passes": passes,
            "right": _percent(at.accuracy),
            "count": at.notes,
            "wrong": _percent(at.wrong),
        }
        for family, by_arm in points.items()
        for (arm, passes), at in by_arm.items()
    ]
    return Report(
        benchmark="precompute",
        subject="SIMULATION",
        tables=(
            Table(f"{contexts} contexts of {questions} questions", tuple(costs), _SIMULATED.format(rates)),
            Table("Passes, read by a model without a monitor", tuple(notes)),
            Table("The gate (simulated items)", tuple(_gate_rows(gate_items, seed))),
            Table("Queries until the gate decides (simulated items)", tuple(_speed_rows(gate_items, seed))),
            Table("Items that make no difference, looked at after each pair", tuple(_error_rows(gate_items, seed))),
        ),
        charts=tuple(_passes_chart(family, by_arm) for family, by_arm in points.items()),
    )


def _percent(share: float, limit: float | None = None) -> Estimate:
    return Estimate(100 * share, "%", limit=limit)


def _cost_row(family: str, predictable: float, arm: str, cost: PreparedCost) -> Row:
    return {
        "family": family,
        "foreseen": _percent(predictable),
        "prepared": arm,
        "tokens a query": cost.generated,
        "saved": cost.saved,
        "times fewer": "no tokens left" if cost.fewer is None else cost.fewer,
        "right": _percent(cost.right),
        "verified": _percent(cost.verified),
        "ahead of time": cost.offline,
        "cost t=10": cost.cost_10,
        "cost t=1": cost.cost_1,
        "t=10, reading": cost.cost_reading,
        "breaks even at": "never" if cost.break_even is None else Estimate(cost.break_even, "queries"),
    }


def _gate_rows(items: int, seed: int) -> Iterator[Row]:
    for weight in (10.0, 1.0):
        for ratio in RATIOS:
            row = cost_row(ratio, weight, items=items, seed=seed)
            shares = {name: _percent(row[name]) for name in ("kept", "dropped")}
            yield {"a run with it": f"{ratio:.2f} times", "t": weight, "cost over the better": row["cost"], **shares}


def _speed_rows(items: int, seed: int) -> Iterator[Row]:
    for ratio in (0.1, 0.2, 0.5, 0.7, 2.0, 5.0):
        row: Row = {"a run with it": f"{ratio:.2f} times"}
        for limit in (200, 800, 2000):
            found = sorted(queries_until_decided(ratio, limit, seed + number)[1] for number in range(items))
            row[f"limit {limit}"] = estimate(found, "queries")
        yield row


def _error_rows(items: int, seed: int) -> Iterator[Row]:
    for item in WORTHLESS:
        row = error_row(item, items=20 * items, seed=seed)
        both = _percent(row["kept"] + row["dropped"], limit=5.0)
        yield {"item": item, "kept": _percent(row["kept"]), "dropped": _percent(row["dropped"]), "together": both}


def _passes_chart(family: str, points: Mapping[tuple[str, int], CurvePoint]) -> Chart:
    by_arm: dict[str, list[tuple[float, float]]] = {}
    for (arm, passes), point in points.items():
        by_arm.setdefault(arm, []).append((float(passes), 100 * point.accuracy))
    series = tuple(Series(arm, tuple(each), color=at) for at, (arm, each) in enumerate(by_arm.items()))
    return Chart(f"{family}: right answers over passes", "passes", "right, %", series)


command = command_of(precompute, has_charts=True)
