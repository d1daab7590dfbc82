"""Whether two neighbouring sides of an equation have the same value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias

from interwhen_verifiers._arithmetic.nodes import (
    Binary,
    Negative,
    Node,
    NoValueError,
    Number,
    Value,
    bare,
    exact,
    magnitude,
    numbers,
    ungrouped,
)
from interwhen_verifiers._arithmetic.parser import Side
from interwhen_verifiers._arithmetic.spread import could_be, could_be_equal
from interwhen_verifiers._arithmetic.vocabulary import FAMILY

Rounding: TypeAlias = Literal["shown-digits", "exact"]

CONVERSIONS = frozenset((7, 10, 12, 16, 20, 24, 25, 30, 36, 50, 52, 60, 100, 365, 1000, 3600, 5280, 10**6))
"""How many of one unit may make another: with units around, such a factor is no proof of a mistake."""
FLOATING = 10**9
"""Binary floating point shows as a difference smaller than one part in so many."""


@dataclass(frozen=True, slots=True)
class Differs:
    """The sides have different values: ``value`` is that of the left one."""

    value: Value


@dataclass(frozen=True, slots=True)
class Unclear:
    """The sides look different, but the text may mean something else."""

    why: str


Link: TypeAlias = Differs | Unclear | None
"""How one link fails, or ``None`` where it holds."""


def compare(left: Side, right: Side, *, relation: str, doubt: str, rounding: Rounding) -> Link:
    """Compare two neighbouring sides."""
    try:
        value, other = exact(left.node), exact(right.node)
    except NoValueError as error:
        return Unclear(str(error))
    if value == other or _as_percentage(left, right, value, other):
        return None
    if (rounding == "shown-digits" or relation == "~") and _is_rounded(left, right, value, other, relation):
        return None
    why = doubt or left.doubt or right.doubt or _units(left, right, value, other)
    why = why or _readings(left, right, value, other)
    if not why and (rounding == "shown-digits" or relation == "~"):
        why = _approximations(left, right, value, other, relation)
    return Unclear(why) if why else Differs(value)


def _as_percentage(left: Side, right: Side, value: Value, other: Value) -> bool:
    """Tell whether the sides agree where one shows per cent and the other counts them."""
    for shown, counted, read in ((right.node, left.node, value), (left.node, right.node, other)):
        number = bare(shown)
        if number and number.percent and not any(n.percent for n in numbers(counted)):
            hundredfold = exact(shown) * 100
            if _rounds(read, hundredfold, number.places) or _rounds(read * 100, hundredfold, number.places):
                return True
    return False


def _is_rounded(left: Side, right: Side, value: Value, other: Value, relation: str) -> bool:
    for node, shown, full in ((right.node, other, value), (left.node, value, other)):
        number = bare(node)
        if number is None:
            continue
        places = number.places + (2 if number.percent else 0)
        if relation == "~" and not places:
            # Trailing zeros of an approximate value are not counted as shown.
            places -= len(number.text) - len(number.text.rstrip("0,"))
        if _rounds(full, shown, places):
            return True
    return False


def _rounds(full: Value, shown: Value, places: int) -> bool:
    return magnitude(full - shown) * 2 <= Fraction(10) ** -places


def _units(left: Side, right: Side, value: Value, other: Value) -> str:
    """Say why the units may explain the difference, or return an empty string."""
    named, result = set(left.units), set(right.units)
    is_value = bare(right.node) is not None
    if named and (bare(left.node) is not None or not is_value):
        return "a quantity may be described rather than counted"
    if named and result and named.isdisjoint(result):
        return "the units differ"
    if len(named) > 1 and any(_is_sum(node) for node in _operations(left.node)):
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
    if any(len(members) > 1 for members in families.values()):
        return "units may have been converted"
    measured = bool(families) or _percents(left, right)
    return "units may have been converted" if measured and _factor(value, other, in_family=bool(families)) else ""


def _adds_plain_numbers(left: Side, named: set[str]) -> bool:
    """Tell whether *left* adds measures and numbers without one: ``2 hours + 30``."""
    if not any(unit in FAMILY for unit in named) or not any(_is_sum(node) for node in _operations(left.node)):
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


def _operations(node: Node) -> Iterable[Binary]:
    stack = [node]
    while stack:
        top = stack.pop()
        if isinstance(top, Binary):
            yield top
            stack += [top.left, top.right]
        elif not isinstance(top, Number):
            stack.append(top.inner)


def _is_sum(node: Node) -> bool:
    return isinstance(node, Binary) and node.operator in {"+", "-"}


def _readings(left: Side, right: Side, value: Value, other: Value) -> str:
    """Say how else the sides can be read so that they agree, or return an empty string."""
    if _adds_percentage(left.node) or _adds_percentage(right.node):
        return "a percentage is added"
    if _names_share(left.node, right.node) or _names_share(right.node, left.node):
        return "a share of something may be described"
    if _is_range(left.node):
        return "a range may be described"
    if _is_thousandfold(value, other) and any(n.places == 3 for side in (left, right) for n in numbers(side.node)):
        return "a point may separate thousands"
    if left.bullet and _bullet_value(left) == other:
        return "the start of the line may be a sign or a bullet"
    if _is_run_on(left.node, right.node, value):
        return "the calculation may run on"
    if _may_be_defined(left.node, right.node):
        return "the operation may be defined in the text"
    if _product_first_value(left.node) == other or _product_first_value(right.node) == value:
        return "a product after a division can be read in two ways"
    return ""


def _names_share(share: Node, amount: Node) -> bool:
    """Tell whether *share* may be a part of something that *amount* counts: ``3/4 = 15``, ``20% + 5% = 10``."""
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
    """Tell whether *node* is written like the range ``5-10``."""
    if not isinstance(node, Binary) or node.operator != "-":
        return False
    low, high = node.left, node.right
    return isinstance(low, Number) and isinstance(high, Number) and low.end + 1 == high.start and low.value < high.value


def _is_thousandfold(value: Value, other: Value) -> bool:
    return value * 1000 == other or other * 1000 == value


def _may_be_defined(left: Node, right: Node) -> bool:
    """Tell whether ``a * b`` equals some longer sum: problems define operations that way."""
    if not isinstance(left, Binary) or left.operator != "*" or bare(right):
        return False
    return bool(bare(left.left) and bare(left.right)) and any(_is_sum(node) for node in _operations(right))


def _adds_percentage(node: Node) -> bool:
    """Tell whether a percentage stands beside a plain number in a sum: ``50 + 10%``."""
    for operation in _operations(node):
        if _is_sum(operation):
            ends = [bare(operation.left), bare(operation.right)]
            if any(end is not None and end.percent for end in ends) and not all(
                number.percent for number in numbers(operation)
            ):
                return True
    return False


def _bullet_value(side: Side) -> Value | None:
    """Return the value of *side* with its start read the other way: ``-`` as a sign, ``1.`` as a list marker."""
    try:
        return exact(_reread_first(side.node, side.bullet))
    except NoValueError:
        return None


def _reread_first(node: Node, bullet: str) -> Node:
    if isinstance(node, Binary):
        return node._replace(left=_reread_first(node.left, bullet))
    if bullet == "-":
        return Negative(node, 0)
    if isinstance(node, Number) and bullet == ".":
        return node._replace(value=int(node.text.partition(".")[2]))
    return node


def _is_run_on(left: Node, right: Node, value: Value) -> bool:
    """Tell whether *right* goes on from the value of *left*: ``5 + 3 = 8 * 2``, ``5 + 3 = 10 - 8``."""
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


def _product_first_value(node: Node) -> Value | None:
    """Return the value of *node* with ``a / b * c`` read as ``a / (b * c)``."""
    try:
        return exact(_product_first(node))
    except NoValueError:
        return None


def _product_first(node: Node) -> Node:
    match node:
        case Binary(operator="*", left=Binary(operator="/") as division):
            below = Binary("*", "", _product_first(division.right), _product_first(node.right))
            return Binary("/", "/", _product_first(division.left), below)
        case Binary():
            return node._replace(left=_product_first(node.left), right=_product_first(node.right))
        case Number():
            return node
        case _:
            return node._replace(inner=_product_first(node.inner))


def _approximations(left: Side, right: Side, value: Value, other: Value, relation: str) -> str:
    number = bare(right.node) or bare(left.node)
    difference = magnitude(value - other)
    if relation == "~" and difference * 4 <= magnitude(value):
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
    # One unit in the last of two or more decimals: what was added may have been rounded before.
    is_last_digit = number.places >= 2 and difference <= Fraction(10) ** -places
    if is_last_digit or could_be(full, shown, places) or _keeps_leading(exact(full), shown, number):
        return "a value was rounded on the way"
    return ""


def _keeps_leading(full: Value, shown: Value, number: Number) -> bool:
    """Tell whether *shown* is *full* to fewer digits than it seems to show: 333,000 for a third of a million."""
    if number.places or number.percent or not isinstance(full, Fraction):
        return False
    zeros = len(number.text) - len(number.text.rstrip("0,"))
    return zeros > 0 and _rounds(full, shown, -zeros)
