"""Patterns in tests that make them slow, or that fail on a busy machine: found in their syntax trees.

``python -m tests.architecture.patience`` prints what it finds.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1]
CLOCKS = {"monotonic", "perf_counter", "time", "monotonic_ns", "perf_counter_ns"}
"""Functions that read the time of the wall. The time of a thread or a process does not depend on other load.
``anyio.current_time`` is left out, because it is virtual in most tests."""
SHORT_SECONDS = 4.0
"""An upper bound on elapsed time that is lower than this fails on a busy machine."""
SHORT_LIMITS = range(1, 30)
"""A machine may stop a thread or a process for seconds. A limit of this many seconds fails then, if what it limits must
happen; one that must run out is a fraction of a second."""
LIMITED = {"fail_after", "wait", "join", "settimeout"}
"""Functions whose first argument is a limit of time."""
LONG_SLEEP_SECONDS = 0.5
"""A longer sleep of a thread is waiting for nothing."""
READS = {"count", "inner_text", "text_content", "is_visible", "all_inner_texts", "input_value"}
"""Methods of Playwright that read a page as it is at this moment. ``expect`` waits."""


class Impatience(NamedTuple):
    """A pattern in a test, and the function that has it."""

    file: str
    function: str
    line: int
    what: str


def impatient_places() -> Iterator[Impatience]:
    for path in sorted(TESTS.rglob("test_*.py")):
        file = str(path.relative_to(TESTS))
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        inner = {id(below) for each in functions for below in ast.walk(each) if below is not each}
        for function in functions:
            if id(function) not in inner:
                yield from (Impatience(file, function.name, line, what) for line, what in judge(function, file))


def judge(function: ast.AST, file: str = "") -> Iterator[tuple[int, str]]:
    elapsed = _elapsed_names(function)
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            for compare in (each for each in ast.walk(node.test) if isinstance(each, ast.Compare)):
                if _is_short_bound(compare, elapsed):
                    yield compare.lineno, "an upper bound on elapsed time"
            if file.startswith("view/"):
                for call in (each for each in ast.walk(node.test) if isinstance(each, ast.Call)):
                    if isinstance(call.func, ast.Attribute) and call.func.attr in READS and not call.args:
                        yield call.lineno, f"{call.func.attr}() of a page in an assert, which does not wait"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep":
            seconds = node.args[0]
            if isinstance(seconds, ast.Constant) and seconds.value > LONG_SLEEP_SECONDS:
                yield node.lineno, "a long sleep"
        elif _is_short_limit(node):
            yield node.lineno, "a limit of less than 30 s"
        for body in _bodies(node):
            for first, second in pairwise(body):
                if _sleeps(first) and isinstance(second, ast.Assert):
                    yield second.lineno, "an assert straight after time.sleep"


def _is_short_limit(node: ast.AST) -> bool:
    given: list[ast.expr] = []
    match node:
        case ast.Call(func=ast.Attribute(attr=name), args=[first, *_]) if name in LIMITED:
            given = [first]
        case ast.keyword(arg="timeout", value=value):
            given = [value]
        case ast.Assign(targets=[ast.Name(id="until" | "deadline" | "end")], value=ast.BinOp(op=ast.Add()) as total):
            given = [total.right] if _reads_clock(total.left) else []
        case _:
            pass
    return any(isinstance(each, ast.Constant) and _is_short(each.value) for each in given)


def _is_short(value: object) -> bool:
    return isinstance(value, int | float) and SHORT_LIMITS.start <= value < SHORT_LIMITS.stop


def _bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        body = getattr(node, name, None)
        if isinstance(body, list):
            yield body


def _sleeps(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and ast.unparse(statement.value).startswith("time.sleep(")


def _reads_clock(node: ast.AST) -> bool:
    return any(
        isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) and each.func.attr in CLOCKS
        for each in ast.walk(node)
    )


def _is_difference(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and _reads_clock(node)


def _elapsed_names(function: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and any(_is_difference(each) for each in ast.walk(node.value)):
            names |= {each.id for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name)}
    return names


def _is_short_bound(compare: ast.Compare, elapsed: set[str]) -> bool:
    sides = [compare.left, *compare.comparators]
    for (left, right), operator in zip(pairwise(sides), compare.ops, strict=True):
        small, large = (left, right) if isinstance(operator, ast.Lt | ast.LtE) else (right, left)
        is_elapsed = any(
            _is_difference(each) or (isinstance(each, ast.Name) and each.id in elapsed) for each in ast.walk(small)
        )
        if not is_elapsed or not isinstance(operator, ast.Lt | ast.LtE | ast.Gt | ast.GtE):
            continue
        if not isinstance(large, ast.Constant) or large.value < SHORT_SECONDS:
            return True
    return False


if __name__ == "__main__":
    for each in impatient_places():
        print(f"tests/{each.file}:{each.line}: {each.function}: {each.what}")
