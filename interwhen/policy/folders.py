"""A policy folder: ``policy.toml``, ``schema.toml``, the text of the policy, ``situations.toml`` and a file a rule.

What is in it may have been written by anybody: files are plain, of a limited size, and none lies outside the folder.
"""

from __future__ import annotations

import datetime as dt
import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from interwhen.errors import UsageError
from interwhen.policy import limits
from interwhen.policy.defining import read_definitions
from interwhen.policy.learning import read_learnings
from interwhen.policy.policies import Shelf, WrittenPolicy
from interwhen.policy.reading_rules import Surroundings, read_rule, read_toml
from interwhen.policy.rules import Rule
from interwhen.policy.schemas import read_schema
from interwhen.policy.situations import MadeCall
from interwhen.policy.tables import State, load
from interwhen.policy.tool_files import read_tools

_KEYS = frozenset(("name", "version", "text", "tools", "now", "define", "learn", "database"))


def read_file(folder: Path, name: str, *, needed: bool = True) -> str:
    """Return the text of a file right in *folder*. Raises :class:`UsageError` where it is no such plain file."""
    path = folder / name
    if name != Path(name).name or name.startswith("."):
        raise UsageError(f"{name!r:.80} is no name of a file in the policy's folder")
    if not path.exists() and not needed:
        return ""
    try:
        if path.resolve().parent != folder.resolve() or not path.is_file():
            raise UsageError(f"{str(path)!r} is no plain file in the policy's folder")
        if path.stat().st_size > limits.FILE_BYTES:
            raise UsageError(f"{str(path)!r} is larger than {limits.FILE_BYTES:,} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{str(path)!r} cannot be read: {error}") from error


def read_surroundings(folder: Path) -> tuple[Mapping[str, Any], Surroundings]:
    """Return the head of the policy in *folder*, and what its rules are read in. Raises :class:`UsageError`."""
    head = read_toml(read_file(folder, "policy.toml"), "policy.toml")
    strange = set(head) - _KEYS
    if strange:
        raise UsageError(
            f"policy.toml: unknown entries {', '.join(sorted(strange))[:200]}; known: {', '.join(sorted(_KEYS))}"
        )
    listed = head.get("tools")
    tools = () if listed is None else read_tools(read_file(folder, str(listed)), str(listed))
    schema = read_schema(read_toml(read_file(folder, "schema.toml", needed=listed is None), "schema.toml"), tools)
    now = _time(head.get("now"))
    defined = head.get("define", {})
    if not isinstance(defined, Mapping) or not all(isinstance(body, str) for body in defined.values()):
        raise UsageError("policy.toml: 'define' must be a table of expressions")
    definitions = read_definitions(defined)
    situations = read_toml(read_file(folder, "situations.toml", needed=False), "situations.toml")
    return head, Surroundings(schema, definitions, situations, now if isinstance(now, dt.datetime) else None)


def read_policy(folder: Path) -> WrittenPolicy:
    """Read the policy in *folder*, with its rules. Raises :class:`UsageError`, which names the file."""
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
        database=_shelves(head.get("database", {})),
    )


def _shelves(written: Any) -> Mapping[str, Shelf]:
    try:
        return {name: Shelf(str(at["tool"]), str(at["key"])) for name, at in written.items()}
    except (AttributeError, KeyError, TypeError) as error:
        says = 'policy.toml: \'database\' must be a table such as orders = { tool = "get_order", key = "id" }'
        raise UsageError(says) from error


def inner_folder(folder: Path, name: str, *, make: bool = False) -> Path:
    """Return the folder *name* of a policy. Raises :class:`UsageError` where it is a link that leads elsewhere."""
    inner = folder / name
    if inner.resolve().parent != folder.resolve():
        raise UsageError(f"{str(inner)!r} leads out of the policy's folder")
    if make:
        inner.mkdir(exist_ok=True)
    return inner


def rule_files(folder: Path) -> list[str]:
    """Return the names of the files of rules in *folder*, in order. Raises :class:`UsageError` beyond the limit."""
    inner = inner_folder(folder, "rules")
    found = sorted(path.name for path in inner.glob("*.toml")) if inner.is_dir() else []
    if len(found) > limits.RULES:
        raise UsageError(f"{len(found)} rules: {limits.RULES} at most")
    return found


def _rule(folder: Path, name: str, around: Surroundings) -> Rule:
    rule = read_rule(read_file(folder / "rules", name), around, f"rules/{name}")
    if f"{rule.id}.toml" != name:
        raise UsageError(f"rules/{name}: its id is {rule.id!r}, so the file must be rules/{rule.id}.toml")
    return rule


def _time(written: Any) -> dt.datetime | Literal["clock"] | None:
    if written is None or written == "clock":
        return written  # type: ignore[no-any-return]
    try:
        found = dt.datetime.fromisoformat(str(written))
    except ValueError as error:
        raise UsageError(f"policy.toml: now={str(written)[:60]!r} is no time, and not 'clock'") from error
    if found.tzinfo is not None:  # times of the data have none, and the two cannot be compared
        raise UsageError(f"policy.toml: now={str(written)[:60]!r} names a time zone: write it in that of the data")
    return found


def read_database(policy: WrittenPolicy, folder: Path) -> State:
    """Return the state that the database in *folder* says: tables ``NAME.json`` or ``NAME.json.gz``.

    Raises :class:`UsageError`.
    """

    def calls() -> Iterator[MadeCall]:
        for name, shelf in policy.database.items():
            for key, record in _records(folder, name).items():
                yield MadeCall(shelf.tool, {shelf.key: key}, record)

    if not policy.database:
        raise UsageError(f"policy {policy.name!r} has no [database] in its policy.toml, so it can read none")
    return load(calls(), policy.learnings, policy.schema)


def _records(folder: Path, name: str) -> Mapping[str, Any]:
    plain, packed = folder / f"{name}.json", folder / f"{name}.json.gz"
    path = plain if plain.exists() else packed
    try:
        data = path.read_bytes()
        return msgspec.json.decode(gzip.decompress(data) if path == packed else data, type=dict[str, Any])
    except (OSError, EOFError, zlib.error, msgspec.MsgspecError) as error:
        raise UsageError(f"the table {name!r} cannot be read from {str(folder)!r}: {error}") from error
