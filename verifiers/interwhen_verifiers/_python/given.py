"""What a task gives to test Python code with: programs with asserts, and sessions of an interpreter."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

_LONGEST = 200_000
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})((?![`~])[^\n`]*)$", re.MULTILINE)
_ASSERT = re.compile(r"^[ \t>]*(?=assert[ \t(])", re.MULTILINE)
_MOST_LINES = 30
_PYTHON_2 = re.compile(r"\bpython ?2(?:\.\d)?\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Given:
    """The tests of a task, and what else matters of it."""

    programs: tuple[str, ...] = ()
    """Programs with asserts that must all hold."""
    sessions: tuple[str, ...] = ()
    """Texts with examples such as ``>>> f(2)``, each followed by what must come out."""
    code: frozenset[str] = frozenset()
    """The code in the task, which an answer may quote: it is nobody's answer."""
    python_2: bool = False


def read_given(text: str) -> Given:
    """Return the tests that stand in the *text* of a task. Linear in its length."""
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
    return Given(tuple(programs), tuple(sessions), frozenset(code), _PYTHON_2.search(text) is not None)


def bare(code: str) -> str:
    """Return *code* as it is compared with other code: without blanks that say nothing."""
    return "\n".join(line.rstrip() for line in code.strip().splitlines() if line.strip())


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the parts of *text*, and whether each is a fenced block."""
    at = 0
    fence = ""
    for found in _FENCE.finditer(text):
        if fence and not (found[1].startswith(fence) and not found[2].strip()):
            continue
        yield text[at : found.start()], bool(fence)
        fence = "" if fence else found[1]
        at = found.end() + 1
    yield text[at:], False


def _has_asserts(piece: str) -> bool:
    tree = _parsed(piece)
    return tree is not None and any(isinstance(node, ast.Assert) for node in ast.walk(tree))


def _asserts(piece: str) -> Iterator[str]:
    """Yield the assert statements that stand in running text, each of one line or of several."""
    reached = 0
    for found in _ASSERT.finditer(piece):
        if found.end() < reached:
            continue
        lines = piece[found.end() : found.end() + 4000].split("\n")[:_MOST_LINES]
        for count in range(1, len(lines) + 1):
            statement = "\n".join(lines[:count])
            if _parsed(statement) is not None:
                reached = found.end() + len(statement)
                yield statement
                break
            if not _may_go_on(statement):
                break


def _may_go_on(statement: str) -> bool:
    return sum(map(statement.count, "([{")) > sum(map(statement.count, ")]}"))


def _parsed(code: str) -> ast.Module | None:
    # The task is the user's, not the model's; but a stranger may have written it, too.
    if code.count("(") + code.count("[") + code.count("{") > 5_000 or re.search(r"[-~+(\[{]{100}", code):
        return None
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
