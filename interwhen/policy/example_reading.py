"""The examples of a rule: situations that are written out, or changed from one that has a name."""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Mapping
from typing import Any

from interwhen.errors import UsageError
from interwhen.policy import limits
from interwhen.policy.kinds import MapOf
from interwhen.policy.rules import Example
from interwhen.policy.schemas import Schema
from interwhen.policy.situations import MadeCall, Situation, Talk

EXPECTED = ("keeps", "breaks", "unknown", "not applicable")
"""What an example may expect."""
_PARTS = ("tool", "args", "state", "calls", "talk", "beside", "now", "result")
_KEYS = frozenset((*_PARTS, "name", "expect", "base", "set", "unset"))
_DEEPEST = 12


def read_examples(
    written: Mapping[str, Any],
    schema: Schema,
    situations: Mapping[str, Any],
    now: dt.datetime | None,
    tools: tuple[str, ...],
) -> tuple[Example, ...]:
    """Read the examples of a rule. Raises :class:`UsageError`."""
    listed = written.get("example", [])
    if not isinstance(listed, list) or not all(isinstance(entry, Mapping) for entry in listed):
        raise UsageError("examples are written as [[example]]")
    if len(listed) > limits.EXAMPLES:
        raise UsageError(f"{len(listed)} examples: {limits.EXAMPLES} at most")
    found = [_example(entry, written.get("base"), schema, situations, now, tools) for entry in listed]
    names = [example.name for example in found]
    if len(set(names)) < len(names):
        raise UsageError("two examples have the same name")
    return tuple(found)


def _example(
    entry: Mapping[str, Any],
    base: Any,
    schema: Schema,
    situations: Mapping[str, Any],
    now: dt.datetime | None,
    tools: tuple[str, ...],
) -> Example:
    name, expect = entry.get("name"), entry.get("expect")
    strange = set(entry) - _KEYS
    if not isinstance(name, str) or not name.strip():
        raise UsageError("an example needs a name that says what it shows")
    if expect not in EXPECTED:
        raise UsageError(f"example {name!r:.80}: expect={expect!r:.60}, choose one of {', '.join(EXPECTED)}")
    if strange:
        raise UsageError(f"example {name!r:.80}: unknown entries {', '.join(sorted(strange))[:200]}")
    try:
        parts = _parts(entry.get("base", base), situations, 0)
        for part in _PARTS:
            if part in entry:
                parts[part] = copy.deepcopy(entry[part])
        for path, value in _table(entry, "set").items():
            _put(parts, path, copy.deepcopy(value))
        for path in entry.get("unset", ()):
            _put(parts, path, None)
        return Example(name, expect, read_situation(parts, schema, now, tools[0] if tools else ""))
    except (UsageError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"example {name!r:.80}: {error}"[:400]) from error


def _parts(base: Any, situations: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """Return the situation *base*: a table, or the name of one, which may have a base itself."""
    if base is None:
        return {}
    if isinstance(base, str):
        if base not in situations or depth > _DEEPEST:
            raise UsageError(f"there is no situation {base!r:.80}; known: {', '.join(situations)}"[:300])
        base = situations[base]
    if not isinstance(base, Mapping):
        raise UsageError("a base is a situation, or the name of one")
    found = _parts(base.get("base"), situations, depth + 1)
    found.update({part: copy.deepcopy(value) for part, value in base.items() if part in _PARTS})
    for path, value in _table(base, "set").items():
        _put(found, path, copy.deepcopy(value))
    return found


def _table(written: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = written.get(key, {})
    if not isinstance(found, Mapping):
        raise UsageError(f"{key!r} must be a table of paths such as 'state.orders.W1.status' and values")
    return found


def _put(parts: dict[str, Any], path: str, value: Any) -> None:
    """Put *value* at a path such as ``args.flights.0.date``; ``None`` takes away what is there."""
    steps = path.split(".")
    if len(steps) > _DEEPEST:
        raise UsageError(f"the path {path!r:.80} is too long")
    place: Any = parts
    for step in steps[:-1]:
        place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
    last = steps[-1]
    if isinstance(place, list):
        if value is None:
            del place[int(last)]
        elif int(last) == len(place):
            place.append(value)
        else:
            place[int(last)] = value
    elif value is None:
        place.pop(last, None)
    else:
        place[last] = value


def read_situation(parts: Mapping[str, Any], schema: Schema, now: dt.datetime | None, tool: str = "") -> Situation:
    """Return the situation of *parts*, as examples and recorded situations write it. Raises :class:`UsageError`."""
    talk, time, plain = parts.get("talk"), parts.get("now"), _plain(parts, 0)
    return Situation(
        tool=str(parts.get("tool", tool)),
        arguments=_mapping(plain, "args"),
        state=_state(_mapping(plain, "state"), schema),
        calls=tuple(
            MadeCall(str(call.get("tool")), _mapping(call, "args"), call.get("result"))
            for call in plain.get("calls") or ()
        ),
        talk=None if talk is None else Talk(tuple(map(str, talk.get("user", ()))), bool(talk.get("told", False))),
        beside=int(parts.get("beside", 0)),
        now=now if time is None else dt.datetime.fromisoformat(str(time)),
        result=plain.get("result"),
    )


def _mapping(parts: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = parts.get(key) or {}
    if not isinstance(found, Mapping):
        raise UsageError(f"{key!r} must be a table, not {found!r:.80}")
    return found


def _state(written: Mapping[str, Any], schema: Schema) -> dict[str, dict[Any, Any]]:
    """Return tables of which the entries stand under all their keys at once."""
    found: dict[str, dict[Any, Any]] = {}
    for name, table in written.items():
        kind = schema.state.field(name)
        if not isinstance(kind, MapOf):
            known = ", ".join(known for known, _ in schema.state.fields)
            raise UsageError(f"the state has no table {name!r:.80}; tables: {known}"[:300])
        entries: dict[Any, Any] = {(): table}
        for _ in kind.keys:
            entries = {(*keys, key): value for keys, inner in entries.items() for key, value in inner.items()}
        found[name] = {keys[0] if len(keys) == 1 else keys: value for keys, value in entries.items()}
    return found


def _plain(value: Any, depth: int) -> Any:
    """Return *value* with dates as texts, as JSON has them."""
    if depth > 2 * _DEEPEST:
        raise UsageError("a situation is nested too deeply")
    if isinstance(value, Mapping):
        return {key: _plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner, depth + 1) for inner in value]
    return value.isoformat() if isinstance(value, dt.date | dt.datetime) else value
