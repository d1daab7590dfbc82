"""One equation of whole numbers, such as ``64 + 29 = 93``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from interwhen import Violation

from .trace import wrong

NUMBER = r"-?\d{1,12}"
_EQUATION = re.compile(rf"(?P<left>{NUMBER}) *(?P<sign>[-+×/]) *(?P<right>{NUMBER}) *= *(?P<value>{NUMBER})(?![.\d])")


@dataclass(frozen=True, slots=True)
class Equation:
    """Both sides of an equation, and its place in the line."""

    match: re.Match[str]
    left: int
    sign: str
    right: int
    value: int

    @property
    def sum(self) -> str:
        """The left side, in a normal form."""
        return f"{self.left} {self.sign} {self.right}"

    @property
    def end(self) -> int:
        """The offset of its end."""
        return self.match.end()

    def refute(self) -> Violation | None:
        """Return what is wrong with the value; ``None`` if it is right."""
        value = apply(self.left, self.sign, self.right)
        if value == self.value:
            return None
        why, where = f"{self.sum} is not {self.value}", self.match.span("value")
        if value is None:
            return wrong(where, why, f"{self.sum} is not a whole number")
        return wrong(where, why, f"{self.sum} is {value}, not {self.value}", str(value))


def read_equation(text: str, at: int = 0) -> Equation | None:
    """Read the equation that starts at *at*."""
    match = _EQUATION.match(text, at)
    if match is None:
        return None
    return Equation(match, int(match["left"]), match["sign"], int(match["right"]), int(match["value"]))


def apply(left: int, sign: str, right: int) -> int | None:
    """Return the value; ``None`` if it is not a whole number."""
    match sign:
        case "+":
            return left + right
        case "-":
            return left - right
        case "×":
            return left * right
        case _:
            return left // right if right and left % right == 0 else None
