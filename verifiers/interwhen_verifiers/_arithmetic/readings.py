"""Reads an expression in other ways than the usual one, for example with another grouping."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Literal

from interwhen_verifiers._arithmetic.nodes import (
    Binary,
    Group,
    Negative,
    Node,
    Number,
    Operator,
    Value,
    bare,
    exact,
    mapped,
    numbers,
)


def _regrouped(operator: Literal["*", "/"]) -> Callable[[Node], Node]:
    """Return a function that reads ``a / b * c`` as ``a / (b * c)``, or ``a / b / c`` as ``a / (b / c)``.

    *operator* is the second operator of the expression.
    """
    sign = operator.strip("*")

    def change(node: Number | Binary) -> Node:
        if isinstance(node, Binary) and node.operator == operator:
            match node.left:
                case Binary(operator="/") as division:
                    return division._replace(right=Binary(operator, sign, division.right, node.right))
        return node

    return lambda node: mapped(node, change)


def _bitwise(node: Node) -> Node:
    def change(node: Number | Binary) -> Node:
        if isinstance(node, Number):
            return node
        left, right = bare(node.left), bare(node.right)
        if node.operator == "^" and left and right and isinstance(left.value, int) and isinstance(right.value, int):
            return left._replace(value=left.value ^ right.value)
        return node

    return mapped(node, change)


def _unlabelled(node: Node) -> Node:
    # If only one number would be left, `node` is returned unchanged.
    rest = _without_label(node)
    return node if bare(rest) else rest


def _without_label(node: Node) -> Node:
    if not isinstance(node, Binary) or node.operator not in {"+", "-"}:
        return node
    label = node.left
    if not isinstance(label, Number):
        return node._replace(left=_without_label(label))
    is_spaced = next(numbers(node.right)).start > label.end + 1
    return node.right if node.operator == "-" and is_spaced and not label.places else node


def _mixed(node: Node) -> Node:
    if isinstance(node, Number):
        return node
    operators, operands = _flattened(node)
    at = 1
    while at < len(operands):
        taken, part = _dashed_part(operators, operands, at)
        if part is not None:
            whole, last = operands[at - 1], operands[at + taken - 1]
            assert isinstance(whole, Number)
            assert isinstance(last, Number)
            # A percent sign stands behind the fraction: 2-1/2%.
            operands[at - 1] = whole._replace(value=whole.value + part, percent=last.percent)
            del operators[at : at + taken], operands[at : at + taken]
        at += 1
    products: list[tuple[Operator, Node]] = []
    for operator, operand in zip(operators, operands, strict=True):
        if operator in {"*", "/"}:
            sign, left = products[-1]
            products[-1] = sign, Binary(operator, operator, left, operand)
        else:
            products.append((operator, operand))
    (_, result), *rest = products
    for operator, operand in rest:
        result = Binary(operator, operator, result, operand)
    return result


def _flattened(node: Node) -> tuple[list[Operator], list[Node]]:
    # The first operator is `+`. Brackets, signs and powers are operands, in which mixed numbers are read already.
    operators: list[Operator] = []
    operands: list[Node] = []
    stack: list[tuple[Operator, Node]] = [("+", node)]
    while stack:
        operator, top = stack.pop()
        if isinstance(top, Binary) and top.operator != "^":
            stack += [(top.operator, top.right), (operator, top.left)]
        else:
            operators.append(operator)
            operands.append(_inside(top))
    return operators, operands


def _inside(node: Node) -> Node:
    match node:
        case Number():
            return node
        case Binary():
            return node._replace(left=_mixed(node.left), right=_mixed(node.right))
        case _:
            return node._replace(inner=_mixed(node.inner))


def _dashed_part(operators: list[Operator], operands: list[Node], at: int) -> tuple[int, Value | None]:
    # Return how many operands after the whole number are its fraction (1 for ½, 2 for 1/2), and its value.
    whole, upper = operands[at - 1], operands[at]
    if operators[at] != "-" or not (isinstance(whole, Number) and isinstance(upper, Number)):
        return 0, None
    if whole.percent or whole.places or not isinstance(whole.value, int) or whole.end + 1 != upper.start:
        return 0, None
    if len(upper.text) == 1 and isinstance(upper.value, Fraction):
        return 1, upper.value
    lower = operands[at + 1] if at + 1 < len(operands) and operators[at + 1] == "/" else None
    if not isinstance(lower, Number) or upper.end + 1 != lower.start or upper.percent:
        return 0, None
    if upper.places or lower.places or not 0 < upper.value < lower.value:
        return 0, None
    return 2, Fraction(upper.value) / lower.value


def accounted(node: Node) -> Node:
    # In accounting, a number in brackets is negative.
    def change(node: Node) -> Node:
        match node:
            case Group(inner=Number() as number, opening="("):
                return Negative(number, number.start)
            case Group() | Negative():
                return node._replace(inner=change(node.inner))
            case Binary(sign=""):
                return node  # 2(3) is a product
            case Binary():
                return node._replace(left=change(node.left), right=change(node.right))
            case _:
                return node

    return change(node)


def _in_turn(change: Literal["growth", "discount"]) -> Callable[[Node], Node]:
    # `10% + 10%` is a growth of 21%, and `20% + 10%` a discount of 28%.
    direction = 1 if change == "growth" else -1

    def read(node: Node) -> Node:
        operators, operands = _flattened(node)
        percentages = [operand for operand in operands if isinstance(operand, Number) and operand.percent]
        if len(percentages) < max(2, len(operands)) or not {"+", "-"}.issuperset(operators):
            return node
        value: Value = 1
        for operator, operand in zip(operators, percentages, strict=True):
            value *= 1 + direction * (exact(operand) if operator == "+" else -exact(operand))
        return percentages[0]._replace(value=(value - 1) * direction * 100)

    return read


REREADINGS: tuple[tuple[Callable[[Node], Node], str], ...] = (
    (_regrouped("*"), "a product after a division can be read in two ways"),
    (_regrouped("/"), "a division after a division can be read in two ways"),
    (_mixed, "a dash may stand inside a mixed number"),
    (accounted, "a number in brackets may be negative"),
    (_in_turn("growth"), "percentages may follow one another"),
    (_in_turn("discount"), "percentages may follow one another"),
    (_bitwise, "the sign for powers may be exclusive or"),
    (_unlabelled, "the first number may be a label"),
)
"""Other readings of an expression, each with the reason to doubt that the usual one is meant."""
GROUPINGS = REREADINGS[:3]
"""The readings that may be meant whatever the expression is equated with."""
