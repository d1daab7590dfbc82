"""The type check of expressions: finds the kind of an expression, and rejects parts whose kinds do not match."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from interwhen.policy import _limits
from interwhen.policy._builtins import BUILTINS, MisfitError, OnNodes, builtin, common, comparable
from interwhen.policy._kinds import Bool, Kind, ListOf, MapOf, Number, PairsOf, Quantity, RecordOf, describe
from interwhen.policy._syntax import (
    Apply,
    Constant,
    ExpressionError,
    Field,
    Index,
    Listed,
    Name,
    Node,
    Quantified,
    children,
    parse,
    rebuild,
    show,
)


@dataclass(frozen=True, slots=True)
class Scope:
    """The names that an expression may use, with their kinds.

    *calls* has, for each tool, the kind of an item of ``calls("tool")``.
    """

    names: Mapping[str, Kind]
    calls: Mapping[str, RecordOf]

    def adding(self, names: Mapping[str, Kind]) -> Scope:
        return Scope({**self.names, **names}, self.calls)

    def inside(self, node: Quantified, source: ListOf) -> Scope:
        match source.item, node.names:
            case PairsOf(left=left, right=right), (one, other):
                return self.adding({one: left, other: right})
            case item, (name,) if not isinstance(item, PairsOf):
                return self.adding({name: item})
            case _:
                raise MisfitError(
                    f"'{node.op}' must have two names for pairs and one for other items, got {len(node.names)}",
                    "correct the names",
                )


def kind_of(node: Node, scope: Scope) -> Kind:
    try:
        return _kind_of(node, scope)
    except MisfitError as error:
        says, correction = error.args
        raise ExpressionError(f"{says} in {_short(node)}: {correction}") from None


def _kind_of(node: Node, scope: Scope) -> Kind:
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
        case Quantified():
            return _quantified(node, scope)
        case Listed(items=items):
            parts = tuple(kind_of(item, scope) for item in items)
            return ListOf(common(parts), parts)
        case Apply():
            return _apply(node, scope)
        case _:
            assert_never(node)


def _must_be_condition(kind: Kind, node: Node, what: str) -> None:
    if not isinstance(kind, Bool):
        raise ExpressionError(
            f"a part of {what!r} must be bool, got {_short(node)}, which is {describe(kind)}: compare it with a value"
        )


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
    kind = of.field(node.name)
    if kind is None:
        known = ", ".join(name for name, _ in of.fields) or "none"
        raise ExpressionError(
            f"the field of {_short(node.of)} ({of.name}) must be one of {known[:200]}, got "
            f"{node.name!r:.80}: correct it"
        )
    return kind


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
        comparable(kind_of(key, scope), wanted)
    return of.value


def _quantified(node: Quantified, scope: Scope) -> Kind:
    source = kind_of(node.source, scope)
    if not isinstance(source, ListOf):
        raise ExpressionError(
            f"'{node.op}' must go over a list, got {_short(node.source)}, which is {describe(source)}: correct it"
        )
    taken = next((name for name in node.names if name in scope.names), None)
    if taken is not None or len(set(node.names)) < len(node.names):
        raise MisfitError(
            f"the name after '{node.op}' must be new, got {taken or node.names[0]!r}", "choose another name"
        )
    body_kind = kind_of(node.body, scope.inside(node, source))
    if node.op != "sum":
        _must_be_condition(body_kind, node.body, node.op)
        return Number(whole=True) if node.op == "count" else Bool()
    if not isinstance(body_kind, Number | Quantity):
        raise MisfitError(f"'sum' must add numbers or quantities, got {describe(body_kind)}", "sum a field of it")
    return body_kind


def _apply(node: Apply, scope: Scope) -> Kind:
    row = builtin(node)
    kinds = [kind_of(argument, scope) for argument in node.arguments]
    takes = row.takes[:1] * len(kinds) if row.takes[-1] is ... else row.takes
    for argument, kind, wanted in zip(node.arguments, kinds, takes, strict=False):
        if wanted is Bool:
            _must_be_condition(kind, argument, row.name)
    applied = None
    if len(kinds) == len(takes) and all(map(isinstance, kinds, takes)):
        applied = row.kind.call(scope, *node.arguments) if isinstance(row.kind, OnNodes) else row.kind(*kinds)
    if applied is None:
        given = ", ".join(map(describe, kinds))
        raise ExpressionError(
            f"the arguments of {row.name} must fit {row.says[:200]!r}, got {row.name}({given[:120]}): correct them"
        )
    if problem := row.check(*node.arguments):
        raise ExpressionError(f"{problem}, got {_short(node)}: correct it")
    return applied


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
    # A later definition replaces an earlier one with the same name.
    definitions = {}
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
        if name in BUILTINS or len(set(parameters)) < len(parameters):
            raise ExpressionError(
                "the name of a definition must not be that of a function, and its parameters must differ, got "
                f"{head!r:.80}: choose other names"
            )
        definitions[name] = Definition(name, parameters, parse(body))
    return definitions


def write_out(node: Node, definitions: Definitions) -> Node:
    return _Writer(definitions).expand(node, {}, 0)


@dataclass(slots=True)
class _Writer:
    definitions: Definitions
    nodes: int = 0
    level: int = 0
    sizes: dict[int, tuple[Node, int, int]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def expand(self, node: Node, bound: Mapping[str, Node], depth: int) -> Node:
        """Replace the names in *bound*, and expand all definitions. *depth* is how many of them are around *node*."""
        self._count(1)
        self._descend(1)
        self.level += 1
        expanded = self._expanded(node, bound, depth)
        self.level -= 1
        return expanded

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
        # Cached, because one node may occur many times.
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
