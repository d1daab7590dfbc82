"""What one more try is thought to bring, and which tries are worth their tokens at a price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

Action: TypeAlias = Literal["sample", "correct"]
"""What may be tried next: a fresh sample, or a correction (any remedy) of the one that was refuted."""


class Odds(NamedTuple):
    """One thing that may be tried in one state: the chance that the result is verified, and what it costs."""

    action: Action
    chance: float
    tokens: float


Ladder: TypeAlias = Sequence[Sequence[Odds]]
"""For one class of tasks: by the number of tries that failed so far, what may be tried next."""


class Step(NamedTuple):
    """A try that is worth its tokens, in the order of a schedule."""

    action: Action
    chance: float
    tokens: float


class Price(NamedTuple):
    """What a token costs, in verified answers, so that the mean task takes what is budgeted.

    Spending falls with the price in jumps. Where the budget lies within one, the part *share* of the tasks is served
    at the lower price *rich*, all others at the higher one *lean*.
    """

    lean: float
    rich: float
    share: float


def schedule(ladder: Ladder, price: float, *, least: int = 1, hopeless: float = 0.0) -> tuple[Step, ...]:
    """Return the tries to make, one after the other until one is verified; behind the last one, give up.

    *price* is what a token costs, in verified answers. Optimal for the odds on *ladder* (backward induction over the
    number of failures): a try that is a bad buy by itself is still made if it opens the way to a good one. The first
    *least* tries are made at any price; behind them, none is whose chance is below *hopeless*.
    """
    steps: list[Step | None] = []
    ahead = 0.0
    """What there is to be gained from the next state on, in verified answers less the price of their tokens."""
    for failures in range(len(ladder) - 1, -1, -1):
        best: Step | None = None
        is_free = failures >= least
        gain = 0.0 if is_free else float("-inf")
        for odds in ladder[failures]:
            worth = odds.chance - price * odds.tokens + (1.0 - odds.chance) * ahead
            if worth > gain and not (is_free and odds.chance < hopeless):
                best, gain = Step(*odds), worth
        steps.append(best)
        ahead = 0.0 if best is None else gain
    made: list[Step] = []
    for step in reversed(steps):
        if step is None:
            break
        made.append(step)
    return tuple(made)


def expected_tokens(steps: Sequence[Step]) -> float:
    """Return the mean tokens that *steps* will take: a later one is made only if all before it failed."""
    total, reached = 0.0, 1.0
    for step in steps:
        total += reached * step.tokens
        reached *= 1.0 - step.chance
    return total


def expected_chance(steps: Sequence[Step]) -> float:
    """Return the chance that one of *steps* is verified."""
    lost = 1.0
    for step in steps:
        lost *= 1.0 - step.chance
    return 1.0 - lost


def mean_tokens(schedules: Mapping[str, Sequence[Step]], weights: Mapping[str, float]) -> float:
    """Return the mean tokens a task, over classes that come as often as *weights* say."""
    spent = sum(weights[key] * expected_tokens(steps) for key, steps in schedules.items())
    return spent / sum(weights[key] for key in schedules)


def find_price(
    ladders: Mapping[str, Ladder],
    weights: Mapping[str, float],
    budget: float,
    *,
    least: int = 1,
    hopeless: float = 0.0,
    halvings: int = 40,
) -> Price:
    """Return the price at which the mean task takes *budget* tokens, by bisection.

    It is 0 where the budget buys every try on every ladder that is not hopeless, and so high that only the first
    *least* are made where it does not buy even those.
    """

    def spent_at(price: float) -> float:
        made = {key: schedule(ladder, price, least=least, hopeless=hopeless) for key, ladder in ladders.items()}
        return mean_tokens(made, weights)

    cheapest = min(odds.tokens for ladder in ladders.values() for state in ladder for odds in state)
    low, high = 0.0, 1.0 / max(cheapest, 1e-9)
    """At the upper end no try is worth its tokens: a chance is at most 1."""
    most, fewest = spent_at(low), spent_at(high)
    if most <= budget:
        return Price(low, low, 1.0)
    # Between two ways to make a try that must be made, only the tokens count that one takes more than the other.
    at_least = spent_at(high * 2.0**halvings)
    while fewest > max(budget, at_least):
        high *= 2.0
        fewest = spent_at(high)
    if fewest >= budget:
        return Price(high, high, 0.0)
    for _ in range(halvings):
        middle = (low + high) / 2
        spent = spent_at(middle)
        if spent > budget:
            low, most = middle, spent
        else:
            high, fewest = middle, spent
    return Price(high, low, (budget - fewest) / (most - fewest))
