"""A line to equations between expressions of numbers, with where each part stands.

The pattern consumes each character once, and the values are exact fractions of bounded size: the work is linear.
"""

# ruff: noqa: RUF001 (signs that look alike are what this file is about)

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

MAX_NUMBERS = 32
"""An expression with more numbers is not read."""
MAX_DIGITS = 12
"""A longer number is not read."""

_TOKEN = re.compile(
    r"""
  (?P<frac>   \\[dt]?frac )
| (?P<skip>   \\(?:left|right|[,;!\ ]) | [$*`]{2,} | [$`] )
| (?P<num>    [0-9]++(?:\.[0-9]++)?+(?![A-Wa-wYyZz_]|[xX](?![0-9(])) )
| (?P<op>     \\(?:times|cdot|div)(?![A-Za-z]) | [-+*/×÷·−–⋅∗] | (?<=[0-9)\s])[xX](?=[\s0-9(]) )
| (?P<open>   [(\[{] )
| (?P<close>  [)\]}] )
| (?P<equals> == | = )
| (?P<other>  \w++ | \S )
""",
    re.VERBOSE,
)
_SIGNS = {"×": "*", "·": "*", "⋅": "*", "∗": "*", "\\times": "*", "\\cdot": "*", "x": "*", "X": "*"} | {
    "÷": "/",
    "\\div": "/",
    "−": "-",
    "–": "-",
}
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_RANK = {"+": 1, "-": 1, "*": 2, "/": 2, "u": 3}


class Token(NamedTuple):
    """One token; ``text`` is its normal form."""

    kind: str
    text: str
    start: int
    end: int


class Number(NamedTuple):
    """A number as it stands in the text."""

    value: Fraction
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression; ``value`` is ``None`` where it divides by zero."""

    value: Fraction | None
    numbers: tuple[Number, ...]
    start: int
    end: int

    @property
    def is_bare(self) -> bool:
        """Whether it is one number, and no operation."""
        return len(self.numbers) == 1


class Equation(NamedTuple):
    """The sides of ``a = b`` or ``a = b = c``, in their order."""

    sides: tuple[Expression, ...]

    @property
    def start(self) -> int:
        """Where it starts."""
        return self.sides[0].start

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.sides[-1].end


def tokenize(text: str, start: int = 0, end: int | None = None) -> list[Token]:
    """Return the tokens of ``text[start:end]``. White space and marks of formatting leave none."""
    found = []
    for match in _TOKEN.finditer(text, start, len(text) if end is None else end):
        kind = match.lastgroup or "other"
        if kind == "skip":
            continue
        said = match[0]
        if kind == "num" and len(said) > MAX_DIGITS:
            kind = "other"
        found.append(Token(kind, _SIGNS.get(said, said) if kind == "op" else said, *match.span()))
    return _spread(found) if any(token.kind == "frac" for token in found) else found


def _spread(tokens: list[Token]) -> list[Token]:
    r"""Write each ``\\frac{a}{b}`` as ``({a}/{b})``."""
    found: list[Token] = []
    parts: list[int] = []
    """What is still to be closed: parts of a fraction (2, then 1), or other brackets (0)."""
    for at, token in enumerate(tokens):
        if token.kind == "frac":
            found.append(token._replace(kind="open", text="("))
            continue
        found.append(token)
        if token.kind == "open":
            second = bool(at) and found[-2].text == "/" and found[-2].start == found[-2].end
            parts.append(2 if at and tokens[at - 1].kind == "frac" else 1 if second else 0)
        elif token.kind == "close" and parts:
            part = parts.pop()
            if part == 2:
                found.append(Token("op", "/", token.end, token.end))
            elif part == 1:
                found.append(Token("close", ")", token.end, token.end))
    return found


def read_whole(tokens: Sequence[Token]) -> Expression | None:
    """Return the expression that *tokens* are, all of them; ``None``: they are none that is understood."""
    if not tokens or sum(token.kind == "num" for token in tokens) > MAX_NUMBERS:
        return None
    return _Reader().read(tokens)


def find_equation(tokens: Sequence[Token]) -> tuple[Equation, int] | None:
    """Return the first equation among *tokens* and the index behind it; ``None``: there is none that is understood."""
    sign = next((at for at, token in enumerate(tokens) if token.kind == "equals"), None)
    if sign is None:
        return None
    first = _run_back(tokens, sign)
    sides = [read_whole(tokens[first:sign])]
    at = sign
    while at < len(tokens) and tokens[at].kind == "equals":
        end = _run_on(tokens, at + 1)
        sides.append(read_whole(tokens[at + 1 : end]))
        at = end
    known = tuple(side for side in sides if side is not None)
    return (Equation(known), at) if len(known) == len(sides) else None


def _run_back(tokens: Sequence[Token], end: int) -> int:
    """Return where the run of tokens of an expression begins that ends before *end*."""
    at = end
    while at and tokens[at - 1].kind in {"num", "op", "open", "close", "frac"}:
        at -= 1
    # What opens before the run and closes inside it is no part of it: "1) 2 + 3 = 5".
    depth = 0
    for place in range(end - 1, at - 1, -1):
        depth += (tokens[place].kind == "close") - (tokens[place].kind == "open")
        if depth < 0:
            return place + 1
    if depth > 0:
        opened = 0
        for place in range(at, end):
            opened += (tokens[place].kind == "open") - (tokens[place].kind == "close")
            if opened < 0:
                at, opened = place + 1, 0
    while at < end and tokens[at].text in {"+", "*", "/"}:
        at += 1
    return at


def _run_on(tokens: Sequence[Token], start: int) -> int:
    """Return where the run of tokens of an expression ends that begins at *start*."""
    at, depth, whole = start, 0, start
    while at < len(tokens) and tokens[at].kind in {"num", "op", "open", "close", "frac"}:
        depth += (tokens[at].kind == "open") - (tokens[at].kind == "close")
        if depth < 0:
            break
        at += 1
        if depth == 0 and tokens[at - 1].kind in {"num", "close"}:
            whole = at
    return whole


class _Reader:
    """Reads an expression with two stacks: no depth of brackets is too deep for it."""

    def __init__(self) -> None:
        self._values: list[Fraction | None] = []
        self._signs: list[str] = []

    def read(self, tokens: Sequence[Token]) -> Expression | None:
        numbers = []
        previous = ""
        for token in tokens:
            if not self._take(token, previous):
                return None
            if token.kind == "num":
                numbers.append(Number(Fraction(token.text), token.start, token.end))
            previous = token.kind
        if previous not in {"num", "close"} or not numbers:
            return None
        while self._signs:
            if self._signs[-1] in _PAIRS or not self._apply():
                return None
        if len(self._values) != 1:
            return None
        return Expression(self._values[0], tuple(numbers), tokens[0].start, tokens[-1].end)

    def _take(self, token: Token, previous: str) -> bool:
        ended = previous in {"num", "close"}
        match token.kind:
            case "num":
                if ended and previous == "num":
                    return False
                if ended:
                    self._push("*")
                self._values.append(Fraction(token.text))
                return True
            case "open":
                if ended:
                    self._push("*")
                self._signs.append(token.text)
                return True
            case "close":
                return ended and self._close(token.text)
            case "op" if ended:
                self._push(token.text)
                return True
            case "op":
                return self._sign(token.text)
            case _:
                return False

    def _sign(self, text: str) -> bool:
        if text != "-":
            return False
        self._signs.append("u")
        return True

    def _close(self, text: str) -> bool:
        while self._signs and self._signs[-1] not in _PAIRS:
            self._apply()
        return bool(self._signs) and _PAIRS[self._signs.pop()] == text

    def _push(self, sign: str) -> None:
        while self._signs and _RANK.get(self._signs[-1], 0) >= _RANK[sign]:
            self._apply()
        self._signs.append(sign)

    def _apply(self) -> bool:
        sign = self._signs.pop()
        right = self._values.pop()
        if sign == "u":
            self._values.append(None if right is None else -right)
            return True
        self._values.append(apply(self._values.pop(), sign, right))
        return True


def apply(left: Fraction | None, sign: str, right: Fraction | None) -> Fraction | None:
    """Return the exact value; ``None``: there is none."""
    if left is None or right is None:
        return None
    match sign:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case _:
            return left / right if right else None


def shown(value: Fraction) -> str:
    """Return *value* as people write it: an integer, or a fraction in lowest terms."""
    return str(value)
