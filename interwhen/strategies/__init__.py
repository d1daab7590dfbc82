"""Strategies for test-time compute, with one interface and one way of counting tokens.

`_strategy.py` has the interface of a strategy, `_catalog.py` lists the strategies by name. `_baselines.py` has the
strategies from the literature, `_interrupt.py` the strategy of this project. `_allocation.py` decides how often a task
is tried, `_fork_planning.py` decides how a fork gets its prefix. Start with `attempt` in `_attempts.py`. Why:
docs/decisions/0025-strategies-on-one-ledger.md.
"""

from interwhen._types.models import Route
from interwhen.strategies._attempts import Exercise, attempt, load_exercises, seed_of
from interwhen.strategies._baselines import BestOf, BudgetForcing, Greedy, Revision, StepSearch, Vote
from interwhen.strategies._catalog import load_strategies, load_strategy
from interwhen.strategies._fork_planning import (
    Actual,
    ForkPlanner,
    ForkSituation,
    Planned,
    PlannedModel,
    Planner,
    Probe,
    Rates,
    Shelving,
    Shown,
    Work,
    calibrate,
    probe_rates,
    work_of,
)
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
    "Actual",
    "BestOf",
    "BudgetForcing",
    "CheckCounts",
    "Claimed",
    "Exercise",
    "ForkPlanner",
    "ForkSituation",
    "Greedy",
    "Interrupt",
    "Judgement",
    "Outcome",
    "Planned",
    "PlannedModel",
    "Planner",
    "Probe",
    "Question",
    "Rates",
    "Reader",
    "Revision",
    "Route",
    "Shelving",
    "Shown",
    "Solution",
    "StepSearch",
    "Strategy",
    "StrategyContext",
    "Trace",
    "Vote",
    "Watching",
    "Work",
    "attempt",
    "calibrate",
    "judge",
    "load_exercises",
    "load_strategies",
    "load_strategy",
    "probe_rates",
    "seed_of",
    "work_of",
]
