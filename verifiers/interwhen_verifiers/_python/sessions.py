"""Reads examples such as ``>>> f(2)`` with their output. The sandbox runs them; this module compares the output."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any, Literal

from interwhen_verifiers._python.cases import Question, Reader, read_names
from interwhen_verifiers._python.given import parsed
from interwhen_verifiers._python.values import NotPlainError, holds_opaque

_MOST = 60


@dataclass(frozen=True, slots=True)
class Example:
    """One example of a docstring or a task: a statement after ``>>>``, and the output that is written below it."""

    shown: str
    question: Question
    want: str
    own: bool = False
    """Whether it comes from the code, and so does not count as a test of the task."""


def examples_of(text: str, names: frozenset[str]) -> list[Example]:
    """Return the examples in *text* that use one of *names*, each with those earlier statements that it needs."""
    reader = Reader(names)
    found: list[Example] = []
    for source, want in _split(text):
        tree = parsed(source)
        if tree is None:
            continue
        match tree.body:
            case [ast.Expr(value=value)]:
                if read_names(value) & names and len(found) < _MOST:
                    steps = reader.needed(read_names(value))
                    setup = "\n".join(ast.unparse(step.node) for step in steps)
                    found.append(Example(source, Question(setup, ast.unparse(value)), want))
            case _:
                pass
        for node in tree.body:
            reader.keep(node)
    return found


def _split(text: str) -> list[tuple[str, str]]:
    """Return the examples ``>>> source`` of *text*, each with the lines that should follow."""
    found: list[tuple[str, str]] = []
    source: list[str] = []
    want: list[str] = []
    for line in [*text.expandtabs().splitlines(), ">>>"]:
        bare = line.strip()
        if bare == ">>>" or bare.startswith(">>> "):
            if source:
                found.append(("\n".join(source), "\n".join(want)))
            source, want = ([bare[4:]] if bare[4:] else []), []
        elif source and not want and (bare == "..." or bare.startswith("... ")):
            source.append(line.strip()[4:])
        elif source and bare and bare not in ('"""', "'''"):
            want.append(bare)
        elif source:
            found.append(("\n".join(source), "\n".join(want)))
            source, want = [], []
    return found


def compared(want: str, value: Any, shown: str, printed: str) -> Literal["held", "unclear"] | tuple[str, str]:
    """Compare the result of an example with *want*, the expected output; where they differ, return both as texts.

    *value* is the result, *shown* is its ``repr``, and *printed* is the text that the example printed.
    """
    if not want:
        return "unclear"
    if printed.split() == want.split() or (value is not None and shown.split() == want.split()):
        return "held"
    if parsed(want) is None:
        return "unclear"
    try:
        expected = ast.literal_eval(want)
        got = value
        if printed.strip():
            if parsed(printed.strip()) is None:
                return "unclear"
            got = ast.literal_eval(printed.strip())
        if holds_opaque(got):
            return "unclear"
        same = got == expected or _rounds(got, expected, want)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError, NotPlainError):
        return "unclear"
    return "held" if same else (repr(got), repr(expected))


def _rounds(got: object, expected: object, want: str) -> bool:
    if not (isinstance(got, int | float) and isinstance(expected, float) and not isinstance(got, bool)):
        return False
    digits = len(want.partition(".")[2])
    return abs(got - expected) <= 10.0**-digits
