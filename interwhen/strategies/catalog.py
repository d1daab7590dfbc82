"""The strategies by name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping

from interwhen.errors import PluginError, UsageError
from interwhen.registry import STRATEGIES, make
from interwhen.remedies import Feedback, Repair, Resample
from interwhen.strategies.allocating import adaptive
from interwhen.strategies.base import Strategy
from interwhen.strategies.forcing import BudgetForcing
from interwhen.strategies.interrupting import Interrupt
from interwhen.strategies.revising import Revision
from interwhen.strategies.sampling import MOST_SAMPLES, BestOf, Greedy, Vote
from interwhen.strategies.searching import StepSearch

_BETWEEN = re.compile(r",(?!\s*[A-Za-z_]\w*\s*=)")
"""A comma that does not start the next option."""


def best_of_n(*, samples: int = MOST_SAMPLES) -> BestOf:
    """Make best-of-N."""
    return BestOf(samples=samples)


def until_verified(*, samples: int = MOST_SAMPLES) -> BestOf:
    """Make best-of-N that stops at the first sample whose answer is verified."""
    return BestOf("until-verified", samples, until_verified=True)


def self_consistency(*, samples: int = MOST_SAMPLES) -> Vote:
    """Make the plain vote."""
    return Vote(samples=samples)


def weighted_vote(*, samples: int = MOST_SAMPLES) -> Vote:
    """Make the vote that verifiers weigh."""
    return Vote("weighted-vote", samples, "by verifiers")


def step_beam(*, width: int = 2, expansions: int = 2) -> StepSearch:
    """Make beam search over steps."""
    return StepSearch(width=width, expansions=expansions)


def dvts(*, trees: int = 2, expansions: int = 2) -> StepSearch:
    """Make diverse verifier tree search."""
    return StepSearch("dvts", trees, 1, expansions)


def budget_forcing(*, waits: int = 2, minimum: int | None = None, maximum: int | None = None) -> BudgetForcing:
    """Make budget forcing."""
    return BudgetForcing(waits=waits, minimum=minimum, maximum=maximum)


def revision(*, rounds: int = 16) -> Revision:
    """Make generate, test, revise."""
    return Revision(rounds=rounds)


def generate_test(*, rounds: int = 16) -> Revision:
    """Make generate, test, and generate again, with nothing said in between."""
    return Revision("generate-test", rounds, tell=False)


def interrupt(*, restarts: int = 16) -> Interrupt:
    """Make the supervised run, each monitor with its own remedy."""
    return Interrupt(restarts=restarts)


def interrupt_repair(*, restarts: int = 16) -> Interrupt:
    """Make the supervised run that repairs in place, where a verifier can."""
    return Interrupt("interrupt-repair", Repair(otherwise=Resample()), restarts)


def interrupt_feedback(*, restarts: int = 16) -> Interrupt:
    """Make the supervised run that says what is wrong."""
    return Interrupt("interrupt-feedback", Feedback(), restarts)


def interrupt_resample(*, restarts: int = 16) -> Interrupt:
    """Make the supervised run that cuts and samples again."""
    return Interrupt("interrupt-resample", Resample(), restarts)


SHIPPED: Mapping[str, Callable[..., Strategy]] = {
    "greedy": Greedy,
    "best-of-n": best_of_n,
    "until-verified": until_verified,
    "adaptive": adaptive,
    "self-consistency": self_consistency,
    "weighted-vote": weighted_vote,
    "step-beam": step_beam,
    "dvts": dvts,
    "budget-forcing": budget_forcing,
    "generate-test": generate_test,
    "revision": revision,
    "interrupt": interrupt,
    "interrupt-repair": interrupt_repair,
    "interrupt-feedback": interrupt_feedback,
    "interrupt-resample": interrupt_resample,
}
"""The strategies that come with this package. Others are entry points of the group ``interwhen.strategies``."""


def load_strategy(spec: str) -> Strategy:
    """Return the strategy that *spec* describes: ``dvts``, ``dvts:trees=4``, or ``module:factory``.

    Raises :class:`~interwhen.errors.PluginError`.
    """
    made = make(STRATEGIES, spec, SHIPPED)
    if not isinstance(made, Strategy):
        raise PluginError(spec, f"its factory returned {made!r:.200}, which is no Strategy")
    if ":" in spec and spec.partition(":")[0] in SHIPPED and dataclasses.is_dataclass(made):
        # Two of one kind with other options must be told apart.
        return dataclasses.replace(made, name=spec.strip())
    return made


def load_strategies(specs: str | Iterable[str] = ()) -> tuple[Strategy, ...]:
    """Return the strategies in *specs*, a list or a text with commas between; none given: all that are shipped.

    Raises :class:`~interwhen.errors.UsageError` where two have one name.
    """
    texts = [specs] if isinstance(specs, str) else list(specs)
    names = [name.strip() for text in texts for name in _BETWEEN.split(text) if name.strip()]
    made = tuple(load_strategy(name) for name in names or SHIPPED)
    known = [one.name for one in made]
    if len(set(known)) < len(known):
        raise UsageError(f"a strategy is named twice: {', '.join(known)}")
    return made
