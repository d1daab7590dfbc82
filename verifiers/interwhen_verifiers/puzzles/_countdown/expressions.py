"""Reads expressions of numbers, and equations between them, with the position of each part."""

# ruff: noqa: RUF001 (signs that look alike are what this file is about)

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import add, mul, sub, truediv
from typing import NamedTuple

MAX_NUMBERS = 32
"""An expression with more numbers is not read."""
MAX_DIGITS = 12
"""A number with more characters is not read."""

MAX_DEPTH = 100
"""An expression with more nested brackets and signs is not read."""

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
_OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {"+": add, "-": sub, "*": mul, "/": truediv}
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_RANK = {"+": 1, "-": 1, "*": 2, "/": 2}


class ExpressionToken(NamedTuple):
    """One token of a line. ``text`` is its normal form: each multiplication sign is ``*``, for example.

    ``kind`` is the name of a group of ``_TOKEN``.
    """

    kind: str
    text: str
    start: int
    end: int


class WrittenNumber(NamedTuple):
    """A number in the text, with its start and end."""

    value: Fraction
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression with its value and its numbers. ``value`` is ``None`` if the expression divides by zero."""

    value: Fraction | None
    numbers: tuple[WrittenNumber, ...]
    start: int
    end: int

    @property
    def is_bare(self) -> bool:
        """Whether the expression is a single number without an operation. It may have a sign and brackets."""
        return len(self.numbers) == 1


class NumberEquation(NamedTuple):
    """An equation such as ``a = b = c``: its sides, from left to right."""

    sides: tuple[Expression, ...]

    @property
    def start(self) -> int:
        """The offset at which the equation starts."""
        return self.sides[0].start

    @property
    def end(self) -> int:
        """The offset at which the equation ends."""
        return self.sides[-1].end


def tokenize(text: str, start: int = 0, end: int | None = None) -> list[ExpressionToken]:
    """Split ``text[start:end]`` into tokens. White space and some marks of Markdown and LaTeX are skipped.

    A number that is too long gets the kind ``other``. A fraction of LaTeX becomes a division in brackets.
    """
    found = []
    for match in _TOKEN.finditer(text, start, len(text) if end is None else end):
        kind = match.lastgroup or "other"
        said = match[0]
        if kind == "num" and len(said) > MAX_DIGITS:
            kind = "other"
        if kind != "skip":
            found.append(ExpressionToken(kind, _SIGNS.get(said, said) if kind == "op" else said, *match.span()))
    return _spread(found) if any(token.kind == "frac" for token in found) else found


def _spread(tokens: list[ExpressionToken]) -> list[ExpressionToken]:
    r"""Replace each ``\frac{a}{b}`` by ``({a}/{b})``."""
    found: list[ExpressionToken] = []
    parts: list[int] = []
    """One entry per open bracket: 2 or 1 if the first or second part of a fraction is inside it, and 0 otherwise."""
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
            if part:
                kind, text = ("op", "/") if part == 2 else ("close", ")")
                found.append(ExpressionToken(kind, text, token.end, token.end))
    return found


def read_whole(tokens: Sequence[ExpressionToken]) -> Expression | None:
    """Read all *tokens* as one expression; ``None`` if they are none, or the expression is too long or too deep."""
    numbers = tuple(WrittenNumber(Fraction(token.text), *token[2:]) for token in tokens if token.kind == "num")
    if not 0 < len(numbers) <= MAX_NUMBERS:
        return None
    reader = _Reader(tokens)
    try:
        value = reader.read(0, 0)
    except _UnreadableError:
        return None
    return Expression(value, numbers, tokens[0].start, tokens[-1].end) if reader.at == len(tokens) else None


def find_equation(tokens: Sequence[ExpressionToken]) -> tuple[NumberEquation, int] | None:
    """Read the equation around the first equals sign in *tokens*. Return it, and the index in *tokens* after it.

    The result is ``None`` if there is no equals sign, or if a side cannot be read.
    """
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
    return (NumberEquation(known), at) if len(known) == len(sides) else None


def _run_back(tokens: Sequence[ExpressionToken], end: int) -> int:
    """Return the index at which the expression that ends before *end* begins. *end* is an index of a token."""
    at = end
    while at and tokens[at - 1].kind in {"num", "op", "open", "close", "frac"}:
        at -= 1
    # What opens before the run and closes inside it is no part of it: "1) 2 + 3 = 5".
    depth = 0
    for place in range(end - 1, at - 1, -1):
        depth += (tokens[place].kind == "close") - (tokens[place].kind == "open")
        if depth < 0:
            return place + 1
    opened = 0
    for place in range(at, end if depth > 0 else at):
        opened += (tokens[place].kind == "open") - (tokens[place].kind == "close")
        if opened < 0:
            at, opened = place + 1, 0
    while at < end and tokens[at].text in {"+", "*", "/"}:
        at += 1
    return at


def _run_on(tokens: Sequence[ExpressionToken], start: int) -> int:
    """Return the index at which the expression ends that begins at the token with the index *start*."""
    at, depth, whole = start, 0, start
    while at < len(tokens) and tokens[at].kind in {"num", "op", "open", "close", "frac"}:
        depth += (tokens[at].kind == "open") - (tokens[at].kind == "close")
        if depth < 0:
            break
        at += 1
        if depth == 0 and tokens[at - 1].kind in {"num", "close"}:
            whole = at
    return whole


class _UnreadableError(Exception):
    pass


class _Reader:
    """Evaluates an expression in one pass, by precedence climbing."""

    def __init__(self, tokens: Sequence[ExpressionToken]) -> None:
        self._tokens = tokens
        self.at = 0

    def read(self, rank: int, depth: int) -> Fraction | None:
        """Evaluate one operand, and the operations after it whose precedence is higher than *rank*.

        *depth* is the number of open brackets and signs. The value is ``None`` after a division by zero. Raises
        ``_UnreadableError`` if the tokens are no expression, or too deep.
        """
        value = self._operand(depth)
        while self.at < len(self._tokens):
            token = self._tokens[self.at]
            is_product = token.kind == "open" or (token.kind == "num" and self._tokens[self.at - 1].kind == "close")
            sign = "*" if is_product else token.text
            if _RANK.get(sign, 0) <= rank:
                break
            self.at += not is_product
            value = apply(value, sign, self.read(_RANK[sign], depth))
        return value

    def _operand(self, depth: int) -> Fraction | None:
        token = self._next()
        if token.kind == "num":
            return Fraction(token.text)
        if depth == MAX_DEPTH:
            raise _UnreadableError
        if token.text == "-":
            value = self.read(_RANK["/"], depth + 1)
            return None if value is None else -value
        if token.kind != "open":
            raise _UnreadableError
        value = self.read(0, depth + 1)
        if self._next().text != _PAIRS[token.text]:
            raise _UnreadableError
        return value

    def _next(self) -> ExpressionToken:
        if self.at == len(self._tokens):
            raise _UnreadableError
        self.at += 1
        return self._tokens[self.at - 1]


def apply(left: Fraction | None, sign: str, right: Fraction | None) -> Fraction | None:
    """Return the exact result of the operation *sign* on *left* and *right*; ``None`` if there is none."""
    if left is None or right is None or (sign == "/" and not right):
        return None
    return _OPERATIONS[sign](left, right)
