"""Lists the strategies by name, and loads them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

from msgspec import Meta

from interwhen._types.errors import PluginError
from interwhen._types.remedies import LADDER, Auto, Feedback, Repair, Resample
from interwhen._types.vetting import require_distinct
from interwhen.registry import STRATEGIES, make, names_of
from interwhen.strategies._baselines import MOST_SAMPLES, BestOf, Greedy, Vote
from interwhen.strategies._interrupt import Interrupt
from interwhen.strategies._strategy import Strategy

_BETWEEN = re.compile(r",(?!\s*[A-Za-z_]\w*\s*=)")
"""Matches a comma between two strategies, but not a comma before an option (``name=``) of the same strategy."""


Samples = Annotated[int, Meta(ge=1, le=MOST_SAMPLES)]
"""A number of samples. A client of a gateway may choose it, so it has a limit."""
Repeats = Annotated[int, Meta(ge=0, le=MOST_SAMPLES)]
"""How often something may be repeated."""


def best_of_n(*, n: Samples = MOST_SAMPLES) -> BestOf:
    """Make the strategy "best-of-N": draw at most *n* samples, and answer with the one that verifiers rate best."""
    return BestOf(samples=n)


def until_verified(*, n: Samples = MOST_SAMPLES) -> BestOf:
    """Make a strategy that draws at most *n* samples, and stops at the first one whose answer is verified."""
    return BestOf("until-verified", n, until_verified=True)


def self_consistency(*, n: Samples = MOST_SAMPLES) -> Vote:
    """Make the strategy "self-consistency": at most *n* samples vote on the answer, with equal weights."""
    return Vote(samples=n)


def weighted_vote(*, n: Samples = MOST_SAMPLES) -> Vote:
    """Make a strategy in which at most *n* samples vote on the answer, with weights by verifiers."""
    return Vote("weighted-vote", n, "by verifiers")


def interrupt(*, restarts: Repeats = 16) -> Interrupt:
    """Make the strategy that runs the model under monitors, each of which uses its own remedy.

    If the run gives no answer, at most *restarts* further runs follow.
    """
    return Interrupt(restarts=restarts)


def interrupt_auto(*, restarts: Repeats = 16, samples: int = Auto().samples, order: str = "") -> Interrupt:
    """Make the strategy that runs the model under monitors that use the remedy ``Auto``, a ladder of remedies.

    Monitors that conclude keep their own remedy. If the run gives no answer, at most *restarts* further runs follow.
    *samples* and *order* are the fields of ``Auto``; an order is written like ``resample+restart``. Raises
    :class:`UsageError` for a wrong *samples* or *order*.
    """
    rungs: Any = tuple(order.split("+")) if order else LADDER
    return Interrupt("interrupt-auto", Auto(order=rungs, samples=samples), restarts)


def interrupt_repair_feedback(*, restarts: Repeats = 16) -> Interrupt:
    """Make the strategy that runs the model under monitors that correct a wrong claim, or give feedback on it.

    If the run gives no answer, at most *restarts* further runs follow.
    """
    return Interrupt("interrupt-repair-feedback", Repair(), restarts)


def interrupt_repair(*, restarts: Repeats = 16) -> Interrupt:
    """Make the strategy that runs the model under monitors that correct a wrong claim, or let it be written again.

    If the run gives no answer, at most *restarts* further runs follow.
    """
    return Interrupt("interrupt-repair", Repair(otherwise=Resample()), restarts)


def interrupt_feedback(*, restarts: Repeats = 16) -> Interrupt:
    """Make the strategy that runs the model under monitors that tell the model what is wrong.

    If the run gives no answer, at most *restarts* further runs follow.
    """
    return Interrupt("interrupt-feedback", Feedback(), restarts)


def interrupt_resample(*, restarts: Repeats = 16) -> Interrupt:
    """Make the strategy that runs the model under monitors that cut wrong text, which the model then writes again.

    If the run gives no answer, at most *restarts* further runs follow.
    """
    return Interrupt("interrupt-resample", Resample(), restarts)


SHIPPED: Mapping[str, Callable[..., Strategy]] = {
    "greedy": Greedy,
    "best-of-n": best_of_n,
    "until-verified": until_verified,
    "self-consistency": self_consistency,
    "weighted-vote": weighted_vote,
    "interrupt": interrupt,
    "interrupt-auto": interrupt_auto,
    "interrupt-repair": interrupt_repair,
    "interrupt-repair-feedback": interrupt_repair_feedback,
    "interrupt-feedback": interrupt_feedback,
    "interrupt-resample": interrupt_resample,
}
"""The strategies that come with this package. Others are entry points of the group ``interwhen.strategies``."""


_COPY = "copy examples/strategies/{0}.py of the source tree and name it {0}:{1}, or use {2}"
_REMOVED = {
    "adaptive": "use until-verified, which stops at the first verified answer, or interrupt-auto",
    "budget-forcing": _COPY.format("budget_forcing", "BudgetForcing", "greedy"),
    "dvts": _COPY.format("dvts", "TreeSearch", "until-verified"),
    "generate-test": _COPY.format("generate_test", "GenerateTest", "until-verified"),
    "revision": _COPY.format("revision", "Revision", "interrupt-feedback"),
    "step-beam": _COPY.format("step_beam", "StepBeam", "until-verified"),
}
"""Strategies that were removed, and what to use instead."""


def load_strategy(spec: str) -> Strategy:
    """Return the strategy that *spec* describes: ``best-of-n``, ``best-of-n:n=4``, or ``module:factory``.

    A module is imported. Raises :class:`~interwhen.PluginError` if the strategy is missing or broken, if an option is
    unknown, or if the value of an option does not fit it. An error of interwhen that the factory raises is passed on,
    such as a :class:`~interwhen.UsageError` for ``interrupt-auto:samples=0``.
    """
    spec = spec.strip()
    name = spec.partition(":")[0]
    if name in _REMOVED and name not in names_of(STRATEGIES):
        raise PluginError(name, "it must be a strategy that exists, got one that was removed", _REMOVED[name])
    made = make(STRATEGIES, spec, SHIPPED)
    if not isinstance(made, Strategy):
        raise PluginError(spec, f"its factory must return a Strategy, got {made!r:.200}; correct the factory")
    # The name shows the options, so that two variants of one strategy have different names.
    if "=" in spec and dataclasses.is_dataclass(made):
        defaults = {one.name: one.default for one in dataclasses.fields(made) if one.init}
        # A factory of a plug-in may have made a name from the options itself.
        if name in SHIPPED or defaults.get("name") == made.name:
            return dataclasses.replace(made, name=spec)
    return made


def load_strategies(specs: str | Iterable[str] = ()) -> tuple[Strategy, ...]:
    """Return the strategies that *specs* describes: a text, or several, each with one strategy or more.

    Commas separate the strategies of a text, and also the options of one, as in
    ``interrupt-auto:samples=2,restarts=4``. If *specs* is empty, all shipped strategies are returned. Raises
    :class:`~interwhen.UsageError` if two have the same name, and the errors of :func:`load_strategy`.
    """
    texts = [specs] if isinstance(specs, str) else list(specs)
    names = [name.strip() for text in texts for name in _BETWEEN.split(text) if name.strip()]
    made = tuple(load_strategy(name) for name in names or SHIPPED)
    known = [one.name for one in made]
    require_distinct("the names of strategies", known, "leave one out")
    return made
