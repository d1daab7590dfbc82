"""Verina (Ye et al., 2025): tasks with expected and unexpected values, written as Python functions that return them.

The tasks are written for Lean. This module translates the values that have a counterpart in Python.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interwhen.testing import Label, LabelledTrace, Turn

from interwhen_verifiers.traces._records import records

_ABSENT = object()
_Row = tuple[tuple[Any, ...], Any, list[Any]]
"""The arguments of a call, the value that it must return, and values that it must not return."""


def verina(path: Path) -> Iterator[LabelledTrace]:
    """Yield the traces of the tasks at *path*: the file, or the folder with the file ``verina.jsonl.gz``.

    A function that returns all expected values of a task is ``right``; one that returns an unexpected value is
    ``wrong``. Tests and tasks that have no counterpart in Python are left out.
    """
    for record in records(path, "verina.jsonl.gz"):
        yield from _traces(record)


def _traces(record: dict[str, Any]) -> Iterator[LabelledTrace]:
    name = record["signature"]["name"]
    rows = _rows(record)
    if not name.isidentifier() or not rows:
        return
    tests = "\n".join(f"assert {name}({', '.join(map(repr, arguments))}) == {value!r}" for arguments, value, _ in rows)
    prompt = f"Write a Python function {name}.\n\n{record['description']}\n\n```python\n{tests}\n```\n"
    expected = [(arguments, value) for arguments, value, _ in rows]
    yield _trace(f"{record['id']}/expected", name, prompt, expected, "right")
    for at, (arguments, value, unexpected) in enumerate(rows):
        wrong = next((other for other in unexpected if other != value), _ABSENT)
        if wrong is not _ABSENT:
            table = [*expected[:at], (arguments, wrong), *expected[at + 1 :]]
            yield _trace(f"{record['id']}/unexpected-{at}", name, prompt, table, "wrong")


def _trace(
    name: str, function: str, prompt: str, table: list[tuple[tuple[Any, ...], Any]], label: Label
) -> LabelledTrace:
    rows = "".join(f"        {repr(arguments)!r}: {value!r},\n" for arguments, value in table)
    code = f"def {function}(*arguments):\n    table = {{\n{rows}    }}\n    return table[repr(arguments)]\n"
    return LabelledTrace(name=name, turns=(Turn(prompt=prompt, text=f"```python\n{code}```\n"),), label=label)


def _rows(record: dict[str, Any]) -> list[_Row]:
    signature = record["signature"]
    types = {parameter["param_name"]: parameter["param_type"] for parameter in signature["parameters"]}
    found: dict[str, _Row] = {}
    for test in record["tests"]:
        arguments = [_value(value, types.get(name, "")) for name, value in test["input"].items()]
        expected = _value(test["expected"], signature["return_type"])
        unexpected = [_value(value, signature["return_type"]) for value in test["unexpected"]]
        if expected is _ABSENT or _ABSENT in arguments:
            continue
        found[repr(arguments)] = (tuple(arguments), expected, [value for value in unexpected if value is not _ABSENT])
    return list(found.values())


def _value(value: Any, kind: str) -> Any:
    """Return *value*, of the Lean type *kind*, as a Python value; ``_ABSENT`` where none is known."""
    if not isinstance(value, str) or kind.strip() in ("String", "Char"):
        return value
    if value in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[value]
    try:
        return ast.literal_eval(value.removeprefix("some ").replace("#[", "["))
    except (ValueError, SyntaxError):
        return _ABSENT
