"""MBPP (Austin et al., 2021) with recorded completions: each record holds a task, its tests and a model's answer.

The recorded runs evaluated all completions in one namespace. So a completion that defines a function such as ``sum``
may have made later ones fail.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interwhen.testing import Label, LabelledTrace, Turn

from interwhen_verifiers.traces._records import records


def mbpp(path: Path) -> Iterator[LabelledTrace]:
    """Yield a trace for each completion at *path*: ``right`` if it passed the tests of its task, else ``wrong``.

    *path* is the file, or the folder with ``completions.jsonl.gz``. If a completion was not judged, or its failure may
    come from an earlier one of the run, the trace is ``unclear``.
    """
    hidden: dict[str, set[str]] = {}
    for number, record in enumerate(records(path, "completions.jsonl.gz")):
        before = hidden.setdefault(record["run"], set())
        yield _trace(record, number, _label(record, before))
        before |= _defined(record["completion"])


def _label(record: dict[str, Any], hidden: set[str]) -> Label:
    if record["is_solved"]:
        return "right"
    spoilt = hidden and hidden & {node.id for node in _nodes(record["completion"]) if isinstance(node, ast.Name)}
    return "unclear" if spoilt or record["is_solved"] is None else "wrong"


def _defined(code: str) -> set[str]:
    """Return the names of builtins that *code* defines as functions; none if *code* cannot be parsed."""
    names = {node.name for node in _nodes(code) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return {name for name in names if hasattr(builtins, name)}


def _nodes(code: str) -> Iterator[ast.AST]:
    try:
        return ast.walk(ast.parse(code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return iter(())


def _trace(record: dict[str, Any], number: int, label: Label) -> LabelledTrace:
    prompt = (
        f"Complete this function.\n\n```python\n{record['prompt']}\n```\n\nThese tests must pass:\n\n"
        f"```python\n{record['test']}\n```\n"
    )
    text = f"```python\n{record['completion']}\n```\n"
    name = f"{record['run']}/{record['task_id']}/{number}"
    return LabelledTrace(name=name, turns=(Turn(prompt=prompt, text=text),), label=label)
