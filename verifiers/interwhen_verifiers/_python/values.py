"""Decodes the values that a sandbox returns as data, and decides tests of them without running code."""

from __future__ import annotations

import ast
import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from interwhen_verifiers._python import harness

_NEVER_EQUAL = frozenset(
    (
        "map",
        "filter",
        "zip",
        "generator",
        "function",
        "enumerate",
        "reversed",
        "list_iterator",
        "method",
        "range",
        "builtin_function_or_method",
        "type",
        "coroutine",
        "tuple_iterator",
    )
)
"""Names of types whose objects never equal a value of a test, such as functions."""


class NotPlainError(Exception):
    """An expression is not plain data, or the data encodes no value."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """Stands for an object that stayed in the sandbox: only the name of its type is known."""

    type: str

    def __repr__(self) -> str:
        return f"an object of type {self.type}"


def decoded(told: Any) -> Any:
    try:
        return harness.decoded(told, Opaque)
    except (AttributeError, TypeError, ValueError, KeyError, OverflowError) as error:
        raise NotPlainError from error


def holds_opaque(value: Any) -> bool:
    if isinstance(value, dict):
        return any(holds_opaque(key) or holds_opaque(inner) for key, inner in value.items())
    return isinstance(value, Opaque) or (
        isinstance(value, list | tuple | set | frozenset) and any(map(holds_opaque, value))
    )


def plain(node: ast.expr, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.Call(
            func=ast.Name(id="set" | "frozenset" | "list" | "tuple" | "dict" as kind), args=args, keywords=[]
        ):
            made: Callable[..., Any] = {"set": set, "frozenset": frozenset, "list": list, "tuple": tuple, "dict": dict}[
                kind
            ]
            return _made(made, [plain(one, names) for one in args])
        case ast.List(elts=elts):
            return [plain(one, names) for one in elts]
        case ast.Tuple(elts=elts):
            return tuple(plain(one, names) for one in elts)
        case ast.Set(elts=elts):
            return _made(set, [[plain(one, names) for one in elts]])
        case ast.Dict(keys=keys, values=values) if all(key is not None for key in keys):
            pairs = [(plain(key, names), plain(value, names)) for key, value in zip(keys, values, strict=True) if key]
            return _made(dict, [pairs])
        case ast.Subscript(value=value, slice=index):
            return _made(operator.getitem, [plain(value, names), plain(index, names)])
        case _:
            try:
                return ast.literal_eval(node)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
                raise NotPlainError from error


def _made(function: Callable[..., Any], arguments: list[Any]) -> Any:
    if any(holds_opaque(one) for one in arguments):
        raise NotPlainError
    try:
        return function(*arguments)
    except (TypeError, ValueError, LookupError) as error:
        raise NotPlainError from error


_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda one, other: one in other,
    ast.NotIn: lambda one, other: one not in other,
}


def held(node: ast.expr, names: Mapping[str, Any]) -> bool:
    # An error of the comparison, such as `TypeError`, is raised unchanged.
    match node:
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return not held(inner, names)
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(held(part, names) for part in parts)
        case ast.BoolOp(op=ast.Or(), values=parts):
            return any(held(part, names) for part in parts)
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return _compared(op, plain(left, names), plain(right, names))
        case _:
            value = plain(node, names)
            if holds_opaque(value):
                raise NotPlainError
            return bool(value)


def _compared(op: ast.cmpop, left: Any, right: Any) -> bool:
    for one, other in ((left, right), (right, left)):
        if isinstance(one, Opaque):
            if (
                one.type in _NEVER_EQUAL
                and not holds_opaque(other)
                and isinstance(op, ast.Eq | ast.NotEq | ast.Is | ast.IsNot)
            ):
                return isinstance(op, ast.NotEq | ast.IsNot)
            if other is None and isinstance(op, ast.Is | ast.IsNot):
                return isinstance(op, ast.IsNot)
            raise NotPlainError
    if holds_opaque(left) or holds_opaque(right):
        raise NotPlainError
    if isinstance(op, ast.Is | ast.IsNot):
        if not any(one is None or isinstance(one, bool) for one in (left, right)):
            raise NotPlainError
        return (left is right) == isinstance(op, ast.Is)
    return bool(_COMPARE[type(op)](left, right))


def read(told: str) -> dict[str, Any]:
    try:
        answer = json.loads(told)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) and isinstance(answer.get("kind"), str) else {}
