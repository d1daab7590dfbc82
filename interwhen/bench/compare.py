"""Comparing strategies: the same exercises, the same model and verifiers, equal budgets, one ledger."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from interwhen.models.base import Model, Sampling
from interwhen.strategies import Exercise, Outcome, Strategy, attempt
from interwhen.strategies.sharing import Shared
from interwhen.worker_pool import WorkerPool


class Row(msgspec.Struct, frozen=True):
    """One attempt, graded."""

    outcome: Outcome
    right: bool
    """Whether an answer was given and is right."""
    exercise: int
    """The number of the exercise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is compared."""

    exercises: Sequence[Exercise]
    strategies: Sequence[Strategy]
    budgets: Sequence[int]
    """In generated tokens of an attempt."""
    sampling: Sampling
    seed: int = 0
    share: bool = True
    """Whether equal requests are generated once, and billed to each who makes them."""
    seconds: float | None = None
    """After so many seconds no further exercise is begun."""

    def turns(self, number: int) -> Iterator[tuple[int, Strategy]]:
        """Yield the budgets and strategies for an exercise, in an order of its own: who comes first warms the cache."""
        turns = [(budget, strategy) for budget in self.budgets for strategy in self.strategies]
        random.Random(f"{self.seed} {number}").shuffle(turns)  # noqa: S311  (an order, not secrets)
        yield from turns


class Compared(msgspec.Struct, frozen=True):
    """What came of it."""

    rows: tuple[Row, ...]
    generated: int
    """Tokens that the model really wrote; what is billed is more where text was shared."""
    exercises: int
    """How many of them were attempted by all."""
    seconds: float


async def compare(
    model: Model,
    plan: Plan,
    *,
    say: Callable[[str], None],
    keep: Callable[[Compared], None] | None = None,
    workers: WorkerPool | None = None,
) -> Compared:
    """Let every strategy attempt every exercise with every budget, one attempt at a time.

    *keep* is told after each exercise what has come of it so far, so that a long comparison can be cut off.
    """
    begun = time.perf_counter()
    shared = Shared(model)
    rows: list[Row] = []
    met = 0
    compared = Compared((), 0, 0, 0.0)
    for number, exercise in enumerate(plan.exercises):
        if plan.seconds is not None and number and time.perf_counter() - begun > plan.seconds:
            break
        for budget, strategy in plan.turns(number):
            shares = plan.share and not strategy.meets_model
            outcome = await attempt(
                strategy,
                shared if shares else model,
                exercise.question,
                budget=budget,
                seed=plan.seed,
                sampling=plan.sampling,
                workers=workers,
                clock=partial(_now, shared),
            )
            met += 0 if shares else outcome.ledger.total_tokens
            right = outcome.answered and exercise.grade(outcome.answer or "")
            rows.append(Row(outcome, right, number))
        compared = Compared(tuple(rows), shared.generated + met, number + 1, time.perf_counter() - begun)
        say(f"{compared.exercises} of {len(plan.exercises)} exercises, {compared.seconds:.0f} s")
        if keep is not None:
            keep(compared)
    return compared


def _now(shared: Shared) -> float:
    return time.perf_counter() + shared.borrowed
