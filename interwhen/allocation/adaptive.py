"""An allocator that spends where a token is thought to buy most, and meets a mean budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from interwhen.allocation.allowance import Allowance
from interwhen.allocation.beliefs import Beliefs
from interwhen.allocation.odds import Action, Price, Step, expected_tokens, find_price, schedule
from interwhen.errors import UsageError
from interwhen.results import Result
from interwhen.tasks import Task

Classify = Callable[[Task], str]
"""Features of a task, as the key of its class. It must be cheap, and must not look at the answer."""

REPRICE = 16
"""Tasks after which the price is found anew."""
MOST_CLASSES = 256
"""Classes that are told apart; what comes beyond them is one class more."""


def by_length(task: Task) -> str:
    """Class a task by the length of its text, in powers of two: the least that can be known of any."""
    return f"2^{len(task.text).bit_length()}"


@dataclass(slots=True)
class Spending:
    """What was spent of a mean budget so far."""

    tasks: int = 0
    tokens: float = 0.0
    expected: float = 0.0
    """What was thought that these tasks would take."""

    def target(self, budget: float, window: int) -> float:
        """Return the mean tokens to aim at, so that what was spent too much or too little is made up in *window* tasks.

        At least a third of the budget and at most three times it.
        """
        aim = budget + (budget * self.tasks - self.tokens) / window
        # What is expected is off by a steady factor where the chances are: it is learnt, or the budget would be missed.
        settled = budget * window
        aim *= (self.expected + settled) / (self.tokens + settled)
        return min(max(aim, budget / 3.0), budget * 3.0)


class AdaptiveAllocator:
    """Chooses the next sample or correction of each task, or giving up, by expected gain a token.

    *budget* is the mean of tokens a task (those that are generated), over all classes; it is spent as far as there are
    tries whose chance is at least *hopeless*. *classify* gives a task's class; the default is its length. *after* names
    what may follow a failed try: ``("correct",)`` for plain runs, which have one sample each, both for a strategy that
    samples again. *most* tries are looked ahead, the first *least* are made at any price. Overspending is made up over
    *window* tasks. Before any try was seen, one is thought to take *first_tokens*; by default a quarter of the budget.

    Nothing is ever verified by it: it says how often to try, and a monitor's verifier says what came of that. A try
    worked if its answer was verified: steps that passed on the way say nothing on the answer, so a run whose monitors
    cannot judge the answer never works, as far as an allocator can tell.
    """

    def __init__(
        self,
        *,
        budget: float,
        classify: Classify = by_length,
        after: tuple[Action, ...] = ("correct",),
        most: int = 16,
        least: int = 1,
        hopeless: float = 0.01,
        window: int = 100,
        first_tokens: float | None = None,
    ) -> None:
        for name, value in (("budget", budget), ("most", most), ("window", window)):
            if not value > 0:
                raise UsageError(f"allocator: {name}={value!r} must be more than 0")
        if least < 0 or least > most:
            raise UsageError(f"allocator: least={least!r} must lie between 0 and most={most!r}")
        if not after or not set(after) <= {"sample", "correct"}:
            raise UsageError(f"allocator: after={after!r}, choose from 'sample' and 'correct'")
        self.budget = budget
        self.beliefs = Beliefs(first_tokens=first_tokens or budget / 4.0, most=most, after=after)
        self.spending = Spending()
        self.price = Price(0.0, 0.0, 1.0)
        """What a token costs now, in verified answers."""
        self._classify = classify
        self._least = least
        self._hopeless = hopeless
        self._window = window
        self._lean: dict[str, tuple[Step, ...]] = {}
        self._rich: dict[str, tuple[Step, ...]] = {}
        self._turn = 0.0
        self._known: set[str] = set()
        self._age = 0

    # ------------------------------------------------------------------ for strategies

    def key(self, task: Task) -> str:
        """Return the class of *task*."""
        key = self._classify(task)
        if not isinstance(key, str):
            raise UsageError(f"allocator: classify gave {key!r:.100}, which is no text")
        if key not in self._known and len(self._known) >= MOST_CLASSES:
            return "other"
        self._known.add(key)
        return key

    def begin(self, key: str) -> tuple[Step, ...]:
        """Return the tries to make on a task of class *key*, in order, until one is verified; then give up."""
        self.beliefs.met(key)
        if key not in self._lean or self._age >= REPRICE:
            self._reprice()
        self._age += 1
        self._turn += self.price.share
        is_rich = self._turn >= 1.0
        self._turn -= is_rich
        steps = (self._rich if is_rich else self._lean)[key]
        self.spending.expected += expected_tokens(steps)
        return steps

    def saw(self, key: str, action: Action, failures: int, *, worked: bool, tokens: float) -> None:
        """Take in what one try came to."""
        self.beliefs.saw(key, action, failures, worked=worked, tokens=tokens)
        self.spending.tokens += tokens

    def ended(self) -> None:
        """Take in that a task is done with."""
        self.spending.tasks += 1

    def _reprice(self) -> None:
        ladders = self.beliefs.ladders()
        target = self.spending.target(self.budget, self._window)
        self.price = find_price(ladders, self.beliefs.weights(), target, least=self._least, hopeless=self._hopeless)
        self._lean, self._rich = (
            {
                key: schedule(ladder, price, least=self._least, hopeless=self._hopeless)
                for key, ladder in ladders.items()
            }
            for price in (self.price.lean, self.price.rich)
        )
        self._age = 0

    # ------------------------------------------------------------------ for runs

    def allow(self, task: Task) -> Allowance:
        """Return how many corrections of a run on *task* are worth their tokens."""
        steps = self.begin(self.key(task))
        corrections = 0
        for step in steps[1:]:
            if step.action != "correct":
                break
            corrections += 1
        return Allowance(remedies=corrections)

    def learn(self, task: Task, result: Result) -> None:
        """Take in how the run on *task* ended: each remedy is a try, and all but the last one failed."""
        ledger = result.ledger
        if result.status == "failed":  # the model's failure says nothing of the task
            self.spending.tokens += ledger.total_tokens
            self.ended()
            return
        key = self.key(task)
        share = ledger.total_tokens / (ledger.remedies + 1)
        for failures in range(ledger.remedies + 1):
            action: Action = "correct" if failures else "sample"
            worked = result.answer_verified and failures == ledger.remedies
            self.saw(key, action, failures, worked=worked, tokens=share)
        self.ended()
