"""Finds the tests for Python code in the text of a task."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

_LONGEST = 200_000
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})((?![`~])[^\n`]*)$", re.MULTILINE)
_ASSERT = re.compile(r"^[ \t>]*(?=assert[ \t(])", re.MULTILINE)
_MOST_LINES = 30
_RETURN = re.compile(r"^[ \t]*(?:return|yield)\b", re.MULTILINE)
_DEFINES = re.compile(r"^(?:async )?(?:def|class) ", re.MULTILINE)
_PYTHON_2 = re.compile(r"\bpython ?2(?:\.\d)?\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Given:
    """The tests in the text of a task, and the code in it."""

    programs: tuple[str, ...] = ()
    """Programs with asserts that must all hold."""
    sessions: tuple[str, ...] = ()
    """Texts with examples such as ``>>> f(2)``."""
    code: frozenset[str] = frozenset()
    """The fenced blocks in the task. An answer may quote one; a quoted block is not judged."""
    python_2: bool = False
    stub: str = ""
    """The beginning of a function that the answer is to complete, with the code before it."""


def read_given(text: str) -> Given:
    text = text[:_LONGEST]
    programs: list[str] = []
    sessions: list[str] = []
    code: set[str] = set()
    for piece, fenced in _pieces(text):
        if fenced:
            code.add(bare(piece))
        if fenced and _has_asserts(piece):
            programs.append(piece)
        else:
            programs.extend(_asserts(piece))
        if ">>>" in piece:
            sessions.append(piece)
    python_2 = _PYTHON_2.search(text) is not None
    return Given(tuple(programs), tuple(sessions), frozenset(code), python_2, _stub_in(text))


def _stub_in(text: str) -> str:
    # The code before the function is included; docstrings and comments are left out.
    pieces = [piece for piece, fenced in _pieces(text) if fenced] or [text]
    for piece in reversed(pieces):
        if "def " in piece and (stub := _unfinished(piece)):
            return stub
    return ""


def _unfinished(piece: str) -> str:
    tree = parsed(piece) or parsed(f"{piece.rstrip()}\n    pass\n")
    last = tree.body[-1] if tree is not None and tree.body else None
    if not isinstance(last, ast.FunctionDef) or not all(map(_says_nothing, last.body)):
        return ""
    # Its docstring stays outside, since it holds expected values of examples.
    last.body = [ast.Pass()]
    written = ast.unparse(ast.fix_missing_locations(ast.Module(tree.body, []))) if tree is not None else ""
    return written.removesuffix("    pass")


def _says_nothing(node: ast.stmt) -> bool:
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def completed(stub: str, code: str) -> tuple[str, int]:
    # `stub` is put before `code` if `code` seems to be only the body of its function. The number counts the added
    # lines.
    first = next((line for line in code.split("\n") if line.strip()), "")
    indented = first[:1] in (" ", "\t")
    if not stub or not (indented or (_RETURN.search(code) and not _DEFINES.search(code))):
        return code, 0
    # A body that fits stays as it is: functions may follow it, and a text in it may have several lines.
    fits = first.startswith("    ") and not first[4:5].isspace()
    body = code if fits else textwrap.indent(textwrap.dedent(code), "    ")
    return stub + body, stub.count("\n")


def bare(code: str) -> str:
    # Two blocks that differ only in empty lines and in blanks at line ends count as the same code.
    return "\n".join(line.rstrip() for line in code.strip().splitlines() if line.strip())


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    # A block that is not closed counts as none.
    at = 0
    fence = ""
    for match in _FENCE.finditer(text):
        if fence and not (match[1].startswith(fence) and not match[2].strip()):
            continue
        yield text[at : match.start()], bool(fence)
        fence = "" if fence else match[1]
        at = match.end() + 1
    yield text[at:], False


def _has_asserts(piece: str) -> bool:
    tree = parsed(piece)
    return tree is not None and any(isinstance(node, ast.Assert) for node in ast.walk(tree))


def _asserts(piece: str) -> Iterator[str]:
    reached = 0
    for match in _ASSERT.finditer(piece):
        if match.end() < reached:
            continue
        lines = piece[match.end() : match.end() + 4000].split("\n")[:_MOST_LINES]
        for count in range(1, len(lines) + 1):
            statement = "\n".join(lines[:count])
            if parsed(statement) is not None:
                reached = match.end() + len(statement)
                yield statement
                break
            if not _may_go_on(statement):
                break


def _may_go_on(statement: str) -> bool:
    return sum(map(statement.count, "([{")) > sum(map(statement.count, ")]}"))


def parsed(code: str) -> ast.Module | None:
    # A third party may have written the task, and brackets or signs nested this deep can crash the parser.
    if code.count("(") + code.count("[") + code.count("{") > 5_000 or re.search(r"[-~+(\[{]{100}", code):
        return None
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
