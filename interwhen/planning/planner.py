"""Chooses how each fork gets its prefix: recompute or move, by what each would cost."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from interwhen.models.base import Route
from interwhen.planning.rates import Rates, Work, work_of
from interwhen.planning.situations import Actual, Planned, Situation
from interwhen.planning.tracking import Tracking

GUESS = Rates(request=0.005, prefill=0.001, decode=0.02, restore=0.005, restored=0.00005)
"""Rates of nobody's machine, for a planner that was not calibrated: they are soon put right."""
TRIALS: tuple[Route, ...] = ("restored", "live")
"""Routes of which the others tell too little: they are tried once, early."""
TRIAL_EVERY = 4
"""At most one of so many forks is a trial."""
TRIAL_COST = 4.0
"""No trial is thought to cost more than so many times the best route."""
STALE = 64
"""Forks after which a route that was not taken is tried again, if it is thought to be nearly as good."""
NEARLY = 1.5
KEPT = 512
"""Forks that are remembered, to be shown."""


class Shown(NamedTuple):
    """One fork: what was thought, and what came."""

    planned: Planned
    actual: Actual


@dataclass(slots=True)
class _Share:
    """A share that is learnt, the latest news weighing most."""

    hits: float
    tries: float

    @property
    def value(self) -> float:
        return self.hits / self.tries

    def learn(self, hit: float) -> None:
        self.hits = 0.9 * self.hits + hit
        self.tries = 0.9 * self.tries + 1.0


class ForkPlanner:
    """Chooses the route that is thought to take the least time, and is put right by what each fork took.

    *rates* come from :func:`~interwhen.planning.calibrate` (three probes); without them it begins with a guess. One
    planner serves one endpoint, and any number of runs.
    """

    def __init__(self, rates: Rates = GUESS) -> None:
        self.tracking = Tracking(rates)
        self.shown: deque[Shown] = deque(maxlen=KEPT)
        """The latest forks."""
        self._hits = _Share(2.0, 2.0)
        self._parses = _Share(1.0, 2.0)
        self._parsing = _Share(0.0005, 1.0)
        self._count = 0
        self._trial = -TRIAL_EVERY
        self._taken: dict[Route, int] = {}

    @property
    def rates(self) -> Rates:
        """What things are thought to take now, in seconds."""
        return self.tracking.rates

    @property
    def hit(self) -> float:
        """The part of a prefix that a server still holds when it is asked again."""
        return self._hits.value

    def choose(self, situation: Situation) -> Planned:
        """Return the route for a fork in *situation*."""
        costs = self.costs(situation)
        ranked = sorted(costs, key=lambda route: (costs[route], route))
        trial = self._due(situation, costs, costs[ranked[0]])
        route = trial or ranked[0]
        is_trial = route != ranked[0]
        self._count += 1
        if is_trial:
            self._trial = self._count
        self._taken[route] = self._count
        others = tuple((other, costs[other]) for other in ranked if other != route)
        work = work_of(route, situation, self.hit)
        save = "restored" in situation.routes and self._is_worth_saving(situation)
        return Planned(route, situation, costs[route], work.prefilled, save, is_trial, others)

    def learn(self, planned: Planned, actual: Actual) -> None:
        """Take in what a fork came to."""
        self.shown.append(Shown(planned, actual))
        if planned.route == "parser":
            self._parses.learn(float(actual.parsed))
            self._parsing.learn(actual.seconds)
            return
        situation = planned.situation
        work = work_of(planned.route, situation, self.hit)
        if actual.prompt_tokens is not None and actual.cached_tokens is not None:
            anew = max(actual.prompt_tokens - actual.cached_tokens, 0)
            work = work._replace(prefilled=float(anew))
            if planned.route == "live" and situation.held > 0:
                self._hits.learn(min(actual.cached_tokens / situation.held, 1.0))
        if actual.reply_tokens is not None:
            work = work._replace(decoded=float(actual.reply_tokens))
        if self._follow(work, actual):
            self._taken.clear()

    # ------------------------------------------------------------------ costs

    def costs(self, situation: Situation) -> dict[Route, float]:
        """Return what each route is thought to take in *situation*, in seconds."""
        rates = self.rates
        costs: dict[Route, float] = {
            route: work_of(route, situation, self.hit).seconds(rates)
            for route in situation.routes
            if route != "parser" and not (route == "restored" and not situation.stored)
        }
        if not costs:
            costs["live"] = work_of("live", situation, self.hit).seconds(rates)
        if "parser" in situation.routes:
            # Where the parser has no answer, the fork is made after all.
            costs["parser"] = self._parsing.value + (1.0 - self._parses.value) * min(costs.values())
        return costs

    def _due(self, situation: Situation, costs: dict[Route, float], best: float) -> Route | None:
        """Return a route that should be taken to learn what it costs."""
        if self._count - self._trial < TRIAL_EVERY:
            return None
        for route in TRIALS:
            if route not in costs or (route == "live" and not situation.held):
                continue
            last = self._taken.get(route)
            if last is None and costs[route] <= TRIAL_COST * best:
                return route
            if last is not None and self._count - last >= STALE and costs[route] <= NEARLY * best:
                return route
        return None

    def _is_worth_saving(self, situation: Situation) -> bool:
        """Tell whether saving the state is less than what it is thought to save at the next fork."""
        rates, size = self.rates, situation.prefix + situation.side
        move = rates.restore + rates.restored * size
        lost = (1.0 - self.hit) * max(rates.prefill * size - move, 0.0)
        return move < lost

    def _follow(self, work: Work, actual: Actual) -> bool:
        """Let the rates follow; the server's own timings say more than the sum."""
        read, written = actual.prompt_seconds, actual.reply_seconds
        if read is None or written is None:
            return self.tracking.learn(work, actual.seconds)
        # What the server's timings leave of the clock's is the request itself, and the restore if there was one.
        doubted = False
        if work.prefilled > 0:
            doubted |= self.tracking.learn(Work(0.0, work.prefilled, 0.0), read)
        if work.decoded > 0:
            doubted |= self.tracking.learn(Work(0.0, 0.0, work.decoded), written)
        rest = Work(work.requests, 0.0, 0.0, work.restores, work.restored)
        return self.tracking.learn(rest, max(actual.seconds - read - written, 0.0)) or doubted
