"""Ways of spending test-time compute: one model adapter, the same verifiers, one ledger."""

from interwhen.strategies.attempting import attempt, seed_of
from interwhen.strategies.base import Checks, Claimed, Outcome, Question, Reader, Solution, Strategy, Watching
from interwhen.strategies.catalog import load_strategies, load_strategy
from interwhen.strategies.exercises import Exercise, load_exercises
from interwhen.strategies.forcing import BudgetForcing
from interwhen.strategies.interrupting import Interrupt
from interwhen.strategies.judging import Judgement, judge
from interwhen.strategies.means import Means
from interwhen.strategies.revising import Revision
from interwhen.strategies.sampling import BestOf, Greedy, Vote
from interwhen.strategies.searching import StepSearch
from interwhen.strategies.spending import BudgetSpent, Meter
from interwhen.strategies.tracing import Trace

__all__ = [
    "BestOf",
    "BudgetForcing",
    "BudgetSpent",
    "Checks",
    "Claimed",
    "Exercise",
    "Greedy",
    "Interrupt",
    "Judgement",
    "Means",
    "Meter",
    "Outcome",
    "Question",
    "Reader",
    "Revision",
    "Solution",
    "StepSearch",
    "Strategy",
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
