"""The expressions of rules, as trees."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal as OneOf
from typing import TypeAlias, assert_never

from interwhen.policy.kinds import Kind, Quantity
from interwhen.quantities import write_number

Scalar: TypeAlias = bool | Fraction | str | dt.date | dt.datetime
Comparison = OneOf["=", "!=", "<", "<=", ">", ">="]
Counting = OneOf["any", "all", "count", "sum"]


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is written out."""

    value: Scalar
    kind: Kind


@dataclass(frozen=True, slots=True)
class Name:
    """A root (``args``, ``state``, ...), or the variable of a quantifier."""

    name: str


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a record."""

    of: Node
    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """The entry of a map under its keys."""

    of: Node
    keys: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary."""

    of: Node


@dataclass(frozen=True, slots=True)
class Junction:
    """All of the parts, or one of them at least."""

    op: OneOf["and", "or"]
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """Two values of one kind, compared."""

    op: Comparison
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class In:
    """Whether a value is in a list, or is a key of a map."""

    item: Node
    among: Node


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum, a difference or a product."""

    op: OneOf["+", "-", "*"]
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Quantified:
    """Something said of each item of a list; two variables where the items are pairs."""

    op: Counting
    names: tuple[str, ...]
    source: Node
    body: Node


@dataclass(frozen=True, slots=True)
class Listed:
    """A list that is written out."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Apply:
    """A built-in function, or a definition that is not yet written out."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class If:
    """One value or another."""

    condition: Node
    then: Node
    otherwise: Node


Node: TypeAlias = (
    Constant | Name | Field | Index | Not | Junction | Compare | In | Sum | Quantified | Listed | Apply | If
)


def children(node: Node) -> tuple[Node, ...]:  # noqa: C901  # one line for each kind of node
    """Return the nodes right below *node*, in the order in which :func:`rebuild` takes them."""
    match node:
        case Constant() | Name():
            return ()
        case Field(of=of) | Not(of=of):
            return (of,)
        case Index(of=of, keys=keys):
            return (of, *keys)
        case Junction(parts=parts):
            return parts
        case Compare(left=left, right=right) | Sum(left=left, right=right):
            return (left, right)
        case In(item=item, among=among):
            return (item, among)
        case Quantified(source=source, body=body):
            return (source, body)
        case Listed(items=items):
            return items
        case Apply(arguments=arguments):
            return arguments
        case If(condition=condition, then=then, otherwise=otherwise):
            return (condition, then, otherwise)
        case _:
            assert_never(node)


def rebuild(node: Node, new: tuple[Node, ...]) -> Node:  # noqa: C901  # one line for each kind of node
    """Return *node* with other nodes below it."""
    match node:
        case Constant() | Name():
            return node
        case Field() | Not():
            return replace(node, of=new[0])
        case Index():
            return Index(new[0], new[1:])
        case Junction():
            return replace(node, parts=new)
        case Compare() | Sum():
            return replace(node, left=new[0], right=new[1])
        case In():
            return In(new[0], new[1])
        case Quantified():
            return replace(node, source=new[0], body=new[1])
        case Listed():
            return Listed(new)
        case Apply():
            return replace(node, arguments=new)
        case If():
            return If(new[0], new[1], new[2])
        case _:
            assert_never(node)


def walk(node: Node) -> Iterator[Node]:
    """Yield *node* and all that is below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def replaced(node: Node, change: Callable[[Node], Iterator[Node]]) -> Iterator[Node]:
    """Yield *node* with one place changed, for each change that *change* offers at each place."""
    yield from change(node)
    below = children(node)
    for at, child in enumerate(below):
        for other in replaced(child, change):
            yield rebuild(node, (*below[:at], other, *below[at + 1 :]))


def show(node: Node) -> str:  # noqa: C901, PLR0912  # one line for each kind of node
    """Return *node* as it may be written, with a bracket around all that could be misread."""
    match node:
        case Constant(value=value, kind=kind):
            return _constant(value, kind)
        case Name(name=name):
            return name
        case Field(of=of, name=name):
            return f"{show(of)}.{name}"
        case Index(of=of, keys=keys):
            return f"{show(of)}[{_listed(keys)}]"
        case Not(of=of):
            return f"(not {show(of)})"
        case Junction(op=op, parts=parts):
            return f"({f' {op} '.join(map(show, parts))})"
        case Compare(op=op, left=left, right=right) | Sum(op=op, left=left, right=right):
            return f"({show(left)} {op} {show(right)})"
        case In(item=item, among=among):
            return f"({show(item)} in {show(among)})"
        case Quantified(op=op, names=names, source=source, body=body):
            return f"({op} {', '.join(names)} in {show(source)}: {show(body)})"
        case Listed(items=items):
            return f"[{_listed(items)}]"
        case Apply(function=function, arguments=arguments):
            return f"{function}({_listed(arguments)})"
        case If(condition=condition, then=then, otherwise=otherwise):
            return f"(if {show(condition)} then {show(then)} else {show(otherwise)})"
        case _:
            assert_never(node)


def _listed(nodes: tuple[Node, ...]) -> str:
    return ", ".join(map(show, nodes))


_FIRST_UNITS = {"time": "s", "data": "byte", "length": "m", "mass": "g", "volume": "l", "angle": "degree"}


def _constant(value: Scalar, kind: Kind) -> str:
    match value:
        case bool():
            return str(value).lower()
        case Fraction():
            number = write_number(value) or str(value)
            if isinstance(kind, Quantity):
                unit = _FIRST_UNITS.get(kind.dimension, kind.dimension)
                return f"${number}" if unit == "USD" and value >= 0 else f"{number} {unit}"
            return number
        case str():
            return f"'{value}'" if '"' in value else f'"{value}"'
        case dt.datetime() | dt.date():
            return value.isoformat()
        case _:
            assert_never(value)
