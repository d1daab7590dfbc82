"""Ways to spend tokens on the tasks of one simulated world, and what each of them gets for how much."""

from __future__ import annotations

import functools
import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from interwhen.bench._statistics import Estimate, estimate
from interwhen.strategies._allocation import Action, AdaptiveAllocator

# A simulated world of tasks for the allocator: its truth is of another kind than what the allocator believes.
#
# The allocator thinks of a table of chances for each class. Here every task has a difficulty of its own (a normal on
# the logit scale, around that of its class), a share of failures that are slips and can be put right, and samples
# whose length is log-normal and grows with the difficulty; its verifier errs both ways. No model is involved.

CLASSES = 6
MOST_TRIES = 64


@dataclass(frozen=True, slots=True)
class World:
    """What a world is like."""

    spread: float = 2.5
    """Standard deviation of the classes' mean difficulty, in logits: how much a class says."""
    within: float = 1.0
    """The same of the tasks of one class."""
    ease: float = -0.5
    """Mean logit of a sample being right."""
    tokens: float = 400.0
    """Median tokens of a sample of medium difficulty."""
    accepts_right: float = 0.97
    """How often the verifier passes a right answer."""
    accepts_wrong: float = 0.005
    """How often it passes a wrong one."""


@dataclass(frozen=True, slots=True)
class Try:
    """What one sample or correction comes to, drawn ahead, so that all ways of spending meet the same luck."""

    right: bool
    passes: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class Puzzle:
    """One task of a simulated world: its class, and what each further try on it will come to."""

    key: str
    samples: tuple[Try, ...]
    corrections: tuple[Try, ...]
    """Number *n* is what a correction after *n* failed tries comes to."""


@dataclass(slots=True)
class Maker:
    """Draws the tasks of one world."""

    world: World
    seed: int
    _rng: random.Random = field(init=False)
    _means: list[float] = field(init=False)
    _slips: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)  # noqa: S311  a simulation, not a secret
        middle = (CLASSES - 1) / 2
        even = [(number - middle) / math.sqrt((CLASSES**2 - 1) / 12) for number in range(CLASSES)]
        # Evenly spaced, so that a seed changes the tasks and not what kind of world it is.
        self._means = [self.world.ease + self.world.spread * place for place in even]
        self._slips = [0.3 + 0.5 * self._rng.random() for _ in range(CLASSES)]

    def puzzles(self, count: int) -> list[Puzzle]:
        """Return *count* tasks in random order."""
        return [self._puzzle(self._rng.randrange(CLASSES)) for _ in range(count)]

    def _puzzle(self, number: int) -> Puzzle:
        rng, world = self._rng, self.world
        level = rng.gauss(self._means[number], world.within)
        slips = rng.random() < self._slips[number]
        median = world.tokens * math.exp(-0.08 * level)
        samples = tuple(self._try(level, median) for _ in range(MOST_TRIES))
        # A correction goes on from where the mistake was; a failure that is no slip is made again.
        kept = [rng.random() for _ in range(MOST_TRIES)]
        corrections = tuple(self._try(level + 1.0 if slips else level - 3.0, median * (1.1 - share)) for share in kept)
        return Puzzle(f"class {number}", samples, corrections)

    def _try(self, level: float, median: float) -> Try:
        rng = self._rng
        right = rng.random() < 1.0 / (1.0 + math.exp(-level))
        passes = rng.random() < (self.world.accepts_right if right else self.world.accepts_wrong)
        return Try(right, passes, max(1, round(median * math.exp(rng.gauss(0.0, 0.35)))))


def shuffled(puzzles: Sequence[Puzzle], seed: int) -> list[Puzzle]:
    """Return the same tasks with their classes dealt anew: the features then say nothing."""
    keys = [puzzle.key for puzzle in puzzles]
    random.Random(seed).shuffle(keys)  # noqa: S311  a simulation, not a secret
    return [Puzzle(key, puzzle.samples, puzzle.corrections) for key, puzzle in zip(keys, puzzles, strict=True)]


class Score(NamedTuple):
    """What a way of spending came to, a task on the mean."""

    accuracy: float
    tokens: float


class _Answer(NamedTuple):
    right: bool
    tokens: int


def best_of(count: int) -> Callable[[Puzzle], _Answer]:
    """Take *count* samples of every task; answer with the first that is verified, or the first one."""

    def solve(puzzle: Puzzle) -> _Answer:
        tries = puzzle.samples[:count]
        return _Answer(_chosen(tries).right, sum(one.tokens for one in tries))

    return solve


def stop_on_verified(count: int) -> Callable[[Puzzle], _Answer]:
    """Sample until one is verified, at most *count* times."""

    def solve(puzzle: Puzzle) -> _Answer:
        spent = 0
        for one in puzzle.samples[:count]:
            spent += one.tokens
            if one.passes:
                return _Answer(one.right, spent)
        return _Answer(puzzle.samples[0].right, spent)

    return solve


def _chosen(tries: Sequence[Try]) -> Try:
    return next((one for one in tries if one.passes), tries[0])


def uniform(puzzles: Sequence[Puzzle], solve: Callable[[Puzzle], _Answer]) -> Score:
    """Spend in the same way on every task."""
    return _score([solve(puzzle) for puzzle in puzzles])


def adaptive(puzzles: Sequence[Puzzle], budget: float, after: tuple[Action, ...]) -> Score:
    """Let the allocator choose; it learns on the way, and what it tries while it learns is counted."""
    allocator = AdaptiveAllocator(budget=budget, after=after, most=32)
    return _score([_allocated(puzzle, allocator) for puzzle in puzzles])


def _allocated(puzzle: Puzzle, allocator: AdaptiveAllocator) -> _Answer:
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
    return _Answer(answer is not None and answer.right, spent)


def _score(answers: Sequence[_Answer]) -> Score:
    return Score(
        statistics.fmean(answer.right for answer in answers), statistics.fmean(answer.tokens for answer in answers)
    )


# ---------------------------------------------------------------------- the comparison


class Row(msgspec.Struct, frozen=True):
    """One world at one budget: the allocator against both uniform ways, on the same tasks with the same luck.

    Each number is an estimate over the seeds. Accuracies are in percentage points.
    """

    world: str
    arm: str
    depth: int
    """The budget is what stop-on-verified with so many samples takes."""
    accuracy: Estimate
    tokens: Estimate
    times_fewer: Estimate
    """How many times as many tokens uniform best-of-N needs for the same accuracy."""
    saved: Estimate
    """The part of its tokens that stop-on-verified would save by allocating, at the same accuracy, in percent."""
    off_budget: Estimate
    """By how much the mean spending missed the budget, in percent of it."""
    worst_off_budget: float
    """The largest such miss of any seed, in absolute terms."""
    over_uniform: Estimate
    """Accuracy over best-of-N's at the same tokens."""
    worst_over_uniform: float
    over_stopping: Estimate
    """Accuracy over stop-on-verified's at the same tokens, with the number of samples that is best in hindsight."""


class AllocationReport(msgspec.Struct, frozen=True):
    """What a simulation of the allocator showed. No model was asked."""

    tasks: int
    seeds: int
    seed: int
    rows: tuple[Row, ...]


WORLDS: dict[str, World] = {
    "classes differ": World(),
    "classes differ a little": World(spread=1.0),
    "classes say nothing": World(spread=0.0, within=2.7),
}
DEPTHS = (4, 8)
_MOST = 60


def measure(
    *, tasks: int, seeds: int, seed: int, depths: Sequence[int] = DEPTHS, say: Callable[[str], None]
) -> AllocationReport:
    """Compare the ways of spending in every world, over *seeds* draws of *tasks* tasks each."""
    rows: list[Row] = []
    for name, world in WORLDS.items():
        for arm in ("samples", "samples and corrections", "samples, shuffled classes"):
            say(f"{name}: {arm}")
            rows.extend(_row(name, world, arm, depth, tasks=tasks, seeds=seeds, seed=seed) for depth in depths)
    return AllocationReport(tasks, seeds, seed, tuple(rows))


def _row(name: str, world: World, arm: str, depth: int, *, tasks: int, seeds: int, seed: int) -> Row:
    found = [_compare(world, arm, depth, tasks, seed + number) for number in range(seeds)]
    over_uniform = [one.over_uniform for one in found]
    off = [one.off_budget for one in found]
    return Row(
        name,
        arm,
        depth,
        accuracy=estimate([100 * one.score.accuracy for one in found]),
        tokens=estimate([one.score.tokens for one in found]),
        times_fewer=estimate([one.times_fewer for one in found]),
        saved=estimate([one.saved for one in found]),
        off_budget=estimate(off),
        worst_off_budget=max(map(abs, off)),
        over_uniform=estimate(over_uniform),
        worst_over_uniform=min(over_uniform),
        over_stopping=estimate([one.over_stopping for one in found]),
    )


@functools.lru_cache(maxsize=32)
def _baselines(world: World, tasks: int, seed: int) -> tuple[list[Puzzle], list[Score], list[Score]]:
    """Return the tasks of one draw, and what both uniform ways come to on them for each number of samples."""
    puzzles = Maker(world, seed).puzzles(tasks)
    return puzzles, *uniform_curves(puzzles, _MOST)


def uniform_curves(puzzles: Sequence[Puzzle], most: int) -> tuple[list[Score], list[Score]]:
    """Return the scores of best-of-N and of stop-on-verified for N from 1 to *most*, in one go."""
    right, flat, stopping = [0] * most, [0] * most, [0] * most
    for puzzle in puzzles:
        chosen, all_tokens, tokens = puzzle.samples[0], 0, 0
        is_verified = False
        for number, one in enumerate(puzzle.samples[:most]):
            all_tokens += one.tokens
            if not is_verified:
                tokens += one.tokens
                if one.passes:
                    chosen, is_verified = one, True
            right[number] += chosen.right
            flat[number] += all_tokens
            stopping[number] += tokens
    count = len(puzzles)
    return (
        [Score(good / count, spent / count) for good, spent in zip(right, flat, strict=True)],
        [Score(good / count, spent / count) for good, spent in zip(right, stopping, strict=True)],
    )


class _Compared(NamedTuple):
    score: Score
    times_fewer: float
    saved: float
    off_budget: float
    over_uniform: float
    over_stopping: float


def _compare(world: World, arm: str, depth: int, tasks: int, seed: int) -> _Compared:
    puzzles, flat, stopping = _baselines(world, tasks, seed)
    budget = stopping[depth - 1].tokens
    after: tuple[Action, ...] = ("sample", "correct") if arm == "samples and corrections" else ("sample",)
    given = shuffled(puzzles, seed) if arm == "samples, shuffled classes" else puzzles
    score = adaptive(given, budget, after)
    needed = tokens_for(stopping, score.accuracy)
    return _Compared(
        score,
        times_fewer=tokens_for(flat, score.accuracy) / score.tokens,
        saved=100 * (1 - score.tokens / needed),
        off_budget=100 * (score.tokens / budget - 1),
        over_uniform=100 * (score.accuracy - accuracy_at(flat, score.tokens)),
        over_stopping=100 * (score.accuracy - accuracy_at(stopping, score.tokens)),
    )


def tokens_for(curve: Sequence[Score], accuracy: float) -> float:
    """Return the tokens that *curve* takes for *accuracy*, between its points by straight lines.

    Beyond its end it is what its end takes: a lower bound.
    """
    before = curve[0]
    for point in curve:
        if point.accuracy >= accuracy:
            rise = point.accuracy - before.accuracy
            share = (accuracy - before.accuracy) / rise if rise > 0 else 1.0
            return before.tokens + share * (point.tokens - before.tokens)
        before = point
    return before.tokens


def accuracy_at(curve: Sequence[Score], tokens: float) -> float:
    """Return the accuracy that *curve* has for *tokens*, between its points by straight lines."""
    before = curve[0]
    for point in curve:
        if point.tokens >= tokens:
            rise = point.tokens - before.tokens
            share = (tokens - before.tokens) / rise if rise > 0 else 1.0
            return before.accuracy + share * (point.accuracy - before.accuracy)
        before = point
    return before.accuracy
