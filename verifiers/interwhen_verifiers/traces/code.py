"""Readers of tasks to write a function: MBPP (Austin et al., 2021) and Verina (Ye et al., 2025).

The values of Verina's tasks, which are written for Lean, are translated to Python.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interwhen.testing import Label, LabelledTrace

from interwhen_verifiers.traces._records import one_turn, records

_ABSENT = object()
_Row = tuple[tuple[Any, ...], Any, list[Any]]
"""The arguments of a call, the value that it must return, and values that it must not return."""


def mbpp(path: Path) -> Iterator[LabelledTrace]:
    """Yield a trace for each completion: ``right`` if it passed the tests of its task, else ``wrong``.

    If it was not judged, or its failure may come from an earlier completion of the run, the trace is ``unclear``.
    """
    hidden: dict[str, set[str]] = {}
    for number, record in enumerate(records(path, "completions.jsonl.gz")):
        # A run evaluated all completions in one namespace: one that defines `sum`, say, may make later ones fail.
        before = hidden.setdefault(record["run"], set())
        yield _completion(record, number, _label(record, before))
        before |= _defined(record["completion"])


def _label(record: dict[str, Any], hidden: set[str]) -> Label:
    if record["is_solved"]:
        return "right"
    spoilt = hidden and hidden & {node.id for node in _nodes(record["completion"]) if isinstance(node, ast.Name)}
    return "unclear" if spoilt or record["is_solved"] is None else "wrong"


def _defined(code: str) -> set[str]:
    names = {node.name for node in _nodes(code) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return {name for name in names if hasattr(builtins, name)}


def _nodes(code: str) -> Iterator[ast.AST]:
    try:
        return ast.walk(ast.parse(code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return iter(())


def _completion(record: dict[str, Any], number: int, label: Label) -> LabelledTrace:
    prompt = (
        f"Complete this function.\n\n```python\n{record['prompt']}\n```\n\nThese tests must pass:\n\n"
        f"```python\n{record['test']}\n```\n"
    )
    text = f"```python\n{record['completion']}\n```\n"
    name = f"{record['run']}/{record['task_id']}/{number}"
    return one_turn(name, prompt, text, label)


def verina(path: Path) -> Iterator[LabelledTrace]:
    """Yield functions that return the expected values of a task (``right``), or one unexpected value (``wrong``).

    Tests and tasks that have no counterpart in Python are left out.
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
    yield _program(f"{record['id']}/expected", name, prompt, expected, "right")
    for at, (arguments, value, unexpected) in enumerate(rows):
        wrong = next((other for other in unexpected if other != value), _ABSENT)
        if wrong is not _ABSENT:
            table = [*expected[:at], (arguments, wrong), *expected[at + 1 :]]
            yield _program(f"{record['id']}/unexpected-{at}", name, prompt, table, "wrong")


def _program(
    name: str, function: str, prompt: str, table: list[tuple[tuple[Any, ...], Any]], label: Label
) -> LabelledTrace:
    rows = "".join(f"        {repr(arguments)!r}: {value!r},\n" for arguments, value in table)
    code = f"def {function}(*arguments):\n    table = {{\n{rows}    }}\n    return table[repr(arguments)]\n"
    return one_turn(name, prompt, f"```python\n{code}```\n", label)


def _rows(record: dict[str, Any]) -> list[_Row]:
    signature = record["signature"]
    types = {parameter["param_name"]: parameter["param_type"] for parameter in signature["parameters"]}
    rows: dict[str, _Row] = {}
    for test in record["tests"]:
        arguments = [_value(value, types.get(name, "")) for name, value in test["input"].items()]
        expected = _value(test["expected"], signature["return_type"])
        unexpected = [_value(value, signature["return_type"]) for value in test["unexpected"]]
        if expected is _ABSENT or _ABSENT in arguments:
            continue
        rows[repr(arguments)] = (tuple(arguments), expected, [value for value in unexpected if value is not _ABSENT])
    return list(rows.values())


def _value(value: Any, kind: str) -> Any:
    if not isinstance(value, str) or kind.strip() in ("String", "Char"):
        return value
    if value in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[value]
    try:
        return ast.literal_eval(value.removeprefix("some ").replace("#[", "["))
    except (ValueError, SyntaxError):
        return _ABSENT
