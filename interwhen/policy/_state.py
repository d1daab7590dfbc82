"""The state of a policy: tables that are filled from the results of tools, as the policy declares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from interwhen._types.errors import UsageError
from interwhen.policy._evaluation import evaluate
from interwhen.policy._kind_check import Definitions, Scope, kind_of, write_out
from interwhen.policy._kinds import Anything, Bool, Kind, ListOf, MapOf, Quantity, RecordOf, describe, joined
from interwhen.policy._limits import name_fits
from interwhen.policy._schemas import MadeCall, Schema, Situation, shaped
from interwhen.policy._syntax import ExpressionError, Node, parse, plain_text
from interwhen.policy._values import Held, Missing, Value, raw_of

Key = str | tuple[str, ...]
"""The key of an entry as text; a tuple of texts if the table has several keys."""
State = Mapping[str, Mapping[Key, Any]]
"""The tables of the state by name, each with its entries by key. The value of an entry is raw data, as in JSON;
``None``: it is unknown."""


@dataclass(frozen=True, slots=True)
class Learning:
    """How calls update one table of the state."""

    # The call either sets entries to values, or forgets entries that it may have changed, so that their values are
    # unknown.

    tools: tuple[str, ...]
    """The names of the tools; ``*`` stands for any text."""
    table: str
    keys: tuple[Node, ...]
    """The expressions of the key of the entry: several if the table has several keys."""
    value: Node | None
    """The expression of the new entry; ``None``: the entry is forgotten."""
    each: Node | None = None
    """A list expression. If given, all other expressions are evaluated for each item of the list, as ``item``."""
    when: Node | None = None
    """``None``: the call always updates the table."""
    unanswered: bool = False
    """Whether only calls whose result is not known update the table."""
    keep: bool = False
    """Whether an existing entry is kept, unless it is unknown."""
    changes: tuple[tuple[str, Node], ...] = ()
    """Fields of the new entry that are replaced, with the expressions of their values. An unknown new value changes
    nothing."""

    def is_about(self, call: MadeCall) -> bool:
        return any(name_fits(call.tool, pattern) for pattern in self.tools)


class Overlay(Mapping[Key, Any]):
    """A table that consists of a large unchanged table ``base`` and the entries ``since``, which were learned later."""

    # A value of `None` is unknown.

    __slots__ = ("base", "since")

    def __init__(self, before: Mapping[Key, Any], since: Mapping[Key, Any]) -> None:
        self.base: Mapping[Key, Any] = before.base if isinstance(before, Overlay) else before
        self.since: Mapping[Key, Any] = {**before.since, **since} if isinstance(before, Overlay) else dict(since)

    def __getitem__(self, key: Key) -> Any:
        return self.since[key] if key in self.since else self.base[key]

    def __iter__(self) -> Iterator[Key]:
        yield from self.since
        yield from (key for key in self.base if key not in self.since)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def learn(state: State, call: MadeCall, learnings: Iterable[Learning], schema: Schema) -> State:
    # A change is left out if its condition is not true, or if its key or its value is unknown.
    learned: dict[str, dict[Key, Any]] = {}
    for learning in learnings:
        if learning.is_about(call):
            table = learned.setdefault(learning.table, {})
            _put(table, learning, call, schema, state.get(learning.table, {}))
    changed = {name: Overlay(state.get(name, {}), entries) for name, entries in learned.items() if entries}
    return {**state, **changed} if changed else state


def load(records: Iterable[MadeCall], learnings: Iterable[Learning], schema: Schema) -> State:
    state: dict[str, MutableMapping[Key, Any]] = {}
    listed = tuple(learnings)
    for call in records:
        for learning in listed:
            if learning.is_about(call):
                _put(state.setdefault(learning.table, {}), learning, call, schema, {})
    return state


def _put(
    table: MutableMapping[Key, Any], learning: Learning, call: MadeCall, schema: Schema, before: Mapping[Key, Any]
) -> None:
    for key, entry in _entries(learning, call, schema):
        known = table.get(key) if key in table else before.get(key)
        if not learning.keep or known is None:
            table[key] = entry


def _entries(learning: Learning, call: MadeCall, schema: Schema) -> Iterator[tuple[Key, Any]]:
    situation = Situation(call.tool, call.arguments, result=call.result)
    if learning.unanswered and call.result is not None:
        return
    for names in _items(learning, situation, schema):
        if learning.when is not None and evaluate(learning.when, situation, schema, names) is not True:
            continue
        keys = [evaluate(key, situation, schema, names) for key in learning.keys]
        if any(isinstance(key, Missing | Held) for key in keys):
            continue
        texts = tuple(plain_text(key) for key in keys if not isinstance(key, Missing | Held))
        key: Key = texts[0] if len(texts) == 1 else texts
        if learning.value is None:
            yield key, None
            continue
        value = evaluate(learning.value, situation, schema, names)
        if not isinstance(value, Missing):
            kind = _kind_of_entry(learning, schema)
            yield key, _changed(raw_of(value, kind), kind, learning, situation, schema, names)


def _items(learning: Learning, situation: Situation, schema: Schema) -> Iterator[Mapping[str, Value]]:
    if learning.each is None:
        yield {}
        return
    listed = evaluate(learning.each, situation, schema)
    if isinstance(listed, Held) and isinstance(listed.kind, ListOf):
        items = map(listed.item, range(len(listed.raw)))
        yield from ({"item": item} for item in items if not isinstance(item, Missing))


def _kind_of_entry(learning: Learning, schema: Schema) -> Kind:
    table = schema.state.field(learning.table)
    return table.value if isinstance(table, MapOf) else Anything()


def _changed(
    raw: Any, kind: Kind, learning: Learning, situation: Situation, schema: Schema, names: Mapping[str, Value]
) -> Any:
    if not learning.changes or not isinstance(raw, Mapping):
        return raw
    new = {name: evaluate(node, situation, schema, names) for name, node in learning.changes}
    kinds = dict(kind.fields) if isinstance(kind, RecordOf) else {}
    known = {name: value for name, value in new.items() if not isinstance(value, Missing)}
    return {**raw, **{name: raw_of(value, kinds.get(name, Anything())) for name, value in known.items()}}


# Reading and checking the entries ``[[learn]]`` of a policy.

_KEYS = frozenset(("from", "into", "forget", "key", "value", "each", "when", "unanswered", "keep", "with"))


def read_learnings(listed: Any, definitions: Definitions, schema: Schema) -> tuple[Learning, ...]:
    listed = shaped(
        listed, list[dict[str, Any]], "learn in policy.toml must be a list of tables", ": write each as [[learn]]"
    )
    learnings = []
    for number, entry in enumerate(listed, 1):
        try:
            learning = _read(entry, definitions)
            _check(learning, schema)
        except (UsageError, TypeError, AttributeError) as error:
            raise UsageError(f"in [[learn]] number {number} of policy.toml: {error}"[:400]) from error
        learnings.append(learning)
    return tuple(learnings)


def _read(entry: Mapping[str, Any], definitions: Definitions) -> Learning:
    strange = set(entry) - _KEYS
    one_of = ("into" in entry) != ("forget" in entry) and ("value" in entry) == ("into" in entry)
    if strange or not one_of or not isinstance(entry.get("from"), list) or "key" not in entry:
        raise UsageError(
            "an entry must have 'from' (a list), 'key', and either 'into' and 'value', or 'forget', got "
            f"{dict(entry)!r:.160}: correct it"
        )

    def read(text: Any) -> Node:
        return write_out(parse(shaped(text, str, "an expression must be a text", ": write it in quotes")), definitions)

    def flag(name: str) -> Any:
        return shaped(entry.get(name, False), bool, f"{name!r} must be true or false", ": write it without quotes")

    keys = entry["key"]
    return Learning(
        tools=tuple(map(str, entry["from"])),
        table=str(entry.get("into") or entry["forget"]),
        keys=tuple(read(key) for key in ([keys] if isinstance(keys, str) else keys)),
        value=read(entry["value"]) if "value" in entry else None,
        each=read(entry["each"]) if "each" in entry else None,
        when=read(entry["when"]) if "when" in entry else None,
        unanswered=flag("unanswered"),
        keep=flag("keep"),
        changes=tuple((name, read(text)) for name, text in entry.get("with", {}).items()),
    )


def _check(learning: Learning, schema: Schema) -> None:
    table = schema.state.field(learning.table)
    if not isinstance(table, MapOf) or len(table.keys) != len(learning.keys):
        raise UsageError(
            f"'into' or 'forget' must name a table of the state with {len(learning.keys)} keys, got "
            f"{learning.table!r:.80}: correct the table or its keys"
        )
    for pattern in learning.tools:
        tools = [tool for tool in schema.tools if name_fits(tool, pattern)]
        if not tools:
            raise UsageError(
                f"'from' must name tools ({', '.join(schema.tools)[:200]}), got {pattern!r:.80}, which fits "
                "none: correct it"
            )
        for tool in tools:
            _check_over(learning, table, schema.scope(tool, "after"))


def _check_over(learning: Learning, table: MapOf, scope: Scope) -> None:
    if learning.each is not None:
        listed = kind_of(learning.each, scope)
        if not isinstance(listed, ListOf):
            raise ExpressionError(f"'each' must be a list, got {describe(listed)}: give the field that holds the list")
        scope = scope.adding({"item": listed.item})
    if learning.when is not None and not isinstance(kind_of(learning.when, scope), Bool):
        raise ExpressionError(
            f"'when' must be true or false, got {describe(kind_of(learning.when, scope))}: write a condition"
        )
    for key, wanted in zip(learning.keys, table.keys, strict=True):
        _fits(kind_of(key, scope), wanted, "key")
    if learning.value is not None:
        _fits(kind_of(learning.value, scope), table.value, "value")
    for name, node in learning.changes:
        wanted_field = table.value.field(name) if isinstance(table.value, RecordOf) else None
        if wanted_field is None:
            raise ExpressionError(
                f"'with' must name fields of the entries of {learning.table}, got {name!r:.80}: correct it"
            )
        _fits(kind_of(node, scope), wanted_field, f"with {name}")


def _fits(given: Kind, wanted: Kind, what: str) -> None:
    match given, wanted:
        case RecordOf(fields=fields), RecordOf():
            # A table reads only its own fields: the records must share some fields, and these must have the same kinds.
            shared = [(kind, wanted.field(name)) for name, kind in fields if wanted.field(name) is not None]
            if shared and all(other is not None and _same_data(kind, other) for kind, other in shared):
                return
        case (ListOf() | MapOf(), _):
            if _same_data(given, wanted):
                return
        case _ if joined(given, wanted) is not None:
            return
        case _:
            pass
    raise ExpressionError(f"{what} must be {describe(wanted)} for this table, got {describe(given)}: correct it")


def _same_data(one: Kind, other: Kind) -> bool:
    match one, other:
        case Quantity(factor=mine), Quantity(factor=yours) if mine != yours:
            return False
        case ListOf(item=mine), ListOf(item=yours):
            return _same_data(mine, yours)
        case _:
            return joined(one, other) is not None
