"""The state: tables that are filled from what the tools have said, by declarations of the policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from interwhen.policy.evaluating import evaluate
from interwhen.policy.globs import name_fits
from interwhen.policy.kinds import Anything, Kind, ListOf, MapOf, Record
from interwhen.policy.nodes import Node
from interwhen.policy.schemas import Schema
from interwhen.policy.situations import MadeCall, Situation
from interwhen.policy.values import Held, Items, Missing, Value, hold, key_text, raw_of

Key = str | tuple[str, ...]
State = Mapping[str, Mapping[Key, Any]]
_MOST = 100_000
"""The most entries of a list that is learned from."""


@dataclass(frozen=True, slots=True)
class Learning:
    """What the result of a call says about the state: an entry of a table, or that one may have changed."""

    tools: tuple[str, ...]
    """The tools whose calls it is about; ``*`` stands for any text."""
    table: str
    keys: tuple[Node, ...]
    value: Node | None
    """``None``: forget what is known of the entry."""
    each: Node | None = None
    """A list; *keys* and *value* are then said of each ``item`` of it."""
    when: Node | None = None
    unanswered: bool = False
    """Only for calls whose result is not known."""
    keep: bool = False
    """An entry that is known already stays as it is."""
    changes: tuple[tuple[str, Node], ...] = ()
    """Fields of the entry that are something else than the value says."""

    def is_about(self, call: MadeCall) -> bool:
        """Tell whether *call* says anything of the kind."""
        return any(name_fits(call.tool, pattern) for pattern in self.tools)


class Overlay(Mapping[Key, Any]):
    """A large table that stays as it is, and what was learned since; ``None`` stands for what was forgotten."""

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
    """Return *state* with what *call* says of it. The one that is given stays as it is."""
    found: dict[str, dict[Key, Any]] = {}
    for learning in learnings:
        if learning.is_about(call):
            table = found.setdefault(learning.table, {})
            _put(table, learning, call, schema, state.get(learning.table, {}))
    changed = {name: Overlay(state.get(name, {}), entries) for name, entries in found.items() if entries}
    return {**state, **changed} if changed else state


def load(records: Iterable[MadeCall], learnings: Iterable[Learning], schema: Schema) -> State:
    """Return the state that a whole database says, each record of it shown like the result of a call."""
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
        texts = tuple(key_text(key) for key in keys if not isinstance(key, Missing | Held))
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
    if not isinstance(listed, Held) or not isinstance(listed.kind, ListOf):
        return
    for at, raw in enumerate(listed.raw[:_MOST]):
        item = raw if isinstance(listed.raw, Items) else hold(raw, listed.kind.item, f"{listed.where}[{at}]")
        if not isinstance(item, Missing):
            yield {"item": item}


def _kind_of_entry(learning: Learning, schema: Schema) -> Kind:
    table = schema.state.field(learning.table)
    return table.value if isinstance(table, MapOf) else Anything()


def _changed(
    raw: Any, kind: Kind, learning: Learning, situation: Situation, schema: Schema, names: Mapping[str, Value]
) -> Any:
    if not learning.changes or not isinstance(raw, Mapping):
        return raw
    new = {name: evaluate(node, situation, schema, names) for name, node in learning.changes}
    kinds = dict(kind.fields) if isinstance(kind, Record) else {}
    known = {name: value for name, value in new.items() if not isinstance(value, Missing)}
    return {**raw, **{name: raw_of(value, kinds.get(name, Anything())) for name, value in known.items()}}
