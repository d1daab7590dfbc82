"""An allocator that spends where a token is thought to buy most, and meets a mean budget.

Why: docs/decisions/0026-allocation-by-price.md.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from interwhen._types.errors import UsageError
from interwhen._types.extensions import Allowance, Task
from interwhen._types.results import Result

# How chances fall with the failures before: a curve of two numbers, fitted to all that was seen.

_STEPS = 12
_PRIOR = 2.0


class Fading(NamedTuple):
    """The chances of tasks whose own chance is Beta distributed: each failure tells that a task is a hard one.

    After *n* failures the chance is ``mean * size / (size + n)`` (the beta-geometric model: Weinberg & Gladen 1986);
    ``size`` is the sum of the two parameters of the Beta distribution, ``mean`` its mean.
    """

    mean: float = 0.5
    size: float = 2.0

    def chance(self, failures: int) -> float:
        """Return the chance of the next try after so many *failures*."""
        return self.mean * self.size / (self.size + failures)


def fit(counts: Sequence[tuple[float, float]], start: Fading = Fading()) -> Fading:  # noqa: B008  (a frozen value)
    """Return the curve that makes *counts* likeliest: pairs of successes and tries, by the number of failures before.

    A pattern search from *start*; two tries of the curve one half, one third, one fourth … weigh against few counts.
    """
    used = [(n, worked, tries) for n, (worked, tries) in enumerate(counts) if tries]

    def likelihood(at: tuple[float, float]) -> float:
        curve = _curve(at)
        total = _PRIOR * (0.5 * math.log(curve.mean) + 0.5 * math.log(1.0 - curve.mean))
        total -= 0.5 * (at[1] - math.log(2.0)) ** 2 / 4.0
        for n, worked, tries in used:
            chance = curve.chance(n)
            total += worked * math.log(chance) + (tries - worked) * math.log(1.0 - chance)
        return total

    at = (math.log(start.mean / (1.0 - start.mean)), math.log(start.size))
    best, stride = likelihood(at), 0.5
    for _ in range(_STEPS):
        near = [(at[0] + dx * stride, at[1] + dy * stride) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy]
        value, place = max((likelihood(place), place) for place in near)
        if value > best:
            best, at = value, place
        else:
            stride /= 2.0
    return _curve(at)


def _curve(at: tuple[float, float]) -> Fading:
    logit, log_size = min(max(at[0], -12.0), 12.0), min(max(at[1], -3.0), 9.0)
    return Fading(1.0 / (1.0 + math.exp(-logit)), math.exp(log_size))


# Chances that never rise with the failures before: each failure is a sign that the task is hard.


def falling(values: Iterable[tuple[float, float]]) -> list[float]:
    """Return the closest falling sequence to *values*, which are pairs of a value and its weight (above 0).

    Closest by weighted squares, found by pooling adjacent violators (Ayer et al. 1955), in linear time.
    """
    blocks: list[tuple[float, float, int]] = []
    for value, weight in values:
        block = (value, weight, 1)
        while blocks and blocks[-1][0] < block[0]:
            mean, mass, size = blocks.pop()
            both = mass + block[1]
            block = ((mean * mass + block[0] * block[1]) / both, both, size + block[2])
        blocks.append(block)
    return [mean for mean, _, size in blocks for _ in range(size)]


# What one more try is thought to bring, and which tries are worth their tokens at a price.

Action: TypeAlias = Literal["sample", "correct"]
"""What may be tried next: a fresh sample, or a correction (any remedy) of the one that was refuted."""


class Odds(NamedTuple):
    """One thing that may be tried in one state: the chance that the result is verified, and what it costs."""

    action: Action
    chance: float
    tokens: float


Ladder: TypeAlias = Sequence[Sequence[Odds]]
"""For one class of tasks: by the number of tries that failed so far, what may be tried next."""


class LadderStep(NamedTuple):
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


def schedule(ladder: Ladder, price: float, *, least: int = 1, hopeless: float = 0.0) -> tuple[LadderStep, ...]:
    """Return the tries to make, one after the other until one is verified; behind the last one, give up.

    *price* is what a token costs, in verified answers. Optimal for the odds on *ladder* (backward induction over the
    number of failures): a try that is a bad buy by itself is still made if it opens the way to a good one. The first
    *least* tries are made at any price; behind them, none is whose chance is below *hopeless*.
    """
    steps: list[LadderStep | None] = []
    ahead = 0.0
    """What there is to be gained from the next state on, in verified answers less the price of their tokens."""
    for failures in range(len(ladder) - 1, -1, -1):
        best: LadderStep | None = None
        is_free = failures >= least
        gain = 0.0 if is_free else float("-inf")
        for odds in ladder[failures]:
            worth = odds.chance - price * odds.tokens + (1.0 - odds.chance) * ahead
            if worth > gain and not (is_free and odds.chance < hopeless):
                best, gain = LadderStep(*odds), worth
        steps.append(best)
        ahead = 0.0 if best is None else gain
    made: list[LadderStep] = []
    for step in reversed(steps):
        if step is None:
            break
        made.append(step)
    return tuple(made)


def expected_tokens(steps: Sequence[LadderStep]) -> float:
    """Return the mean tokens that *steps* will take: a later one is made only if all before it failed."""
    total, reached = 0.0, 1.0
    for step in steps:
        total += reached * step.tokens
        reached *= 1.0 - step.chance
    return total


def expected_chance(steps: Sequence[LadderStep]) -> float:
    """Return the chance that one of *steps* is verified."""
    lost = 1.0
    for step in steps:
        lost *= 1.0 - step.chance
    return 1.0 - lost


def mean_tokens(schedules: Mapping[str, Sequence[LadderStep]], weights: Mapping[str, float]) -> float:
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


# What is believed of each class of tasks: Beta posteriors, shrunk to the pool of all classes.
#
# How much a class is believed against the pool is estimated from the data themselves (an empirical Bayes estimate by
# moments, in the way of Kleinman 1973 and of DerSimonian & Laird 1986): where the classes differ no more than chance
# makes them differ, every class is as good as the pool, so that features which say nothing cost nothing.

CLASS_PRIOR = 40.0
"""Tries that the pool's way of falling is worth in each state of a class, at the class's own level."""
TRIAL = 40.0
"""Tries after which an action is judged by what came of it; until then it is thought to be a little better than others,
since what is never tried is never known."""
COST_PRIOR = 3.0
"""Tries that the pool's mean tokens are worth in a class."""
MOST_ALIKE = 1e6
"""The most tries that the pool may be worth: it is reached where classes do not differ."""


@dataclass(slots=True)
class _Cell:
    worked: float = 0.0
    tries: float = 0.0

    @property
    def failed(self) -> float:
        return self.tries - self.worked


@dataclass(slots=True)
class _Cost:
    tokens: float = 0.0
    tries: float = 0.0


@dataclass(slots=True)
class Beliefs:
    """Counts of what was tried and what came of it, by class, action and failures before; and what they suggest."""

    first_tokens: float
    """What a try is thought to take before any was seen, in tokens."""
    most: int
    """Tries that are looked ahead; at least 1."""
    after: tuple[Action, ...] = ("sample", "correct")
    """What may follow a failed try. The first one is a sample."""
    _cells: dict[tuple[str, Action, int], _Cell] = field(default_factory=lambda: defaultdict(_Cell))
    _costs: dict[tuple[str, Action], _Cost] = field(default_factory=lambda: defaultdict(_Cost))
    _curves: dict[Action, Fading] = field(default_factory=lambda: defaultdict(Fading))
    _seen: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def saw(self, key: str, action: Action, failures: int, *, worked: bool, tokens: float) -> None:
        """Take in that *action*, after so many *failures* on a task of class *key*, was verified or not."""
        cell = self._cells[key, action, min(failures, self.most - 1)]
        cell.worked += worked
        cell.tries += 1.0
        cost = self._costs[key, action]
        cost.tokens += tokens
        cost.tries += 1.0

    def met(self, key: str) -> None:
        """Take in that a task of class *key* came."""
        self._seen[key] += 1.0

    def weights(self) -> dict[str, float]:
        """Return how often each class came."""
        return dict(self._seen)

    def ladders(self) -> dict[str, Ladder]:
        """Return the odds of every class that came, as they are thought to be now."""
        pool = self._pool()
        alike = self._alikeness(pool)
        tokens = {action: self._pooled_tokens(action) for action in ("sample", *self.after)}
        return {key: self._ladder(key, pool, alike, tokens) for key in self._seen}

    # ------------------------------------------------------------------ estimates

    def _ladder(
        self, key: str, pool: dict[tuple[Action, int], float], alike: float, tokens: dict[Action, float]
    ) -> Ladder:
        strength = max(CLASS_PRIOR, alike)
        rows: list[list[Odds]] = [[] for _ in range(self.most)]
        for action, pooled in tokens.items():
            level = self._level(key, action, pool, alike)
            cost = self._tokens(key, action, pooled)
            states = [n for n in range(self.most) if action in self._actions(n)]
            found = []
            for failures in states:
                cell = self._cells.get((key, action, failures), _NONE)
                weight = cell.tries + strength
                found.append(((cell.worked + strength * _odds_times(pool[action, failures], level)) / weight, weight))
            for failures, chance in zip(states, falling(found), strict=True):
                rows[failures].append(Odds(action, chance, cost))
        return [self._with_trials(row, tokens["sample"]) for row in rows]

    def _with_trials(self, row: list[Odds], dearest: float) -> list[Odds]:
        best = max(odds.chance for odds in row)
        return [
            odds
            if odds.action == "sample" or self._tries(odds.action) >= TRIAL
            else Odds(odds.action, min(best * 1.1, 1.0), min(odds.tokens, dearest))
            for odds in row
        ]

    def _tries(self, action: Action) -> float:
        return sum(cost.tries for (_, name), cost in self._costs.items() if name == action)

    def _actions(self, failures: int) -> tuple[Action, ...]:
        return self.after if failures else ("sample",)

    def _pool(self) -> dict[tuple[Action, int], float]:
        """Return the chance of each action after so many failures, over all classes."""
        pool: dict[tuple[Action, int], float] = {}
        for action in ("sample", *self.after):
            sums = [_Cell() for _ in range(self.most)]
            for (_, name, failures), cell in self._cells.items():
                if name == action:
                    sums[failures].worked += cell.worked
                    sums[failures].tries += cell.tries
            curve = self._curves[action] = fit([(cell.worked, cell.tries) for cell in sums], self._curves[action])
            pool.update({(action, failures): curve.chance(failures) for failures in range(self.most)})
        return pool

    def _alikeness(self, pool: dict[tuple[Action, int], float]) -> float:
        """Return how many tries of its own a class needs to be believed as much as the pool.

        By moments, over all states: what the classes' rates scatter beyond what chance alone would make them.
        """
        scatter, room, noise = 0.0, 0.0, 0.0
        by_state: dict[tuple[Action, int], list[_Cell]] = defaultdict(list)
        for (_, action, failures), cell in self._cells.items():
            by_state[action, failures].append(cell)
        for state, cells in by_state.items():
            tries = sum(cell.tries for cell in cells)
            mean = pool[state]
            if len(cells) < 2 or not 0.0 < mean < 1.0:
                continue
            chi = sum((cell.worked - cell.tries * mean) ** 2 / cell.tries for cell in cells) / (mean * (1.0 - mean))
            scatter += chi - (len(cells) - 1)
            noise += 2.0 * (len(cells) - 1)
            room += tries - sum(cell.tries**2 for cell in cells) / tries
        if room <= 0.0:
            return MOST_ALIKE
        # A standard deviation of what chance alone scatters is not believed: half of all useless features show some.
        share = min(max((scatter - math.sqrt(noise)) / room, 1.0 / MOST_ALIKE), 0.5)
        return 1.0 / share - 1.0

    def _level(self, key: str, action: Action, pool: dict[tuple[Action, int], float], alike: float) -> float:
        """Return by how much the odds of a class stand above or below the pool's, in all of its states together."""
        worked, failed, expected_worked, expected_failed = 0.0, 0.0, 0.0, 0.0
        for failures in range(self.most):
            cell = self._cells.get((key, action, failures))
            if cell is None:
                continue
            worked += cell.worked
            failed += cell.failed
            expected_worked += cell.tries * pool[action, failures]
            expected_failed += cell.tries * (1.0 - pool[action, failures])
        total = worked + failed
        if not total:
            return 1.0
        # The pool's own share of successes, as many tries as it takes to be believed, keeps a small class with it.
        mean = expected_worked / total
        up = (worked + alike * mean) / (expected_worked + alike * mean)
        down = (failed + alike * (1.0 - mean)) / (expected_failed + alike * (1.0 - mean))
        return up / down if down > 0 else 1.0

    def _pooled_tokens(self, action: Action) -> float:
        costs = [cost for (_, name), cost in self._costs.items() if name == action]
        tries = sum(cost.tries for cost in costs)
        return (sum(cost.tokens for cost in costs) + self.first_tokens) / (tries + 1.0)

    def _tokens(self, key: str, action: Action, pooled: float) -> float:
        cost = self._costs.get((key, action))
        if cost is None:
            return pooled
        return (cost.tokens + COST_PRIOR * pooled) / (cost.tries + COST_PRIOR)


_NONE = _Cell()


def _odds_times(chance: float, factor: float) -> float:
    """Return the chance whose odds are *factor* times those of *chance*."""
    chance = min(max(chance, 1e-6), 1.0 - 1e-6)
    odds = chance / (1.0 - chance) * factor
    return odds / (1.0 + odds)


Classify = Callable[[Task], str]
"""Features of a task, as the key of its class. It must be cheap, and must not look at the answer."""

REPRICE = 16
"""Tasks after which the price is found anew."""
MOST_CLASSES = 256
"""Classes that are told apart; what comes beyond them is one class more."""


def by_length(task: Task) -> str:
    """Class a task by the length of its text, in powers of two: the least that can be known of any."""
    return f"2^{len(task.text).bit_length()}"


@dataclass(slots=True)
class Spending:
    """What was spent of a mean budget so far."""

    tasks: int = 0
    tokens: float = 0.0
    expected: float = 0.0
    """What was thought that these tasks would take."""

    def target(self, budget: float, window: int) -> float:
        """Return the mean tokens to aim at, so that what was spent too much or too little is made up in *window* tasks.

        At least a third of the budget and at most three times it.
        """
        aim = budget + (budget * self.tasks - self.tokens) / window
        # What is expected is off by a steady factor where the chances are: it is learnt, or the budget would be missed.
        settled = budget * window
        aim *= (self.expected + settled) / (self.tokens + settled)
        return min(max(aim, budget / 3.0), budget * 3.0)


class AdaptiveAllocator:
    """Chooses the next sample or correction of each task, or giving up, by expected gain a token.

    *budget* is the mean of tokens a task (those that are generated), over all classes; it is spent as far as there are
    tries whose chance is at least *hopeless*. *classify* gives a task's class; the default is its length. *after* names
    what may follow a failed try: ``("correct",)`` for plain runs, which have one sample each, both for a strategy that
    samples again. *most* tries are looked ahead, the first *least* are made at any price. Overspending is made up over
    *window* tasks. Before any try was seen, one is thought to take *first_tokens*; by default a quarter of the budget.

    Nothing is ever verified by it: it says how often to try, and a monitor's verifier says what came of that. A try
    worked if its answer was verified: steps that passed on the way say nothing on the answer, so a run whose monitors
    cannot judge the answer never works, as far as an allocator can tell.
    """

    def __init__(
        self,
        *,
        budget: float,
        classify: Classify = by_length,
        after: tuple[Action, ...] = ("correct",),
        most: int = 16,
        least: int = 1,
        hopeless: float = 0.01,
        window: int = 100,
        first_tokens: float | None = None,
    ) -> None:
        for name, value in (("budget", budget), ("most", most), ("window", window)):
            if not value > 0:
                raise UsageError(f"allocator: {name}={value!r} must be more than 0")
        if least < 0 or least > most:
            raise UsageError(f"allocator: least={least!r} must lie between 0 and most={most!r}")
        if not after or not set(after) <= {"sample", "correct"}:
            raise UsageError(f"allocator: after={after!r}, choose from 'sample' and 'correct'")
        self.budget = budget
        self.beliefs = Beliefs(first_tokens=first_tokens or budget / 4.0, most=most, after=after)
        self.spending = Spending()
        self.price = Price(0.0, 0.0, 1.0)
        """What a token costs now, in verified answers."""
        self._classify = classify
        self._least = least
        self._hopeless = hopeless
        self._window = window
        self._lean: dict[str, tuple[LadderStep, ...]] = {}
        self._rich: dict[str, tuple[LadderStep, ...]] = {}
        self._turn = 0.0
        self._known: set[str] = set()
        self._age = 0

    # ------------------------------------------------------------------ for strategies

    def key(self, task: Task) -> str:
        """Return the class of *task*."""
        key = self._classify(task)
        if not isinstance(key, str):
            raise UsageError(f"allocator: classify gave {key!r:.100}, which is no text")
        if key not in self._known and len(self._known) >= MOST_CLASSES:
            return "other"
        self._known.add(key)
        return key

    def begin(self, key: str) -> tuple[LadderStep, ...]:
        """Return the tries to make on a task of class *key*, in order, until one is verified; then give up."""
        self.beliefs.met(key)
        if key not in self._lean or self._age >= REPRICE:
            self._reprice()
        self._age += 1
        self._turn += self.price.share
        is_rich = self._turn >= 1.0
        self._turn -= is_rich
        steps = (self._rich if is_rich else self._lean)[key]
        self.spending.expected += expected_tokens(steps)
        return steps

    def saw(self, key: str, action: Action, failures: int, *, worked: bool, tokens: float) -> None:
        """Take in what one try came to."""
        self.beliefs.saw(key, action, failures, worked=worked, tokens=tokens)
        self.spending.tokens += tokens

    def ended(self) -> None:
        """Take in that a task is done with."""
        self.spending.tasks += 1

    def _reprice(self) -> None:
        ladders = self.beliefs.ladders()
        target = self.spending.target(self.budget, self._window)
        self.price = find_price(ladders, self.beliefs.weights(), target, least=self._least, hopeless=self._hopeless)
        self._lean, self._rich = (
            {
                key: schedule(ladder, price, least=self._least, hopeless=self._hopeless)
                for key, ladder in ladders.items()
            }
            for price in (self.price.lean, self.price.rich)
        )
        self._age = 0

    # ------------------------------------------------------------------ for runs

    def allow(self, task: Task) -> Allowance:
        """Return how many corrections of a run on *task* are worth their tokens."""
        steps = self.begin(self.key(task))
        corrections = 0
        for step in steps[1:]:
            if step.action != "correct":
                break
            corrections += 1
        return Allowance(remedies=corrections)

    def learn(self, task: Task, result: Result) -> None:
        """Take in how the run on *task* ended: each remedy is a try, and all but the last one failed."""
        ledger = result.ledger
        if result.status == "failed":  # the model's failure says nothing of the task
            self.spending.tokens += ledger.total_tokens
            self.ended()
            return
        key = self.key(task)
        share = ledger.total_tokens / (ledger.remedies + 1)
        for failures in range(ledger.remedies + 1):
            action: Action = "correct" if failures else "sample"
            worked = result.answer_verified and failures == ledger.remedies
            self.saw(key, action, failures, worked=worked, tokens=share)
        self.ended()
