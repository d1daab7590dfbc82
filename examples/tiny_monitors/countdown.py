"""Countdown: each operation takes two of the numbers left, and puts its value in their place."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TypeAlias

from interwhen import Pass, Verdict, Violation

from .equations import NUMBER, Equation, read_equation
from .trace import LOST, UNREAD, Step, wrong

Left: TypeAlias = tuple[int, ...]
"""The numbers left; the last one is the value of the last operation."""

_MANY = r"(\d{1,9}(?:(?:,? | and )\d{1,9})+)"
_TARGET = r"(\d{1,9})"
_FORMS = (
    re.compile(rf"Use {_MANY} to make {_TARGET}\."),
    re.compile(rf"Make (?P<target>\d{{1,9}}) from {_MANY}\. Use each number once\."),
    re.compile(rf"Numbers: {_MANY}\. Target: {_TARGET}\."),
    re.compile(rf"Get (?P<target>\d{{1,9}}) with \+ - × / from {_MANY}, each used once\."),
)
_LEFT = re.compile(rf", left ({NUMBER}(?: {NUMBER})*)")
_AGAIN = re.compile(rf"({NUMBER}) is not ({NUMBER}), again")


@dataclass(frozen=True, slots=True)
class Countdown:
    """The numbers, and the target."""

    numbers: Left
    target: int

    @property
    def start(self) -> Left:
        """All numbers are left."""
        return self.numbers

    def step(self, state: Left | None, line: str) -> Step[Left] | None:
        """Judge an operation, or the end of a try."""
        if match := _AGAIN.fullmatch(line):
            return self._again(state, match)
        equation = read_equation(line)
        if equation is None:
            return None if line.startswith("Wait") or not re.search(r"\d", line) else Step(UNREAD)
        listed = _LEFT.fullmatch(line, equation.end)
        if listed is None and equation.end != len(line):
            return Step(UNREAD)
        refuted = _use(state, equation)
        if refuted is not None:
            return Step(refuted)
        if state is None:
            return Step(LOST)
        rest = _rest(state, equation)
        if listed is None:
            return Step(Pass("two of the numbers left"), rest)
        said = tuple(map(int, listed[1].split()))
        if Counter(said) != Counter(rest):
            why, right = f"the numbers left are not {listed[1]}", " ".join(map(str, rest))
            return Step(wrong(listed.span(1), why, f"the numbers left are {right}", right))
        # Of equal numbers any may be used; the line says in which order the others stand now.
        return Step(Pass("two of the numbers left"), said if said[-1] == equation.value else rest)

    def answer(self, _state: Left | None, text: str) -> Verdict | None:
        """Judge the answer alone. The right answer is never given."""
        if not text.startswith("Answer:"):
            return None
        left: Left = self.numbers
        at = len("Answer:")
        last: Equation | None = None
        while text[at:].strip(" ,."):
            equation = read_equation(text, len(text) - len(text[at:].lstrip(" ,")))
            if equation is None:
                return UNREAD
            refuted = _use(left, equation)
            if refuted is not None:
                return Violation(why=refuted.why, where=refuted.where)
            left, at, last = _rest(left, equation), equation.end, equation
        return self._made(left, text, last)

    def _made(self, left: Left, text: str, last: Equation | None) -> Verdict:
        if len(left) > 1:
            unused = " ".join(map(str, left[:-1] if last else left))
            return Violation(why=f"it does not use {unused}")
        if left[0] == self.target:
            return Pass("each number once, and the target")
        why = f"that makes {left[0]}, not {self.target}"
        where = last.match.span() if last else (0, len(text))
        return wrong(where, why)

    def _again(self, state: Left | None, match: re.Match[str]) -> Step[Left]:
        value, target = int(match[1]), int(match[2])
        if state is not None and (state == self.numbers or value != state[-1]):
            made = None if state == self.numbers else str(state[-1])
            witness = f"the last value is {made}, not {value}" if made else "no value is made yet"
            return Step(wrong(match.span(1), f"the last value is not {value}", witness, made))
        if target != self.target:
            witness = f"the target is {self.target}, not {target}"
            return Step(wrong(match.span(2), f"the target is not {target}", witness, str(self.target)))
        if value == target:
            return Step(wrong(match.span(), f"{value} is the target"))
        return Step(Pass("not the target") if state is not None else LOST, self.numbers)


def _use(state: Left | None, equation: Equation) -> Violation | None:
    """Return what is wrong with the operands or the value."""
    left = list(state) if state is not None else []
    for side, number in (("left", equation.left), ("right", equation.right)) if state is not None else ():
        if number not in left:
            listed = " ".join(map(str, state or ()))
            return wrong(equation.match.span(side), f"there is no {number} left", f"the numbers left are {listed}")
        left.remove(number)
    return equation.refute()


def _rest(state: Left, equation: Equation) -> Left:
    left = list(state)
    left.remove(equation.left)
    left.remove(equation.right)
    return (*left, equation.value)


def read_countdown(prompt: str) -> Countdown:
    """Read the numbers and the target."""
    for form in _FORMS:
        if match := form.fullmatch(prompt):
            named = match.groupdict().get("target")
            many, target = (match[2], named) if named else (match[1], match[2])
            return Countdown(tuple(map(int, re.findall(r"\d+", many))), int(target))
    raise ValueError(
        f"the prompt must be a problem of the family countdown, got {prompt!r:.300}: write it as in the training data"
    )
