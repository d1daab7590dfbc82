"""The output of a family of problems: a problem, its worked solution, and possible mistakes in it."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

Split: TypeAlias = Literal["train", "test", "hard"]
"""``test`` is of the same kind as ``train``, and no problem is in both; ``hard`` is longer and larger."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong step, and feedback on it."""

    text: str
    """The whole wrong line."""
    wrong: str
    """The part that is wrong, as ``locate`` would quote it."""
    why: str
    """Why it is wrong, without the right value."""
    witness: str
    """The counterexample."""


Blunder: TypeAlias = Callable[[random.Random], Mistake]
"""Makes one of the mistakes that are possible at a step."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of reasoning."""

    text: str
    state: dict[str, Any]
    """The state after it, in the words of a fork."""
    blunder: Blunder | None = None
    given: int = 0
    """How many of its first characters the model does not learn to write: the choice in an unlucky try of a search."""


@dataclass(frozen=True, slots=True)
class Problem:
    """The question, and the facts from which it was made; a grader reads these."""

    family: str
    prompt: str
    facts: dict[str, Any]

    @property
    def is_held_out(self) -> bool:
        # A hash of its facts decides, whatever the words are.
        key = json.dumps([self.family, self.facts], sort_keys=True)
        return hashlib.sha256(key.encode()).digest()[0] < HELD_OUT


HELD_OUT = 16
"""Of 256 problems, how many are never trained on."""


class Lookup(NamedTuple):
    """A question about the text of a prompt, and the answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Worked:
    """A problem with a solution."""

    problem: Problem
    steps: tuple[Step, ...]
    answer: str
    blunder: Blunder | None = field(default=None)
    """Makes a wrong answer."""
    lookups: tuple[Lookup, ...] = ()
    """Questions that the prompt itself answers: finding a fact in the text is half of the reasoning."""


class Family(Protocol):
    """Generates a problem; the flag asks for a longer and larger one."""

    def __call__(self, rng: random.Random, *, hard: bool) -> Worked:
        """Return a problem with its solution."""
        ...


def draw(family: Family, rng: random.Random, split: Split) -> Worked:
    while True:
        worked = family(rng, hard=split == "hard")
        if split == "hard" or worked.problem.is_held_out == (split == "test"):
            return worked
