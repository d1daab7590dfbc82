"""The words of an expression."""

from __future__ import annotations

import datetime as dt
import re
from fractions import Fraction
from typing import Literal, NamedTuple

from interwhen.errors import UsageError
from interwhen.policy import limits
from interwhen.policy.kinds import Date, Kind, Moment, Number, Quantity, Text
from interwhen.policy.nodes import Constant
from interwhen.policy.units import unit_named

WORDS = frozenset(("and", "or", "not", "in", "if", "then", "else", "any", "all", "count", "sum", "true", "false"))
_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]++)"
    r"|(?P<moment>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(?::[0-9]{2})?+)"
    r"|(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"|(?P<number>\$?[0-9]++(?:\.[0-9]++)?+%?)"
    r"""|(?P<text>"[^"\n]*+"|'[^'\n]*+')"""
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*+)"
    r"|(?P<sign><=|>=|!=|[-=<>+*.,:()\[\]])"
)
_UNIT = re.compile(r"[ \t]*+([A-Za-z]++)")


class ExpressionError(UsageError):
    """An expression that cannot be read, or whose kinds of values do not fit; ``at`` is a character of it."""

    def __init__(self, message: str, at: int = 0) -> None:
        self.at = at
        super().__init__(message)


class Token(NamedTuple):
    """A word, a sign or a constant, and where it stands."""

    form: Literal["word", "name", "sign", "constant", "end"]
    text: str
    at: int
    constant: Constant | None = None


def tokens(text: str) -> list[Token]:
    """Return the tokens of *text*, an end token behind them. Linear. Raises :class:`ExpressionError`."""
    if len(text) > limits.EXPRESSION_CHARACTERS:
        raise ExpressionError(f"an expression of {len(text):,} characters: {limits.EXPRESSION_CHARACTERS:,} at most")
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ExpressionError(f"{text[at]!r} at character {at} means nothing here", at)
        form, start, at = match.lastgroup, at, match.end()
        if form == "word":
            found.append(Token("word" if match[0] in WORDS else "name", match[0], start))
        elif form == "sign":
            found.append(Token("sign", match[0], start))
        elif form == "number":
            constant, at = _number(text, match[0], start, at)
            found.append(Token("constant", match[0], start, constant))
        elif form != "space":
            found.append(Token("constant", match[0], start, _constant(match[0], form, start)))
    return [*found, Token("end", "the end", len(text))]


def _number(text: str, written: str, start: int, at: int) -> tuple[Constant, int]:
    digits = written.strip("$%")
    if max(map(len, digits.split("."))) > limits.DIGITS:
        raise ExpressionError(f"a number of more than {limits.DIGITS} digits at character {start}", start)
    value, kind = Fraction(digits), _kind_of(digits)
    if written[0] == "$":
        return Constant(value, Quantity("USD")), at
    if written[-1] == "%":
        return Constant(value / 100, Number()), at
    unit = _UNIT.match(text, at)
    if unit is None or unit[1] in WORDS:
        return Constant(value, kind), at
    measure = unit_named(unit[1])
    if measure is None:
        raise ExpressionError(f"{unit[1]!r} at character {unit.start(1)} is no unit that means one thing only", at)
    return Constant(value * measure.factor, Quantity(measure.dimension)), unit.end()


def _kind_of(digits: str) -> Kind:
    return Number(whole="." not in digits)


def _constant(written: str, form: str | None, start: int) -> Constant:
    if form == "text":
        return Constant(written[1:-1], Text(frozenset({written[1:-1]})))
    try:
        if form == "date":
            return Constant(dt.date.fromisoformat(written), Date())
        return Constant(dt.datetime.fromisoformat(written), Moment())
    except ValueError as error:
        raise ExpressionError(f"{written!r} at character {start} is no date ({error})", start) from error
