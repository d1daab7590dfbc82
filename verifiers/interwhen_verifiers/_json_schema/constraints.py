"""Applies the constraints of a schema to a value that is still being written.

The members of a node that fail a test can no longer be valid, and are removed.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from interwhen_verifiers._json_schema.compiler import Compiler, Kind, Leaf, Node, kind_of, objects_in

Test = Callable[[Leaf], str]
"""Returns why a leaf fails, or an empty string."""
_SHOWN = 80
_LARGEST = 2_000
"""The most schemas that are followed for one value."""


class Refutation:
    """Collects the reasons why leaves failed, for the error message if the whole node fails."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    @property
    def why(self) -> str:
        return " or ".join(dict.fromkeys(self.reasons))[:300]


def apply(node: Node, test: Test, told: Refutation) -> Node | None:
    """Return *node* without the members that fail *test*; ``None`` if *node* itself fails.

    If *node* fails, the reasons are added to *told*.
    """
    for leaf in node.leaves:
        if why := test(leaf):
            told.reasons.append(why)
            return None
    if not node.groups:
        return node
    groups = []
    for group in node.groups:
        members = tuple(None if member is None else apply(member, test, told) for member in group)
        if not any(members):
            return None
        groups.append(members)
    told.reasons.clear()
    return Node(node.leaves, tuple(groups), node.mirrored)


def prune(parent: Node, child: Node) -> Node | None:
    if not child.mirrored:
        return parent
    mirrors = child.groups[len(child.groups) - child.mirrored :]
    groups = []
    for group, mirror in zip(parent.groups, mirrors, strict=True):
        members = tuple(
            None if one is None or other is None else prune(one, other)
            for one, other in zip(group, mirror, strict=True)
        )
        if not any(members):
            return None
        groups.append(members)
    return Node(parent.leaves, tuple(groups), parent.mirrored)


def inside(node: Node, schemas: Callable[[Leaf], tuple[Any, ...]], compiler: Compiler) -> Node:
    """Return the constraints of one property or item of the value that *node* constrains.

    *schemas* returns the schemas that a leaf has for this inner value; *compiler* compiles them. If there are too many
    of them, the result has no constraints.
    """
    inner, size = _inside(node, schemas, compiler)
    return inner if size <= _LARGEST else Node(())


def _inside(node: Node, schemas: Callable[[Leaf], tuple[Any, ...]], compiler: Compiler) -> tuple[Node, int]:
    leaves: list[Leaf] = []
    groups: list[tuple[Node | None, ...]] = []
    for leaf in node.leaves:
        for schema in schemas(leaf):
            compiled = compiler.node(schema)
            leaves.extend(compiled.leaves)
            groups.extend(compiled.groups)
    size = len(leaves) + sum(map(len, groups))
    mirrors = []
    for group in node.groups:
        members: list[Node | None] = []
        for member in group:
            inner, inner_size = (None, 0) if member is None else _inside(member, schemas, compiler)
            size += inner_size + 1
            members.append(inner)
        mirrors.append(tuple(members))
    return Node(tuple(leaves), (*groups, *mirrors), len(mirrors)), size


def of_kind(kind: Kind) -> Test:
    def test(leaf: Leaf) -> str:
        if kind in leaf.kinds:
            return ""
        return (
            f"there cannot be {_A[kind]} here, but {' or '.join(_A[k] for k in sorted(leaf.kinds)) or 'nothing at all'}"
        )

    return test


_A: Mapping[Kind, str] = {
    "object": "an object",
    "array": "an array",
    "string": "a string",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


def scalar(value: Any) -> Test:
    def test(leaf: Leaf) -> str:
        if leaf.options is not None and not any(_equal(value, option) for option in leaf.options):
            return f"{value!r:.40} is none of the values allowed here"
        if kind_of(value) == "number":
            return _out_of_bounds(leaf, value)
        return ""

    return test


_BOUNDS: Mapping[str, Callable[[float, float], bool]] = {
    "minimum": operator.lt,
    "maximum": operator.gt,
    "exclusiveMinimum": operator.le,
    "exclusiveMaximum": operator.ge,
}


def _out_of_bounds(leaf: Leaf, value: float) -> str:
    if leaf.integer and value != value // 1:
        return f"{value!r:.40} is not an integer"
    schema = leaf.schema
    for word, fails in _BOUNDS.items():
        bound = schema.get(word)
        if _is_number(bound) and fails(value, bound):
            return f"{value!r:.40} breaks {word} {bound}"
    return ""


def string_so_far(text: str, length: int, *, complete: bool) -> Test:
    """Return a test that a string may be allowed that begins with *text* and has *length* characters so far.

    *complete*: the string has ended. *text* may be shorter than *length*.
    """

    def test(leaf: Leaf) -> str:
        longest, shortest = leaf.schema.get("maxLength"), leaf.schema.get("minLength")
        if _is_number(longest) and length > longest:
            return f"this string is longer than maxLength {longest}"
        if complete and _is_number(shortest) and length < shortest:
            return f"this string is shorter than minLength {shortest}"
        if leaf.options is None:
            return ""
        words = [option for option in leaf.options if isinstance(option, str)]
        fits = any(word == text if complete else word.startswith(text) for word in words)
        if fits or (length > len(text) and any(word.startswith(text) for word in words)):
            return ""
        return f"no allowed value {'is' if complete else 'begins with'} '{shown(text)}'"

    return test


def key_so_far(text: str, length: int, *, complete: bool) -> Test:
    """Return a test that an object may have a key that begins with *text* and has *length* characters so far.

    *complete*: the key has ended.
    """

    def test(leaf: Leaf) -> str:
        schema = leaf.schema
        if schema.get("additionalProperties") is not False or "patternProperties" in schema:
            return ""
        names = _names(schema)
        if length > len(text):
            return ""  # the reader keeps only the beginning of such a key: it is judged with the whole document
        if any(name == text if complete else name.startswith(text) for name in names):
            return ""
        return f"no property here {'is named' if complete else 'has a name that begins with'} '{shown(text)}'"

    return test


def one_more(word: str, count: int) -> Test:
    # `count` includes the entry that begins at this place.
    def test(leaf: Leaf) -> str:
        most = leaf.schema.get(word)
        return f"there are more than {word} {most}" if _is_number(most) and count > most else ""

    return test


def closed_object(has: Callable[[str], bool], count: int) -> Test:
    def test(leaf: Leaf) -> str:
        required, fewest = leaf.schema.get("required"), leaf.schema.get("minProperties")
        missing = (
            [name for name in required if isinstance(name, str) and not has(name)] if isinstance(required, list) else []
        )
        if missing:
            return f"the object ends without {', '.join(repr(name) for name in missing[:3])}"
        return f"there are fewer than minProperties {fewest}" if _is_number(fewest) and count < fewest else ""

    return test


def closed_array(count: int) -> Test:
    def test(leaf: Leaf) -> str:
        fewest = leaf.schema.get("minItems")
        return f"there are fewer than minItems {fewest}" if _is_number(fewest) and count < fewest else ""

    return test


def of_property(name: str | None) -> Callable[[Leaf], tuple[Any, ...]]:
    """Return a function that gives the schemas of a leaf for the property *name*: at most one.

    *name* is ``None`` if the name was too long to be kept; then there are none.
    """

    def schemas(leaf: Leaf) -> tuple[Any, ...]:
        properties = leaf.schema.get("properties")
        if name is not None and isinstance(properties, Mapping) and name in properties:
            return (properties[name],)
        is_open = name is None or "patternProperties" in leaf.schema or "additionalProperties" not in leaf.schema
        return () if is_open else (leaf.schema["additionalProperties"],)

    return schemas


def of_item(index: int) -> Callable[[Leaf], tuple[Any, ...]]:
    def schemas(leaf: Leaf) -> tuple[Any, ...]:
        schema = leaf.schema
        items, prefix = schema.get("items"), schema.get("prefixItems")
        if isinstance(items, list):  # the syntax of drafts before 2020-12
            prefix, items = items, schema.get("additionalItems")
        if isinstance(prefix, list) and index < len(prefix):
            return (prefix[index],)
        return () if items is None else (items,)

    return schemas


def names_in(root: Any) -> frozenset[str]:
    names: set[str] = set()
    for part in objects_in(root):
        names |= _names(part)
        required = part.get("required")
        names |= {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
    return frozenset(names)


def _names(schema: Mapping[str, Any]) -> set[str]:
    properties = schema.get("properties")
    return set(properties) if isinstance(properties, Mapping) else set()


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(value: Any, option: Any) -> bool:
    return kind_of(value) == kind_of(option) and bool(value == option)


_ODD = re.compile(r"[^ -~\u00a1-\ufffc]")


def shown(text: str) -> str:
    clean = _ODD.sub("?", text)
    return clean if len(clean) <= _SHOWN else f"{clean[:_SHOWN]}…"
