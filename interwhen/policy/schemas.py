"""What the tools take and return, and what the state holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from interwhen.errors import UsageError
from interwhen.policy import limits
from interwhen.policy.checking import Scope
from interwhen.policy.kinds import Anything, Kind, MapOf, Record, read_kind
from interwhen.policy.situations import ROOTS

Moment = Literal["before", "after"]
"""When a rule looks: before a call is made, or at its result."""
_NOTHING = Record("the arguments", ())
_NO_STATE = Record("the state", ())


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: the kinds of its arguments, and of what it returns."""

    name: str
    arguments: Record
    returns: Kind = field(default_factory=Anything)
    says: str = ""
    """What its documentation says, for a model that writes rules."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The tools of an agent, and the tables of the state."""

    tools: Mapping[str, Tool] = field(default_factory=dict)
    state: Record = field(default=_NO_STATE)

    def arguments_of(self, tool: str) -> Record:
        """Return the arguments of a tool; none of a tool that is not known."""
        found = self.tools.get(tool)
        return _NOTHING if found is None else found.arguments

    def result_of(self, tool: str) -> Kind:
        """Return the kind of a tool's result."""
        found = self.tools.get(tool)
        return Anything() if found is None else found.returns

    def call_of(self, tool: str) -> Record:
        """Return what ``calls("tool")`` lists."""
        fields = (("args", self.arguments_of(tool)), ("result", self.result_of(tool)))
        return Record(f"a call of {tool}", fields)

    def scope(self, tool: str | None, moment: Moment = "before") -> Scope:
        """Return the names of a rule over *tool*; ``None``: over any tool, so that its arguments are not known."""
        names: dict[str, Kind] = {"args": self.arguments_of(tool or ""), "state": self.state, **ROOTS}
        if moment == "after":
            names["result"] = self.result_of(tool or "")
        return Scope(names, {name: self.call_of(name) for name in self.tools})


def read_schema(written: Mapping[str, Any], tools: Iterable[Tool] = ()) -> Schema:
    """Read a schema from its tables ``records``, ``tools``, ``returns`` and ``state``.

    *tools* are known from elsewhere; what is written of one of them is taken in its place. Raises :class:`UsageError`.
    """
    records: dict[str, Kind] = {}
    for name, fields in _table(written, "records").items():  # in order: a record may use those before it
        records[_named(name)] = Record(name, _fields(fields, records, f"record {name!r}"))
    found = {tool.name: tool for tool in tools}
    for name, fields in _table(written, "tools").items():
        before = found.get(name, Tool(name, _NOTHING))
        merged = {**dict(before.arguments.fields), **dict(_fields(fields, records, f"tool {name!r}"))}
        arguments = Record(f"the arguments of {name}", tuple(merged.items()))
        found[_named(name)] = replace(before, arguments=arguments)
    for name, kind in _table(written, "returns").items():
        if name not in found:
            raise UsageError(f"'returns' names the tool {name!r:.80}, which is not among the tools")
        found[name] = replace(found[name], returns=read_kind(_text(kind), records))
    return Schema(found, Record("the state", tuple(_tables(_table(written, "state"), records))))


def _tables(written: Mapping[str, Any], records: Mapping[str, Kind]) -> Iterable[tuple[str, Kind]]:
    for name, kind in written.items():
        found = read_kind(_text(kind), records)
        if not isinstance(found, MapOf):
            raise UsageError(f"the table {name!r:.80} of the state must be a map, not {kind!r:.80}")
        yield _named(name), MapOf(found.keys, found.value, open=True)


def _fields(written: Any, records: Mapping[str, Kind], what: str) -> tuple[tuple[str, Kind], ...]:
    if not isinstance(written, Mapping):
        raise UsageError(f"{what} needs a table of fields, not {written!r:.80}")
    return tuple((_named(name), read_kind(_text(kind), records)) for name, kind in written.items())


def _table(written: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = written.get(name, {})
    if not isinstance(found, Mapping):
        raise UsageError(f"{name!r} must be a table, not {found!r:.80}")
    return found


def _named(name: str) -> str:
    if limits.NAME.fullmatch(name) is None:
        raise UsageError(f"{name!r:.80} is no name: letters, digits and _, at most 64")
    return name


def _text(kind: Any) -> str:
    if not isinstance(kind, str):
        raise UsageError(f"a kind of value is a text such as 'list[integer]', not {kind!r:.80}")
    return kind
