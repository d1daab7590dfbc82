"""``interwhen bench compare``: compares strategies on the same exercises, model and verifiers, at equal budgets."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import anyio
import msgspec
from cyclopts import Parameter

from interwhen import Model, Sampling, UsageError, Workers, load_model
from interwhen._types.extensions import WorkerPool
from interwhen.bench._experiment import Experiment, command_of, say
from interwhen.bench._pictures import Chart, Series
from interwhen.bench._report import Report, Row, Table
from interwhen.bench._statistics import Estimate, mcnemar
from interwhen.bench._task_files import SHIPPED
from interwhen.registry import Api
from interwhen.strategies import Exercise, Outcome, Strategy, attempt, load_exercises, load_strategies
from interwhen.strategies._shared_samples import SharedModel
from interwhen.testing import Rate

Arm = tuple[int, str]
"""A budget and the name of a strategy."""


class GradedAttempt(msgspec.Struct, frozen=True):
    """The graded result of one attempt of a strategy at one exercise."""

    outcome: Outcome
    right: bool
    """Whether the attempt gave an answer and the answer is right."""
    exercise: int
    """The index of the exercise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Settings of a comparison: it runs each strategy on each exercise with each budget."""

    exercises: Sequence[Exercise]
    strategies: Sequence[Strategy]
    budgets: Sequence[int]
    """Budgets of an attempt, in generated tokens."""
    sampling: Sampling
    seed: int = 0
    share: bool = True
    """Whether strategies share the text of equal requests. The text is generated once, and each is charged for it."""
    counts_prompts: bool = False
    """Whether prompt tokens use up the budget, too."""
    minutes: float | None = None

    async def run(
        self, model: Model, *, keep: Callable[[Attempts], None] | None = None, workers: WorkerPool | None = None
    ) -> Attempts:
        """Run every strategy on every exercise with every budget, one attempt at a time.

        After each exercise, *keep* is called with the attempts so far, so that a long comparison can be interrupted.
        """
        begun = time.perf_counter()
        shared = SharedModel(model)
        strategies = {strategy.name: strategy for strategy in self.strategies}
        arms = [(budget, name) for budget in self.budgets for name in strategies]
        found: dict[Arm, list[GradedAttempt]] = {arm: [] for arm in arms}
        unshared = 0
        done = Attempts({}, 0, 0, 0.0)
        # The order is random: the first arm warms the cache of the server.
        experiment = Experiment(arms, len(self.exercises), self.seed, warm_up=0, minutes=self.minutes)
        for number, order in experiment.rounds():
            exercise = self.exercises[number]
            for budget, name in order:
                shares = self.share and not strategies[name].meets_model
                outcome = await attempt(
                    strategies[name],
                    shared if shares else model,
                    exercise.question,
                    budget=budget,
                    seed=self.seed,
                    sampling=self.sampling,
                    counts_prompts=self.counts_prompts,
                    workers=workers,
                    clock=lambda: time.perf_counter() + shared.borrowed,
                )
                unshared += 0 if shares else outcome.ledger.total_tokens
                right = outcome.answered and exercise.grade(outcome.answer or "")
                found[budget, name].append(GradedAttempt(outcome, right, number))
            attempts = {arm: tuple(each) for arm, each in found.items()}
            done = Attempts(attempts, shared.generated + unshared, number + 1, time.perf_counter() - begun)
            say(f"{done.exercises} of {len(self.exercises)} exercises, {done.seconds:.0f} s")
            if keep is not None:
                keep(done)
        return done


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts of a comparison."""

    by_arm: Mapping[Arm, Sequence[GradedAttempt]]
    generated: int
    """Tokens that the model generated. Strategies that share text are charged for more tokens in total."""
    exercises: int
    """The number of exercises that all strategies attempted."""
    seconds: float

    def report(self, subject: str, baseline: str) -> Report:
        """Return the tables and the chart about *subject*, with paired tests of the strategies against *baseline*."""
        order = sorted(
            self.by_arm, key=lambda arm: (arm[0], -_right(self.by_arm[arm]), _tokens(self.by_arm[arm]), arm[1])
        )
        against = {arm: self.by_arm.get((arm[0], baseline), self.by_arm[arm]) for arm in order}
        pairs = tuple(_against_row(arm, self.by_arm[arm], against[arm]) for arm in order if arm[1] != baseline)
        return Report(
            benchmark="compare",
            subject=f"{subject}; {self.exercises} exercises, {self.generated:,} tokens generated, {self.seconds:.0f} s",
            tables=(
                Table("Quality", tuple(_quality_row(arm, self.by_arm[arm]) for arm in order)),
                Table("Tokens of an attempt", tuple(_token_row(arm, self.by_arm[arm]) for arm in order)),
                *([Table(f"Against {baseline}", pairs)] if pairs else []),
            ),
            charts=(self._chart(),) if self.by_arm else (),
            observations=tuple(msgspec.to_builtins(each) for arm in order for each in self.by_arm[arm]),
        )

    def _chart(self) -> Chart:
        series = []
        for at, name in enumerate(dict.fromkeys(name for _, name in self.by_arm)):
            mine = [self.by_arm[arm] for arm in sorted(self.by_arm) if arm[1] == name]
            cells = [_share(_right(attempts), len(attempts)) or Estimate(0.0) for attempts in mine]
            points = tuple((_tokens(attempts), cell.value) for attempts, cell in zip(mine, cells, strict=True))
            series.append(Series(name, points, tuple((cell.low or 0.0, cell.high or 0.0) for cell in cells), at))
        best = [self.by_arm[arm] for arm in front(self.by_arm)]
        points = tuple((_tokens(attempts), 100 * _right(attempts) / len(attempts)) for attempts in best)
        series.append(Series("not beaten by any", points, color=7, dashed=True))
        x = "generated tokens of an attempt (mean): kept, discarded, forks, offline"
        return Chart("Right answers over tokens", x, "right answers, %", tuple(series), log_x=True)


def _right(attempts: Sequence[GradedAttempt]) -> int:
    return sum(attempt.right for attempt in attempts)


def _tokens(attempts: Sequence[GradedAttempt]) -> float:
    return statistics.fmean(attempt.outcome.ledger.total_tokens for attempt in attempts)


def _share(hits: int, of: int) -> Estimate | None:
    """Return *hits* in percent of *of*, with an interval; ``None`` if *of* is 0."""
    rate = Rate.make(hits, of)
    return None if rate.value is None else Estimate(100 * rate.value, "%", 100 * rate.low, 100 * rate.high, of)


def front(by_arm: Mapping[Arm, Sequence[GradedAttempt]]) -> list[Arm]:
    """Return the Pareto front, cheapest first: no other arm has as many right answers for fewer tokens."""
    best: list[Arm] = []
    for arm in sorted(by_arm, key=lambda arm: (_tokens(by_arm[arm]), -_right(by_arm[arm]))):
        if not best or _right(by_arm[arm]) > _right(by_arm[best[-1]]):
            best.append(arm)
    return best


def paired_answers(base: Sequence[GradedAttempt], attempts: Sequence[GradedAttempt]) -> tuple[int, int]:
    """Count the exercises that only *attempts* got right, and those that only *base* got right."""
    pairs = list(zip(base, attempts, strict=True))
    return sum(b.right > a.right for a, b in pairs), sum(b.right < a.right for a, b in pairs)


def _quality_row(arm: Arm, attempts: Sequence[GradedAttempt]) -> Row:
    answered = [each for each in attempts if each.outcome.answered]
    # Only a check that knows the task and judged the answer shows that the answer is right.
    proven = [each for each in attempts if each.outcome.answer_verified]
    steps = [each for each in attempts if each.outcome.status == "verified" and not each.outcome.answer_verified]
    count = len(attempts)
    return {
        "strategy": arm[1],
        "budget": arm[0],
        "right": _share(_right(attempts), count),
        "answered": _share(len(answered), count),
        "sound": _share(_right(answered), len(answered)),
        "answer verified": _share(len(proven), count),
        "right of these": _share(_right(proven), len(proven)),
        "steps verified": _share(len(steps), count),
        "right of those": _share(_right(steps), len(steps)),
        "failed": sum(each.outcome.status == "failed" for each in attempts),
        "tokens": _tokens(attempts),
        "seconds": statistics.fmean(each.outcome.seconds for each in attempts),
    }


def _token_row(arm: Arm, attempts: Sequence[GradedAttempt]) -> Row:
    ledgers = [each.outcome.ledger for each in attempts]

    def mean(*names: str) -> float:
        return statistics.fmean(sum(getattr(ledger, name) for name in names) for ledger in ledgers)

    return {
        "strategy": arm[1],
        "budget": arm[0],
        "prompt": mean("total_prompt_tokens"),
        "of it estimated": mean("estimated_prompt_tokens"),
        "cached": mean("cached_tokens"),
        "kept": mean("kept"),
        "discarded": mean("discarded"),
        "forks": mean("fork_tokens"),
        "offline": mean("offline_tokens"),
        "remedies": mean("remedies"),
        "requests not counted": statistics.fmean(each.outcome.uncounted for each in attempts),
    }


def _against_row(arm: Arm, attempts: Sequence[GradedAttempt], base: Sequence[GradedAttempt]) -> Row:
    fixed, broken = paired_answers(base, attempts)
    checks = [each.outcome.checks for each in attempts]
    # A repair of the last step may write the answer itself, so the report shows the share of such answers.
    handed = sum(each.right and each.outcome.handed for each in attempts)
    return {
        "strategy": arm[1],
        "budget": arm[0],
        "fixed": fixed,
        "broken": broken,
        "p": mcnemar(fixed, broken),
        "could act": _share(sum(each.could_act for each in checks), len(checks)),
        "refuted": _share(sum(each.refuted > 0 for each in checks), len(checks)),
        "handed over": _share(handed, _right(attempts)),
    }


async def compare(
    *,
    task: str,
    budget: str = "2k",
    model: str = "local",
    base_url: str = "",
    api: Api = "chat",
    strategies: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    problems: int = 20,
    seed: int = 0,
    temperature: float = 0.7,
    max_tokens: int = 512,
    against: str | None = None,
    minutes: float | None = None,
    share: bool = True,
    count_prompts: bool = False,
    keep: Callable[[Report], None] | None = None,
) -> Report:
    """Compare strategies: the same exercises, the same model and verifiers, equal budgets, every token counted.

    The budget of an attempt is the number of tokens that it may generate in all: kept, discarded and in forks. Prompt
    tokens are counted separately, unless --count-prompts. The exercises are graded without the verifiers.

    Parameters
    ----------
    task
        An installed task with options ("chain_sum:terms=5,digits=3"), "jsonl:path=FILE", "hub:name=OWNER/NAME", or
        "module:factory" from the working directory, whose code runs.
    budget
        Tokens of an attempt; several with commas between them ("2k,4k,8k").
    model
        An installed model ("local", "local:PATH.gguf"); with --base-url, the model's name there.
    base_url
        An OpenAI-compatible server, with its version: http://localhost:8000/v1. The key is OPENAI_API_KEY.
    api
        The API of that server.
    strategies
        Which ones, with commas between them, options after a colon ("dvts:trees=4"); default: all that are shipped.
    problems
        How many exercises.
    seed
        Seed of the exercises, the samples and the order of attempts.
    temperature
        Of everything that is sampled; greedy text has 0.
    max_tokens
        The most tokens of one trace.
    against
        The strategy that the others are tested against, in pairs; default: greedy, or else the first one.
    minutes
        Begin no further exercise after so many minutes; all strategies finish those that were begun. With --json, the
        report is written after each exercise.
    share
        Generate text that several strategies ask for in the same words once, and bill it to each of them.
    count_prompts
        Prompt tokens use up the budget, too, those of resumed and interrupted requests included.
    """
    chosen = load_strategies(strategies)
    names = [one.name for one in chosen]
    baseline = against or ("greedy" if "greedy" in names else names[0])
    if baseline not in names:
        raise UsageError(f"--against must be one of the strategies ({', '.join(names)}), got {baseline!r}")
    exercises = load_exercises(task, count=problems, seed=seed, shipped=SHIPPED)
    comparison = Comparison(
        exercises=exercises,
        strategies=chosen,
        budgets=read_budgets(budget),
        sampling=Sampling(temperature=temperature, max_tokens=max_tokens),
        seed=seed,
        share=share,
        counts_prompts=count_prompts,
        minutes=minutes,
    )
    opened = load_model(base_url, name=model, api=api) if base_url else load_model(model)
    reported = partial(Attempts.report, subject=f"{task} · {opened.name}", baseline=baseline)
    try:
        async with Workers() as workers:
            kept = None if keep is None else lambda done: keep(reported(done))
            return reported(await comparison.run(opened, keep=kept, workers=workers))
    finally:
        with anyio.CancelScope(shield=True):
            await opened.aclose()


def read_budgets(text: str) -> tuple[int, ...]:
    """Return the budgets in a text such as ``500,2k``. Raises :class:`~interwhen.UsageError`."""
    found = []
    for part in text.split(","):
        plain = part.strip().lower()
        number, factor = (plain[:-1], 1000) if plain.endswith("k") else (plain, 1)
        try:
            tokens = round(float(number) * factor)
        except (ValueError, OverflowError):
            tokens = 0
        if tokens < 1:
            raise UsageError(
                f"--budget must be numbers of tokens, such as 500 or 2k,4k; got {part.strip()!r} in {text!r}"
            )
        found.append(tokens)
    return tuple(dict.fromkeys(found))


command = command_of(compare, has_charts=True)
