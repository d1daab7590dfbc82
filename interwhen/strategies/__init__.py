"""Strategies for test-time compute, with one interface and one way of counting tokens.

`_strategy.py` has the interface of a strategy, `_catalog.py` lists the strategies by name. `_baselines.py` has the
strategies from the literature, `_interrupt.py` the strategy of this project. Start with `attempt` in `_attempts.py`.
Why: docs/decisions/strategies.md.
"""

from typing import TYPE_CHECKING

from interwhen.strategies._attempts import Exercise, attempt, load_exercises, seed_of
from interwhen.strategies._baselines import BestOf, Greedy, Vote
from interwhen.strategies._catalog import REMOVED_NAMES, load_strategies, load_strategy
from interwhen.strategies._interrupt import Interrupt
from interwhen.strategies._strategy import (
    CheckCounts,
    Claimed,
    Judgement,
    Outcome,
    Question,
    Reader,
    Solution,
    Strategy,
    StrategyContext,
    Watching,
    judge,
)
from interwhen.strategies._traces import Trace

__all__ = [
    "BestOf",
    "CheckCounts",
    "Claimed",
    "Exercise",
    "Greedy",
    "Interrupt",
    "Judgement",
    "Outcome",
    "Question",
    "Reader",
    "Solution",
    "Strategy",
    "StrategyContext",
    "Trace",
    "Vote",
    "Watching",
    "attempt",
    "judge",
    "load_exercises",
    "load_strategies",
    "load_strategy",
    "seed_of",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of this module

    def __getattr__(name: str) -> object:
        if name in REMOVED_NAMES:
            # Python replaces the message of an AttributeError in "from ... import".
            raise ImportError(f"{__name__}.{name} was removed: {REMOVED_NAMES[name]}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
