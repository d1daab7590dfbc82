"""A planner at work on a real endpoint: what it thought that each fork would take, and what it took."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import msgspec

from interwhen.errors import ModelError
from interwhen.models.base import Model, Piece, Request, Route, Sampling
from interwhen.planning.planned import PlannedModel
from interwhen.planning.planner import ForkPlanner, Shown
from interwhen.planning.rates import Rates

_ROOM = 0.6
"""The part of the context that the trace may grow to."""
_LINES = 4
"""Lines that come between two forks."""


class Explained(msgspec.Struct, frozen=True):
    """One fork. Times are in milliseconds, sizes in tokens."""

    route: Route
    why: str
    """What speaks for it: the route that was thought to come next, and what it would have taken."""
    prefix: int
    predicted: float
    actual: float
    predicted_prefill: float
    actual_prefill: int | None
    """``None``: the server does not say."""
    saved: bool


class Explanation(msgspec.Struct, frozen=True):
    """A planner at work on one endpoint."""

    model: str
    before: Rates
    """The rates that were probed, in seconds."""
    after: Rates
    forks: tuple[Explained, ...]

    @property
    def off(self) -> float:
        """Return by how much the prediction of the median fork of the second half was off, in percent."""
        late = self.forks[len(self.forks) // 2 :]
        return statistics.median(100.0 * abs(fork.predicted / fork.actual - 1.0) for fork in late)


async def explain(
    model: Model, rates: Rates, *, forks: int, disturb: int, say: Callable[[str], None] = lambda _: None
) -> Explanation:
    """Fork *forks* times off a growing trace, and let others ask something after each *disturb* forks.

    Raises :class:`~interwhen.errors.ModelError`.
    """
    planner = ForkPlanner(rates)
    planned = PlannedModel(model, planner)
    able = await model.capabilities()
    most = 10**6 if able.context_tokens is None else int(_ROOM * able.context_tokens)
    trace, number = "", 10
    for fork in range(forks):
        for _ in range(_LINES):
            trace += f"{number} + 9 = {number + 9}\n"
            number += 1
        before = planner.shown[-1] if planner.shown else None
        if before is not None and before.planned.situation.prefix > most:
            trace = trace[len(trace) // 2 :]
        await planned.complete(_fork(trace))
        say(f"fork {fork + 1} of {forks}")
        if disturb and fork % disturb == disturb - 1:
            await _disturb(model, fork)
    return Explanation(model.name, rates, planner.rates, tuple(explained(shown) for shown in planner.shown))


def explained(shown: Shown) -> Explained:
    """Return what *shown* says, in words and milliseconds."""
    planned, actual = shown
    why = "tried, to learn what it takes" if planned.is_trial else "the only one"
    if planned.others and not planned.is_trial:
        route, seconds = planned.others[0]
        why = f"{route} would take {1e3 * seconds:.1f} ms"
    anew = None
    if actual.prompt_tokens is not None and actual.cached_tokens is not None:
        anew = actual.prompt_tokens - actual.cached_tokens
    return Explained(
        planned.route,
        why,
        planned.situation.prefix,
        1e3 * planned.seconds,
        1e3 * actual.seconds,
        planned.prefilled,
        anew,
        planned.save,
    )


def _fork(trace: str) -> Request:
    sampling = Sampling(max_tokens=4, temperature=0.0)
    return Request("Add nine to each number.\n", (Piece(trace),), sampling, side="The last sum was ")


async def _disturb(model: Model, number: int) -> None:
    """Ask for something else on every slot, so that the server may have to give up what it holds."""
    for place in range(3):
        text = f"{number} {place} " + "something else altogether. " * 8
        try:
            await model.complete(Request(text, (), Sampling(max_tokens=1, temperature=0.0)))
        except ModelError:
            return
