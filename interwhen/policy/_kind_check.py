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
        """Return a copy of the scope with *names* added."""
        return Scope({**self.names, **names}, self.calls)


def kind_of(node: Node, scope: Scope) -> Kind:  # noqa: C901, PLR0912  # one line for each kind of node
    """Return the kind of *node*. Raises :class:`ExpressionError` if kinds do not match, or a name is not defined."""
    match node:
        case Constant(kind=kind):
            return kind
        case Name(name=name):
            if name in scope.names:
                return scope.names[name]
            raise ExpressionError(f"there is no {name!r} here; known: {', '.join(scope.names)}"[:300])
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
        raise ExpressionError(f"{what} takes {describe(wanted)}; {_short(node)} is {describe(found)}")
    return found


def _short(node: Node) -> str:
    text = show(node)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _field(node: Field, scope: Scope) -> Kind:
    of = kind_of(node.of, scope)
    if not isinstance(of, RecordOf):
        raise ExpressionError(f"{_short(node.of)} is {describe(of)} and has no field {node.name!r}")
    found = of.field(node.name)
    if found is None:
        known = ", ".join(name for name, _ in of.fields) or "none"
        raise ExpressionError(f"{_short(node.of)} ({of.name}) has no field {node.name!r}; fields: {known}"[:400])
    return found


def _index(node: Index, scope: Scope) -> Kind:
    of = kind_of(node.of, scope)
    if not isinstance(of, MapOf):
        raise ExpressionError(f"{_short(node.of)} is {describe(of)}: only an entry of a map is looked up with [...]")
    if len(node.keys) != len(of.keys):
        raise ExpressionError(f"{_short(node.of)} has {len(of.keys)} keys, not {len(node.keys)}")
    for key, wanted in zip(node.keys, of.keys, strict=True):
        _same(kind_of(key, scope), wanted, node)
    return of.value


def joined(left: Kind, right: Kind) -> Kind | None:
    """Return the kind that includes both *left* and *right*; ``None`` if their values cannot be compared."""
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
        raise ExpressionError("an empty list holds nothing to compare with")
    found = kinds[0]
    for kind in kinds[1:]:
        both = joined(found, kind)
        if both is None:
            raise ExpressionError(f"{describe(found)} and {describe(kind)} are different things in {_short(node)}")
        found = both
    return found


def _same(left: Kind, right: Kind, node: Node) -> Kind:
    found = _common([left, right], node)
    match left, right:
        case Text(words=one), Text(words=other) if one is not None and other is not None and not one & other:
            never = f"{describe(left)} is never {describe(right)}"
            raise ExpressionError(f"{never}: {_short(node)}"[:400])
        case _:
            return found


def _compare(node: Compare, scope: Scope) -> Kind:
    left, right = kind_of(node.left, scope), kind_of(node.right, scope)
    found = _same(left, right, node)
    ordered = isinstance(found, Number | Quantity | Date | Moment)
    if not ordered and (node.op not in ("=", "!=") or not isinstance(found, Bool | Text)):
        raise ExpressionError(f"{describe(found)} cannot be compared by {node.op}: {_short(node)}")
    return Bool()


def _in(node: In, scope: Scope) -> Kind:
    item, among = kind_of(node.item, scope), kind_of(node.among, scope)
    match among:
        case ListOf(item=wanted):
            if isinstance(wanted, ListOf | MapOf | RecordOf | PairsOf | Anything):
                raise ExpressionError(f"{describe(wanted)} cannot be compared: {_short(node)}")
            if isinstance(node.among, Listed):
                for one in node.among.items:  # a word that the item can never be equal to is an error
                    _same(item, kind_of(one, scope), node)
            _same(item, wanted, node)
        case MapOf(keys=(wanted,), open=False):
            _same(item, wanted, node)
        case MapOf():
            raise ExpressionError(f"whether {_short(node.among)} lacks an entry is never known: look the entry up")
        case _:
            raise ExpressionError(f"{_short(node.among)} is {describe(among)}, and nothing is in it")
    return Bool()


def _sum(node: Sum, scope: Scope) -> Kind:
    left, right = kind_of(node.left, scope), kind_of(node.right, scope)
    found = _product(left, right) if node.op == "*" else _added(node.op, left, right)
    if found is None:
        raise ExpressionError(f"{describe(left)} {node.op} {describe(right)} means nothing: {_short(node)}")
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
        raise ExpressionError(f"{_short(node.source)} is {describe(source)} and no list")
    taken = next((name for name in node.names if name in scope.names), None)
    if taken is not None or len(set(node.names)) < len(node.names):
        raise ExpressionError(f"the name {taken or node.names[0]!r} is taken already: {_short(node)}")
    match source.item, node.names:
        case PairsOf(left=left, right=right), (one, other):
            inner = scope.adding({one: left, other: right})
        case item, (name,) if not isinstance(item, PairsOf):
            inner = scope.adding({name: item})
        case _:
            raise ExpressionError(f"pairs take two names, and other items one: {_short(node)}")
    if node.op != "sum":
        _must_be(Bool(), node.body, inner, f"'{node.op}'")
        return Number(whole=True) if node.op == "count" else Bool()
    found = kind_of(node.body, inner)
    if not isinstance(found, Number | Quantity):
        raise ExpressionError(f"{describe(found)} cannot be summed up: {_short(node)}")
    return found


def _apply(node: Apply, scope: Scope) -> Kind:
    if node.function == "calls":
        return _calls(node, scope)
    function = FUNCTIONS.get(node.function)
    if function is None:
        known = ", ".join([*FUNCTIONS, "calls"])
        raise ExpressionError(f"there is no function or definition {node.function!r}; functions: {known}")
    takes: Callable[..., Kind | None] = function.kind
    kinds = [kind_of(argument, scope) for argument in node.arguments]
    found = takes(*kinds) if len(kinds) == function.arguments else None
    if found is None:
        given = ", ".join(map(describe, kinds))
        raise ExpressionError(f"{node.function}({given}) is not right: {function.says}"[:400])
    problem = function.problem(node.arguments)
    if problem:
        raise ExpressionError(f"{problem}: {_short(node)}")
    return found


def _calls(node: Apply, scope: Scope) -> Kind:
    match node.arguments:
        case (Constant(value=str(tool)),) if tool in scope.calls:
            return ListOf(scope.calls[tool])
        case (Constant(value=str(tool)),):
            raise ExpressionError(f"there is no tool {tool!r:.80}; tools: {', '.join(scope.calls)}"[:400])
        case _:
            raise ExpressionError('calls("tool") takes the name of a tool')


# Definitions: named expressions, some with parameters. They are expanded before the type check.

_DEEPEST = 20


@dataclass(frozen=True, slots=True)
class Definition:
    """A named expression: *body*, in which *parameters* stand for the arguments."""

    name: str
    parameters: tuple[str, ...]
    body: Node


Definitions = Mapping[str, Definition]


def read_definitions(written: Mapping[str, str]) -> Definitions:
    """Read definitions such as ``{"fare(f)": "state.flights[f.number].price"}``. Raises :class:`ExpressionError`."""
    found = {}
    for head, body in written.items():
        match parse(head):
            case Name(name=name):
                parameters: tuple[str, ...] = ()
            case Apply(function=name, arguments=arguments) if all(isinstance(part, Name) for part in arguments):
                parameters = tuple(part.name for part in arguments if isinstance(part, Name))
            case _:
                raise ExpressionError(f"{head!r:.80} is no head of a definition: write 'name' or 'name(x, y)'")
        found[name] = Definition(name, parameters, parse(body))
    return found


def write_out(node: Node, definitions: Definitions) -> Node:
    """Return *node* with all definitions expanded. Raises :class:`ExpressionError` if the result exceeds the limits."""
    return _Writer(definitions).expand(node, {}, 0)


@dataclass(slots=True)
class _Writer:
    definitions: Definitions
    nodes: int = 0
    sizes: dict[int, tuple[Node, int]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def expand(self, node: Node, bound: Mapping[str, Node], depth: int) -> Node:
        """Return *node* with each name in *bound* replaced by its node, and all definitions expanded.

        *depth* is the number of definitions that are being expanded around *node*.
        """
        self._count(1)
        match node:
            case Name(name=name) if name in bound:
                self._count(self._size(bound[name]) - 1)  # it is counted once for each use
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

    def _size(self, node: Node) -> int:
        """Return the number of nodes in *node*. Sizes are cached, because one node may occur many times."""
        if id(node) not in self.sizes:
            self.sizes[id(node)] = (node, 1 + sum(map(self._size, children(node))))  # kept: its id is not reused
        return self.sizes[id(node)][1]

    def _count(self, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > _limits.NODES:
            raise ExpressionError(f"the expression has more than {_limits.NODES:,} nodes, definitions written out")

    def _body(self, name: str, arguments: tuple[Node, ...], depth: int) -> Node:
        definition = self.definitions[name]
        if depth >= _DEEPEST:
            raise ExpressionError(f"the definition {name!r} is nested too deeply, or uses itself")
        if len(arguments) != len(definition.parameters):
            raise ExpressionError(
                f"{name} takes {len(definition.parameters)} values, not {len(arguments)}: "
                f"{name}({', '.join(definition.parameters)})"
            )
        return self.expand(definition.body, dict(zip(definition.parameters, arguments, strict=True)), depth + 1)
