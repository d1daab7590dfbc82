"""A rule from the text of its file. The text may come from a model: it is read within limits, and nothing is run."""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from interwhen.errors import UsageError
from interwhen.policy import limits
from interwhen.policy.defining import Definitions, read_definitions, write_out
from interwhen.policy.example_reading import read_examples
from interwhen.policy.kinds import Kind
from interwhen.policy.messages import read_message
from interwhen.policy.nodes import Node
from interwhen.policy.parser import parse
from interwhen.policy.rules import Rule, kinds_in
from interwhen.policy.schemas import Moment, Schema

_KEYS = frozenset(
    (
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
    )
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a rule is read in: its schema, the definitions it may use, and situations for its examples."""

    schema: Schema
    definitions: Definitions = field(default_factory=dict)
    situations: Mapping[str, Any] = field(default_factory=dict)
    now: dt.datetime | None = None


def read_toml(text: str, what: str) -> dict[str, Any]:
    """Read TOML within the limits. Raises :class:`UsageError`, which names *what*."""
    if len(text.encode(errors="surrogatepass")) > limits.FILE_BYTES:
        raise UsageError(f"{what}: larger than {limits.FILE_BYTES:,} bytes")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{what}: it is no TOML ({str(error)[:200] or 'nested too deeply'})") from error


def read_rule(text: str, around: Surroundings, what: str = "the rule") -> Rule:
    """Read a rule from the text of its file. Raises :class:`UsageError`, which names *what*.

    It is read, but not checked: see :func:`interwhen.policy.rules.problems_of` and the admission.
    """
    hidden = next((char for char in text if not char.isprintable() and char not in "\n\r\t"), None)
    if hidden is not None:  # such as one that turns the direction of writing: it would mislead whoever reviews the rule
        raise UsageError(f"{what}: it holds the character {hidden!r}, which cannot be seen")
    written = read_toml(text, what)
    try:
        return _rule(written, around)
    except UsageError as error:
        raise UsageError(f"{what}: {error}"[:800]) from error


def _rule(written: Mapping[str, Any], around: Surroundings) -> Rule:
    strange = set(written) - _KEYS
    if strange:
        raise UsageError(
            f"unknown entries {', '.join(map(repr, sorted(strange)))[:200]}; known: {', '.join(sorted(_KEYS))}"
        )
    rule_id = checked_id(_text(written, "id"))
    moment = written.get("moment", "before")
    if moment not in get_args(Moment):
        raise UsageError(f"moment={moment!r:.60}: choose one of {', '.join(get_args(Moment))}")
    own = written.get("define", {})
    if not isinstance(own, Mapping) or not all(isinstance(body, str) for body in own.values()):
        raise UsageError("'define' must be a table of expressions")
    definitions = {**around.definitions, **read_definitions(own)}
    tools = _texts(written.get("tools", []), "tools")
    require = _expression(written, "require", None, definitions)
    why, witness = (read_message(_text(written, key), definitions) for key in ("why", "witness"))
    kinds: dict[Node, Kind] = kinds_in((why, witness), around.schema, tools[0] if tools else None, moment)
    return Rule(
        id=rule_id,
        clauses=_clauses(written.get("clause")),
        tools=tools,
        when=_expression(written, "when", "true", definitions),
        require=require,
        why=why,
        witness=witness,
        moment=cast("Moment", moment),
        examples=read_examples(written, around.schema, around.situations, around.now, tools),
        kinds=kinds,
        origin=str(written.get("origin", "")),
    )


def checked_id(text: str) -> str:
    """Return *text* if it may be the id of a rule, and so the name of a file. Raises :class:`UsageError`."""
    if len(text) > limits.ID_CHARACTERS or limits.ID.fullmatch(text) is None:
        raise UsageError(
            f"{text!r:.80} is no id: small letters and digits, with - between words, {limits.ID_CHARACTERS} at most"
        )
    return text


def _clauses(written: Any) -> tuple[str, ...]:
    found = _texts([] if written is None else [written] if isinstance(written, str) else written, "clause")
    if not found or not all(clause.strip() for clause in found):
        raise UsageError("'clause' must quote the policy: a text, or a list of texts")
    return found


def _text(written: Mapping[str, Any], key: str) -> str:
    found = written.get(key)
    if not isinstance(found, str) or not found.strip():
        raise UsageError(f"{key!r} must be a text, not {found!r:.80}")
    return found


def _texts(written: Any, key: str) -> tuple[str, ...]:
    if not isinstance(written, list) or not all(isinstance(part, str) for part in written):
        raise UsageError(f"{key!r} must be a list of texts, not {written!r:.80}")
    return tuple(written)


def _expression(written: Mapping[str, Any], key: str, default: str | None, definitions: Definitions) -> Node:
    text = _text(written, key) if default is None or key in written else default
    try:
        return write_out(parse(text), definitions)
    except UsageError as error:
        raise UsageError(f"{key}: {error}") from error
