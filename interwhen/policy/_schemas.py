"""The schema of a policy: arguments and results of tools, and the tables of the state."""

from __future__ import annotations

import ast
import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import msgspec

from interwhen._types.errors import DECODE_ERRORS, UsageError
from interwhen._types.python_source import parse_python
from interwhen.policy import _limits
from interwhen.policy._kind_check import Scope
from interwhen.policy._kinds import Anything, Bool, Date, Kind, ListOf, MapOf, Moment, Number, RecordOf, Text, read_kind

# The input of a rule: a call, and everything that is known when it is made.

TALK: Final = RecordOf(
    "the conversation",
    (("told", Bool()), ("last", Text()), ("recent", Text()), ("heard", Text()), ("user", ListOf(Text()))),
)


@dataclass(frozen=True, slots=True)
class MadeCall:
    """A tool call with its result, from which rules of a policy read the state of the world before the next call.

    A record of the policy's database is given in the same form: as if the tool that reads such records had returned it.
    """

    tool: str
    arguments: Mapping[str, Any]
    result: Any = None
    """The result, decoded from JSON, or else as text. ``None``: the result is not known."""
    beside: int = 0
    """How many calls the same assistant turn has made before this one."""


@dataclass(frozen=True, slots=True)
class Talk:
    """The conversation before a call."""

    user: tuple[str, ...] = ()
    """The messages of the user, in order."""
    told: bool = False
    """Whether the assistant has sent any text to the user before the user's last message."""

    def fields(self) -> Mapping[str, Any]:
        """Return the values of the fields in :data:`TALK`, by name.

        ``last`` is the last message of the user, ``recent`` the last two in one text, and ``heard`` all in one text.
        """
        return {
            "told": self.told,
            "last": self.user[-1] if self.user else "",
            "recent": " ".join(self.user[-2:]),
            "heard": " ".join(self.user),
            "user": self.user,
        }


@dataclass(frozen=True, slots=True)
class Situation:
    """A call, with everything that is known when it is made."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Mapping[Any, Any]] = field(default_factory=dict)
    """The tables by name. If a table has several keys, its entries are stored under tuples of keys."""
    calls: tuple[MadeCall, ...] = ()
    """The calls before this one, in order."""
    talk: Talk | None = None
    """The conversation; ``None``: it is not known, and *calls* may not be complete."""
    beside: int = 0
    """How many calls the same assistant turn has made before this one."""
    now: dt.datetime | None = None
    """The time, in the time zone of the data; ``None``: it is not known."""
    result: Any = None
    """The result of the call, for rules that judge results."""


ROOTS: Mapping[str, Kind] = {"talk": TALK, "beside": Number(whole=True), "now": Moment()}
"""The names that every expression may use, in addition to ``args``, ``state`` and, after the call, ``result``."""


WhenJudged = Literal["before", "after"]
"""When a rule judges a call: before it is made, or after it has returned a result."""
_NOTHING = RecordOf("the arguments", ())
_NO_STATE = RecordOf("the state", ())


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    arguments: RecordOf
    returns: Kind = field(default_factory=Anything)
    says: str = ""
    """The first 600 characters of the documentation of the tool, for a model that writes rules."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What the rules of a policy may name: the tools of an agent, and the tables of the recorded state."""

    tools: Mapping[str, Tool] = field(default_factory=dict)
    state: RecordOf = field(default=_NO_STATE)

    def arguments_of(self, tool: str) -> RecordOf:
        known_tool = self.tools.get(tool)
        return _NOTHING if known_tool is None else known_tool.arguments

    def result_of(self, tool: str) -> Kind:
        known_tool = self.tools.get(tool)
        return Anything() if known_tool is None else known_tool.returns

    def call_of(self, tool: str) -> RecordOf:
        """Return the kind of an item of ``calls("tool")``."""
        fields = (("args", self.arguments_of(tool)), ("result", self.result_of(tool)))
        return RecordOf(f"a call of {tool}", fields)

    def scope(self, tool: str | None, moment: WhenJudged = "before") -> Scope:
        """Return the names that a rule may use that judges calls of *tool* at *moment*.

        If *tool* is ``None``, the rule judges calls of any tool, so the kinds of arguments and results are unknown.
        """
        names: dict[str, Kind] = {"args": self.arguments_of(tool or ""), "state": self.state, **ROOTS}
        if moment == "after":
            names["result"] = self.result_of(tool or "")
        return Scope(names, {name: self.call_of(name) for name in self.tools})


def shaped(value: Any, kind: Any, must: str, correction: str = "") -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"{must}, got {value!r:.80}{correction}") from error


def check_size(size: int, what: str) -> None:
    if size > _limits.FILE_BYTES:
        raise UsageError(f"{what} must have at most {_limits.FILE_BYTES:,} bytes, got more: divide or shorten it")


def read_schema(written: Mapping[str, Any], tools: Iterable[Tool] = ()) -> Schema:
    # A kind in `written` replaces the kind that a tool in `tools` has.
    records: dict[str, Kind] = {}
    for name, fields in _table(written, "records").items():  # in order: a record may use earlier records
        records[_named(name)] = RecordOf(name, _fields(fields, records, f"record {name!r}"))
    known = {tool.name: tool for tool in tools}
    for name, fields in _table(written, "tools").items():
        before = known.get(name, Tool(name, _NOTHING))
        merged = {**dict(before.arguments.fields), **dict(_fields(fields, records, f"tool {name!r}"))}
        arguments = RecordOf(f"the arguments of {name}", tuple(merged.items()))
        known[_named(name)] = replace(before, arguments=arguments)
    for name, kind in _table(written, "returns").items():
        if name not in known:
            raise UsageError(
                f"'returns' must name known tools ({', '.join(known)[:200]}), got {name!r:.80}: correct it"
            )
        known[name] = replace(known[name], returns=_kind(kind, records))
    return Schema(known, RecordOf("the state", tuple(_tables(_table(written, "state"), records))))


def _tables(written: Mapping[str, Any], records: Mapping[str, Kind]) -> Iterable[tuple[str, Kind]]:
    for name, kind in written.items():
        table_kind = _kind(kind, records)
        if not isinstance(table_kind, MapOf):
            raise UsageError(
                f"the table {name!r:.80} of the state must be a map, got {kind!r:.80}: write map[KEY, KIND]"
            )
        yield _named(name), MapOf(table_kind.keys, table_kind.value, open=True)


def _fields(written: Any, records: Mapping[str, Kind], what: str) -> tuple[tuple[str, Kind], ...]:
    fields = shaped(written, dict[str, Any], f"{what} must be a table of fields", ": write it as one")
    return tuple((_named(name), _kind(kind, records)) for name, kind in fields.items())


def _table(written: Mapping[str, Any], name: str) -> dict[str, Any]:
    must = f"{name!r} of a schema must be a table"
    return shaped(written.get(name, {}), dict[str, Any], must, ": write it as one")  # type: ignore[no-any-return]


def _kind(written: Any, records: Mapping[str, Kind]) -> Kind:
    return read_kind(shaped(written, str, "the kind of a value must be a text such as 'list[integer]'"), records)


def _named(name: str) -> str:
    if _limits.NAME.fullmatch(name) is None:
        raise UsageError(f"a name must be letters, digits and _, at most 64, got {name!r:.80}: choose such a name")
    return name


# Reading tools from a file: JSON in the format of the OpenAI API, or Python source, which is never imported.

_DEEPEST = 12
_SAYS = 600
_WORDS: Mapping[str, Kind] = {
    "str": Text(),
    "int": Number(whole=True),
    "float": Number(),
    "Decimal": Number(),
    "Fraction": Number(),
    "bool": Bool(),
    "date": Date(),
    "datetime": Moment(),
}
_FORMATS: Mapping[str, Kind] = {"date": Date(), "date-time": Moment()}
_SIMPLE: Mapping[str, Kind] = {
    "string": Text(),
    "integer": Number(whole=True),
    "number": Number(),
    "boolean": Bool(),
}


def read_tools(text: str, name: str) -> tuple[Tool, ...]:
    check_size(len(text.encode(errors="surrogatepass")), f"the file of tools {name!r:.80}")
    try:
        if name.endswith(".json"):
            return tuple(_from_json(msgspec.json.decode(text)))
        if name.endswith(".py"):
            return tuple(_from_python(parse_python(text)))
    except (SyntaxError, ValueError, MemoryError, *DECODE_ERRORS) as error:
        raise UsageError(
            f"the file of tools {name!r:.80} must be valid JSON or Python, and is not "
            f"({str(error)[:200] or type(error).__name__}): correct this place"
        ) from error
    raise UsageError(f"the file of tools must be a .json or a .py file, got {name!r:.80}: give such a file")


def _from_json(listed: Any) -> Iterator[Tool]:
    for entry in shaped(listed, list[Any], "the tools must be a list as in the OpenAI API", ": write such a list"):
        function = entry.get("function", entry) if isinstance(entry, Mapping) else None
        if not isinstance(function, Mapping) or _limits.NAME.fullmatch(str(function.get("name"))) is None:
            raise UsageError(f"a tool must be an object with a valid name, got {entry!r:.120}: correct it")
        name = str(function["name"])
        kind = _schema_kind(function.get("parameters") or {"type": "object"}, f"the arguments of {name}", 0)
        arguments = kind if isinstance(kind, RecordOf) else RecordOf(f"the arguments of {name}", ())
        yield Tool(name, arguments, says=str(function.get("description") or "")[:_SAYS])


def _schema_kind(schema: Any, where: str, depth: int) -> Kind:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return Anything()
    words = schema.get("enum")
    if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
        return Text(frozenset(words))
    form = schema.get("type")
    if isinstance(form, list):
        form = next((part for part in form if part != "null"), None) if len(form) <= 2 else None
    if form == "string":
        return _FORMATS.get(str(schema.get("format")), Text())
    if form == "array":
        return ListOf(_schema_kind(schema.get("items"), f"{where}[]", depth + 1))
    if form == "object":
        return _object(schema, where, depth)
    return _SIMPLE.get(str(form), Anything())


def _object(schema: Mapping[str, Any], where: str, depth: int) -> Kind:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        extra = schema.get("additionalProperties")
        if isinstance(extra, Mapping):
            return MapOf((Text(),), _schema_kind(extra, f"{where}[]", depth + 1))
        return RecordOf(where, ())
    fields = (
        (name, _schema_kind(inner, f"{where}.{name}", depth + 1))
        for name, inner in properties.items()
        if _limits.NAME.fullmatch(name)
    )
    return RecordOf(where, tuple(fields))


def _from_python(module: ast.Module) -> Iterator[Tool]:
    # A class with annotated fields becomes a record, which annotations can name.
    records: dict[str, Kind] = {}
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            parts = [part for part in node.body if isinstance(part, ast.AnnAssign)]
            fields = {
                part.target.id: _annotation(part.annotation, records, 0)
                for part in parts
                if isinstance(part.target, ast.Name)
            }
            if fields:
                records[node.name] = RecordOf(node.name, tuple(fields.items()))
                continue
        functions = node.body if isinstance(node, ast.ClassDef) else [node]
        for function in functions:
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and not function.name.startswith("_"):
                yield _tool(function, records)


def _tool(function: ast.FunctionDef | ast.AsyncFunctionDef, records: Mapping[str, Kind]) -> Tool:
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    named = [part for part in given if part.arg not in ("self", "cls")]
    fields = tuple((part.arg, _annotation(part.annotation, records, 0)) for part in named)
    returns = _annotation(function.returns, records, 0)
    says = (ast.get_docstring(function) or "")[:_SAYS]
    return Tool(function.name, RecordOf(f"the arguments of {function.name}", fields), returns, says)


def _annotation(node: ast.expr | None, records: Mapping[str, Kind], depth: int) -> Kind:
    # An annotation in quotes that cannot be parsed raises `SyntaxError`, which `read_tools` translates.
    match node:
        case _ if depth > _DEEPEST:
            return Anything()
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return records.get(name) or _WORDS.get(name, Anything())
        case ast.Constant(value=str(text)):
            return _annotation(ast.parse(text, mode="eval").body, records, depth + 1)
        case ast.BinOp(left=kind, op=ast.BitOr(), right=ast.Constant(value=None)):
            return _annotation(kind, records, depth + 1)
        case ast.Subscript(value=ast.Name(id=head) | ast.Attribute(attr=head), slice=inside):
            return _generic(head, inside, records, depth)
        case _:
            return Anything()


def _generic(head: str, inside: ast.expr, records: Mapping[str, Kind], depth: int) -> Kind:
    parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
    if head == "Literal":
        words = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        return Text(frozenset(words)) if len(words) == len(parts) else Anything()
    kinds = [_annotation(part, records, depth + 1) for part in parts]
    if head in ("list", "List", "Sequence", "Iterable") and len(kinds) == 1:
        return ListOf(kinds[0])
    if head in ("dict", "Dict", "Mapping") and len(kinds) == 2:
        return MapOf((kinds[0],), kinds[1])
    return kinds[0] if head in ("Optional", "Annotated") else Anything()
