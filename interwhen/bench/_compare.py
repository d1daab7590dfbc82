"""``interwhen bench compare``: compares strategies on the same exercises, model and verifiers, at equal budgets."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from interwhen import Sampling, UsageError, Workers
from interwhen._types.errors import DECODE_ERRORS
from interwhen._types.extensions import WorkerPool
from interwhen._types.models import Model
from interwhen._types.vetting import Above, Positive, vetted
from interwhen.bench._experiment import Experiment, check_files, command_of
from interwhen.bench._report import Chart, Report, Row, Series, Table
from interwhen.bench._statistics import Estimate, estimate, mcnemar
from interwhen.bench._task_files import SHIPPED
from interwhen.cli._supervise import closing
from interwhen.registry import Api, load_model
from interwhen.strategies import Exercise, Strategy, attempt
from interwhen.strategies._attempts import load_exercises
from interwhen.strategies._catalog import load_strategies
from interwhen.strategies._shared_samples import SharedModel
from interwhen.strategies._strategy import Outcome
from interwhen.testing._scores import Rate

Arm = tuple[int, str]
"""A budget and the name of a strategy."""
_BEGIN = b'{"task":'
"""The beginning of each line of a file of attempts."""


class GradedAttempt(msgspec.Struct, frozen=True):
    outcome: Outcome
    right: bool
    exercise: int
    """The index of the exercise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Settings: each strategy runs with each budget on the same exercises."""

    exercises: Sequence[Exercise]
    strategies: Sequence[Strategy]
    """Their names must differ."""
    budgets: Sequence[int]
    """In generated tokens of one attempt, without duplicates."""
    sampling: Sampling
    """``max_tokens`` is the limit of one trace."""
    seed: int = 0
    """For the samples and for the order of the attempts."""
    share: bool = True
    """Whether the text of equal requests is generated once and charged to each strategy. Some strategies do not
    share."""
    counts_prompts: bool = False
    """Whether prompt tokens use up the budget, too."""
    minutes: float | None = None
    """After this many minutes, no further exercise begins."""
    made: Mapping[tuple[Arm, int], GradedAttempt] = field(default_factory=dict)
    """Attempts that were made earlier and are not made again, by arm and exercise."""
    when_made: Callable[[GradedAttempt], None] = lambda _: None
    """Called with each new attempt."""


class _Rounds:
    """Makes the attempts of one comparison, one exercise at a time."""

    def __init__(self, comparison: Comparison, model: Model, workers: WorkerPool | None) -> None:
        self._comparison = comparison
        self._model = model
        self._workers = workers
        self._shared = SharedModel(model)
        self._strategies = {strategy.name: strategy for strategy in comparison.strategies}
        self._unshared = 0
        self._begun = time.perf_counter()
        self.arms: list[Arm] = [(budget, name) for budget in comparison.budgets for name in self._strategies]
        self._found: dict[Arm, list[GradedAttempt]] = {arm: [] for arm in self.arms}

    async def run(self, number: int, order: Sequence[Arm]) -> Attempts:
        # `comparison.made` has the attempts from before an interruption, which are taken over.
        for arm in order:
            made = self._comparison.made.get((arm, number))
            if made is None:
                made = await self._attempt(number, arm)
                self._comparison.when_made(made)
            self._found[arm].append(made)
        attempts = {arm: tuple(each) for arm, each in self._found.items()}
        seconds = time.perf_counter() - self._begun
        return Attempts(attempts, self._shared.generated + self._unshared, number + 1, seconds)

    async def _attempt(self, number: int, arm: Arm) -> GradedAttempt:
        comparison, shared = self._comparison, self._shared
        budget, name = arm
        exercise, strategy = comparison.exercises[number], self._strategies[name]
        shares = comparison.share and not strategy.meets_model
        outcome = await attempt(
            strategy,
            shared if shares else self._model,
            exercise.question,
            budget=budget,
            seed=comparison.seed,
            sampling=comparison.sampling,
            counts_prompts=comparison.counts_prompts,
            workers=self._workers,
            clock=lambda: time.perf_counter() + shared.borrowed,
        )
        self._unshared += 0 if shares else outcome.ledger.total_tokens
        return GradedAttempt(outcome, outcome.answered and exercise.grade(outcome.answer or ""), number)


async def run_in_turn(
    comparisons: Mapping[str, Comparison],
    model: Model,
    *,
    keep: Callable[[Mapping[str, Attempts]], None] | None = None,
    workers: WorkerPool | None = None,
) -> dict[str, Attempts]:
    # Strategies, budgets, seed, time limit and number of exercises must be the same in all: those of the first are
    # used.
    first = next(iter(comparisons.values()))
    rounds = {name: _Rounds(comparison, model, workers) for name, comparison in comparisons.items()}
    arms = next(iter(rounds.values())).arms
    # The order is random: the first arm warms the cache of the server.
    experiment = Experiment(arms, len(first.exercises), first.seed, warm_up=0, minutes=first.minutes)
    attempts: dict[str, Attempts] = {}
    for number, order in experiment.rounds():
        for name, one in rounds.items():
            attempts[name] = await one.run(number, order)
        if keep is not None:
            keep(dict(attempts))
    return attempts


@dataclass(frozen=True, slots=True)
class Attempts:
    by_arm: Mapping[Arm, Sequence[GradedAttempt]]
    generated: int
    """Tokens generated for new attempts, without forks of strategies that share text."""
    exercises: int
    """How many exercises all strategies attempted."""
    seconds: float

    @classmethod
    def pooled(cls, attempts: Iterable[Attempts]) -> Attempts:
        # All must have the same arms. They ran in turn, so the longest time covers the others.
        each = tuple(attempts)
        by_arm = {arm: tuple(made for one in each for made in one.by_arm[arm]) for arm in each[0].by_arm}
        seconds = max(one.seconds for one in each)
        return cls(by_arm, sum(one.generated for one in each), sum(one.exercises for one in each), seconds)

    def report(self, subject: str, baseline: str) -> Report:
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


def _all_tokens(attempt: GradedAttempt) -> int:
    return attempt.outcome.ledger.total_tokens + attempt.outcome.ledger.total_prompt_tokens


def _share(hits: int, of: int) -> Estimate | None:
    rate = Rate.make(hits, of)
    return None if rate.value is None else Estimate(100 * rate.value, "%", 100 * rate.low, 100 * rate.high, of)


def front(by_arm: Mapping[Arm, Sequence[GradedAttempt]]) -> list[Arm]:
    # An arm is on the front if every other arm with at most as many tokens has fewer right answers. Of arms that are
    # equal in both, one is.
    best: list[Arm] = []
    for arm in sorted(by_arm, key=lambda arm: (_tokens(by_arm[arm]), -_right(by_arm[arm]))):
        if not best or _right(by_arm[arm]) > _right(by_arm[best[-1]]):
            best.append(arm)
    return best


def paired_answers(base: Sequence[GradedAttempt], attempts: Sequence[GradedAttempt]) -> tuple[int, int]:
    # Both must have one attempt at each exercise, in the same order.
    pairs = list(zip(base, attempts, strict=True))
    return sum(b.right > a.right for a, b in pairs), sum(b.right < a.right for a, b in pairs)


def _difference(attempts: Sequence[GradedAttempt], base: Sequence[GradedAttempt]) -> Estimate:
    values = [100 * (one.right - other.right) for one, other in zip(attempts, base, strict=True)]
    return estimate(values, "points", of=statistics.fmean)


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
        # At equal total tokens: prompts use up the budget, too.
        "within all tokens": _share(sum(each.right and _all_tokens(each) <= arm[0] for each in attempts), count),
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
        "right per 1,000": 1000 * _right(attempts) / max(sum(map(_all_tokens, attempts)), 1),
        "all, median": statistics.median(map(_all_tokens, attempts)),
        "prompt, median": statistics.median(one.total_prompt_tokens for one in ledgers),
        "of it not cached, median": statistics.median(_uncached(each.outcome) for each in attempts),
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


def _uncached(outcome: Outcome) -> int:
    return outcome.ledger.total_prompt_tokens - outcome.ledger.cached_tokens + outcome.warm


def family_tables(attempts: Mapping[str, Attempts], baseline: str) -> tuple[Table, ...]:
    """Compare the strategies task by task.

    *attempts* has the attempts at each task, by its name. All have the same arms.
    """
    arms = list(next(iter(attempts.values())).by_arm)
    right: list[Row] = []
    pairs: list[Row] = []
    for arm in arms:
        names: Row = {"strategy": arm[1], "budget": arm[0]}
        right.append(names | {f"{task}, of {one.exercises}": _right(one.by_arm[arm]) for task, one in attempts.items()})
        for task, one in attempts.items():
            if arm[1] != baseline:
                row = _against_row(arm, one.by_arm[arm], one.by_arm[arm[0], baseline])
                pairs.append({"strategy": arm[1], "task": task, **row})
    return Table("Right answers by task", tuple(right)), Table(f"Against {baseline}, by task", tuple(pairs))


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
        "difference": _difference(attempts, base),
        "p": mcnemar(fixed, broken),
        "could act": _share(sum(each.could_act for each in checks), len(checks)),
        "refuted": _share(sum(each.refuted > 0 for each in checks), len(checks)),
        "handed over": _share(handed, _right(attempts)),
    }


class RowSettings(msgspec.Struct, frozen=True):
    """The settings that two attempts must share to be in one comparison."""

    model: str
    seed: int
    temperature: float
    max_tokens: int
    counts_prompts: bool


class AttemptRow(msgspec.Struct, frozen=True):
    """One line of a file of attempts."""

    task: str
    settings: RowSettings
    attempt: GradedAttempt


class AttemptFile:
    """Attempts in a file, one JSON object a line, so that an interrupted comparison can be continued."""

    # Attempts with other settings stay in the file, unused. An interrupted write leaves an incomplete last line, which
    # is removed.

    def __init__(self, path: Path, settings: RowSettings) -> None:
        self._path = path
        self._settings = settings
        content = path.read_bytes() if path.exists() else b""
        whole, end, rest = content.rpartition(b"\n")
        try:
            rows = [msgspec.json.decode(line, type=AttemptRow) for line in whole.split(b"\n") if line]
        except DECODE_ERRORS as error:
            raise UsageError(
                f"--rows must be a file of attempts, got {str(path)!r}: {error}; name another file"
            ) from error
        if not rest.startswith(_BEGIN[: len(rest)]):  # not written here, so it must not be removed
            raise UsageError(
                f"--rows must be a file of attempts, got {str(path)!r}, ending in {rest[:40]!r}; name another file"
            )
        if rest:
            path.write_bytes(whole + end)
        self._rows = [row for row in rows if row.settings == settings]

    def comparison(self, task: str, comparison: Comparison) -> Comparison:
        mine = [row.attempt for row in self._rows if row.task == task]
        for one in mine:
            names = [exercise.question.name for exercise in comparison.exercises[one.exercise : one.exercise + 1]]
            if names and names != [one.outcome.question]:
                raise UsageError(
                    f"--rows must have attempts at the same exercises, got {one.outcome.question!r} instead of "
                    f"{names[0]!r}; name another file"
                )
        made = {((one.outcome.budget, one.outcome.strategy), one.exercise): one for one in mine}
        return replace(comparison, made=made, when_made=lambda one: self._add(task, one))

    def _add(self, task: str, made: GradedAttempt) -> None:
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(AttemptRow(task, self._settings, made)) + b"\n")


@vetted("--")
async def compare(
    *,
    task: Annotated[tuple[str, ...], Parameter(negative="")],
    budget: str = "2k",
    model: str = "local",
    base_url: str = "",
    api: Api = "chat",
    strategies: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    problems: Positive = 20,
    seed: int = 0,
    temperature: float = 0.7,
    max_tokens: int = 512,
    against: str | None = None,
    minutes: Above | None = None,
    share: bool = True,
    count_prompts: bool = False,
    rows: Path | None = None,
    keep: Callable[[Report], None] | None = None,
) -> Report:
    """Compare strategies: the same exercises, the same model and verifiers, equal budgets.

    The budget of an attempt is the number of tokens that it may generate in all: kept, discarded and in forks. Prompt
    tokens are counted separately, unless --count-prompts; "within all tokens" and "right per 1,000" count them, too.
    The exercises are graded without the verifiers.

    Parameters
    ----------
    task
        An installed task with options ("chain_sum:terms=5,digits=3"), "jsonl:path=FILE", "hub:name=OWNER/NAME", or
        "module:factory" from the working directory, whose code runs. Several tasks run in turn, one exercise of each.
    budget
        How many tokens an attempt may generate. Several budgets are separated by commas ("2k,4k,8k").
    model
        An installed model ("local", "local:PATH.gguf"); with --base-url, the model's name there.
    base_url
        An OpenAI-compatible server, with its version: http://localhost:8000/v1. The key is OPENAI_API_KEY.
    api
        The API of that server.
    strategies
        The strategies, separated by commas, with options after a colon ("best-of-n:n=4"). Default: all shipped ones.
    problems
        How many exercises of each task are used.
    seed
        The seed of the exercises, of the samples and of the order of attempts.
    temperature
        The temperature of all samples; greedy text always has 0.
    max_tokens
        The largest number of tokens of one trace.
    against
        The strategy with which the others are compared, in pairs. Default: greedy, or else the first one.
    minutes
        Begin no further exercise after this many minutes; all strategies finish the exercises that were begun. With
        --json FILE, the report is written after each exercise.
    share
        If several strategies ask for text in the same words, generate it once, and bill it to each of them. Strategies
        whose cost depends on the time at which text arrives do not share.
    count_prompts
        Let prompt tokens use up the budget, too, including those of resumed and interrupted requests. Remedies are then
        chosen as for a server without a cache.
    rows
        A file to which each attempt is appended, as a line of JSON. The attempts in it are not made again, so the same
        command continues an interrupted comparison.
    """
    if not task:
        raise UsageError("--task must be at least one task, got none; name one")
    names = [one.name for one in load_strategies(strategies)]
    baseline = against or ("greedy" if "greedy" in names else names[0])
    if baseline not in names:
        raise UsageError(f"--against must be one of the strategies ({', '.join(names)}), got {baseline!r}")
    check_files(rows=rows)
    comparisons = {
        one: Comparison(
            exercises=load_exercises(one, count=problems, seed=seed, shipped=SHIPPED),
            # Strategies of each task's own, because some learn from one exercise to the next.
            strategies=load_strategies(strategies),
            budgets=read_budgets(budget),
            sampling=Sampling(temperature=temperature, max_tokens=max_tokens),
            seed=seed,
            share=share,
            counts_prompts=count_prompts,
            minutes=minutes,
        )
        for one in task
    }
    opened = load_model(base_url, name=model, api=api) if base_url else load_model(model)

    def reported(attempts: Mapping[str, Attempts]) -> Report:
        report = Attempts.pooled(attempts.values()).report(f"{', '.join(task)} · {opened.name}", baseline)
        if len(attempts) < 2:
            return report
        return msgspec.structs.replace(report, tables=(*report.tables, *family_tables(attempts, baseline)))

    async with closing(opened), Workers() as workers:
        if rows is not None:
            settings = RowSettings(opened.name, seed, temperature, max_tokens, count_prompts)
            file = AttemptFile(rows, settings)
            comparisons = {name: file.comparison(name, one) for name, one in comparisons.items()}
        kept = None if keep is None else lambda attempts: keep(reported(attempts))
        return reported(await run_in_turn(comparisons, opened, keep=kept, workers=workers))


def read_budgets(text: str) -> tuple[int, ...]:
    budgets = []
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
        budgets.append(tokens)
    return tuple(dict.fromkeys(budgets))


command = command_of(compare, has_charts=True)
