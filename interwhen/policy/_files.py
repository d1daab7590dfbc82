"""Reads a policy folder: ``policy.toml``, ``schema.toml``, the policy's text, ``situations.toml`` and the rule files.

The content of such a folder is not trusted: only regular files of a limited size are read, and none outside the folder.
"""

from __future__ import annotations

import copy
import datetime as dt
import gzip
import tomllib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec

from interwhen._types.errors import DECODE_ERRORS, UsageError
from interwhen._types.segments import is_hidden
from interwhen._types.vetting import require_distinct, require_known
from interwhen.policy import _limits
from interwhen.policy._kind_check import Definitions, read_definitions, write_out
from interwhen.policy._kinds import MapOf
from interwhen.policy._rules import DatabaseTable, Example, Rule, WrittenPolicy, misfit_of, read_message
from interwhen.policy._schemas import (
    MadeCall,
    Schema,
    Situation,
    Talk,
    WhenJudged,
    check_size,
    read_schema,
    read_tools,
    shaped,
)
from interwhen.policy._state import State, load, read_learnings
from interwhen.policy._syntax import Node, parse

# The examples of a rule: each one gives a complete situation, or changes to a named situation.

EXPECTED = ("keeps", "breaks", "unknown", "not applicable")
"""The outcomes that an example may expect."""
PARTS = ("tool", "args", "state", "calls", "talk", "beside", "now", "result")
"""The keys of a situation."""
_BASE_KEYS = frozenset((*PARTS, "base", "set", "unset"))
_EXAMPLE_KEYS = _BASE_KEYS | {"name", "expect"}
_DEEPEST = 12


def read_examples(
    written: Mapping[str, Any],
    schema: Schema,
    situations: Mapping[str, Any],
    now: dt.datetime | None,
    tools: tuple[str, ...],
) -> tuple[Example, ...]:
    """*now* and the first of *tools* are the defaults for the time and the tool."""
    listed = shaped(
        written.get("example", []),
        list[dict[str, Any]],
        "the examples must be a list of tables",
        ": write each as [[example]]",
    )
    if len(listed) > _limits.EXAMPLES:
        raise UsageError(f"a rule must have at most {_limits.EXAMPLES} examples, got {len(listed)}: remove some")
    examples = [_example(entry, written.get("base"), schema, situations, now, tools) for entry in listed]
    require_distinct("the names of examples", [example.name for example in examples], "rename one")
    return tuple(examples)


def check_keys(written: Mapping[str, Any], known: Iterable[str], what: str = "") -> None:
    require_known(f"{what}the entries", written, sorted(known))


def _example(
    entry: Mapping[str, Any],
    base: Any,
    schema: Schema,
    situations: Mapping[str, Any],
    now: dt.datetime | None,
    tools: tuple[str, ...],
) -> Example:
    correction = f" in {dict(entry)!r:.160}: give it one"
    name = shaped(
        entry.get("name"), _Filled, "the name of an example must be a text that says what it shows", correction
    )
    expect = shaped(
        entry.get("expect"),
        Literal[EXPECTED],
        f"expect of the example {name!r:.80} must be one of {', '.join(EXPECTED)}",
    )
    check_keys(entry, _EXAMPLE_KEYS, f"example {name!r:.80}: ")
    try:
        parts = _parts(entry.get("base", base), situations, 0)
        _change(parts, entry)
        return Example(name, expect, read_situation(parts, schema, now, tools[0] if tools else ""))
    except (UsageError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"in the example {name!r:.80}: {error}"[:400]) from error


def _parts(base: Any, situations: Mapping[str, Any], depth: int) -> dict[str, Any]:
    # A base may itself have a base, which it changes.
    if base is None:
        return {}
    if isinstance(base, str):
        if base not in situations or depth > _DEEPEST:
            raise UsageError(
                f"base must name a situation ({', '.join(situations)[:200] or 'there is none'}), got "
                f"{base!r:.80}: correct the name, or write the situation"
            )
        base = situations[base]
    must = "base must be a situation (a table) or the name of one"
    base = shaped(base, dict[str, Any], must, ": write one of them")
    check_keys(base, _BASE_KEYS, "base: ")
    parts = _parts(base.get("base"), situations, depth + 1)
    _change(parts, base)
    return parts


def _change(parts: dict[str, Any], written: Mapping[str, Any]) -> None:
    parts.update({part: copy.deepcopy(written[part]) for part in PARTS if part in written})
    must = "'set' must be a table of paths, such as 'state.orders.W1.status', and values"
    for path, value in shaped(written.get("set", {}), dict[str, Any], must).items():
        _put(parts, path, copy.deepcopy(value))
    for path in _texts(written.get("unset", []), "unset"):
        _put(parts, path, None)


def _put(parts: dict[str, Any], path: str, value: Any) -> None:
    # If `value` is `None`, the entry is removed. The index after the last item of a list adds `value`.
    steps = path.split(".")
    if len(steps) > _DEEPEST:
        raise UsageError(f"a path must have at most {_DEEPEST} steps, got {path!r:.80}: shorten it")
    place: Any = parts
    for step in steps[:-1]:
        place = place[_index(step, len(place), path)] if isinstance(place, list) else place.setdefault(step, {})
    last = steps[-1]
    if isinstance(place, list):
        if value is None:
            del place[_index(last, len(place), path)]
        else:
            index = _index(last, len(place) + 1, path)
            place[index : index + 1] = [value]
    elif value is None:
        place.pop(last, None)
    else:
        place[last] = value


def _index(step: str, count: int, path: str) -> int:
    if not (step.isascii() and step.isdecimal() and len(step) < 10 and int(step) < count):
        most = f"from 0 to {count - 1}" if count else "which is empty"
        raise UsageError(f"{step!r:.40} in the path {path!r:.80} must be an index of a list, {most}: correct it")
    return int(step)


def read_situation(parts: Mapping[str, Any], schema: Schema, now: dt.datetime | None, tool: str = "") -> Situation:
    """Build a situation from *parts*. *now* and *tool* are the defaults.

    Raises :class:`UsageError`, :class:`ValueError`, :class:`TypeError` or :class:`AttributeError` for parts that are
    not valid.
    """
    time, plain = parts.get("now"), _plain(parts, 0)
    must = "'beside' must be how many calls the turn has made before, from 0"
    beside = shaped(parts.get("beside", 0), Annotated[int, msgspec.Meta(ge=0)], must)
    return Situation(
        tool=str(parts.get("tool", tool)),
        arguments=_mapping(plain, "args"),
        state=_state(_mapping(plain, "state"), schema),
        calls=tuple(map(_call, plain.get("calls") or ())),
        talk=_talk(parts.get("talk")),
        beside=beside,
        now=now if time is None else _moment(time, "'now'"),
        result=plain.get("result"),
    )


def _call(written: Mapping[str, Any]) -> MadeCall:
    check_keys(written, ("tool", "args", "result"), "a call in 'calls': ")
    return MadeCall(_text(written, "tool"), _mapping(written, "args"), written.get("result"))


def _talk(written: Any) -> Talk | None:
    if written is None:
        return None
    talk = shaped(written, dict[str, Any], "'talk' must be a table with 'user' and 'told'", ": write it as one")
    check_keys(talk, ("user", "told"), "talk: ")
    told = shaped(talk.get("told", False), bool, "'told' of 'talk' must be true or false", ": write it without quotes")
    return Talk(_texts(talk.get("user", []), "user"), told)


def _mapping(parts: Mapping[str, Any], key: str) -> dict[str, Any]:
    return shaped(  # type: ignore[no-any-return]
        parts.get(key) or {}, dict[str, Any], f"{key!r} of a situation must be a table", ": write it as one"
    )


def _state(written: Mapping[str, Any], schema: Schema) -> dict[str, dict[Any, Any]]:
    tables: dict[str, dict[Any, Any]] = {}
    for name, table in written.items():
        kind = schema.state.field(name)
        if not isinstance(kind, MapOf):
            known = ", ".join(known for known, _ in schema.state.fields)
            raise UsageError(
                f"the tables of the state must be among {known[:200]}, got {name!r:.80}: correct or remove it"
            )
        entries: dict[Any, Any] = {(): table}
        for _ in kind.keys:
            entries = {(*keys, key): value for keys, inner in entries.items() for key, value in inner.items()}
        tables[name] = {keys[0] if len(keys) == 1 else keys: value for keys, value in entries.items()}
    return tables


def _plain(value: Any, depth: int) -> Any:
    if depth > 2 * _DEEPEST:
        raise UsageError(f"a situation must be nested at most {2 * _DEEPEST} levels deep, got more: make it flatter")
    if isinstance(value, Mapping):
        return {key: _plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner, depth + 1) for inner in value]
    return value.isoformat() if isinstance(value, dt.date | dt.datetime) else value


# Reading a rule from its file. A model may have written the text: it is parsed within limits, and never run.

_RULE_KEYS = frozenset(
    [
        "id",
        "clause",
        "tools",
        "moment",
        "when",
        "require",
        "why",
        "witness",
        "define",
        "base",
        "example",
        "note",
        "origin",
    ]
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is needed to read rules."""

    schema: Schema
    definitions: Definitions = field(default_factory=dict)
    """The named expressions that rules may use."""
    situations: Mapping[str, Any] = field(default_factory=dict)
    """The named situations that examples may start from."""
    now: dt.datetime | None = None
    """The time of an example that gives no time; ``None``: such an example has none."""


def read_toml(text: str, what: str) -> dict[str, Any]:
    check_size(len(text.encode(errors="surrogatepass")), what)  # only the size counts here
    try:
        tables = tomllib.loads(text)
    except ValueError as error:
        raise UsageError(f"{what} must be valid TOML, and is not ({str(error)[:200]}): correct this place") from error
    except RecursionError:
        tables = None
    # The parser reads dotted keys (`a.b.c`) without recursion, so they may be nested more deeply than it could read.
    if tables is None or _is_deep(tables):
        raise UsageError(f"{what} must be valid TOML, and is nested too deeply: correct it")
    return tables


def _is_deep(tables: dict[str, Any]) -> bool:
    level: list[Any] = [tables]
    for _ in range(4 * _DEEPEST):
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
        level = [each for each in level if isinstance(each, dict | list)]
    return bool(level)


def read_rule(text: str, around: Surroundings, what: str = "the rule") -> Rule:
    # `around` has what the rule and its examples may name. A rule that fails the type check is returned, too, and
    # judges each call as unknown.
    # An invisible character could mislead a reviewer: one that changes the direction of the text, or a hidden message.
    hidden = next((char for char in text if not is_visible(char) and char not in "\n\r\t"), None)
    if hidden is not None:
        raise UsageError(f"{what} must have visible characters only, got {hidden!a}: remove it")
    written = read_toml(text, what)
    try:
        return _rule_of(written, around)
    except UsageError as error:
        raise UsageError(f"in {what}: {error}"[:800]) from error


def is_visible(char: str) -> bool:
    return char.isprintable() and not is_hidden(char)


def _rule_of(written: Mapping[str, Any], around: Surroundings) -> Rule:
    check_keys(written, _RULE_KEYS)
    rule_id = checked_id(_text(written, "id"))
    must = f"moment must be one of {', '.join(get_args(WhenJudged))}"
    moment = shaped(written.get("moment", "before"), WhenJudged, must)
    definitions = {**around.definitions, **_defined(written)}
    tools = _texts(written.get("tools", []), "tools")
    require = _expression(written, "require", None, definitions)
    why, witness = (read_message(_text(written, key), definitions) for key in ("why", "witness"))
    rule = Rule(
        id=rule_id,
        clauses=_clauses(written.get("clause")),
        tools=tools,
        when=_expression(written, "when", "true", definitions),
        require=require,
        why=why,
        witness=witness,
        moment=moment,
        examples=read_examples(written, around.schema, around.situations, around.now, tools),
        origin=str(written.get("origin", "")),
    )
    object.__setattr__(rule, "_misfit", misfit_of(rule, around.schema))  # frozen, but not shared yet
    return rule


def _defined(written: Mapping[str, Any]) -> Definitions:
    must = "'define' must be a table of expressions as texts"
    return read_definitions(shaped(written.get("define", {}), dict[str, str], must))


def checked_id(text: str) -> str:
    # The id of a rule is also the name of its file.
    if len(text) > _limits.ID_CHARACTERS or _limits.ID.fullmatch(text) is None:
        raise UsageError(
            "an id must be lower-case letters and digits with - between words, at most "
            f"{_limits.ID_CHARACTERS} characters, got {text!r:.80}: write it so"
        )
    return text


def _clauses(written: Any) -> tuple[str, ...]:
    clauses = _texts([] if written is None else [written] if isinstance(written, str) else written, "clause")
    if not clauses or not all(clause.strip() for clause in clauses):
        raise UsageError(f"'clause' must quote the policy with a text or a list of texts, got {written!r:.80}")
    return clauses


_Filled = Annotated[str, msgspec.Meta(pattern=r"\S")]
"""A text that is not blank."""


def _text(written: Mapping[str, Any], key: str) -> str:
    return shaped(written.get(key), _Filled, f"{key!r} must be a text that is not empty")  # type: ignore[no-any-return]


def _texts(written: Any, key: str) -> tuple[str, ...]:
    return shaped(written, tuple[str, ...], f"{key!r} must be a list of texts")  # type: ignore[no-any-return]


def _expression(written: Mapping[str, Any], key: str, default: str | None, definitions: Definitions) -> Node:
    text = _text(written, key) if default is None or key in written else default
    try:
        return write_out(parse(text), definitions)
    except UsageError as error:
        raise UsageError(f"in {key!r}: {error}") from error


_KEYS = frozenset(("name", "version", "text", "tools", "now", "define", "learn", "database"))


def read_file(folder: Path, name: str, *, needed: bool = True) -> str:
    path = folder / name
    if name != Path(name).name or name.startswith("."):
        raise UsageError(
            f"a file must be directly in the policy's folder, got {name!r:.80}: give the name without a folder"
        )
    if "\0" in name:
        raise UsageError(f"the name of a file must have no NUL character, got {name!r:.80}: correct it")
    try:
        if not needed and not path.exists():
            return ""
        if path.resolve().parent != folder.resolve() or not path.is_file():
            raise UsageError(
                f"{str(path)!r} must be a plain file in the policy's folder, got a link or a folder: "
                "replace it by a file"
            )
        check_size(path.stat().st_size, repr(str(path)))
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"{str(path)!r:.300} must be readable UTF-8 text, and is not ({str(error)[:200]}): correct the file, its "
            "name or its permissions"
        ) from error


def read_surroundings(folder: Path) -> tuple[Mapping[str, Any], Surroundings]:
    # `situations.toml` may be missing, and so may `schema.toml` if `policy.toml` names a file of tools. Raises
    # `UsageError` if another of these files is missing, or if one is not valid.
    head = read_toml(read_file(folder, "policy.toml"), "policy.toml")
    check_keys(head, _KEYS, "policy.toml: ")
    listed = head.get("tools")
    tools = () if listed is None else read_tools(read_file(folder, str(listed)), str(listed))
    schema = read_schema(read_toml(read_file(folder, "schema.toml", needed=listed is None), "schema.toml"), tools)
    now = _time(head.get("now"))
    definitions = _defined(head)
    situations = read_toml(read_file(folder, "situations.toml", needed=False), "situations.toml")
    return head, Surroundings(schema, definitions, situations, now if isinstance(now, dt.datetime) else None)


def read_policy(folder: Path) -> WrittenPolicy:
    """Read the policy in *folder*, with its rules.

    A rule that fails the type check judges each call as unknown; :func:`~interwhen.policy.admit` says why. Raises
    :class:`UsageError` if a file is missing or not valid, or if there are more than 500 rules.
    """
    head, around = read_surroundings(folder)
    rules = tuple(_rule(folder, name, around) for name in rule_files(folder))
    return WrittenPolicy(
        name=str(head.get("name") or folder.name),
        text=read_file(folder, str(head.get("text", "policy.md"))),
        schema=around.schema,
        rules=rules,
        version=str(head.get("version", "1")),
        now=_time(head.get("now")),
        definitions=around.definitions,
        learnings=read_learnings(head.get("learn", []), around.definitions, around.schema),
        database=shaped(
            head.get("database", {}),
            dict[str, DatabaseTable],
            """'database' in policy.toml must be a table such as orders = { tool = "get_order", key = "id" }""",
            ": correct it",
        ),
    )


def inner_folder(folder: Path, name: str, *, make: bool = False) -> Path:
    inner = folder / name
    if inner.resolve().parent != folder.resolve():
        raise UsageError(
            f"{str(inner)!r} must be a plain folder in the policy's folder, got a link to "
            f"{str(inner.resolve())!r}: replace it by a folder"
        )
    if make:
        inner.mkdir(exist_ok=True)
    return inner


def rule_files(folder: Path) -> list[str]:
    inner = inner_folder(folder, "rules")
    names = sorted(path.name for path in inner.glob("*.toml")) if inner.is_dir() else []
    if len(names) > _limits.RULES:
        raise UsageError(f"{str(inner)!r} must hold at most {_limits.RULES} rules, got {len(names)}: remove some")
    return names


def _rule(folder: Path, name: str, around: Surroundings) -> Rule:
    rule = read_rule(read_file(folder / "rules", name), around, f"rules/{name}")
    if f"{rule.id}.toml" != name:
        raise UsageError(
            f"the file of a rule must have the name of its id, got rules/{name} with the id {rule.id!r}: "
            f"rename it to rules/{rule.id}.toml"
        )
    return rule


def _time(written: Any) -> dt.datetime | Literal["clock"] | None:
    is_word = written is None or written == "clock"
    return written if is_word else _moment(written, "now in policy.toml", "a time or 'clock'")


def _moment(written: Any, what: str, kind: str = "a time") -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(str(written))
    except ValueError as error:
        raise UsageError(
            f"{what} must be {kind}, got {str(written)[:60]!r}: write it such as 2024-05-15T15:00:00"
        ) from error
    if moment.tzinfo is not None:  # times of the data have none, and the two cannot be compared
        raise UsageError(
            f"{what} must have no time zone, got {str(written)[:60]!r}: write it in the time zone of the data, "
            "without naming it"
        )
    return moment


def read_database(policy: WrittenPolicy, folder: Path) -> State:
    """Read the state of *policy* from a database in *folder*.

    Each table is a file ``NAME.json`` or, if that is missing, ``NAME.json.gz``. Raises :class:`UsageError` if the
    policy declares no database, or if a table is not a JSON object in a readable file directly in *folder*.
    """

    def calls() -> Iterator[MadeCall]:
        for name, shelf in policy.database.items():
            for key, record in _records(folder, name).items():
                yield MadeCall(shelf.tool, {shelf.key: key}, record)

    if not policy.database:
        raise UsageError(
            f"policy {policy.name!r} must have [database] in its policy.toml to read a database, and has none: add it"
        )
    return load(calls(), policy.learnings, policy.schema)


def _records(folder: Path, name: str) -> Mapping[str, Any]:
    if name != Path(name).name or "\0" in name:
        raise UsageError(
            f"a table must be a file directly in the database's folder, got {name!r:.80}: correct its name"
        )
    plain, packed = folder / f"{name}.json", folder / f"{name}.json.gz"
    try:
        path = plain if plain.exists() else packed
        data = path.read_bytes()
        return msgspec.json.decode(gzip.decompress(data) if path == packed else data, type=dict[str, Any])
    except (OSError, EOFError, zlib.error, *DECODE_ERRORS) as error:
        raise UsageError(
            f"the table {name!r:.80} in {str(folder)!r} must be a JSON object in a readable file, and is not "
            f"({str(error)[:200]}): correct it"
        ) from error


# A new folder for a policy, from its text, its tools and its schema.


def make_folder(folder: Path, text: Path, tools: Path | None, schema: Path | None) -> None:
    """Make *folder* a policy folder: copy *text*, *tools* and *schema* into it, and write a missing ``policy.toml``.

    A copy that would overwrite other content raises :class:`UsageError`.
    """
    if tools is None and schema is None and not (folder / "policy.toml").exists():
        raise UsageError(
            "--tools or --schema must be given, because rules are checked against what the tools take, got "
            "none: give one"
        )
    if tools is not None and tools.suffix not in (".json", ".py"):
        raise UsageError(f"--tools must be a .json or a .py file, got {str(tools)!r}: give such a file")
    folder.mkdir(parents=True, exist_ok=True)
    _copy(text, folder / "policy.md")
    lines = [f'name = "{_word(text.stem)}"']
    if tools is not None:
        _copy(tools, folder / f"tools{tools.suffix}")
        lines.append(f'tools = "tools{tools.suffix}"')
    if schema is not None:
        _copy(schema, folder / "schema.toml")
    head = folder / "policy.toml"
    if not head.exists():
        head.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _word(text: str) -> str:
    return "".join(char for char in text if char.isalnum() or char in "-_ ")[:60] or "policy"


def _copy(source: Path, target: Path) -> None:
    try:
        check_size(source.stat().st_size, repr(str(source)))
        data = source.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{str(source)!r} must be a readable file, and is not ({error}): correct the path or its permissions"
        ) from error
    if target.exists() and target.read_bytes() != data:
        raise UsageError(
            f"--out must not hold another {target.name!r}, got {str(target)!r}, which differs from "
            f"{str(source)!r}: choose another --out"
        )
    target.write_bytes(data)
