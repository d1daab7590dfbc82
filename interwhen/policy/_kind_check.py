"""The type check of expressions: finds the kind of an expression, and rejects parts whose kinds do not match."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from interwhen.policy import _limits
from interwhen.policy._kinds import (
    Anything,
    Bool,
    Date,
    Kind,
    ListOf,
    MapOf,
    Moment,
    Number,
    PairsOf,
    Quantity,
    RecordOf,
    Text,
    describe,
)
from interwhen.policy._syntax import (
    FUNCTIONS,
    Apply,
    Compare,
    Constant,
    ExpressionError,
    Field,
    If,
    In,
    Index,
    Junction,
    Listed,
    Name,
    Node,
    Not,
    Quantified,
    Sum,
    children,
    parse,
    rebuild,
    show,
)


@dataclass(frozen=True, slots=True)
class Scope:
    """The names that an expression may use, with their kinds.

    *calls* has, for each tool, the kind of an item of ``calls("tool")``, the list of its earlier calls.
    """

    names: Mapping[str, Kind]
    calls: Mapping[str, RecordOf]

    def adding(self, names: Mapping[str, Kind]) -> Scope:
        """Return a copy of the scope with *names* added. A name that the scope already has gets its new kind."""
        return Scope({**self.names, **names}, self.calls)


def kind_of(node: Node, scope: Scope) -> Kind:  # noqa: C901, PLR0912  # one line for each kind of node
    """Return the kind of *node*, in which the names of *scope* may occur.

    Raises :class:`ExpressionError` if *node* fails the type check: for example, if kinds do not match, or a name is not
    defined.
    """
    match node:
        case Constant(kind=kind):
            return kind
        case Name(name=name):
            if name in scope.names:
                return scope.names[name]
            raise ExpressionError(
                f"a name must be known here ({', '.join(scope.names)[:200]}), got {name!r:.80}: correct it"
            )
        case Field():
            return _field(node, scope)
        case Index():
            return _index(node, scope)
        case Not(of=of):
            return _must_be(Bool(), of, scope, "'not'")
        case Junction(op=op, parts=parts):
            for part in parts:
                _must_be(Bool(), part, scope, f"'{op}'")
            return Bool()
        case Compare():
            return _compare(node, scope)
        case In():
            return _in(node, scope)
        case Sum():
            return _sum(node, scope)
        case Quantified():
            return _quantified(node, scope)
        case Listed(items=items):
            return ListOf(_common([kind_of(item, scope) for item in items], node))
        case Apply():
            return _apply(node, scope)
        case If(condition=condition, then=then, otherwise=otherwise):
            _must_be(Bool(), condition, scope, "'if'")
            return _common([kind_of(then, scope), kind_of(otherwise, scope)], node)
        case _:
            assert_never(node)


def _must_be(wanted: Kind, node: Node, scope: Scope, what: str) -> Kind:
    found = kind_of(node, scope)
    if type(found) is not type(wanted):
        raise ExpressionError(
            f"a part of {what} must be {describe(wanted)}, got {_short(node)}, which is "
            f"{describe(found)}: compare it with a value"
        )
    return found


def _short(node: Node) -> str:
    text = show(node)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _field(node: Field, scope: Scope) -> Kind:
    of = kind_of(node.of, scope)
    if not isinstance(of, RecordOf):
        raise ExpressionError(
            f"only a record has fields, got {_short(node.of)}.{node.name}, where {_short(node.of)} is "
            f"{describe(of)}: correct it"
        )
    found = of.field(node.name)
    if found is None:
        known = ", ".join(name for name, _ in of.fields) or "none"
        raise ExpressionError(
            f"the field of {_short(node.of)} ({of.name}) must be one of {known[:200]}, got "
            f"{node.name!r:.80}: correct it"
        )
    return found


def _index(node: Index, scope: Scope) -> Kind:
    of = kind_of(node.of, scope)
    if not isinstance(of, MapOf):
        raise ExpressionError(
            f"only a map may be looked up with [...], got {_short(node.of)}, which is {describe(of)}: correct it"
        )
    if len(node.keys) != len(of.keys):
        raise ExpressionError(
            f"{_short(node.of)} must be looked up with {len(of.keys)} keys, got {len(node.keys)}: give all of them"
        )
    for key, wanted in zip(node.keys, of.keys, strict=True):
        _same(kind_of(key, scope), wanted, node)
    return of.value


def joined(left: Kind, right: Kind) -> Kind | None:
    """Return the kind that includes both *left* and *right*.

    ``None`` if there is none, or if one of them is :class:`Anything`.
    """
    match left, right:
        case Number(whole=one), Number(whole=other):
            return Number(one and other)
        case Quantity(dimension=one), Quantity(dimension=other):
            return left if one == other else None
        case Text(words=one), Text(words=other):
            return Text(None if one is None or other is None else one | other)
        case ListOf(item=one), ListOf(item=other):
            item = joined(one, other)
            return None if item is None else ListOf(item)
        case (Bool(), Bool()) | (Date(), Date()) | (Moment(), Moment()):
            return left
        case _:
            return left if left == right and not isinstance(left, Anything) else None


def _common(kinds: list[Kind], node: Node) -> Kind:
    if not kinds:
        raise ExpressionError("a list must have at least one item to compare with, got []: add one")
    found = kinds[0]
    for kind in kinds[1:]:
        both = joined(found, kind)
        if both is None:
            raise ExpressionError(
                f"both sides must be of one kind, got {describe(found)} and {describe(kind)} in "
                f"{_short(node)}: compare like with like"
            )
        found = both
    return found


def _same(left: Kind, right: Kind, node: Node) -> Kind:
    found = _common([left, right], node)
    match left, right:
        case Text(words=one), Text(words=other) if one is not None and other is not None and not one & other:
            raise ExpressionError(
                f"both sides must have a value in common, got {describe(left)[:120]} and {describe(right)[:120]}, "
                f"which are never equal, in {_short(node)}: correct the word"
            )
        case _:
            return found


def _compare(node: Compare, scope: Scope) -> Kind:
    left, right = kind_of(node.left, scope), kind_of(node.right, scope)
    found = _same(left, right, node)
    ordered = isinstance(found, Number | Quantity | Date | Moment)
    if not ordered and (node.op not in ("=", "!=") or not isinstance(found, Bool | Text)):
        raise ExpressionError(
            f"the values of {node.op} must have an order, or be texts or true/false for = and !=, got "
            f"{describe(found)} in {_short(node)}: compare a field of it"
        )
    return Bool()


def _in(node: In, scope: Scope) -> Kind:
    item, among = kind_of(node.item, scope), kind_of(node.among, scope)
    match among:
        case ListOf(item=wanted):
            if isinstance(wanted, ListOf | MapOf | RecordOf | PairsOf | Anything):
                raise ExpressionError(
                    f"the items of a list after 'in' must be single values, got {describe(wanted)} in "
                    f"{_short(node)}: use 'any' and compare a field"
                )
            if isinstance(node.among, Listed):
                for one in node.among.items:  # a word that the item can never be equal to is an error
                    _same(item, kind_of(one, scope), node)
            _same(item, wanted, node)
        case MapOf(keys=(wanted,), open=False):
            _same(item, wanted, node)
        case MapOf():
            raise ExpressionError(
                f"'in' must ask a map that is known whole, got {_short(node.among)}, of which only single "
                "entries are known: look the entry up with [...]"
            )
        case _:
            raise ExpressionError(
                f"'in' must ask a list or a map, got {_short(node.among)}, which is {describe(among)}: correct it"
            )
    return Bool()


def _sum(node: Sum, scope: Scope) -> Kind:
    left, right = kind_of(node.left, scope), kind_of(node.right, scope)
    found = _product(left, right) if node.op == "*" else _added(node.op, left, right)
    if found is None:
        raise ExpressionError(
            f"{node.op} must join numbers, quantities of one unit or times, got {describe(left)} {node.op} "
            f"{describe(right)} in {_short(node)}: correct it"
        )
    return found


def _product(left: Kind, right: Kind) -> Kind | None:
    match left, right:
        case Number(whole=one), Number(whole=other):
            return Number(one and other)
        case (Quantity() as amount, Number()) | (Number(), Quantity() as amount):
            return Quantity(amount.dimension)
        case _:
            return None


def _added(op: str, left: Kind, right: Kind) -> Kind | None:
    match left, right:
        case (Moment(), Moment()) | (Date(), Date()) if op == "-":
            return Quantity("time")
        case Moment(), Quantity(dimension="time"):
            return left
        case (Number(), Number()) | (Quantity(), Quantity()):
            return joined(left, right)
        case _:
            return None


def _quantified(node: Quantified, scope: Scope) -> Kind:
    source = kind_of(node.source, scope)
    if not isinstance(source, ListOf):
        raise ExpressionError(
            f"'{node.op}' must go over a list, got {_short(node.source)}, which is {describe(source)}: correct it"
        )
    taken = next((name for name in node.names if name in scope.names), None)
    if taken is not None or len(set(node.names)) < len(node.names):
        raise ExpressionError(
            f"the name after '{node.op}' must be new, got {taken or node.names[0]!r} in {_short(node)}: "
            "choose another name"
        )
    match source.item, node.names:
        case PairsOf(left=left, right=right), (one, other):
            inner = scope.adding({one: left, other: right})
        case item, (name,) if not isinstance(item, PairsOf):
            inner = scope.adding({name: item})
        case _:
            raise ExpressionError(
                f"'{node.op}' must have two names for pairs and one for other items, got {len(node.names)} "
                f"in {_short(node)}: correct the names"
            )
    if node.op != "sum":
        _must_be(Bool(), node.body, inner, f"'{node.op}'")
        return Number(whole=True) if node.op == "count" else Bool()
    found = kind_of(node.body, inner)
    if not isinstance(found, Number | Quantity):
        raise ExpressionError(
            f"'sum' must add numbers or quantities, got {describe(found)} in {_short(node)}: sum a field of it"
        )
    return found


def _apply(node: Apply, scope: Scope) -> Kind:
    if node.function == "calls":
        return _calls(node, scope)
    function = FUNCTIONS.get(node.function)
    if function is None:
        known = ", ".join([*FUNCTIONS, "calls"])
        raise ExpressionError(
            f"a function must be a definition or one of {known}, got {node.function!r:.80}: correct it"
        )
    takes: Callable[..., Kind | None] = function.kind
    kinds = [kind_of(argument, scope) for argument in node.arguments]
    found = takes(*kinds) if len(kinds) == function.arguments else None
    if found is None:
        given = ", ".join(map(describe, kinds))
        raise ExpressionError(
            f"the arguments of {node.function} must fit {function.says[:200]!r}, got "
            f"{node.function}({given[:120]}): correct them"
        )
    problem = function.problem(node.arguments)
    if problem:
        raise ExpressionError(f"{problem}, got {_short(node)}: correct it")
    return found


def _calls(node: Apply, scope: Scope) -> Kind:
    match node.arguments:
        case (Constant(value=str(tool)),) if tool in scope.calls:
            return ListOf(scope.calls[tool])
        case (Constant(value=str(tool)),):
            raise ExpressionError(
                f"calls(...) must name one of the tools {', '.join(scope.calls)[:200]}, got {tool!r:.80}: correct it"
            )
        case _:
            raise ExpressionError(
                f"calls(...) must have one argument, the name of a tool as a text, got {_short(node)}: "
                'write calls("tool")'
            )


# Definitions: named expressions, some with parameters. They are expanded before the type check.

_DEEPEST = 20


@dataclass(frozen=True, slots=True)
class Definition:
    """A named expression: *body*, in which *parameters* stand for the arguments."""

    name: str
    parameters: tuple[str, ...]
    body: Node


Definitions = Mapping[str, Definition]
"""The definitions by name."""


def read_definitions(written: Mapping[str, str]) -> Definitions:
    """Read definitions such as ``{"fare(f)": "state.flights[f.number].price"}``, and return them by name.

    A later definition replaces an earlier one with the same name. Raises :class:`ExpressionError` if a head or a body
    is not valid.
    """
    found = {}
    for head, body in written.items():
        match parse(head):
            case Name(name=name):
                parameters: tuple[str, ...] = ()
            case Apply(function=name, arguments=arguments) if all(isinstance(part, Name) for part in arguments):
                parameters = tuple(part.name for part in arguments if isinstance(part, Name))
            case _:
                raise ExpressionError(
                    f"the head of a definition must be 'name' or 'name(x, y)', got {head!r:.80}: write it so"
                )
        if name in FUNCTIONS or name == "calls" or len(set(parameters)) < len(parameters):
            raise ExpressionError(
                "the name of a definition must not be that of a function, and its parameters must differ, got "
                f"{head!r:.80}: choose other names"
            )
        found[name] = Definition(name, parameters, parse(body))
    return found


def write_out(node: Node, definitions: Definitions) -> Node:
    """Return *node* with all definitions expanded.

    Raises :class:`ExpressionError` if the result exceeds the limits, if a definition uses itself, or if it gets a wrong
    number of arguments.
    """
    return _Writer(definitions).expand(node, {}, 0)


@dataclass(slots=True)
class _Writer:
    definitions: Definitions
    nodes: int = 0
    level: int = 0
    sizes: dict[int, tuple[Node, int, int]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def expand(self, node: Node, bound: Mapping[str, Node], depth: int) -> Node:
        """Return *node* with each name in *bound* replaced by its node, and all definitions expanded.

        *depth* is the number of definitions around *node*.
        """
        self._count(1)
        self._descend(1)
        self.level += 1
        found = self._expanded(node, bound, depth)
        self.level -= 1
        return found

    def _expanded(self, node: Node, bound: Mapping[str, Node], depth: int) -> Node:
        match node:
            case Name(name=name) if name in bound:
                size, height = self._measured(bound[name])
                self._count(size - 1)  # it is counted once for each use
                self._descend(height - 1)
                return bound[name]
            case Name(name=name) if name in self.definitions:
                return self._body(name, (), depth)
            case Apply(function=name, arguments=arguments) if name in self.definitions:
                return self._body(name, tuple(self.expand(part, bound, depth) for part in arguments), depth)
            case Quantified(op=op, names=names, source=source, body=body):
                # Rename the variables of a definition, so that they do not capture names of the expression around it.
                fresh = {name: Name(f"{name}_{next(self.numbers)}" if depth else name) for name in names}
                return Quantified(
                    op,
                    tuple(variable.name for variable in fresh.values()),
                    self.expand(source, bound, depth),
                    self.expand(body, {**bound, **fresh}, depth),
                )
            case _:
                return rebuild(node, tuple(self.expand(child, bound, depth) for child in children(node)))

    def _measured(self, node: Node) -> tuple[int, int]:
        """Return the number of nodes in *node*, and its height. They are cached: one node may occur many times."""
        if id(node) not in self.sizes:
            below = [self._measured(child) for child in children(node)]
            size, height = 1 + sum(size for size, _ in below), 1 + max((height for _, height in below), default=0)
            self.sizes[id(node)] = (node, size, height)  # the node is kept, so that its id is not reused
        return self.sizes[id(node)][1:]

    def _descend(self, levels: int) -> None:
        if self.level + levels > _limits.WRITTEN_OUT_DEPTH:
            raise ExpressionError(
                f"an expression must be nested at most {_limits.WRITTEN_OUT_DEPTH} levels deep with its definitions "
                "written out, got more: make it flatter"
            )

    def _count(self, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > _limits.NODES:
            raise ExpressionError(
                f"an expression must have at most {_limits.NODES:,} nodes with its definitions written out, "
                "got more: shorten it"
            )

    def _body(self, name: str, arguments: tuple[Node, ...], depth: int) -> Node:
        definition = self.definitions[name]
        if depth >= _DEEPEST:
            raise ExpressionError(
                f"a definition must not use itself, and must be nested at most {_DEEPEST} levels deep, got "
                f"{name!r:.80}: correct it"
            )
        if len(arguments) != len(definition.parameters):
            raise ExpressionError(
                f"{name} must be called with {len(definition.parameters)} values, got {len(arguments)}: "
                f"write {name}({', '.join(definition.parameters)})"
            )
        return self.expand(definition.body, dict(zip(definition.parameters, arguments, strict=True)), depth + 1)
