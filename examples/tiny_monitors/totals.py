"""Running totals: each line must be the next operation that the problem asks for, on the value before."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from interwhen import Pass, Verdict, Violation

from .equations import Equation, read_equation
from .trace import LOST, UNREAD, Step, wrong

_ENDS = r"(?:What is the result|What do you get|Result|Where do you end)\?"
_CHAIN = re.compile(rf"(?:Start with|Take|Begin at|Start:) (\d{{1,9}})[.,] (.+)\. {_ENDS}")
_WEEKS = re.compile(
    r"(?:Start:|Start with|It is) (\d{1,9})(?: now)?\. (Add|Subtract|Take away) (\d{1,9}) each (\w+)\. "
    r"(?:What is the total|What is left|Total) after (\d{1,2}) \4s\?"
)
_STORY = re.compile(
    r"(\w+) has (\d{1,9}) (\w+), (.+)\. (?:How many \3 are there now|How many has \1 now|How many are left)\?"
)
_SUM = re.compile(r"(?:What is|Compute|Work out)? ?(?:(\d{1,9}) ([-+]) )?(\d{1,9}) × (\d{1,9})(?:\?|\.| = \?)")
_ORDER = re.compile(r"(?:then )?([a-z]+(?: away| by)?) (\d{1,9})(?: more)?")
_SIGNS = {
    **dict.fromkeys(("add", "plus", "gets", "buys", "finds", "wins"), "+"),
    **dict.fromkeys(("subtract", "take away", "minus", "sells", "loses", "gives away", "uses"), "-"),
    **dict.fromkeys(("multiply by", "times"), "×"),
}
_ANSWER = re.compile(r"Answer: *(-?\d{1,12})\.?")


class Change(NamedTuple):
    """A change of the total; ``first``: the number stands before it, as in ``900 - 700 × 3``."""

    sign: str
    number: int
    first: bool = False


class Total(NamedTuple):
    """How many changes are done, and the value of the one that is under way."""

    done: int
    value: int
    rest: int = 0
    """The rest that is still to be added to the value, or subtracted."""
    part: tuple[int, int] | None = None
    """The first half of a product in two halves, by its factors."""


class Due(NamedTuple):
    """An operation that may come now."""

    left: int
    sign: str
    right: int
    carries: bool = False
    """Whether its left side is the value of the line before."""

    @property
    def sum(self) -> str:
        """The left side of the equation."""
        return f"{self.left} {self.sign} {self.right}"


@dataclass(frozen=True, slots=True)
class Totals:
    """A start and its changes. A number may be split by its digits: 174 as 100 and 74."""

    first: int
    changes: tuple[Change, ...]

    @property
    def start(self) -> Total:
        """No change is done yet."""
        return Total(0, self.first)

    def step(self, state: Total | None, line: str) -> Step[Total] | None:
        """Judge a line by the operations that are due."""
        equation = read_equation(line)
        if equation is None or equation.end != len(line):
            return None if line.startswith("Wait") or not re.search(r"\d", line) else Step(UNREAD)
        refuted = equation.refute()
        if state is None:
            return Step(refuted or LOST)
        after = self._after(state, equation.left, equation.sign, equation.right)
        if after is None and equation.sign in "+×":
            after = self._after(state, equation.right, equation.sign, equation.left)
        if after is None:
            return Step(self._misfit(state, equation))
        return Step(refuted) if refuted else Step(Pass("the next operation"), after)

    def answer(self, state: Total | None, text: str) -> Verdict | None:
        """Judge the answer by the last line. The right answer is never given."""
        match = _ANSWER.fullmatch(text)
        if match is None:
            return UNREAD if text.startswith("Answer") else None
        if state is None:
            return LOST
        if state.done < len(self.changes):
            return Violation(why="not all steps are done")
        if int(match[1]) != state.value:
            return wrong(match.span(1), "the last line does not say so")
        return Pass("the value behind the last line")

    def _due(self, state: Total) -> Due | None:
        """Return the next change as a whole; ``None`` if all are done."""
        if state.done == len(self.changes):
            return None
        sign, number, first = self.changes[state.done]
        if state.rest:
            return Due(state.value, "+" if sign == "×" else sign, state.rest, carries=sign != "×")
        if state.part:
            left, right = state.part
            return Due(left, sign, number - right) if left == state.value else Due(state.value - left, sign, number)
        if first:
            return Due(number, sign, state.value)
        return Due(state.value, sign, number, carries=state.done > 0)

    def _after(self, state: Total, left: int, sign: str, right: int) -> Total | None:
        """Return the state after an operation; ``None`` if it is not due."""
        due = self._due(state)
        if due is None or sign != due.sign:
            return None
        if sign != "×":
            if left != due.left or not (right == due.right or _is_part(right, due.right)):
                return None
            value, rest = left + right if sign == "+" else left - right, due.right - right
            return Total(state.done, value, rest) if rest else Total(state.done + 1, value)
        if (left, right) == (due.left, due.right):
            if state.part is None:
                return Total(state.done + 1, left * right)
            return Total(state.done, state.part[0] * state.part[1], rest=left * right)
        halves = (left == due.left and _is_part(right, due.right)) or (right == due.right and _is_part(left, due.left))
        return state._replace(part=(left, right)) if halves and state.part is None else None

    def _usual(self, state: Total, due: Due) -> Due:
        """Return the usual first part of *due*."""
        if due.sign == "×":
            if state.part or max(due.left, due.right) < 10:
                return due
            if due.right > 9:
                return due._replace(right=due.right // 10 * 10)
            return due._replace(left=due.left // 100 * 100 or due.left, carries=due.carries and due.left < 100)
        whole = due.right - due.right % 100
        return due._replace(right=whole) if whole and self.changes[state.done].sign != "×" else due

    def _misfit(self, state: Total, equation: Equation) -> Violation:
        spot, due = equation.match, self._due(state)
        if due is None:
            return wrong((0, equation.end), "all steps are done")
        dues = (self._usual(state, due), due)
        for one in dues:
            if (one.sign, one.right) == (equation.sign, equation.right):
                if one.carries:
                    why, what = f"the value before is not {equation.left}", f"the value before is {one.left}"
                    return wrong(spot.span("left"), why, f"{what}, not {equation.left}", str(one.left))
                return _other(spot.span("left"), one, equation, str(one.left))
        one = dues[0]
        if one.left == equation.left:
            return _other((spot.start("sign"), spot.end("right")), one, equation, f"{one.sign} {one.right}")
        return _other((spot.start(), spot.end("right")), one, equation, one.sum)


def _is_part(part: int, whole: int) -> bool:
    """Return whether *part* is some of the digits of *whole*, in their places."""
    if not 0 < part < whole:
        return False
    return all(digit in ("0", other) for digit, other in zip(reversed(str(part)), reversed(str(whole)), strict=False))


def _other(where: tuple[int, int], due: Due, equation: Equation, repair: str) -> Violation:
    why = f"the next step is not {equation.sum}"
    return wrong(where, why, f"the next step is {due.sum}, not {equation.sum}", repair)


def read_totals(prompt: str) -> Totals:
    """Read a chain of orders, a change each week, a story or an expression."""
    if match := _WEEKS.fullmatch(prompt):
        change = Change(_SIGNS[match[2].lower()], int(match[3]))
        return Totals(int(match[1]), (change,) * int(match[5]))
    if match := _CHAIN.fullmatch(prompt):
        return Totals(int(match[1]), _changes(prompt, match[2]))
    if match := _STORY.fullmatch(prompt):
        return Totals(int(match[2]), _changes(prompt, match[4]))
    if match := _SUM.fullmatch(prompt):
        last = (Change(match[2], int(match[1]), first=True),) if match[1] else ()
        return Totals(int(match[3]), (Change("×", int(match[4])), *last))
    raise ValueError(
        f"the prompt must be a problem of the family totals, got {prompt!r:.300}: write it as in the training data"
    )


def _changes(prompt: str, told: str) -> tuple[Change, ...]:
    changes = []
    for order in re.split(r", |\. | and ", told):
        match = _ORDER.fullmatch(order.lower())
        if match is None or match[1] not in _SIGNS:
            raise ValueError(
                f"each step of a problem of the family totals must be a change, got {order!r:.80} in "
                f"{prompt!r:.300}: write it as in the training data"
            )
        changes.append(Change(_SIGNS[match[1]], int(match[2])))
    return tuple(changes)
