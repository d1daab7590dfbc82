"""Lists the strategies by name, and loads them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

from msgspec import Meta

from interwhen._types.errors import PluginError
from interwhen._types.remedies import LADDER, Auto, Feedback, Remedy, Repair, Resample
from interwhen._types.vetting import require_distinct
from interwhen.registry import STRATEGIES, make, names_of
from interwhen.strategies._baselines import MOST_SAMPLES, BestOf, Greedy, Vote
from interwhen.strategies._interrupt import Interrupt
from interwhen.strategies._strategy import Strategy

_BETWEEN = re.compile(r",(?!\s*[A-Za-z_]\w*\s*=)")
"""Matches a comma between two strategies, but not before an option (``name=``)."""


Samples = Annotated[int, Meta(ge=1, le=MOST_SAMPLES)]
"""It has a limit, because a client of a gateway may choose it."""
Repeats = Annotated[int, Meta(ge=0, le=MOST_SAMPLES)]


def _sampling(made: Callable[[int], Strategy]) -> Callable[..., Strategy]:
    def factory(*, n: Samples = MOST_SAMPLES) -> Strategy:
        return made(n)

    return factory


def _interrupting(name: str, remedy: Remedy | None) -> Callable[..., Strategy]:
    # If the run gives no answer, at most `restarts` further runs follow.
    def factory(*, restarts: Repeats = 16) -> Strategy:
        return Interrupt(name, remedy, restarts)

    return factory


def interrupt_auto(*, restarts: Repeats = 16, samples: int = Auto().samples, order: str = "") -> Interrupt:
    """Make the strategy that runs the model under monitors that use the remedy ``Auto``, a ladder of remedies.

    Monitors that conclude keep their own remedy. If the run gives no answer, at most *restarts* further runs follow.
    *samples* and *order* are the fields of ``Auto``; an order is written like ``resample+restart``. Raises
    :class:`UsageError` for a wrong *samples* or *order*.
    """
    rungs: Any = tuple(order.split("+")) if order else LADDER
    return Interrupt("interrupt-auto", Auto(order=rungs, samples=samples), restarts)


SHIPPED: Mapping[str, Callable[..., Strategy]] = {
    "greedy": Greedy,
    "best-of-n": _sampling(lambda n: BestOf(samples=n)),
    "until-verified": _sampling(lambda n: BestOf("until-verified", n, until_verified=True)),
    "self-consistency": _sampling(lambda n: Vote(samples=n)),
    "weighted-vote": _sampling(lambda n: Vote("weighted-vote", n, "by verifiers")),
    "interrupt": _interrupting("interrupt", None),
    "interrupt-auto": interrupt_auto,
    "interrupt-repair": _interrupting("interrupt-repair", Repair(otherwise=Resample())),
    "interrupt-repair-feedback": _interrupting("interrupt-repair-feedback", Repair()),
    "interrupt-feedback": _interrupting("interrupt-feedback", Feedback()),
    "interrupt-resample": _interrupting("interrupt-resample", Resample()),
}
"""Strategies of other packages are entry points of the group ``interwhen.strategies``."""


_COPY = "copy examples/strategies/{0}.py of the source tree and name it {0}:{1}, or use {2}"
_REMOVED = {
    "adaptive": "use until-verified, which stops at the first verified answer, or interrupt-auto",
    "budget-forcing": _COPY.format("budget_forcing", "BudgetForcing", "greedy"),
    "dvts": _COPY.format("dvts", "TreeSearch", "until-verified"),
    "generate-test": _COPY.format("generate_test", "GenerateTest", "until-verified"),
    "revision": _COPY.format("revision", "Revision", "interrupt-feedback"),
    "step-beam": _COPY.format("step_beam", "StepBeam", "until-verified"),
}


def load_strategy(spec: str) -> Strategy:
    """Return the strategy that *spec* describes: ``best-of-n``, ``best-of-n:n=4``, or ``module:factory``.

    A module is imported. Raises :class:`~interwhen.registry.PluginError` if the strategy is missing or broken, if an
    option is unknown, or if the value of an option does not fit it. An error of interwhen that the factory raises is
    passed on, such as a :class:`~interwhen.UsageError` for ``interrupt-auto:samples=0``.
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
