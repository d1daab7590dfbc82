"""Definitions: expressions with a name, perhaps with parameters, written out before anything is checked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from interwhen.policy import limits
from interwhen.policy.lexer import ExpressionError
from interwhen.policy.nodes import Apply, Name, Node, Quantified, children, rebuild
from interwhen.policy.parser import parse

_DEEPEST = 20


@dataclass(frozen=True, slots=True)
class Definition:
    """What a name stands for."""

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
    """Return *node* with all definitions written out. Raises :class:`ExpressionError` beyond the limits."""
    return _Writer(definitions).expand(node, {}, 0)


@dataclass(slots=True)
class _Writer:
    definitions: Definitions
    nodes: int = 0
    sizes: dict[int, tuple[Node, int]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def expand(self, node: Node, bound: Mapping[str, Node], depth: int) -> Node:
        """Return *node* with the names in *bound* replaced and definitions written out."""
        self._count(1)
        match node:
            case Name(name=name) if name in bound:
                self._count(self._size(bound[name]) - 1)  # it stands there whole, once for each time
                return bound[name]
            case Name(name=name) if name in self.definitions:
                return self._body(name, (), depth)
            case Apply(function=name, arguments=arguments) if name in self.definitions:
                return self._body(name, tuple(self.expand(part, bound, depth) for part in arguments), depth)
            case Quantified(op=op, names=names, source=source, body=body):
                # A variable of a definition must not catch one of the expression that it is written into.
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
        """Return how many nodes *node* has; one that stands in it several times is looked at once."""
        if id(node) not in self.sizes:
            self.sizes[id(node)] = (node, 1 + sum(map(self._size, children(node))))  # kept: its id stays its own
        return self.sizes[id(node)][1]

    def _count(self, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > limits.NODES:
            raise ExpressionError(f"the expression has more than {limits.NODES:,} nodes, definitions written out")

    def _body(self, name: str, arguments: tuple[Node, ...], depth: int) -> Node:
        definition = self.definitions[name]
        if depth >= _DEEPEST:
            raise ExpressionError(f"the definition {name!r} is nested too deeply, or stands for itself")
        if len(arguments) != len(definition.parameters):
            raise ExpressionError(
                f"{name} takes {len(definition.parameters)} values, not {len(arguments)}: "
                f"{name}({', '.join(definition.parameters)})"
            )
        return self.expand(definition.body, dict(zip(definition.parameters, arguments, strict=True)), depth + 1)
