"""Expression trees: their exact values and their text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Literal, NamedTuple, TypeAlias, assert_never

Value: TypeAlias = int | Fraction
Operator: TypeAlias = Literal["+", "-", "*", "/", "^"]

MAX_EXPONENT = 512
"""The largest exponent, with or without a minus sign."""
MAX_BITS = 4096
"""The most bits of a whole value, and of each part of a fraction."""


class Number(NamedTuple):
    """A number as the text writes it, without its sign and currency."""

    # `places` is the number of decimals shown. If `percent` is true, `value` is the number before the `%` sign.

    value: Value
    text: str
    places: int
    percent: bool
    start: int
    end: int
    loose: bool = False
    """Whether its notation is not English: a decimal comma, points between thousands, or lakhs."""


class Group(NamedTuple):
    """An expression in brackets, a LaTeX fraction, or a bracket with a percent sign after it."""

    inner: Node
    opening: str = ""
    """Empty for a LaTeX fraction and for the group with a percent sign."""


class Negative(NamedTuple):
    """``-`` and the expression that it negates; ``start`` is the offset of the sign."""

    inner: Node
    start: int


class Binary(NamedTuple):
    # `sign` is its sign in normal form, such as `*` or `of`; empty for a multiplication without a sign.

    operator: Operator
    sign: str
    left: Node
    right: Node


Node: TypeAlias = Number | Group | Negative | Binary


class NoValueError(ArithmeticError):
    """The expression has no value within the limits, for example because of a division by zero."""


def exact(node: Node) -> Value:
    match node:
        case Number():
            return Fraction(node.value, 100) if node.percent else node.value
        case Group(inner=inner):
            return exact(inner)
        case Negative(inner=inner):
            return -exact(inner)
        case Binary():
            return apply(node.operator, exact(node.left), exact(node.right))
        case _:
            assert_never(node)


def apply(operator: Operator, left: Value, right: Value) -> Value:
    match operator:
        case "+":
            return _bounded(left + right)
        case "-":
            return _bounded(left - right)
        case "*":
            return _bounded(left * right)
        case "/":
            if right == 0:
                raise NoValueError("division by zero")
            return _bounded(Fraction(left) / right)
        case "^":
            return _power(left, right)
        case _:
            assert_never(operator)


def _power(base: Value, exponent: Value) -> Value:
    if exponent != int(exponent):
        raise NoValueError("a power that is not whole")
    if base == 0 and exponent <= 0:
        raise NoValueError("a power of zero")
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if magnitude(exponent) > MAX_EXPONENT or bits * magnitude(exponent) > MAX_BITS:
        raise NoValueError("a power that is too large")
    return _bounded(Fraction(base) ** int(exponent))


def _bounded(value: Value) -> Value:
    if isinstance(value, Fraction):
        if value.denominator == 1:
            value = value.numerator  # an `int`, which has a numerator, too
        elif value.denominator.bit_length() > MAX_BITS:
            raise NoValueError("a fraction that is too fine")
    if value.numerator.bit_length() > MAX_BITS:
        raise NoValueError("a number that is too large")
    return value


def magnitude(value: Value) -> Value:
    return -value if value < 0 else value


def numbers(node: Node) -> Iterator[Number]:
    stack = [node]
    while stack:
        match stack.pop():
            case Number() as number:
                yield number
            case Group(inner=inner) | Negative(inner=inner):
                stack.append(inner)
            case Binary(left=left, right=right):
                stack += [right, left]


def operations(node: Node) -> Iterator[Binary]:
    stack = [node]
    while stack:
        top = stack.pop()
        if isinstance(top, Binary):
            yield top
            stack += [top.left, top.right]
        elif not isinstance(top, Number):
            stack.append(top.inner)


def value_of(node: Node) -> Value | None:
    try:
        return exact(node)
    except NoValueError:
        return None


def mapped(node: Node, change: Callable[[Number | Binary], Node]) -> Node:
    match node:
        case Binary():
            return change(node._replace(left=mapped(node.left, change), right=mapped(node.right, change)))
        case Number():
            return change(node)
        case _:
            return node._replace(inner=mapped(node.inner, change))


def bare(node: Node) -> Number | None:
    while not isinstance(node, Number):
        if isinstance(node, Binary):
            return None
        node = node.inner
    return node


def ungrouped(node: Node) -> Node:
    while isinstance(node, Group):
        node = node.inner
    return node


def render(node: Node) -> str:
    match node:
        case Number():
            return f"{node.text}%" if node.percent else node.text
        case Group(inner=inner):
            return f"({render(inner)})"
        case Negative(inner=inner):
            return f"-{render(inner)}"
        case Binary(operator="^"):
            return f"{render(node.left)}^{render(node.right)}"
        case Binary(sign=sign):
            shown = {"": "", "*": " × "}.get(sign, f" {sign} ")  # noqa: RUF001 (the sign that people read)
            return render(node.left) + shown + render(node.right)
        case _:
            assert_never(node)
