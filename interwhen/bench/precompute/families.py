"""Contexts with questions, generated from a seed, with the right answers. Nothing here knows what verifies.

``states``: a value that changes step by step, and questions on the value after a step. ``lookups``: who reports to
whom, and questions on who is so many steps above somebody. ``reasoning_gym``: a sheet of chained sums from the package
of that name, which also says whether an answer is right.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from interwhen.errors import MissingExtraError

FamilyName = Literal["states", "lookups", "reasoning_gym"]
# fmt: off
_NAMES = (
    "Ann", "Bob", "Cid", "Dot", "Eve", "Fay", "Gil", "Hal", "Ida", "Jon", "Kim", "Leo", "Mia", "Ned", "Oda", "Pia",
    "Quin", "Ray", "Sue", "Tom", "Una", "Vic", "Wes", "Xia", "Yan", "Zoe", "Abe", "Bea", "Cal", "Dee", "Eli", "Flo",
    "Gus", "Hope", "Ike", "Joy", "Kai", "Liv", "Max", "Nia",
)
# fmt: on
_STATE = re.compile(r"After step (\d+) the value is (-?\d+)\.")
_ABOVE = re.compile(r"(\d+) steps? above (\w+) is (\w+)\.")
_TERMS = re.compile(r"The first (\d+) terms of problem (\w+) come to (-?\d+)\.")


class About(NamedTuple):
    """What a statement is about: whom or which problem (empty where there is one), and after how many steps."""

    who: str
    number: int


@dataclass(frozen=True, slots=True)
class Question:
    """A question on a context."""

    text: str
    about: About
    answer: str
    likely: bool
    """Whether it is one of those that could have been foreseen."""


@dataclass(frozen=True, slots=True)
class Case:
    """A context with its questions. All that can be said of it are values that come one from the other."""

    family: FamilyName
    pieces: tuple[tuple[str, str], ...]
    """Names and texts."""
    questions: tuple[Question, ...]
    likely: tuple[About, ...]
    """What the questions are about that can be foreseen."""
    truth: dict[About, str]
    """Every value."""
    say: Callable[[About, str], str]
    """Words the statement that something has a value."""
    read: Callable[[str], tuple[About, str] | None]
    """Reads a line that words such a statement, right or wrong; ``None``: it is none."""
    start: Callable[[About], tuple[About, str]]
    """Where working out begins if nothing is known."""
    advance: Callable[[About, str], str]
    """The value that comes from the one before it, which may be a wrong one."""
    lines: Callable[[About, int, str], tuple[str, ...]]
    """The lines of the text that lead there from the value after so many steps."""
    ask: Callable[[About], str]
    """Words the question on it."""
    right: Callable[[Question, str], bool]
    """Tells whether a value is the right answer to a question."""

    @property
    def text(self) -> str:
        """The whole context."""
        return "\n".join(text for _, text in self.pieces)


Family: TypeAlias = Callable[[random.Random, int, float], Case]
"""From a source of randomness, the number of questions, and how many of them (0 to 1) can be foreseen."""


def states(rng: random.Random, questions: int, predictable: float, *, steps: int = 36, piece: int = 12) -> Case:
    """Return a value that changes *steps* times, told in pieces of *piece* steps."""
    value = rng.randint(10, 99)
    lines = [f"Step 1: start with {value}."]
    truth = {About("", 1): str(value)}
    changes: dict[int, tuple[str, int]] = {}
    for number in range(2, steps + 1):
        changes[number] = kind, amount = _change(rng, value)
        value = _apply(kind, amount, value)
        lines.append(f"Step {number}: {kind} {amount}.")
        truth[About("", number)] = str(value)

    def ask(about: About) -> str:
        return f"What is the value after step {about.number}?"

    likely = tuple(About("", number) for number in range(6, steps + 1, 6))
    return Case(
        "states",
        tuple((f"steps {at + 1}", "\n".join(lines[at : at + piece])) for at in range(0, steps, piece)),
        _questions(rng, questions, predictable, likely, truth, ask),
        likely,
        truth,
        lambda about, value: f"After step {about.number} the value is {value}.",
        lambda line: _reading(_STATE, line, lambda found: About("", int(found[1]))),
        lambda _about: (About("", 1), truth[About("", 1)]),
        lambda about, value: str(_apply(*changes[about.number], int(value))),
        lambda about, number, _value: tuple(lines[0 if number == 1 else number : about.number]),
        ask,
        _same,
    )


def lookups(rng: random.Random, questions: int, predictable: float, *, people: int = 24) -> Case:
    """Return *people* in one line of command, told in random order."""
    chain = rng.sample(_NAMES, people)
    above = dict(itertools.pairwise(chain))
    lines = [f"{low} reports to {high}." for low, high in above.items()]
    rng.shuffle(lines)
    truth = {About(low, steps): high for at, low in enumerate(chain) for steps, high in enumerate(chain[at + 1 :], 1)}

    def ask(about: About) -> str:
        return f"Who is {_steps(about)} above {about.who}?"

    def path(about: About, number: int, value: str) -> tuple[str, ...]:
        found = []
        for _ in range(number, about.number):
            found.append(f"{value} reports to {above.get(value, value)}.")
            value = above.get(value, value)
        return tuple(found)

    likely = tuple(About(chain[0], steps) for steps in range(8, people, 3))
    return Case(
        "lookups",
        (("people", "\n".join(lines)),),
        _questions(rng, questions, predictable, likely, truth, ask),
        likely,
        truth,
        lambda about, value: f"{_steps(about)} above {about.who} is {value}.",
        lambda line: _reading(_ABOVE, line, lambda found: About(found[2], int(found[1]))),
        lambda about: (About(about.who, 0), about.who),
        # Whoever has nobody above stays: a wrong turn does not end in an error.
        lambda _about, value: above.get(value, value),
        path,
        ask,
        _same,
    )


def reasoning_gym(rng: random.Random, questions: int, predictable: float, *, problems: int = 12) -> Case:
    """Return a sheet of *problems* in chained sums. Raises :class:`MissingExtraError` without the package."""
    try:
        from reasoning_gym import create_dataset
    except ImportError as error:
        raise MissingExtraError("the reasoning_gym family", "tasks") from error
    sheet: Any = create_dataset(
        "chain_sum", size=problems, seed=rng.randrange(1 << 30), min_terms=6, max_terms=9, min_digits=2, max_digits=3
    )
    entries = {str(at): sheet[at - 1] for at in range(1, problems + 1)}
    terms = {who: re.findall(r"[+-]|\d+", entry["question"]) for who, entry in entries.items()}
    truth = {}
    for who, parts in terms.items():
        for number in range(1, len(parts) // 2 + 2):
            truth[About(who, number)] = str(sum(_signed(parts, at) for at in range(1, number + 1)))
    whole = {who: About(who, len(parts) // 2 + 1) for who, parts in terms.items()}

    def ask(about: About) -> str:
        return f"What do the {about.number} terms of problem {about.who} come to?"

    likely = tuple(whole[str(at)] for at in range(1, problems // 2 + 1))
    asked = {about: truth[about] for about in whole.values()}
    return Case(
        "reasoning_gym",
        (("sheet", "\n".join(f"Problem {who}: {' '.join(parts)}" for who, parts in terms.items())),),
        _questions(rng, questions, predictable, likely, asked, ask),
        likely,
        truth,
        lambda about, value: f"The first {about.number} terms of problem {about.who} come to {value}.",
        lambda line: _reading(_TERMS, line, lambda found: About(found[2], int(found[1]))),
        lambda about: (About(about.who, 1), terms[about.who][0]),
        lambda about, value: str(int(value) + _signed(terms[about.who], about.number)),
        lambda about, _number, _value: (f"Problem {about.who}: {' '.join(terms[about.who])}",),
        ask,
        lambda question, answer: sheet.score_answer(answer, entries[question.about.who]) == 1.0,
    )


FAMILIES: dict[FamilyName, Family] = {"states": states, "lookups": lookups, "reasoning_gym": reasoning_gym}


def _reading(pattern: re.Pattern[str], line: str, about: Callable[[re.Match[str]], About]) -> tuple[About, str] | None:
    found = pattern.fullmatch(line)
    return (about(found), found[found.lastindex or 0]) if found is not None else None


def _signed(parts: list[str], number: int) -> int:
    """Return the term *number*, from 1, with its sign."""
    term = int(parts[2 * number - 2])
    return -term if number > 1 and parts[2 * number - 3] == "-" else term


def _change(rng: random.Random, value: int) -> tuple[str, int]:
    kind = rng.randrange(4)
    if kind == 0 and abs(value) < 400:
        return "multiply by", rng.randint(2, 4)
    return "subtract" if kind == 1 or value > 2000 else "add", rng.randint(2, 97)


def _apply(kind: str, amount: int, value: int) -> int:
    return value * amount if kind == "multiply by" else value - amount if kind == "subtract" else value + amount


def _questions(
    rng: random.Random,
    count: int,
    predictable: float,
    likely: tuple[About, ...],
    truth: dict[About, str],
    ask: Callable[[About], str],
) -> tuple[Question, ...]:
    others = [about for about in truth if about not in likely and about.number > 1]
    found = []
    for _ in range(count):
        foreseen = rng.random() < predictable
        about = rng.choice(likely if foreseen else others)
        found.append(Question(ask(about), about, truth[about], foreseen))
    return tuple(found)


def _same(question: Question, answer: str) -> bool:
    return answer == question.answer


def _steps(about: About) -> str:
    return f"{about.number} step{'' if about.number == 1 else 's'}"
