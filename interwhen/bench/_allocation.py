"""``interwhen bench allocation``: compares the allocator with uniform strategies, on tasks of simulated worlds."""

from __future__ import annotations

import functools
import itertools
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from cyclopts import Parameter

from interwhen.bench._experiment import Experiment, command_of, require_positive
from interwhen.bench._report import Report, Row, Table
from interwhen.bench._statistics import Estimate, estimate
from interwhen.strategies import Action, AdaptiveAllocator

# A simulated world of tasks for the allocator. Its random model differs from the allocator's model of tasks.
#
# The allocator keeps a table of probabilities for each class. Here every task has its own difficulty (normal on the
# logit scale, around the difficulty of its class), and some failures are slips, which can be corrected. The length of
# samples is log-normal and grows with the difficulty. The verifier makes errors of both types. No model is involved.

CLASSES = 6
MOST_TRIES = 64


@dataclass(frozen=True, slots=True)
class TaskWorld:
    """The parameters of simulated tasks: how difficult and how long they are, and how often the verifier errs."""

    spread: float = 2.5
    """Standard deviation of the mean difficulty of the classes, in logits: how informative a class is."""
    within: float = 1.0
    """Standard deviation of the difficulty of tasks within one class, in logits."""
    ease: float = -0.5
    """Mean logit of the probability that a sample is right."""
    tokens: float = 400.0
    """Median number of tokens of a sample, for a task of medium difficulty."""
    accepts_right: float = 0.97
    """Probability that the verifier passes a right answer."""
    accepts_wrong: float = 0.005
    """Probability that the verifier passes a wrong answer."""


@dataclass(frozen=True, slots=True)
class Try:
    """The result of a sample, or of a correction of a wrong answer: right, passed by the verifier, and its tokens."""

    # Drawn in advance, so that all strategies get the same results.

    right: bool
    passes: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class Puzzle:
    """One task of a simulated world: its class (*key*), and the results of the possible tries, in order."""

    key: str
    samples: tuple[Try, ...]
    corrections: tuple[Try, ...]
    """Entry *n* is the result of a correction after *n* failed tries."""


class Maker:
    """Draws tasks at random by *seed*, as the parameters in *world* say."""

    def __init__(self, world: TaskWorld, seed: int) -> None:
        self._world = world
        self._rng = random.Random(seed)  # noqa: S311  a simulation, not a secret
        middle = (CLASSES - 1) / 2
        even = [(number - middle) / math.sqrt((CLASSES**2 - 1) / 12) for number in range(CLASSES)]
        # Evenly spaced, so that a seed changes the tasks but not the difficulty of the classes.
        self._means = [self._world.ease + self._world.spread * place for place in even]
        self._slips = [0.3 + 0.5 * self._rng.random() for _ in range(CLASSES)]

    def puzzles(self, count: int) -> list[Puzzle]:
        """Draw *count* tasks, each of a random class, with the results of their possible tries."""
        return [self._puzzle(self._rng.randrange(CLASSES)) for _ in range(count)]

    def _puzzle(self, number: int) -> Puzzle:
        rng, world = self._rng, self._world
        level = rng.gauss(self._means[number], world.within)
        slips = rng.random() < self._slips[number]
        median = world.tokens * math.exp(-0.08 * level)
        samples = tuple(self._try(level, median) for _ in range(MOST_TRIES))
        # A correction continues from the mistake. A failure that is not a slip is usually repeated.
        kept = [rng.random() for _ in range(MOST_TRIES)]
        corrections = tuple(self._try(level + 1.0 if slips else level - 3.0, median * (1.1 - share)) for share in kept)
        return Puzzle(f"class {number}", samples, corrections)

    def _try(self, level: float, median: float) -> Try:
        rng = self._rng
        right = rng.random() < 1.0 / (1.0 + math.exp(-level))
        passes = rng.random() < (self._world.accepts_right if right else self._world.accepts_wrong)
        return Try(right, passes, max(1, round(median * math.exp(rng.gauss(0.0, 0.35)))))


def shuffled(puzzles: Sequence[Puzzle], seed: int) -> list[Puzzle]:
    """Return *puzzles* with their classes shuffled by *seed*, so that a class says nothing about its tasks."""
    keys = [puzzle.key for puzzle in puzzles]
    random.Random(seed).shuffle(keys)  # noqa: S311  a simulation, not a secret
    return [Puzzle(key, puzzle.samples, puzzle.corrections) for key, puzzle in zip(keys, puzzles, strict=True)]


class MeanScore(NamedTuple):
    """The share of tasks that a strategy answered right (0 to 1), and its mean number of tokens for a task."""

    accuracy: float
    tokens: float


class _Solved(NamedTuple):
    right: bool
    tokens: int


def adaptive(puzzles: Sequence[Puzzle], budget: float, after: tuple[Action, ...]) -> MeanScore:
    """Let the adaptive allocator choose the tries on each of *puzzles* in turn, and return its mean score.

    *budget* is the mean number of tokens for a task that it aims at. *after* has the actions that are allowed after a
    failed try.
    """
    allocator = AdaptiveAllocator(budget=budget, after=after, most=32)
    return _score([_allocated(puzzle, allocator) for puzzle in puzzles])


def _allocated(puzzle: Puzzle, allocator: AdaptiveAllocator) -> _Solved:
    spent, taken = 0, 0
    answer: Try | None = None
    for failures, step in enumerate(allocator.begin(puzzle.key)):
        one = puzzle.corrections[failures] if step.action == "correct" else puzzle.samples[taken]
        taken += step.action == "sample"
        spent += one.tokens
        allocator.saw(puzzle.key, step.action, failures, worked=one.passes, tokens=one.tokens)
        answer = answer or one
        if one.passes:
            answer = one
            break
    allocator.ended()
    return _Solved(answer is not None and answer.right, spent)


def _score(answers: Sequence[_Solved]) -> MeanScore:
    return MeanScore(
        statistics.fmean(answer.right for answer in answers), statistics.fmean(answer.tokens for answer in answers)
    )


WORLDS: dict[str, TaskWorld] = {
    "classes differ": TaskWorld(),
    "classes differ a little": TaskWorld(spread=1.0),
    "classes say nothing": TaskWorld(spread=0.0, within=2.7),
}
DEPTHS = (4, 8)
_MOST = 60


ARMS = ("samples", "samples and corrections", "samples, shuffled classes")


def allocation(
    *,
    tasks: int = 1500,
    pairs: int = 5,
    depths: Annotated[tuple[int, ...], Parameter(parse=False)] = DEPTHS,
    seed: int = 0,
    minutes: float | None = None,
) -> Report:
    """Simulate the allocator beside best-of-N and stop-on-verified, on the same tasks with the same chance.

    This is a simulation without a model. The tasks follow other distributions than those that the allocator assumes.
    The allocator starts without any data, and the tokens of the tries from which it learns are counted.

    Parameters
    ----------
    tasks
        How many tasks a world has. The allocator gets them one after the other.
    pairs
        How often each world is drawn. Within one draw, all strategies get the same tasks.
    seed
        The seed of the first draw; the later draws count up from it.
    minutes
        Begin no further draw after so many minutes.
    """
    require_positive(tasks=tasks)
    arms = [(name, arm, depth) for name in WORLDS for arm in ARMS for depth in depths]
    found: dict[tuple[str, str, int], list[AllocationRun]] = {arm: [] for arm in arms}
    for number, order in Experiment(arms, pairs, seed, warm_up=0, minutes=minutes).rounds():
        # Run all arms of one world in sequence, so that its baselines stay in the cache.
        for name, arm, depth in sorted(order):
            found[name, arm, depth].append(_run_once(WORLDS[name], arm, depth, tasks, seed + number))
    rows: list[Row] = []
    for (name, arm, depth), runs in found.items():
        columns = {key: [run._asdict()[key] for run in runs] for key in AllocationRun._fields}
        cells = {key.replace("_", " "): estimate(values, _UNITS.get(key, "")) for key, values in columns.items()}
        rows.append(
            {
                "world, what is allocated": f"{name}: {arm}",
                "N": depth,
                **cells,
                "worst % off budget": Estimate(max(map(abs, columns["off_budget"]))),
                "worst points over best-of-N": Estimate(min(columns["over_best_of_n"])),
            }
        )
    caption = (
        "Medians over the draws with 95 % intervals. N: the budget is what stop-on-verified with N samples takes. "
        "Times fewer (than best-of-N) and saved (over stopping) are at equal accuracy, points over at equal tokens."
    )
    draws = len(next(iter(found.values())))
    table = Table(f"{draws} times {tasks:,} tasks, seed {seed}", tuple(rows), caption)
    return Report(benchmark="allocation", subject="SIMULATION", tables=(table,))


@functools.lru_cache(maxsize=32)
def _baselines(world: TaskWorld, tasks: int, seed: int) -> tuple[list[Puzzle], list[MeanScore], list[MeanScore]]:
    """Draw *tasks* tasks of *world*. Return them, and the scores of best-of-N and of stop-on-verified for each N."""
    puzzles = Maker(world, seed).puzzles(tasks)
    return puzzles, *uniform_curves(puzzles, _MOST)


def uniform_curves(puzzles: Sequence[Puzzle], most: int) -> tuple[list[MeanScore], list[MeanScore]]:
    """Return the scores of best-of-N and of stop-on-verified on *puzzles*: two lists, for N from 1 to *most*.

    Both answer with the first sample that the verifier passes, or else with the first one. Best-of-N pays for all N
    samples, stop-on-verified for those up to the first pass.
    """
    right, flat, stopping = [0] * most, [0] * most, [0] * most
    for puzzle in puzzles:
        tries = puzzle.samples[:most]
        tokens = list(itertools.accumulate(one.tokens for one in tries))
        first_passed = next((at for at, one in enumerate(tries) if one.passes), most)
        for number in range(most):
            is_verified = number >= first_passed
            right[number] += tries[first_passed].right if is_verified else tries[0].right
            flat[number] += tokens[number]
            stopping[number] += tokens[min(first_passed, number)]
    count = len(puzzles)
    return (
        [MeanScore(good / count, spent / count) for good, spent in zip(right, flat, strict=True)],
        [MeanScore(good / count, spent / count) for good, spent in zip(right, stopping, strict=True)],
    )


class AllocationRun(NamedTuple):
    """The scores of the adaptive allocator on one draw of tasks, compared with best-of-N and stop-on-verified.

    Beyond the N that were computed for these strategies, their scores for the nearest N count.
    """

    accuracy: float
    """The percentage of tasks that the allocator answered right."""
    tokens: float
    """The mean number of tokens for a task."""
    times_fewer: float
    """The tokens that best-of-N needs for the same accuracy, divided by the tokens of the allocator."""
    saved: float
    """The percentage of tokens that the allocator saves over stop-on-verified, at the same accuracy."""
    off_budget: float
    """The difference between the mean tokens and the budget, in percent of the budget."""
    over_best_of_n: float
    """The accuracy minus that of best-of-N at the same tokens, in percentage points."""
    over_stopping: float
    """The accuracy minus that of stop-on-verified at the same tokens, in percentage points."""


_UNITS = {"accuracy": "%", "saved": "%", "off_budget": "%"}


def _run_once(world: TaskWorld, arm: str, depth: int, tasks: int, seed: int) -> AllocationRun:
    puzzles, flat, stopping = _baselines(world, tasks, seed)
    budget = stopping[depth - 1].tokens
    after: tuple[Action, ...] = ("sample", "correct") if arm == "samples and corrections" else ("sample",)
    given = shuffled(puzzles, seed) if arm == "samples, shuffled classes" else puzzles
    score = adaptive(given, budget, after)
    return AllocationRun(
        accuracy=100 * score.accuracy,
        tokens=score.tokens,
        times_fewer=tokens_for(flat, score.accuracy) / score.tokens,
        saved=100 * (1 - score.tokens / tokens_for(stopping, score.accuracy)),
        off_budget=100 * (score.tokens / budget - 1),
        over_best_of_n=100 * (score.accuracy - accuracy_at(flat, score.tokens)),
        over_stopping=100 * (score.accuracy - accuracy_at(stopping, score.tokens)),
    )


def tokens_for(curve: Sequence[MeanScore], accuracy: float) -> float:
    """Return how many tokens per task are needed to reach *accuracy*, by linear interpolation on *curve*.

    *curve* has the scores of a strategy for growing N. If it does not reach *accuracy*, the result is the number of
    tokens at its end.
    """
    return _between([point.accuracy for point in curve], [point.tokens for point in curve], accuracy)


def accuracy_at(curve: Sequence[MeanScore], tokens: float) -> float:
    """Return the accuracy that *curve*, the scores of a strategy for growing N, has at *tokens* tokens per task.

    Outside the curve, it is the accuracy at the nearer end.
    """
    return _between([point.tokens for point in curve], [point.accuracy for point in curve], tokens)


def _between(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """Return the y value at *x*, by linear interpolation between the points whose coordinates are *xs* and *ys*.

    The first point that reaches *x* counts, and the one before it. Outside the points, the result is the y value of the
    nearer end.
    """
    at = next((at for at, value in enumerate(xs) if value >= x), None)
    if at is None or at == 0:
        return ys[-1] if at is None else ys[0]
    rise = xs[at] - xs[at - 1]
    share = (x - xs[at - 1]) / rise if rise > 0 else 1.0
    return ys[at - 1] + share * (ys[at] - ys[at - 1])


command = command_of(allocation)
