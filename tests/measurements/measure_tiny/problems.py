"""The test problems: made from seeds, none of them in the training data."""

from __future__ import annotations

import random

from tools.train_tiny.families import FAMILIES
from tools.train_tiny.tasks import Problem, Split, Worked, draw


def worked(family: str, split: Split, count: int, seed: int) -> list[Worked]:
    """Return *count* different problems of *family* and *split*, with a solution each."""
    rng = random.Random(f"{family} {split} {seed}")
    solved: dict[str, Worked] = {}
    while len(solved) < count:
        one = draw(FAMILIES[family], rng, split)
        solved.setdefault(one.problem.prompt, one)
    return list(solved.values())


def problems(family: str, split: Split, count: int, seed: int) -> list[Problem]:
    """Return *count* different problems of *family* and *split*."""
    return [one.problem for one in worked(family, split, count, seed)]
