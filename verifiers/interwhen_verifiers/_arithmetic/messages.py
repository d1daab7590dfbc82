"""The message of a violation, and the repair of a wrong value."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from interwhen_verifiers._arithmetic.nodes import (
    Group,
    Negative,
    Node,
    Number,
    Value,
    bare,
    exact,
    magnitude,
    numbers,
    render,
)
from interwhen_verifiers._arithmetic.parser import Side

MAX_SHOWN = 100
"""A longer expression is not repeated in a message."""
MAX_PLACES = 6
"""A value with at most this many decimals is not rounded."""
MAX_DIGITS = 30
"""The most characters of a value that :func:`plain` writes."""
_SEPARATORS = ("{,}", ",\\!", "\\!", "\\,", ",", "'", "’")  # noqa: RUF001 (a mark between thousands)


class Wrong(NamedTuple):
    """The offsets of the wrong part in the parsed text, and the text that corrects it (``None``: no safe repair)."""

    start: int
    end: int
    repair: str | None


def statement(node: Node) -> str:
    while isinstance(node, Group):
        node = node.inner
    text = render(node)
    return text if len(text) <= MAX_SHOWN else "the expression before it"


def plain(value: Value, places: int = 0) -> str | None:
    # `None` if `value` rounds to zero or has too many digits.
    text = _decimal(value, MAX_PLACES)
    if Fraction(text) != value:
        text = _decimal(value, max(2, min(4, places)))
        if not Fraction(text):
            return None
    return text if len(text) <= MAX_DIGITS else None


def result(left: Node, value: Value, stated: Node) -> str | None:
    number = bare(stated)
    if number and number.percent:
        value = _percentage(left, value, number)
    text = plain(value)
    if text is None:
        return None
    about = "" if is_exact(value) else "about "
    return f"{about}{text}%" if number and number.percent else about + text


def is_exact(value: Value) -> bool:
    return Fraction(_decimal(value, MAX_PLACES)) == value


def _decimal(value: Value, places: int) -> str:
    scaled = round(Fraction(value) * 10**places)
    digits = str(abs(scaled)).rjust(places + 1, "0")
    decimals = digits[len(digits) - places :].rstrip("0")
    whole = digits[: len(digits) - places]
    return ("-" if scaled < 0 else "") + whole + (f".{decimals}" if decimals else "")


def locate(left: Side, right: Side, value: Value, text: str, *, leads: bool, exactly: bool) -> Wrong:
    """Return the part of *right* that is wrong in ``left = right``, and its repair (``None``: no safe repair is known).

    *value* is the value of *left*, and *text* the parsed text. *leads*: *left* is the first side of its chain.
    *exactly*: a repair must not be rounded.
    """
    number = bare(right.node)
    if number is None:
        return Wrong(right.start, right.end, _replacement(left, right, value, text, leads=leads))
    if number.percent:
        value = _percentage(left.node, value, number)
    start, sign, gap = _signed(right.node, number, text)
    # A minus sign that stays before a bracket would negate the value that is written into the bracket.
    is_negated = not sign and exact(right.node) < 0
    if is_negated or (exactly and not is_exact(value)):
        return Wrong(start, number.end, None)
    digits = _like(value, number, left, currency=right.currency)
    if digits is None or " " in number.text or not number.text.isascii():
        return Wrong(start, number.end, None)
    if sign:
        digits = digits.removeprefix("-")
        return Wrong(start, number.end, ("-" if value < 0 else "") + gap + digits)
    return Wrong(start, number.end, digits)


def _replacement(left: Side, right: Side, value: Value, text: str, *, leads: bool) -> str | None:
    """Return *value* as text that may replace the whole of *right*; ``None`` if that is not safe.

    *leads*: *left* is the first side of its chain. If it is then a plain number, either side may be the wrong one.
    """
    if (leads and bare(left.node)) or right.units or left.units or right.currency or not is_exact(value):
        return None
    if any(mark in text[right.start : right.end] for mark in "${}\\"):
        return None
    return plain(value)


def _percentage(left: Node, value: Value, number: Number) -> Value:
    """Return the number that, written before a per cent sign, means *value*.

    If *left* holds no percentage, it may be in per cent itself. Then the nearer to *number* of ``value * 100`` and
    *value* is returned.
    """
    if any(part.percent for part in numbers(left)):
        return value * 100
    return min(value * 100, value, key=lambda reading: magnitude(reading - number.value))


def _signed(node: Node, number: Number, text: str) -> tuple[int, bool, str]:
    # Return where the number begins, whether it has a minus sign that begins it, and the text between the two.
    while isinstance(node, Group):
        node = node.inner
    if isinstance(node, Negative) and node.inner == number and exact(node) != 0:
        return node.start, True, text[node.start + 1 : number.start].strip()
    return number.start, False, ""


def _like(value: Value, number: Number, left: Side, *, currency: bool) -> str | None:
    # Return `value` with the decimal places of `number`, and a thousands separator if it or `left` has one; `None` if
    # it rounds to zero or has too many digits.
    digits = plain(value, number.places)
    if digits is None:
        return None
    whole, _, decimals = digits.partition(".")
    if number.places and (currency or decimals) and len(decimals) < number.places <= 2:
        decimals = decimals.ljust(number.places, "0")
    separator = _separator(number, left)
    if separator:
        whole = f"{int(whole):,}".replace(",", separator) if whole != "-0" else whole
    return whole + (f".{decimals}" if decimals else "")


def _separator(number: Number, left: Side) -> str:
    # A number below 1,000 does not show its separator, so a number of `left` may show it.
    candidates = [number] if magnitude(number.value) >= 1000 else [number, *numbers(left.node)]
    for candidate in candidates:
        for separator in _SEPARATORS:
            if separator in candidate.text:
                return separator
    return ""
