"""Compiles a JSON Schema into constraints that can be judged before a document ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

Kind = Literal["object", "array", "string", "number", "boolean", "null"]
_KINDS: Mapping[str, tuple[Kind, ...]] = {
    "object": ("object",),
    "array": ("array",),
    "string": ("string",),
    "number": ("number",),
    "integer": ("number",),
    "boolean": ("boolean",),
    "null": ("null",),
}
ALL_KINDS: frozenset[Kind] = frozenset(("object", "array", "string", "number", "boolean", "null"))
_OLD = ("draft-03", "draft-04")
"""In these drafts keywords have other meanings, so incomplete documents are judged by their syntax only."""
_REF_ALONE = ("draft-06", "draft-07")
"""Drafts in which the keywords beside a ``$ref`` have no effect."""
_NEW_WORDS = frozenset(("prefixItems",))
"""Keywords without effect in drafts before 2020-12."""
_DEEPEST = 40
"""The deepest nesting of references and combinations that is followed."""
_WIDEST = 400
"""With more schemas for one value, it is judged only with the complete document."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """The constraints of one schema, without the schemas that it combines by ``allOf``, ``anyOf`` or ``oneOf``."""

    kinds: frozenset[Kind] = ALL_KINDS
    """The JSON types that the value may have."""
    integer: bool = False
    """Whether a number must be an integer."""
    options: tuple[Any, ...] | None = None
    """The values allowed by ``enum`` or ``const``; ``None`` if the schema lists none."""
    schema: Mapping[str, Any] = field(default_factory=dict)
    """The schema itself, for bounds and names."""


class Node(NamedTuple):
    """The constraints of one value: all leaves must fit, and at least one member of each group."""

    # A member is an alternative schema, such as one of `anyOf`. A member that has failed is replaced by `None`.

    leaves: tuple[Leaf, ...]
    groups: tuple[tuple[Node | None, ...], ...] = ()
    mirrored: int = 0
    """How many of the last groups correspond to the groups of the surrounding value."""


ANYTHING = Node(())


class Compiler:
    """Turns schemas into nodes, without many keywords, which are judged with the complete document."""

    # `judges_prefixes` tells whether the draft of the root schema allows judging an incomplete document.

    def __init__(self, root: Any) -> None:
        self._root = root
        dialect = str(root.get("$schema", "")) if isinstance(root, Mapping) else ""
        self.judges_prefixes = not any(old in dialect for old in _OLD)
        self._ref_alone = any(old in dialect for old in _REF_ALONE)
        self._without = _NEW_WORDS if self._ref_alone or "2019-09" in dialect else frozenset()
        self._refs = not _has_inner_ids(root)
        self._nodes: dict[int, Node] = {}

    def node(self, schema: Any) -> Node:
        # A schema that refers to itself without end, or combines too many schemas, gets no constraints.
        node = self._nodes.get(id(schema))
        if node is None:
            node = self._nodes[id(schema)] = self._expanded(schema)
        return node

    def _expanded(self, schema: Any) -> Node:
        leaves: list[Leaf] = []
        groups: list[tuple[Node | None, ...]] = []
        counted = count(1)  # of this schema alone: other threads may expand others at the same time
        try:
            self._gather(schema, leaves, groups, 0, counted)
        except _TooMuchError:
            return Node(())
        return Node(tuple(leaves), tuple(groups))

    def _gather(
        self,
        schema: Any,
        leaves: list[Leaf],
        groups: list[tuple[Node | None, ...]],
        depth: int,
        counted: Iterator[int],
    ) -> None:
        if depth > _DEEPEST or next(counted) > _WIDEST:
            raise _TooMuchError
        if schema is False:
            leaves.append(Leaf(kinds=frozenset()))
        if not isinstance(schema, Mapping):
            return
        if isinstance(schema.get("$ref"), str):
            target = self._resolve(schema["$ref"])
            if target is not None:
                self._gather(target[0], leaves, groups, depth + 1, counted)
            if self._ref_alone:
                return
        leaves.append(_leaf({word: value for word, value in schema.items() if word not in self._without}))
        for inner in _listed(schema.get("allOf")):
            self._gather(inner, leaves, groups, depth + 1, counted)
        for word in ("anyOf", "oneOf"):  # oneOf, too, needs at least one member that fits
            members = tuple(self._member(inner, depth + 1, counted) for inner in _listed(schema.get(word)))
            groups.extend((members,) if members else ())

    def _member(self, schema: Any, depth: int, counted: Iterator[int]) -> Node:
        leaves: list[Leaf] = []
        groups: list[tuple[Node | None, ...]] = []
        self._gather(schema, leaves, groups, depth, counted)
        return Node(tuple(leaves), tuple(groups))

    def _resolve(self, pointer: str) -> tuple[Any] | None:
        if not self._refs or not (pointer == "#" or pointer.startswith("#/")):
            return None
        target = self._root
        for step in pointer.split("/")[1:]:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(target, Mapping) and name in target:
                target = target[name]
            elif isinstance(target, Sequence) and not isinstance(target, str) and name.isdecimal():
                if int(name) >= len(target):
                    return None
                target = target[int(name)]
            else:
                return None
        return (target,)


class _TooMuchError(Exception):
    """The schema refers to itself without end, or combines too many other schemas."""


def _leaf(schema: Mapping[str, Any]) -> Leaf:
    kinds, integer = ALL_KINDS, False
    wanted = schema.get("type")
    names = [wanted] if isinstance(wanted, str) else wanted
    if isinstance(names, list) and all(isinstance(name, str) and name in _KINDS for name in names):
        kinds = frozenset(kind for name in names for kind in _KINDS[name])
        integer = "integer" in names and "number" not in names
    options: tuple[Any, ...] | None = None
    if isinstance(schema.get("enum"), list):
        options = tuple(schema["enum"])
    if "const" in schema:
        options = (schema["const"],)
    if options is not None:
        kinds &= frozenset(kind_of(option) for option in options)
    return Leaf(kinds, integer, options, schema)


def kind_of(value: Any) -> Kind:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def parts_of(root: Any) -> Iterator[Mapping[str, Any] | list[Any]]:
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping | list):
            yield part
            waiting.extend(part.values() if isinstance(part, Mapping) else part)


def objects_in(root: Any) -> Iterator[Mapping[str, Any]]:
    return (part for part in parts_of(root) if isinstance(part, Mapping))


def _has_inner_ids(root: Any) -> bool:
    inside = list(root.values()) if isinstance(root, Mapping) else []
    return any(isinstance(part.get("$id"), str) or "$dynamicRef" in part for part in objects_in(inside))
