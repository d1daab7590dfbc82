"""A simulated world of tasks for the allocator: its truth is of another kind than what the allocator believes.

The allocator thinks of a table of chances for each class. Here every task has a difficulty of its own (a normal on the
logit scale, around that of its class), a share of failures that are slips and can be put right, and samples whose
length is log-normal and grows with the difficulty; its verifier errs both ways. No model is involved.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

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
