"""The three runs of ``interwhen demo``: what is asked, who watches, and what is said about it beforehand.

Nothing in them is staged: the model answers greedily and may do as it likes. The problems were looked for with
``python -m examples.train_tiny.pick_demo``, which tries many and prints those that end as wanted.
"""

from __future__ import annotations

from dataclasses import dataclass

from interwhen.budgets import Budgets
from interwhen.models.base import Message, Sampling
from interwhen.results import Label

MODEL = "local:tiny"
SAMPLING = Sampling(max_tokens=400, temperature=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One run of the demo."""

    told: str
    """What is said before it."""
    problem: str
    monitor: str
    budgets: Budgets | None = None
    ends: Label
    """How it ends with the model that the problem was chosen for."""
    interrupts: tuple[int, int]
    """How often that model is interrupted: at least, at most."""

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The problem as a chat."""
        return (Message("user", self.problem),)


SCENES = (
    Scene(
        told="A problem within its reach. The checks run beside the stream; while nothing is wrong, nothing is seen of "
        "them but the signs in the margin.",
        problem="Eve has 52 stamps, buys 11, gets 76 more and gets 645 more. How many stamps are there now?",
        monitor="arithmetic",
        ends="steps verified",
        interrupts=(0, 0),
    ),
    Scene(
        told="One that it slips on. The wrong value stops the stream; the right one is written in its place, and the "
        "same model goes on from there.",
        problem="Take 59. Multiply by 12. Subtract 63. What do you get?",
        monitor="arithmetic:remedy=repair",
        ends="steps verified",
        interrupts=(1, 2),
    ),
    Scene(
        told="A long one, with hardly any help: the model is told no more than that something is wrong, and at most "
        "twice. After that no answer is given, rather than a guess.",
        problem="Sue has 1471 cards, wins 830, loses 357, gives away 1471, wins 3387, wins 3010, uses 2052, uses 3154 "
        "and gets 3172 more. How many cards are there now?",
        monitor="arithmetic:remedy=feedback,place=append,level=flag",
        budgets=Budgets(remedies=2),
        ends="abstained",
        interrupts=(1, 3),
    ),
)
