"""The conversation before a call: messages, earlier calls and their results."""

from __future__ import annotations

import ast
import contextlib
import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import msgspec
from interwhen import Message, Task, ToolCall
from interwhen.toolkit.tool_calls import CallReader


@dataclass(frozen=True)
class PastCall:
    """An earlier call, with its result."""

    name: str
    arguments: Mapping[str, Any]
    """Empty where they were not a JSON object."""
    result: str | None
    """``None``: not known (yet)."""
    at: int
    """The number of the message that made the call; for calls of the current turn, the number of messages so far."""
    result_at: int | None = None
    """The number of the message with the result."""

    @cached_property
    def value(self) -> Any:
        try:
            decoded = msgspec.json.decode(self.result or "")
            json.loads(self.result or "", object_pairs_hook=_unique, parse_int=str, parse_float=str)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None
        return decoded


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name is in an object twice")
    return members


@dataclass(frozen=True)
class History:
    """The messages and calls before a call."""

    messages: tuple[Message, ...] = ()
    calls: tuple[PastCall, ...] = field(default=())
    """The calls of earlier turns, in order."""

    def texts(self, *roles: str) -> Iterator[str]:
        return (message.content for message in self.messages if message.role in roles)

    def of(self, *names: str) -> Iterator[PastCall]:
        return (call for call in self.calls if call.name in names)

    @cached_property
    def is_conversation(self) -> bool:
        # A history without any text of the assistant to the user may lack messages.
        return any(message.role == "assistant" and message.content.strip() for message in self.messages)


def read_history(task: Task) -> History:
    messages = tuple(_structured(task))
    calls: list[PastCall] = []
    waiting: list[tuple[ToolCall, int]] = []  # calls without a result, each with its index in *calls*
    for at, message in enumerate(messages):
        if message.role == "assistant" and message.calls:
            waiting = []
            for call in message.calls:
                waiting.append((call, len(calls)))
                calls.append(PastCall(call.name, values_of(call), None, at))
        elif message.role == "tool" and (number := _match(waiting, message)) is not None:
            _, place = waiting.pop(number)
            call_made = calls[place]
            calls[place] = PastCall(call_made.name, call_made.arguments, message.content, call_made.at, at)
    return History(messages, tuple(calls))


_RESULT, _RESULT_END = "<tool_response>", "</tool_response>"
_OBSERVATION = re.compile(r"\s*Observation:[ \t]*")


def _structured(task: Task) -> Iterator[Message]:
    # Calls and results of tools in the text of a message become structured data.
    reader = CallReader(task)
    asked = False
    for message in task.messages:
        if message.role == "assistant" and not message.calls:
            calls, before = reader.read(message.content)
            asked = bool(calls)
            yield Message("assistant", before, calls) if calls else message
        elif message.role == "user" and message.content.lstrip().startswith(_RESULT):
            # A template put results of tools into the turn of the user.
            for text in _between(message.content, _RESULT, _RESULT_END):
                yield Message("tool", text.strip())
        elif asked and message.role == "user" and (observed := _OBSERVATION.match(message.content)) is not None:
            yield Message("tool", message.content[observed.end() :].strip())
        else:
            yield message


def _between(text: str, opening: str, closing: str) -> Iterator[str]:
    at = text.find(opening)
    while at >= 0:
        end = text.find(closing, at)
        yield text[at + len(opening) : len(text) if end < 0 else end]
        at = text.find(opening, end) if end >= 0 else -1


def _match(waiting: Sequence[tuple[ToolCall, int]], result: Message) -> int | None:
    if not waiting or (result.call_id and all(call.id and call.id != result.call_id for call, _ in waiting)):
        return None  # it answers another call, such as a call of an earlier turn
    for number, (call, _) in enumerate(waiting):
        if call.id and call.id == result.call_id:
            return number
    for number, (call, _) in enumerate(waiting):
        if result.name and call.name == result.name:
            return number
    return 0


def values_of(call: ToolCall) -> Mapping[str, Any]:
    try:
        return call.values()
    except (ValueError, RecursionError):
        return {}


# Finds the fields of a tool's result, to tell the value of a field from words in prose.
#
# A result is read as JSON, JSON lines, a Python literal, YAML, CSV, or a table or list of Markdown, if the whole result
# has that form.

Entries: TypeAlias = list[tuple[str, str]]
"""Pairs of the name and the value of a field."""

_KEY = re.compile(
    r"(?P<indent> *)(?P<dash>(?:- )*)(?P<key>[\w.-]{1,60}|[A-Z][\w.-]{0,30}(?: [A-Z0-9][\w.-]{0,30}){1,5})"
    r": ?(?P<value>.*)"
)
_ADDRESS_KEY = re.compile(r"(?P<indent> +)(?P<key>[\w.+-]{1,60}@[\w.-]{1,60}): ?(?P<value>.*)")
"""A key that is itself data, such as an address in a map of people to roles."""
_ITEM = re.compile(r"(?P<indent> *)(?P<dash>(?:- )+)(?P<value>.*)")
_BLOCK = re.compile(r"[|>][+-]?\d?")
_FLOW = re.compile(r"\[[^\[\]{}]*\]")
_HEADER = re.compile(r"[A-Za-z][\w -]{0,40}")
_RULE = re.compile(r":?-{1,80}:?")
_POINT = re.compile(
    r"(?:[-*+] |\d{1,3}[.)] )?(?P<mark>\*\*|__)?(?P<key>[A-Za-z][\w-]{0,30}(?: [\w-]{1,30}){0,2})"
    r"(?(mark)(?::(?P=mark)|(?P=mark):)|:) (?P<value>.*)"
)
_FENCED = re.compile(r"```\w{0,20}\n(?P<inside>.*)\n```", re.DOTALL)
_DEEPEST = 50
_LONGEST_LITERAL = 50_000
"""A longer text is not read as a literal of Python, which takes far longer than JSON."""


def fields(text: str) -> Iterator[tuple[str, str]] | None:
    # A quoted value is not searched for fields, so that its author cannot add any.
    text = text.strip()
    block = _FENCED.fullmatch(text)
    if block is not None and "```" not in block["inside"]:
        text = block["inside"].strip()
    if text[:1] in ("{", "["):
        entries = _json(text) or _literal(text)
        return None if entries is None else iter(entries)
    readers: tuple[Callable[[str], Entries | None], ...] = (_yaml, _table, _csv, _points)
    for read in readers:
        known = read(text)
        if known is not None:
            return iter(known)
    return None


def _json(text: str) -> Entries | None:
    for documents in ([text], [line for line in text.split("\n") if line.strip()]):
        with contextlib.suppress(msgspec.DecodeError, UnicodeError, RecursionError):
            return [entry for document in documents for entry in _walk(msgspec.json.decode(document), "", 0)]
    return None


def _literal(text: str) -> Entries | None:
    if len(text) > _LONGEST_LITERAL:
        return None
    try:
        return list(_walk(ast.literal_eval(text), "", 0))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _walk(value: Any, name: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk(inner, str(key), depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _walk(inner, name, depth + 1)
    elif isinstance(value, str | int | float):
        yield name, str(value)


def _yaml(text: str) -> Entries | None:
    return _Yaml(text.split("\n")).read()


class _Yaml:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._at = 0
        self._found: Entries = []
        self._has_keys = False
        self._above, self._level = "", -1
        """The last key without a value beside it, and its indentation."""

    def read(self) -> Entries | None:
        while self._at < len(self._lines):
            line = self._lines[self._at]
            self._at += 1
            if line.strip() and not self._read_line(line):
                return None
        # A list of sentences is not a record; a list of names is.
        if not self._has_keys and any(value.count(" ") > 3 for _, value in self._found):
            return None
        return self._found or None

    def _read_line(self, line: str) -> bool:
        # False if `line` is no field or list item: then the whole text is not YAML.
        match = _KEY.fullmatch(line)
        if match is None and self._above and _indent(line) > self._level:
            match = _ADDRESS_KEY.fullmatch(line)
            if match is not None:
                self._found.append((self._above, match["key"]))
        if match is not None:
            self._has_keys = True
            return self._read_value(match["key"], match)
        match = _ITEM.fullmatch(line)
        if match is None or match["value"].startswith(("**", "__")):
            return False  # a point of Markdown
        return bool(match["value"].strip()) and self._read_value(self._above, match)

    def _read_value(self, name: str, match: re.Match[str]) -> bool:
        value, indent = match["value"].strip(), len(match["indent"])
        if value[:1] in ("'", '"'):
            quoted, self._at = _quoted(self._lines, self._at, value)
            if quoted is not None:
                self._found.append((name, quoted))
            return quoted is not None
        if _BLOCK.fullmatch(value):
            self._found.append((name, self._block(indent)))
        elif _FLOW.fullmatch(value):
            parts = (part.strip().strip("'\"") for part in value[1:-1].split(","))
            self._found.extend((name, part) for part in parts if part)
        else:
            dash = match.groupdict().get("dash") or ""
            self._at, value = _folded(self._lines, self._at, indent + len(dash), value)
            if value:
                self._found.append((name, value))
            else:
                self._above, self._level = name, indent
        return True

    def _block(self, indent: int) -> str:
        start = self._at
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if line.strip() and _indent(line) <= indent:
                break
            self._at += 1
        return "\n".join(self._lines[start : self._at])


def _table(text: str) -> Entries | None:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    rows = [line for line in lines if line.startswith("|") and line.endswith("|") and len(line) > 1]
    rest = [line for line in lines if not line.startswith("|")]
    if len(rows) < 3 or any(not line.startswith("#") for line in rest):
        return None
    head, rule, *body = ([cell.strip() for cell in row[1:-1].split("|")] for row in rows)
    if not all(map(_RULE.fullmatch, rule)) or not all(map(_HEADER.fullmatch, head)):
        return None
    return _of_rows(head, body)


def _csv(text: str) -> Entries | None:
    # The first line names the columns.
    first = text.partition("\n")[0]
    mark = next((mark for mark in ("\t", ";", ",") if mark in first), "")
    if not mark or "\n" not in text:
        return None
    try:
        head, *body = (row for row in csv.reader(text.split("\n"), delimiter=mark, strict=True) if row)
    except (csv.Error, ValueError):
        return None
    head = [name.strip() for name in head]
    return _of_rows(head, body) if all(map(_HEADER.fullmatch, head)) and len(set(head)) == len(head) else None


def _of_rows(head: list[str], body: list[list[str]]) -> Entries | None:
    if not body or any(len(row) != len(head) for row in body):
        return None
    return [(name, cell.strip()) for row in body for name, cell in zip(head, row, strict=True) if cell.strip()]


def _points(text: str) -> Entries | None:
    # The result is `None` if `text` has anything else, or fewer than two points.
    points: Entries = []
    for line in text.split("\n"):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _POINT.fullmatch(stripped)
        # A value that begins with a quote or as a block may continue over the next lines.
        marked = stripped[0] in "-*+_" or stripped[0].isdigit()
        if match is None or not marked or match["value"].strip()[:1] in ("'", '"', "|", ">"):
            return None
        points.append((match["key"].strip(), match["value"].strip().strip("*`")))
    return points if len(points) > 1 else None


def _quoted(lines: list[str], at: int, value: str) -> tuple[str | None, int]:
    """Return the text between quote marks, and the index in *lines* of the line after it.

    *value* begins with the opening quote mark, and *at* is the index of the next line. The text is ``None`` if it has
    no end, or more text follows.
    """
    parts: list[str] = []
    mark, rest = value[0], value[1:]
    while True:
        end = _end_of(rest, mark)
        if end is not None:
            # Text after the closing quote means that the value is not a quoted text.
            return ("\n".join([*parts, rest[:end]]) if not rest[end + 1 :].strip() else None), at
        if at == len(lines):
            return None, at
        parts.append(rest)
        rest = lines[at]
        at += 1


def _end_of(text: str, mark: str) -> int | None:
    at = 0
    while at < len(text):
        char = text[at]
        if mark == '"' and char == "\\":
            at += 2
            continue
        if char == mark:
            if mark == "'" and text[at + 1 : at + 2] == "'":
                at += 2
                continue
            return at
        at += 1
    return None


def _folded(lines: list[str], at: int, indent: int, value: str) -> tuple[int, str]:
    """Return the index after the lines that continue the unquoted *value*, and the value with these lines.

    They begin at index *at* of *lines*, and are indented more than *indent*.
    """
    parts = [value]
    while value and at < len(lines) and _indent(lines[at]) > indent and _KEY.fullmatch(lines[at]) is None:
        parts.append(lines[at].strip())
        at += 1
    return at, " ".join(parts)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
