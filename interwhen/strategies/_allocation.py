"""Allocates tokens to the tasks where it expects the largest gain, and keeps the mean per task near a budget.

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

# The chance of success after earlier failures: a curve with two parameters, fitted to all observations.

_STEPS = 12
_PRIOR = 2.0


class Fading(NamedTuple):
    """Models how the chance of success falls with each failed try of a task, since failures suggest a hard task.

    The success chances of tasks are assumed to have a Beta distribution with this ``mean``; ``size`` is the sum of its
    two parameters. (The beta-geometric model: Weinberg & Gladen 1986.)
    """

    mean: float = 0.5
    size: float = 2.0

    def chance(self, failures: int) -> float:
        """Return the chance that the next try succeeds after *failures* failed tries."""
        return self.mean * self.size / (self.size + failures)


def fit(counts: Sequence[tuple[float, float]], start: Fading = Fading()) -> Fading:  # noqa: B008  (a frozen value)
    """Return a :class:`Fading` curve that fits *counts*, found by at most 12 steps of pattern search from *start*.

    Entry *n* of *counts* has the number of successes and of tries after *n* failures. The method is maximum likelihood
    with a weak prior.
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


# Chances must not rise with the number of earlier failures.


def falling(values: Iterable[tuple[float, float]]) -> list[float]:
    """Return the non-increasing sequence that is closest to *values*, by weighted least squares.

    *values* are pairs of a value and its weight (above 0). Method: pool adjacent violators (Ayer et al. 1955).
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


# The expected gain of one more try, and the tries that are worth their tokens at a price.

Action: TypeAlias = Literal["sample", "correct"]
"""The kind of the next try: ``sample`` is a new sample, ``correct`` is a remedy of any kind on the refuted text."""


class Odds(NamedTuple):
    """A possible next try: its action, the chance that its result is verified, and its expected tokens."""

    action: Action
    chance: float
    tokens: float


Ladder: TypeAlias = Sequence[Sequence[Odds]]
"""The possible next tries of one class of tasks. Entry *n* has those after *n* failed tries."""


class Price(NamedTuple):
    """What one token costs, in verified answers, so that the mean tokens per task come close to the budget.

    If no single price does this, the fraction *share* of the tasks gets the lower price *rich*, and the others the
    higher price *lean*.
    """

    lean: float
    """The higher price, at which fewer tries are made."""
    rich: float
    """The lower price, at which more tries are made; equal to ``lean`` if one price suffices."""
    share: float
    """The fraction of the tasks that get the price ``rich``, from 0 to 1."""


def schedule(ladder: Ladder, price: float, *, least: int = 1, hopeless: float = 0.0) -> tuple[Odds, ...]:
    """Return the tries to make on a task, in order, with the largest expected gain for the odds in *ladder*.

    The caller stops after the first verified try. *price* is the cost of one token, in verified answers. The first
    *least* tries are included at any price; a later one only if its chance is at least *hopeless*. Method: backward
    induction over the number of failures.
    """
    steps: list[Odds | None] = []
    ahead = 0.0
    """The expected gain from the next state on, in verified answers minus the price of their tokens."""
    for failures in range(len(ladder) - 1, -1, -1):
        best: Odds | None = None
        is_free = failures >= least
        gain = 0.0 if is_free else float("-inf")
        for odds in ladder[failures]:
            worth = odds.chance - price * odds.tokens + (1.0 - odds.chance) * ahead
            if worth > gain and not (is_free and odds.chance < hopeless):
                best, gain = odds, worth
        steps.append(best)
        ahead = 0.0 if best is None else gain
    made: list[Odds] = []
    for step in reversed(steps):
        if step is None:
            break
        made.append(step)
    return tuple(made)


def expected_tokens(steps: Sequence[Odds]) -> float:
    """Return the expected tokens of the tries *steps*. Each try is made only if all before it have failed."""
    total, reached = 0.0, 1.0
    for step in steps:
        total += reached * step.tokens
        reached *= 1.0 - step.chance
    return total


def expected_chance(steps: Sequence[Odds]) -> float:
    """Return the chance that one of the tries *steps* is verified."""
    lost = 1.0
    for step in steps:
        lost *= 1.0 - step.chance
    return 1.0 - lost


def mean_tokens(schedules: Mapping[str, Sequence[Odds]], weights: Mapping[str, float]) -> float:
    """Return the expected tokens per task, averaged over the tasks of all classes.

    *schedules* has the planned tries of each class, and *weights* its number of tasks, whose sum must be above 0.
    """
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
    """Return the price per token, in verified answers, at which a task spends about *budget* tokens on average.

    *ladders* has the possible tries of each class, and *weights* its number of tasks. *least* and *hopeless* are those
    of :func:`schedule`. If the budget suffices for every try that is not hopeless, the price is 0. If it does not
    suffice for the first *least* tries, more than the budget is spent. There must be at least one possible try, and one
    task. Method: bisection in *halvings* steps.
    """

    def spent_at(price: float) -> float:
        made = {key: schedule(ladder, price, least=least, hopeless=hopeless) for key, ladder in ladders.items()}
        return mean_tokens(made, weights)

    cheapest = min(odds.tokens for ladder in ladders.values() for state in ladder for odds in state)
    low, high = 0.0, 1.0 / max(cheapest, 1e-9)
    """At the upper end no try is worth its tokens, because a chance is at most 1."""
    most, fewest = spent_at(low), spent_at(high)
    if most <= budget:
        return Price(low, low, 1.0)
    # A mandatory try may have two actions to choose from. Only the difference of their tokens counts, so a price above
    # the upper end can still lower the spending.
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


# Estimates for each class of tasks: Beta posteriors, shrunk towards the pool of all classes.
#
# The weight of a class against the pool is estimated from the data (empirical Bayes by moments, as in Kleinman 1973 and
# DerSimonian & Laird 1986). If the classes differ no more than by chance, each class gets the estimates of the pool, so
# useless features cost nothing.

CLASS_PRIOR = 40.0
"""The least weight, in tries, that the curve of the pool, scaled to the success rate of a class, has in its
estimates."""
TRIAL = 40.0
"""The number of tries after which the chance of a correction is estimated from its results. Until then its chance
counts as slightly above the best one."""
COST_PRIOR = 3.0
"""The weight, in tries, that the mean tokens of the pool have in the estimate of a class."""
MOST_ALIKE = 1e6
"""The largest weight of the pool, in tries. It is used if classes do not differ."""


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
    """Estimates, for each class of tasks, the success chance and the tokens of the next try.

    An action other than ``sample`` with fewer than 40 tries counts as slightly better than the best one, so that it is
    tried.
    """

    first_tokens: float
    """The assumed tokens of a try before the first observation."""
    most: int
    """The number of tries to plan; at least 1."""
    after: tuple[Action, ...] = ("sample", "correct")
    """The actions after a failed try. The first try is a sample."""
    _cells: dict[tuple[str, Action, int], _Cell] = field(default_factory=lambda: defaultdict(_Cell))
    _costs: dict[tuple[str, Action], _Cost] = field(default_factory=lambda: defaultdict(_Cost))
    _curves: dict[Action, Fading] = field(default_factory=lambda: defaultdict(Fading))
    _seen: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def saw(self, key: str, action: Action, failures: int, *, worked: bool, tokens: float) -> None:
        """Record a try of *action* on a task of class *key*, after *failures* failed tries.

        *worked* is true if its result was verified. *tokens* is its cost.
        """
        cell = self._cells[key, action, min(failures, self.most - 1)]
        cell.worked += worked
        cell.tries += 1.0
        cost = self._costs[key, action]
        cost.tokens += tokens
        cost.tries += 1.0

    def met(self, key: str) -> None:
        """Add one to the number of tasks of class *key*, because a task of this class was begun."""
        self._seen[key] += 1.0

    def weights(self) -> dict[str, float]:
        """Return the number of tasks begun so far, by class."""
        return dict(self._seen)

    def ladders(self) -> dict[str, Ladder]:
        """Return the possible next tries with their odds, for each class of which a task was begun."""
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
        """Return the estimated chance of success of each action after each number of failures, over all classes."""
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
        """Return how much the results of all classes together count in the estimate of one class, in tries.

        The number is larger if the classes are more alike. (Method of moments.)
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
        # One standard deviation of the noise is subtracted, because half of all useless features exceed its mean.
        share = min(max((scatter - math.sqrt(noise)) / room, 1.0 / MOST_ALIKE), 0.5)
        return 1.0 / share - 1.0

    def _level(self, key: str, action: Action, pool: dict[tuple[Action, int], float], alike: float) -> float:
        """Return the odds of success of *action* in the class *key*, divided by the odds over all classes, *pool*."""
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
        # A prior with the rate of the pool keeps a small class close to it.
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
    """Return the chance whose odds (chance divided by 1 - chance) are *factor* times those of *chance*."""
    chance = min(max(chance, 1e-6), 1.0 - 1e-6)
    odds = chance / (1.0 - chance) * factor
    return odds / (1.0 + odds)


Classify = Callable[[Task], str]
"""A function that takes a task and returns the key of its class. It must be fast, and must not use the answer."""

REPRICE = 16
"""The number of tasks after which the price is computed again."""
MOST_CLASSES = 256
"""The largest number of classes. Further ones share the class ``other``."""


def by_length(task: Task) -> str:
    """Return the class of *task*: the smallest power of two above its length in characters, written as ``2^10``."""
    return f"2^{len(task.text).bit_length()}"


@dataclass(slots=True)
class Spending:
    """Counts tasks and their tokens, so that the mean tokens per task can be kept near a budget."""

    tasks: int = 0
    """The number of finished tasks."""
    tokens: float = 0.0
    """The tokens so far."""
    expected: float = 0.0
    """The tokens that were expected for all begun tasks when they were planned."""

    def target(self, budget: float, window: int) -> float:
        """Return the mean tokens per task to aim at now, so that the mean of all tasks comes near *budget*.

        The result is between a third of the budget and three times the budget. *window* is the number of tasks within
        which a deviation is compensated.
        """
        aim = budget + (budget * self.tasks - self.tokens) / window
        # If the estimated chances are wrong, the expected tokens are wrong by a constant factor. This corrects it.
        settled = budget * window
        aim *= (self.expected + settled) / (self.tokens + settled)
        return min(max(aim, budget / 3.0), budget * 3.0)


class AdaptiveAllocator:
    """Decides for each task whether to sample, correct or give up, by the expected gain per token.

    *budget* is the mean number of generated tokens per task to aim at. *classify* returns the class of a task; the
    default is its length. *after* has the actions that may follow a failed try: ``("correct",)`` for plain runs, which
    have one sample each, or both actions for a strategy that samples again. At most *most* tries are planned. The first
    *least* of them are made at any price, a later one only if its chance of success is at least *hopeless* (0 to 1).
    Overspending is compensated over *window* tasks. *first_tokens* is the assumed cost of a try before the first
    observation, by default a quarter of the budget.

    A try counts as a success only if its answer was verified; passed steps do not count. Raises :class:`UsageError` if
    one of the numbers or *after* has a value out of range.
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
        first_tokens = budget / 4.0 if first_tokens is None else first_tokens
        numbers = (("budget", budget), ("most", most), ("window", window), ("first_tokens", first_tokens))
        for name, value in numbers:
            if not 0 < value < math.inf:
                raise UsageError(f"allocator: {name} must be above 0, got {value!r}; give a positive number")
        if not 0 <= hopeless <= 1:
            raise UsageError(f"allocator: hopeless must be a chance from 0 to 1, got {hopeless!r}; change it")
        if least < 0 or least > most:
            raise UsageError(f"allocator: least must be from 0 to most={most!r}, got {least!r}; change one of the two")
        if not after or not set(after) <= {"sample", "correct"}:
            raise UsageError(
                f"allocator: after must be one or both of 'sample' and 'correct', got {after!r}; correct it"
            )
        self.budget = budget
        self.beliefs = Beliefs(first_tokens=first_tokens, most=most, after=after)
        self.spending = Spending()
        self.price = Price(0.0, 0.0, 1.0)
        """The present price of a token in verified answers."""
        self._classify = classify
        self._least = least
        self._hopeless = hopeless
        self._window = window
        self._lean: dict[str, tuple[Odds, ...]] = {}
        self._rich: dict[str, tuple[Odds, ...]] = {}
        self._turn = 0.0
        self._known: set[str] = set()
        self._age = 0

    # ------------------------------------------------------------------ for strategies

    def key(self, task: Task) -> str:
        """Return the class of *task*. After 256 classes, new ones are called ``other``.

        Raises :class:`UsageError` if ``classify`` does not return a text.
        """
        key = self._classify(task)
        if not isinstance(key, str):
            raise UsageError(
                f"allocator: classify must return a str, the class of the task, got {key!r:.100}; correct the function"
            )
        if key not in self._known and len(self._known) >= MOST_CLASSES:
            return "other"
        self._known.add(key)
        return key

    def begin(self, key: str) -> tuple[Odds, ...]:
        """Count a begun task of class *key*, and return its planned tries in order.

        The caller stops after the first verified try. With the option ``least=0``, there may be no try.
        """
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
        """Record a try of *action* on a task of class *key*, after *failures* failed tries.

        *worked* is true if its result was verified. *tokens* is its cost.
        """
        self.beliefs.saw(key, action, failures, worked=worked, tokens=tokens)
        self.spending.tokens += tokens

    def ended(self) -> None:
        """Add one to the number of finished tasks."""
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
        """Count a begun task, and return the number of corrections that are worth their tokens in a run on it.

        A correction is a remedy of any kind. Raises :class:`UsageError` as :meth:`key` does.
        """
        steps = self.begin(self.key(task))
        corrections = 0
        for step in steps[1:]:
            if step.action != "correct":
                break
            corrections += 1
        return Allowance(remedies=corrections)

    def learn(self, task: Task, result: Result) -> None:
        """Record the result and the tokens of the run on *task*, and count the task as finished.

        The first text and each remedy count as a try, with equal shares of the tokens; the last one worked if the
        answer is verified. A failed run adds no try.
        """
        ledger = result.ledger
        if result.status == "failed":  # a failure of the model is not evidence about the task
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
