"""Turns reports on code into verdicts."""

from __future__ import annotations

import re
import sys
import typing
from typing import Any

from interwhen import Pass, Span, Unknown, Verdict, Violation
from interwhen.sandbox import Crashed, Denied, Limited, Outcome

from interwhen_verifiers._blocks import line_span

Told = dict[str, Any]

_FRAGMENT = re.compile(
    r"outside (?:async )?function|outside loop|not properly in loop|unexpected indent|expected an indented block"
    r"|outside (?:of )?(?:a )?class|nonlocal declaration not allowed|from __future__ imports must"
)
"""Syntax errors of code that may be a fragment, or a template that somebody must fill in."""
_NEWER = re.compile(
    r"""\b[rRbB]?[fFtT][rRbB]?["']|^\s*(?:type\s+\w|(?:async\s+)?def\s+\w+\[|class\s+\w+\[|except\b.*,)""", re.MULTILINE
)
"""Syntax that newer versions of Python read, and older ones may not."""
_NEWEST = (3, 14)
_SHELL = re.compile(r"^\s*(?:[!%]|>>> |In \[\d+\]|\$ |\?)", re.MULTILINE)
"""A session of a shell or a notebook, which is not a program."""
_ELSEWHERE = frozenset(("ImportError", "OSError", "EOFError", "MemoryError"))
"""Errors that the sandbox may cause: it has no packages, files or input."""
_IMPORTED = sys.stdlib_module_names | set(typing.__all__)
"""Names of the standard library. No later block will define them: the block that uses a name must import it."""
_WORDS = {
    "Eq": "not what it must be",
    "NotEq": "what it must not be",
    "Is": "not what it must be",
    "IsNot": "what it must not be",
}


def verdict_of(told: Told | Outcome, code: str, starts: tuple[int, ...], end: int, *, late: str) -> Verdict:
    """Return the verdict on *code* that follows from *told*, a report of the harness or an outcome of the sandbox.

    *starts* are the offsets of the lines of *code*, and *end* is the end of the claim. *late* is the verdict on a
    program that takes too long.
    """
    match told:
        case dict():
            return _verdict(told, code, starts, end)
        case Limited(which="seconds" | "cpu_seconds" as which):
            if late == "violation":
                return Violation(why="it does not come to an end in the time that is given")
            return Unknown(f"the code reached the limit of {which}")
        case Limited(which=which):
            return Unknown(f"the code reached the limit of {which}")
        case Denied(what=what):
            return Unknown(f"the code tried what the sandbox does not allow: {what}")
        case Crashed(reason=reason):
            return Unknown(f"the code could not be run to its end: {reason}")
        case _:
            return Unknown("the code ended before its tests did")


def _verdict(told: Told, code: str, starts: tuple[int, ...], end: int) -> Verdict:
    match told["kind"]:
        case "syntax":
            return _syntax(told, code, starts, end)
        case "failed":
            return _failed(told, starts, end)
        case "raised" if told.get("defined"):
            return Unknown(f"its tests hold, and it cannot be run as it stands: {told['error']}: {told['message']}")
        case "raised":
            return _raised(told, f"{told['what']} cannot be run", starts, end)
        case "passed" | "compiled":
            return _passed(told)
        case _:
            return Unknown(f"the code could not be read: {told.get('message', '')}")


def _passed(told: Told) -> Verdict:
    done = [f"{told[kind]} {kind}" for kind in ("asserts", "examples") if told.get(kind)]
    if told.get("unreached"):
        so_far = f", {' and '.join(done)} hold" if done else ""
        return Unknown(f"it compiles{so_far}, and {told['unreached']} asserts cannot be judged outside of its process")
    if done:
        return Pass(f"it compiles, and {' and '.join(done)} hold", scope="answer" if told.get("of_task") else "steps")
    if told.get("unclear"):
        return Unknown("it compiles; of its examples none could be judged")
    if told["wanted"] and not told["elsewhere"]:
        return Unknown(f"it compiles, and does not define what the tests call: {', '.join(told['wanted'])[:100]}")
    return Unknown("it compiles; there was no test of it, so it was not run")


def _syntax(told: Told, code: str, starts: tuple[int, ...], end: int) -> Verdict:
    message, line = told["message"], told["line"] or 0
    if _SHELL.search(code):
        return Unknown("it is a session or a notebook, not a program")
    if _FRAGMENT.search(message):
        return Unknown(f"it may be a part of something: {message}")
    around = "\n".join(code.splitlines()[max(line - 2, 0) : line])
    if tuple(told["version"]) < _NEWEST and _NEWER.search(around):
        return Unknown(f"it may be the syntax of a newer Python: {message}")
    given = max(starts.count(0) - 1, 0)  # lines of the task's stub: all have the offset of the claim's start
    where = _where(starts, end, line)
    return Violation(why=f"line {max(line - given, 1)} of that code is not valid Python: {message}", where=where)


def _failed(told: Told, starts: tuple[int, ...], end: int) -> Verdict:
    test = told["test"]
    kind = "the example" if told.get("example") else "the test"
    line = next((at for name, at in told["lines"].items() if re.search(rf"\b{re.escape(name)}\(", test)), 0)
    if "raised" in told:
        return _raised(told["raised"], f"{kind} {test} fails", starts, end)
    values, relation = told["values"], told["relation"]
    where = _where(starts, end, line)
    if len(values) == 2:
        why = f"{kind} of {test} fails: it is {values[0]}, {_WORDS.get(relation, 'which does not hold')}"
        return Violation(why=why, witness=f"{test} is {values[0]}, and {_demand(relation)} {values[1]}", where=where)
    return Violation(why=f"{kind} {test} fails: {told['call']} is {values[0]}", where=where)


def _demand(relation: str) -> str:
    return (
        "must be"
        if relation in ("Eq", "Is")
        else "must not be"
        if relation in ("NotEq", "IsNot")
        else "is held against"
    )


def _raised(error: Told, what: str, starts: tuple[int, ...], end: int) -> Verdict:
    name, message = error["error"], error["message"]
    said = f"{name}: {message}" if message else name
    kinds = set(error["kinds"])
    if error["error"] == "NameError" and error["name"] not in _IMPORTED:
        return Unknown(f"{what}, unless a later block defines what is missing: {said}")
    if kinds & _ELSEWHERE or "Exception" not in kinds:
        return Unknown(f"{what}, for a reason that may lie outside of it: {said}")
    return Violation(why=f"{what}: {said}", where=_where(starts, end, error["line"]))


def _where(starts: tuple[int, ...], end: int, line: int) -> Span | None:
    found = line_span(starts, end, line)
    return found if found is not None and len(found) else None
