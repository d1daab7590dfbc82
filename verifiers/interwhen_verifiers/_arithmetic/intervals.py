"""Intervals around decimals: the values that a rounded number may stand for."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple, assert_never

from interwhen_verifiers._arithmetic.nodes import (
    Binary,
    Group,
    Negative,
    Node,
    NoValueError,
    Number,
    Operator,
    Value,
    apply,
)

DENOMINATORS = (3, 6, 7, 9, 11, 12)
"""Denominators of fractions for which a number with decimals may stand."""


class Interval(NamedTuple):
    """All values from ``low`` to ``high``, both included."""

    low: Value
    high: Value


def could_be(node: Node, shown: Value, places: int) -> bool:
    # Numbers in `node` may be rounded, too (see `_likely`). The result is true if `node` has no value, or a divisor may
    # be zero.
    try:
        low, high = _spread(node, _likely)
    except NoValueError:
        return True
    unit = Fraction(10) ** -places
    return low - unit < shown < high + unit


def could_be_equal(left: Node, right: Node) -> bool:
    # A number with decimals may have been rounded or cut: it may be off by up to one unit of its last decimal.
    try:
        one, two = _spread(left, _any), _spread(right, _any)
    except NoValueError:
        return True
    return one.low <= two.high and two.low <= one.high


def _spread(node: Node, around: Callable[[Number], Interval]) -> Interval:
    match node:
        case Number():
            return around(node)
        case Group(inner=inner):
            return _spread(inner, around)
        case Negative(inner=inner):
            low, high = _spread(inner, around)
            return Interval(-high, -low)
        case Binary():
            return _combine(node.operator, _spread(node.left, around), _spread(node.right, around))
        case _:
            assert_never(node)


def _combine(operator: Operator, left: Interval, right: Interval) -> Interval:
    if operator == "/" and right.low <= 0 <= right.high:
        raise NoValueError("division by zero")
    ends = [apply(operator, one, two) for one in set(left) for two in set(right)]
    if operator == "^" and left.low < 0 < left.high:
        ends.append(0)
    return Interval(min(ends), max(ends))


def _scaled(number: Number) -> tuple[Value, int]:
    # A percentage is read as a fraction: 25% is 0.25.
    return (Fraction(number.value, 100), number.places + 2) if number.percent else (number.value, number.places)


def _likely(number: Number) -> Interval:
    value, places = _scaled(number)
    if not places or value == int(value):
        return Interval(value, value)
    unit = Fraction(10) ** -places
    if places >= 3 and not number.percent:
        return Interval(value - unit, value + unit)
    candidates = [value]
    for below in DENOMINATORS[:2] if number.percent else DENOMINATORS[: 1 if places == 1 else None]:
        for above in (int(value * below), int(value * below) + 1):
            fraction = Fraction(above, below)
            is_endless = fraction.denominator not in {1, 2, 4}
            # The number may be this fraction, rounded or cut.
            if is_endless and -unit / 2 <= fraction - value < unit:
                candidates.append(fraction)
    return Interval(min(candidates), max(candidates))


def _any(number: Number) -> Interval:
    value, places = _scaled(number)
    if not places:
        return Interval(value, value)
    unit = Fraction(10) ** -places
    return Interval(value - unit, value + unit)
