"""What a policy says about how results of calls change the state, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interwhen.errors import UsageError
from interwhen.policy.checking import Scope, joined, kind_of
from interwhen.policy.defining import Definitions, write_out
from interwhen.policy.globs import name_fits
from interwhen.policy.kinds import Bool, Kind, ListOf, MapOf, Record, describe
from interwhen.policy.lexer import ExpressionError
from interwhen.policy.nodes import Node
from interwhen.policy.parser import parse
from interwhen.policy.schemas import Schema
from interwhen.policy.tables import Learning

_KEYS = frozenset(("from", "into", "forget", "key", "value", "each", "when", "unanswered", "keep", "with"))


def read_learnings(listed: Any, definitions: Definitions, schema: Schema) -> tuple[Learning, ...]:
    """Read the entries ``[[learn]]`` of a policy, and check them. Raises :class:`UsageError`."""
    if not isinstance(listed, list) or not all(isinstance(entry, Mapping) for entry in listed):
        raise UsageError("what is learned from results is written as [[learn]]")
    found = []
    for number, entry in enumerate(listed, 1):
        try:
            learning = _read(entry, definitions)
            _check(learning, schema)
        except (UsageError, TypeError, AttributeError) as error:
            raise UsageError(f"policy.toml: [[learn]] number {number}: {error}"[:400]) from error
        found.append(learning)
    return tuple(found)


def _read(entry: Mapping[str, Any], definitions: Definitions) -> Learning:
    strange = set(entry) - _KEYS
    one_of = ("into" in entry) != ("forget" in entry) and ("value" in entry) == ("into" in entry)
    if strange or not one_of or not isinstance(entry.get("from"), list) or "key" not in entry:
        raise UsageError(
            f"it needs from (a list), key, and either into and value, or forget; it is {dict(entry)!r:.160}"
        )

    def read(text: Any) -> Node:
        if not isinstance(text, str):
            raise UsageError(f"an expression is a text, not {text!r:.80}")
        return write_out(parse(text), definitions)

    keys = entry["key"]
    return Learning(
        tools=tuple(map(str, entry["from"])),
        table=str(entry.get("into") or entry["forget"]),
        keys=tuple(read(key) for key in ([keys] if isinstance(keys, str) else keys)),
        value=read(entry["value"]) if "value" in entry else None,
        each=read(entry["each"]) if "each" in entry else None,
        when=read(entry["when"]) if "when" in entry else None,
        unanswered=bool(entry.get("unanswered", False)),
        keep=bool(entry.get("keep", False)),
        changes=tuple((name, read(text)) for name, text in entry.get("with", {}).items()),
    )


def _check(learning: Learning, schema: Schema) -> None:
    table = schema.state.field(learning.table)
    if not isinstance(table, MapOf) or len(table.keys) != len(learning.keys):
        raise UsageError(f"the state has no table {learning.table!r:.80} with {len(learning.keys)} keys")
    for pattern in learning.tools:
        tools = [tool for tool in schema.tools if name_fits(tool, pattern)]
        if not tools:
            raise UsageError(f"no tool is named like {pattern!r:.80}; tools: {', '.join(schema.tools)}")
        for tool in tools:
            _check_over(learning, table, schema.scope(tool, "after"))


def _check_over(learning: Learning, table: MapOf, scope: Scope) -> None:
    if learning.each is not None:
        listed = kind_of(learning.each, scope)
        if not isinstance(listed, ListOf):
            raise ExpressionError(f"each must be a list, and is {describe(listed)}")
        scope = scope.adding({"item": listed.item})
    if learning.when is not None and not isinstance(kind_of(learning.when, scope), Bool):
        raise ExpressionError("when must be true or false")
    for key, wanted in zip(learning.keys, table.keys, strict=True):
        _fits(kind_of(key, scope), wanted, "key")
    if learning.value is not None:
        _fits(kind_of(learning.value, scope), table.value, "value")
    for name, node in learning.changes:
        wanted_field = table.value.field(name) if isinstance(table.value, Record) else None
        if wanted_field is None:
            raise ExpressionError(f"with: the entries of {learning.table} have no field {name!r:.80}")
        _fits(kind_of(node, scope), wanted_field, f"with {name}")


def _fits(found: Kind, wanted: Kind, what: str) -> None:
    match found, wanted:
        case Record(fields=fields), Record():
            # Read by the fields that the table has: it must find some of them, and of the same kinds.
            shared = [(kind, wanted.field(name)) for name, kind in fields if wanted.field(name) is not None]
            if shared and all(other is not None and _alike(kind, other) for kind, other in shared):
                return
        case _ if _alike(found, wanted):
            return
        case _:
            pass
    raise ExpressionError(f"{what} is {describe(found)}, and the table wants {describe(wanted)}")


def _alike(one: Kind, other: Kind) -> bool:
    return joined(one, other) is not None
