"""Where a value stands in what a tool said: as the whole value of a field, or somewhere in prose."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

_KEY = re.compile(r"(?P<indent> *)(?P<dash>(?:- )*)(?P<key>[\w.-]{1,60}): ?(?P<value>.*)")
_BLOCK = re.compile(r"[|>][+-]?\d?")
_DEEPEST = 50


def fields(text: str) -> Iterator[tuple[str, str]] | None:
    """Return the fields of *text* with their values, where all of it is JSON or simple YAML; ``None`` where it is not.

    Somebody who controls a value controls no field: what stands inside a quoted text is never taken for one.
    """
    text = text.strip()
    if text[:1] in ("{", "["):
        try:
            return _walk(msgspec.json.decode(text), "", 0)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None
    found = _yaml(text)
    return None if found is None else iter(found)


def _walk(value: Any, name: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk(inner, str(key), depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner, name, depth + 1)
    elif isinstance(value, str | int | float):
        yield name, str(value)


def _yaml(text: str) -> list[tuple[str, str]] | None:
    """Read a block of ``key: value`` lines, as YAML dumpers write them: nested by indentation, texts quoted."""
    found: list[tuple[str, str]] = []
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if not line.strip():
            continue
        match = _KEY.fullmatch(line)
        if match is None:
            return None
        value, indent = match["value"].strip(), len(match["indent"])
        if value[:1] in ("'", '"'):
            quoted, at = _quoted(lines, at, value)
            if quoted is None:
                return None
            found.append((match["key"], quoted))
        elif _BLOCK.fullmatch(value):
            start = at
            while at < len(lines) and (not lines[at].strip() or _indent(lines[at]) > indent):
                at += 1
            found.append((match["key"], "\n".join(lines[start:at])))
        else:
            at, value = _folded(lines, at, indent + len(match["dash"]), value)
            if value:
                found.append((match["key"], value))
    return found or None


def _quoted(lines: list[str], at: int, value: str) -> tuple[str | None, int]:
    """Return the text that begins with the quote of *value*, and the line behind it; ``None`` where it does not end."""
    parts: list[str] = []
    mark, rest = value[0], value[1:]
    while True:
        end = _end_of(rest, mark)
        if end is not None:
            # Nothing may stand behind the quote: else it is no quoted text.
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
    """Return a plain value with the lines that it was folded into."""
    parts = [value]
    while value and at < len(lines) and _indent(lines[at]) > indent and _KEY.fullmatch(lines[at]) is None:
        parts.append(lines[at].strip())
        at += 1
    return at, " ".join(parts)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
