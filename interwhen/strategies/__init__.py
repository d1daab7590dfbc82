"""Strategies for test-time compute, with one interface and one way of counting tokens.

`_strategy.py` has the interface of a strategy, `_catalog.py` lists the strategies by name. `_baselines.py` has the
strategies from the literature, `_interrupt.py` the strategy of this project. `_allocation.py` decides how often a task
is tried, `_fork_planning.py` decides how a fork gets its prefix. Start with `attempt` in `_attempts.py`. Why:
docs/decisions/0025-strategies-on-one-ledger.md.
"""

from interwhen._types.extensions import Allocator, Allowance
from interwhen._types.models import Route
from interwhen.strategies._allocation import (
    Action,
    AdaptiveAllocator,
    Beliefs,
    Classify,
    Ladder,
    Odds,
    Price,
    by_length,
    expected_chance,
    expected_tokens,
    find_price,
    mean_tokens,
    schedule,
)
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
    "Action",
    "Actual",
    "AdaptiveAllocator",
    "Allocator",
    "Allowance",
    "Beliefs",
    "BestOf",
    "BudgetForcing",
    "CheckCounts",
    "Claimed",
    "Classify",
    "Exercise",
    "ForkPlanner",
    "ForkSituation",
    "Greedy",
    "Interrupt",
    "Judgement",
    "Ladder",
    "Odds",
    "Outcome",
    "Planned",
    "PlannedModel",
    "Planner",
    "Price",
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
    "by_length",
    "calibrate",
    "expected_chance",
    "expected_tokens",
    "find_price",
    "judge",
    "load_exercises",
    "load_strategies",
    "load_strategy",
    "mean_tokens",
    "probe_rates",
    "schedule",
    "seed_of",
    "work_of",
]
