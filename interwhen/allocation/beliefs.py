"""What is believed of each class of tasks: Beta posteriors, shrunk to the pool of all classes.

How much a class is believed against the pool is estimated from the data themselves (an empirical Bayes estimate by
moments, in the way of Kleinman 1973 and of DerSimonian & Laird 1986): where the classes differ no more than chance
makes them differ, every class is as good as the pool, so that features which say nothing cost nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

from interwhen.allocation.fading import Fading, fit
from interwhen.allocation.isotonic import falling
from interwhen.allocation.odds import Action, Ladder, Odds

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
