"""Running totals, in the words that the model of this package has learnt: problems, and a monitor that reads them.

The generator and the monitor share no code; right is what Python's integers come to.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from interwhen.claims import Claim
from interwhen.monitors import Monitor
from interwhen.quotes import quotes
from interwhen.segments import Segment
from interwhen.tasks import Task
from interwhen.triggers import Lines
from interwhen.verdicts import Pass, Unknown, Verdict, Violation
from interwhen.verifier import verifier

QUESTION = "What is the result?"
_START = re.compile(r"Start with (\d{1,9})\.")
_CHANGE = re.compile(r"(Add|Subtract|Multiply by) (\d{1,9})\.")
_CLAIM = re.compile(
    r"(?P<left>\d{1,9}) (?P<sign>[-+\N{MULTIPLICATION SIGN}]) (?P<right>\d{1,9}) = (?P<value>-?\d{1,12})"
    r"|Answer: (?P<answer>-?\d{1,12})"
)


class Total(NamedTuple):
    """A problem and its answer."""

    text: str
    answer: str


def total(rng: random.Random) -> Total:
    """Return a start and two to four changes of it."""
    value = rng.randint(20, 400)
    words = [f"Start with {value}."]
    for _ in range(rng.randint(2, 4)):
        match rng.randrange(3):
            case 0:
                amount = rng.randint(11, 300)
                words.append(f"Add {amount}.")
                value += amount
            case 1 if value > 50:
                amount = rng.randint(11, value)
                words.append(f"Subtract {amount}.")
                value -= amount
            case _:
                amount = rng.randint(2, 5)
                words.append(f"Multiply by {amount}.")
                value *= amount
    return Total(" ".join(words), str(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure(Claim):
    """A sum, or the answer."""

    left: int = 0
    sign: str = ""
    right: int = 0
    value: int


def prepare(task: Task) -> int | None:
    """Work out the problem of *task*; ``None`` where it asks none."""
    start = _START.search(task.text)
    if start is None:
        return None
    value = int(start[1])
    for kind, amount in _CHANGE.findall(task.text, start.end()):
        value = _apply(kind, value, int(amount))
    return value


def extract(segment: Segment, _right: int) -> Iterator[Figure]:
    """Yield the sums of a line, and the answer."""
    for found in quotes(segment, _CLAIM):
        if found["answer"]:
            yield Figure(key=found.text, span=found.span, value=int(found["answer"]))
        else:
            numbers = {name: int(found[name]) for name in ("left", "right", "value")}
            yield Figure(key=found.text, span=found.span, sign=found["sign"], **numbers)


@verifier(name="bench-totals", version="1", worker="inline")
def check(claim: Figure, right: int) -> Verdict:
    """Compute a sum. The answer must be what the changes come to."""
    found = _apply(claim.sign, claim.left, claim.right) if claim.sign else right
    if found == claim.value:
        return Pass("computed", scope="steps" if claim.sign else "answer")
    if not claim.sign:
        return Unknown("the answer is not what the changes come to")
    said = f"{claim.left} {claim.sign} {claim.right} = {found}"
    return Violation("the sum is wrong", witness=f"{said}, not {claim.value}", repair=said)


def totals() -> Monitor:
    """Make the monitor. A wrong answer is not refuted (its repair would give it away), and never verified either."""
    return Monitor(
        name="bench-totals", trigger=Lines(), extractor=extract, verifier=check, prepare=prepare, scope="answer"
    )


def _apply(kind: str, left: int, right: int) -> int:
    match kind:
        case "Add" | "+":
            return left + right
        case "Subtract" | "-":
            return left - right
        case _:
            return left * right
