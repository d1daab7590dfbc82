"""Strategies for test-time compute, with one interface and one way of counting tokens.

Start with `attempt` in `_attempts.py`. Why: docs/decisions/strategies.md.
"""

from typing import TYPE_CHECKING

from interwhen._types import lazy_names
from interwhen.strategies._attempts import Exercise, attempt
from interwhen.strategies._catalog import load_strategy
from interwhen.strategies._strategy import Judgement, Question, Reader, Solution, Strategy, StrategyContext
from interwhen.strategies._traces import Trace

__all__ = [
    "Exercise",
    "Judgement",
    "Question",
    "Reader",
    "Solution",
    "Strategy",
    "StrategyContext",
    "Trace",
    "attempt",
    "load_strategy",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of this module
    __getattr__ = lazy_names(__name__)
