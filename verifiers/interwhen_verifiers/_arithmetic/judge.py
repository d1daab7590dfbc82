"""Compares two neighbouring sides of an equation."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias

from interwhen_verifiers._arithmetic.intervals import could_be, could_be_equal
from interwhen_verifiers._arithmetic.nodes import (
    Binary,
    Group,
    Negative,
    Node,
    NoValueError,
    Number,
    Value,
    bare,
    exact,
    magnitude,
    mapped,
    numbers,
    operations,
    ungrouped,
    value_of,
)
from interwhen_verifiers._arithmetic.parser import Side
from interwhen_verifiers._arithmetic.readings import GROUPINGS, REREADINGS, accounted
from interwhen_verifiers._arithmetic.setting import Setting, in_setting
from interwhen_verifiers._arithmetic.vocabulary import FAMILY, PREFIXED, SCALE_OF

Rounding: TypeAlias = Literal["shown-digits", "exact"]

CONVERSIONS = frozenset(
    (
        *(7, 10, 12, 16, 20, 24, 25, 30, 36, 50, 52, 60, 100, 365, 1000, 3600, 5280, 10**6),
        *(1024, 1440, 8760, 10_080, 86_400, 604_800, 1024**2, 10**9, 1024**3),
    )
)
"""Two values with units that differ by such a factor may be a conversion, not a mistake."""
FLOATING = 10**9
"""A relative difference of at most one part in ``FLOATING`` may come from binary floating point."""


@dataclass(frozen=True, slots=True)
class Differs:
    """The sides have different values, for no known reason; ``value`` is the value of the left side."""

    value: Value


@dataclass(frozen=True, slots=True)
class Unclear:
    """It is not clear whether the relation holds, or it is not judged."""

    why: str


@dataclass(frozen=True, slots=True)
class Rounded:
    """One side is the rounded value of the other."""

    # `places` is the number of decimals shown; `None` if the text says that the value is approximate.

    places: int | None


Link: TypeAlias = Differs | Unclear | Rounded | None
"""The result of comparing two sides; ``None``: the relation between them holds."""

_COMPARISONS: dict[str, Callable[[Value, Value], bool]] = {
    "<": lambda left, right: left < right,
    ">": lambda left, right: left > right,
    "≤": lambda left, right: left <= right,
    "≥": lambda left, right: left >= right,
    "≠": lambda left, right: left != right,
}


def _holds(relation: str, left: Value, right: Value) -> bool:
    compares = _COMPARISONS.get(relation)
    return left == right if compares is None else compares(left, right)


def compare(left: Side, right: Side, *, relation: str, doubt: str, setting: Setting, rounding: Rounding) -> Link:
    # `Differs` is only for an equality for which no other meaning is known. `doubt` says why the text may not assert
    # it, if there is a reason. With `rounding` `exact`, a rounded side is accepted only after the sign `~`.
    if relation in {"!", "≡"}:
        return Unclear("a relation of this kind is not judged")
    if bare(left.node) and bare(right.node) and (left.units or right.units):
        return _converted(left, right, relation)
    try:
        value, other = exact(left.node), exact(right.node)
    except NoValueError as error:
        return Unclear(str(error))
    if relation in _COMPARISONS:
        # A comparison may state a condition, so a comparison that is false does not prove a mistake.
        named = set(left.units) ^ set(right.units)
        holds = not named and _holds(relation, value, other)
        return None if holds else Unclear("a comparison may be a condition")
    if value == other or _as_percentage(left, right, value, other):
        return None
    rounded = _rounding(left, right, value, other, relation) if rounding == "shown-digits" or relation == "~" else None
    if rounded:
        return rounded
    why = doubt or left.doubt or right.doubt or _units(left, right, value, other)
    why = why or _readings(left, right, value, other) or in_setting(left.node, right.node, setting)
    if not why and (rounding == "shown-digits" or relation != "="):
        why = _approximations(left, right, value, other, relation)
    return Unclear(why) if why else Differs(value)


def scales(side: Side) -> dict[int, int] | None:
    # Return the sizes of the unit (see `SCALE_OF`), none without a unit; `None` for an unknown unit or several units.
    units = {*side.units, "$"} if side.currency else set(side.units)
    if len(units) > 1:
        return None
    return SCALE_OF.get(next(iter(units))) if units else {}


def _converted(left: Side, right: Side, relation: str) -> Link:
    # A conversion of units is never judged to be wrong, only to be `Unclear`.
    sizes, others = scales(left), scales(right)
    value, other = exact(left.node), exact(right.node)
    same = set(left.units) == set(right.units) and left.currency == right.currency
    if value == other and (same or not (left.units and right.units)) and relation in "=~?≤≥":
        return None
    tables = (sizes or {}).keys() & (others or {}).keys()
    if sizes and others and any(_holds(relation, value * sizes[table], other * others[table]) for table in tables):
        return None
    return Unclear("units may have been converted")


def _as_percentage(left: Side, right: Side, value: Value, other: Value) -> bool:
    for shown, counted, read in ((right.node, left.node, value), (left.node, right.node, other)):
        number = bare(shown)
        if number and number.percent and not any(n.percent for n in numbers(counted)) and read == exact(shown) * 100:
            return True
    return False


def _rounding(left: Side, right: Side, value: Value, other: Value, relation: str) -> Rounded | None:
    # After `=`, a rounded side must show a decimal.
    for shown, counted, full in ((right.node, left.node, value), (left.node, right.node, other)):
        number = bare(shown)
        if number is None:
            continue
        stated = exact(shown)
        readings = [full]
        if number.percent:
            stated = stated * 100
            readings = [full * 100] if any(n.percent for n in numbers(counted)) else [full * 100, full]
        if relation == "~":
            # Trailing zeros of an approximate value are not counted as shown.
            zeros = 0 if number.places else len(number.text) - len(number.text.rstrip("0,"))
            if any(_rounds(reading, stated, number.places - zeros) for reading in readings):
                return Rounded(None)
        elif number.places and any(_is_cut(reading, stated, number.places) for reading in readings):
            return Rounded(number.places)
    return None


def _rounds(full: Value, shown: Value, places: int) -> bool:
    return magnitude(full - shown) * 2 <= Fraction(10) ** -places


def _is_cut(full: Value, shown: Value, places: int) -> bool:
    scaled = magnitude(full) * 10**places
    if scaled == int(scaled) or (shown and (full < 0) != (shown < 0)):
        return False
    return bool(int(scaled + Fraction(1, 2)) == magnitude(shown) * 10**places)


def _units(left: Side, right: Side, value: Value, other: Value) -> str:
    named, result = set(left.units), set(right.units)
    is_value = bare(right.node) is not None
    if named and (bare(left.node) is not None or not is_value):
        return "a quantity may be described rather than counted"
    if named and result and named.isdisjoint(result):
        return "the units differ"
    if len(named) > 1 and any(_is_sum(node) for node in operations(left.node)):
        return "different things are added"
    if result and not is_value:
        return "the units differ"
    if left.remark and right.remark:
        return "a remark may be a factor in words"
    if _adds_plain_numbers(left, named):
        return "a number without a unit is added"
    families: dict[str, set[str]] = {}
    for unit in named | result | ({"$"} if left.currency or right.currency else set()):
        if unit in FAMILY:
            families.setdefault(FAMILY[unit], set()).add(unit)
    if any(len(members) > 1 for members in families.values()) or (not named and not PREFIXED.isdisjoint(result)):
        return "units may have been converted"
    measured = bool(families) or _percents(left, right)
    return "units may have been converted" if measured and _factor(value, other, in_family=bool(families)) else ""


def _adds_plain_numbers(left: Side, named: set[str]) -> bool:
    if not any(unit in FAMILY for unit in named) or not any(_is_sum(node) for node in operations(left.node)):
        return False
    return len(left.units) < sum(1 for _ in numbers(left.node))


def _percents(left: Side, right: Side) -> bool:
    return any(number.percent for side in (left, right) for number in numbers(side.node))


def _factor(value: Value, other: Value, *, in_family: bool) -> bool:
    if not value or not other:
        return False
    ratio = Fraction(value) / other
    ratio = ratio if ratio > 1 else 1 / ratio
    return ratio in CONVERSIONS or (in_family and ratio in {2, 3, 4, 8})


def _is_sum(node: Node) -> bool:
    return isinstance(node, Binary) and node.operator in {"+", "-"}


def _readings(left: Side, right: Side, value: Value, other: Value) -> str:
    if _adds_percentage(left.node) or _adds_percentage(right.node):
        return "a percentage is added"
    whole = left.remark and exact(left.node) == 1  # 4/4 (the whole) = 12
    if whole or _names_share(left.node, right.node) or _names_share(right.node, left.node):
        return "a share of something may be described"
    if _is_date(left.node) or _is_date(right.node):
        return "a date may be meant"
    if _is_range(left.node) or (right.units and not left.units and _counts_range(left.node, other)):
        return "a range may be described"
    if _is_thousandfold(value, other) and any(n.places == 3 for side in (left, right) for n in numbers(side.node)):
        return "a point may separate thousands"
    if left.bullet and _bullet_value(left) == other:
        return "the start of the line may be a sign or a bullet"
    if _is_run_on(left.node, right.node, value):
        return "the calculation may run on"
    if _is_joined(left.node, right.node):
        return "digits may be put side by side"
    if _may_be_defined(left.node, right.node):
        return "the operation may be defined in the text"
    return _otherwise(left.node, right.node, value, other)


def _otherwise(left: Node, right: Node, value: Value, other: Value) -> str:
    for reread, why in REREADINGS:
        reading, another = value_of(reread(left)), value_of(reread(right))
        if reading == other or another == value or reading == another is not None:
            return why
    for renumber, why in _RENUMBERINGS:
        if value_of(renumber(left)) == value_of(renumber(right)) is not None:
            return why
    return ""


def _names_share(share: Node, amount: Node) -> bool:
    if any(number.percent for number in numbers(amount)):
        return False
    if all(number.percent for number in numbers(share)):
        return bare(share) is None or (bare(amount) is not None and exact(amount) > 1)
    fraction = ungrouped(share)
    if (
        not isinstance(fraction, Binary)
        or fraction.operator != "/"
        or not (bare(fraction.left) and bare(fraction.right))
    ):
        return False
    return bare(amount) is not None and 0 < exact(share) < 1 < exact(amount)


def _is_range(node: Node) -> bool:
    if not isinstance(node, Binary) or node.operator != "-":
        return False
    low, high = node.left, node.right
    return isinstance(low, Number) and isinstance(high, Number) and low.end + 1 == high.start and low.value < high.value


def _is_date(node: Node) -> bool:
    for operation in operations(node):
        match operation:
            case Binary(
                operator="/" | "-" as sign,
                left=Binary(operator=other, right=Number() as month) as before,
                right=Number() as year,
            ) if sign == other:
                day = _last(before.left)
                is_glued = day is not None and day.end + 1 == month.start and month.end + 1 == year.start
                if is_glued and len(month.text) <= 2 and year.text.isdigit() and 1000 <= year.value < 3000:
                    return True
    return False


def _last(node: Node) -> Number | None:
    while isinstance(node, Binary):
        node = node.right
    return node if isinstance(node, Number) else None


def _counts_range(node: Node, count: Value) -> bool:
    if not isinstance(node, Binary) or node.operator != "-":
        return False
    low, high = node.left, node.right
    return (
        isinstance(low, Number)
        and isinstance(high, Number)
        and count in {high.value - low.value, high.value - low.value + 1}
    )


def _is_thousandfold(value: Value, other: Value) -> bool:
    return value * 1000 == other or other * 1000 == value


def _may_be_defined(left: Node, right: Node) -> bool:
    if not isinstance(left, Binary) or left.operator != "*" or bare(right):
        return False
    return bool(bare(left.left) and bare(left.right)) and any(_is_sum(node) for node in operations(right))


def _is_joined(left: Node, right: Node) -> bool:
    result = bare(right)
    return (
        result is not None
        and all(operation.operator == "+" for operation in operations(left))
        and "".join(number.text for number in numbers(left)) == result.text
    )


def _adds_percentage(node: Node) -> bool:
    # True for `50 + 10%`, false for `10% of 20 + 5`.
    return any(
        _is_sum(operation) and _is_percentage(operation.left) != _is_percentage(operation.right)
        for operation in operations(node)
    )


def _is_percentage(node: Node) -> bool:
    match node:
        case Group(inner=Binary(operator="/", right=Number(text="100", end=0))):
            return True  # (5 + 5)%
        case _:
            return all(number.percent for number in numbers(node))


def _bullet_value(side: Side) -> Value | None:
    return value_of(_reread_first(side.node, side.bullet))


def _reread_first(node: Node, bullet: str) -> Node:
    if isinstance(node, Binary):
        return node._replace(left=_reread_first(node.left, bullet))
    if bullet == "-":
        return Negative(node, 0)
    if isinstance(node, Number) and bullet == ".":
        return node._replace(value=int(node.text.partition(".")[2]))
    return node


def _is_run_on(left: Node, right: Node, value: Value) -> bool:
    if not isinstance(right, Binary):
        return False
    before = {number.value for number in numbers(left)}
    ends: list[Node] = [right.right]
    first: Node = right
    while isinstance(first, Binary):
        first = first.left
    ends.append(first)
    return any(
        isinstance(end, Number) and end.value not in before and _rounds(value, end.value, end.places) for end in ends
    )


def unambiguous(node: Node) -> bool:
    value = value_of(node)
    return (
        value is not None
        and all(value_of(reread(node)) == value for reread, _ in GROUPINGS)
        and not _adds_percentage(node)
    )


def is_value(side: Side, value: Value) -> bool | None:
    # `None`: `side` may be another form of `value`, or rounded.
    stated = value_of(side.node)
    if stated is None:
        return None
    if stated == value:
        return True
    number = bare(side.node)
    if number and number.places and not number.percent and _is_cut(value, stated, number.places):
        return True
    if side.doubt or number is None or number.percent or number.loose:
        return None
    if value_of(accounted(side.node)) == value:
        return None
    if number.places == 3 and stated * 1000 == value:
        return None  # a point may separate thousands
    near = magnitude(stated - value) * 50 <= magnitude(value) and isinstance(value, Fraction)
    return None if near or magnitude(stated - value) < 1 else False


_DOTTED = re.compile(r"[0-9]{1,3}\.[0-9]{3}")
_COMMA = re.compile(r"[0-9]{1,3},(?!000)[0-9]{3}")


def _rescaled(written: re.Pattern[str], factor: Value) -> Callable[[Node], Node]:
    def change(node: Number | Binary) -> Node:
        if isinstance(node, Number) and written.fullmatch(node.text):
            return node._replace(value=node.value * factor)
        return node

    return lambda node: mapped(node, change)


_RENUMBERINGS: tuple[tuple[Callable[[Node], Node], str], ...] = (
    (_rescaled(_DOTTED, 1000), "a point may separate thousands"),
    (_rescaled(_COMMA, Fraction(1, 1000)), "a comma may separate decimals"),
)


def _approximations(left: Side, right: Side, value: Value, other: Value, relation: str) -> str:
    number = bare(right.node) or bare(left.node)
    difference = magnitude(value - other)
    if relation in {"~", "?"} and difference * 4 <= magnitude(value):
        return "it is an estimate"
    if difference * FLOATING <= magnitude(value):
        return "a value was rounded on the way"
    if number is None:
        close = isinstance(value, Fraction) and difference * 50 <= magnitude(value)
        return "a value was rounded on the way" if close or could_be_equal(left.node, right.node) else ""
    full, shown = (left.node, other) if bare(right.node) else (right.node, value)
    places = number.places + (2 if number.percent else 0)
    if number.places and difference * 2 > magnitude(shown):
        return ""  # 0.01 is not 0.1, to any number of digits
    # The values differ by one unit in the last of two or more decimals: the addends may have been rounded before.
    is_last_digit = number.places >= 2 and difference <= Fraction(10) ** -places
    if is_last_digit or could_be(full, shown, places) or _keeps_leading(exact(full), shown, number):
        return "a value was rounded on the way"
    return ""


def _keeps_leading(full: Value, shown: Value, number: Number) -> bool:
    if number.places or number.percent or not isinstance(full, Fraction):
        return False
    zeros = len(number.text) - len(number.text.rstrip("0,"))
    return zeros > 0 and _rounds(full, shown, -zeros)
