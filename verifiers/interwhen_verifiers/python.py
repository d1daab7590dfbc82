"""The shipped verifier ``python``: it checks that Python code blocks compile and pass the tests of the task.

The model's code is compiled and run only in a sandbox. See ``docs/verifiers/python.md``.
"""

from __future__ import annotations

import re
import sys
import typing
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

from interwhen import (
    CodeBlocks,
    Feedback,
    Monitor,
    Pass,
    Segment,
    Span,
    Task,
    Tracker,
    Unknown,
    UsageError,
    Verdict,
    Violation,
    verifier,
)
from interwhen.sandbox import Crashed, Denied, Limited, Limits, Outcome
from interwhen.toolkit import Delivery, FunctionVerifier, Level, PhaseFilter

from interwhen_verifiers._blocks import LONGEST, Source, block_source, doubtful_source, line_span, read_block
from interwhen_verifiers._factories import require_choice, require_positive
from interwhen_verifiers._python.evaluation import judge
from interwhen_verifiers._python.given import Given, bare, completed, read_given
from interwhen_verifiers._python.types import SECONDS, both, judge_types, need_mypy

Told = dict[str, Any]

_FRAGMENT = re.compile(
    r"outside (?:async )?function|outside loop|not properly in loop|unexpected indent|expected an indented block"
    r"|outside (?:of )?(?:a )?class|nonlocal declaration not allowed|from __future__ imports must"
)
"""Syntax errors of code that may be a fragment, or a template that somebody must fill in."""
_NEWER = re.compile(
    r"""\b[rRbB]?[fFtT][rRbB]?["']|^\s*(?:type\s+\w|(?:async\s+)?def\s+\w+\[|class\s+\w+\[|except\b.*,)""", re.MULTILINE
)
"""Signs of syntax that newer versions of Python read, and older ones may not."""
_NEWEST = (3, 14)
_SHELL = re.compile(r"^\s*(?:[!%]|>>> |In \[\d+\]|\$ |\?)", re.MULTILINE)
"""Signs of a session of a shell or a notebook, which is not a program."""
_SKELETON = re.compile(
    r"^[ \t]*+(?:(?:async[ \t]+)?def[ \t][^\n]*:)?[ \t]*+(?:\.\.\.|raise NotImplementedError\b[^\n#]*+)"
    r"[ \t]*+(?:#[^\n]*+)?$",
    re.MULTILINE,
)
"""A body that is left out: ``...``, or ``raise NotImplementedError``."""
_DECLARES = re.compile(r"\b(?:overload|Protocol|abstractmethod|ABC)\b")
"""Signs of code in which such a body is complete."""
_CALLED_WRONG = re.compile(
    r"\A\s*+#[^\n]{0,80}?\b(?:wrong|buggy|bug|incorrect|broken|bad|before|original|attempt|does not work"
    r"|doesn't work|fails)\b",
    re.IGNORECASE,
)
"""A first comment that calls the code wrong."""
_ELSEWHERE = frozenset(("ImportError", "OSError", "EOFError", "MemoryError"))
"""Errors that the sandbox may cause: it has no installed packages, no files of the user and no input."""
_IMPORTED = sys.stdlib_module_names | set(typing.__all__)
"""Names of standard modules, and those in ``typing``: the block that uses one must import it."""
_EQUAL, _OTHER = ("not what it must be", "must be"), ("what it must not be", "must not be")
_WORDS = {"Eq": _EQUAL, "Is": _EQUAL, "NotEq": _OTHER, "IsNot": _OTHER}
"""For each relation: what a value that breaks it is, and what it must be."""


def verdict_of(told: Told | Outcome, code: str, starts: tuple[int, ...], end: int, *, late: str) -> Verdict:
    """Return the verdict that follows from *told*, a report of the harness or an outcome of the sandbox.

    *starts* are the offsets of the lines of *code*, and *end* is the end of the claim.
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
        is_wrong, demand = _WORDS.get(relation, ("which does not hold", "is held against"))
        why = f"{kind} of {test} fails: it is {values[0]}, {is_wrong}"
        return Violation(why=why, witness=f"{test} is {values[0]}, and {demand} {values[1]}", where=where)
    return Violation(why=f"{kind} {test} fails: {told['call']} is {values[0]}", where=where)


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
    span = line_span(starts, end, line)
    return span if span is not None and len(span) else None


Late: TypeAlias = Literal["unknown", "violation"]

_LANGUAGES = frozenset(("python", "py", "python3", "py3"))
_MOST_EARLIER = 16
_RUNS = 2
"""The runs of the tests that a deadline allows for one judgement."""
_STARTING = 5.0
"""Seconds to start a sandbox on a busy machine, besides the time for the code itself."""


@dataclass(frozen=True, slots=True)
class Before:
    """The state of the tracker after some code blocks."""

    given: Given
    blocks: tuple[str, ...] = ()
    """The last 16 Python blocks, oldest first."""


def start(given: Given | None) -> Before:
    return Before(given or Given())


def step(before: Before, segment: Segment) -> tuple[Before, Iterable[Source]]:
    # A block that only quotes code of the task has no claim.
    if len(segment.text) > LONGEST:
        return before, (doubtful_source(segment, f"a block of more than {LONGEST:,} characters is not read"),)
    block = read_block(segment.text)
    if block is None or block.language not in _LANGUAGES or bare(block.code) in before.given.code:
        return before, ()
    code, more = completed(before.given.stub, block.code)
    # The lines of the task's stub are not in the trace, so they get the offset 0, the start of the claim.
    doubt = "the task is about Python 2" if before.given.python_2 else ""
    claim = block_source(segment, block, code, before.blocks, more=more, doubt=doubt)
    return replace(before, blocks=(*before.blocks, code)[-_MOST_EARLIER:]), (claim,)


def _verifier(seconds: float, late: Late, *, doctests: bool, typecheck: bool) -> FunctionVerifier:
    limits = Limits(seconds=seconds, cpu_seconds=seconds)

    async def run(claim: Source, given: Given) -> Verdict:
        told = await judge(claim.code, claim.earlier, given, limits, doctests=doctests)
        return verdict_of(told, claim.code, claim.starts, claim.size, late=late)

    name, more = ("python-types", 2 * SECONDS) if typecheck else ("python", 0.0)

    @verifier(name=name, version="2", deadline=2 * _RUNS * seconds + _STARTING + more)
    async def check(claim: Source, given: Given = Given()) -> Verdict:  # noqa: B008  (it is immutable)
        if claim.doubt:
            return Unknown(claim.doubt)
        verdict = await run(claim, given)
        # A second run has another order of sets and other random numbers. A failure by chance is no violation.
        if isinstance(verdict, Violation) and (doubt := _not_meant(claim.code)):
            return Unknown(doubt)
        if isinstance(verdict, Violation) and await run(claim, given) != verdict:
            return Unknown(f"it fails in one run and not, or otherwise, in another: {verdict.why}")
        if not typecheck or isinstance(verdict, Violation):
            return verdict
        return both(verdict, await judge_types(claim.code, claim.earlier, claim.starts, claim.size))

    return check


def _not_meant(code: str) -> str:
    if _SKELETON.search(code) is not None and _DECLARES.search(code) is None:
        return "it is a skeleton: a body in it is left out"
    return "its first comment may call it wrong" if _CALLED_WRONG.match(code) is not None else ""


def python(
    *,
    tests: str = "",
    doctests: bool = True,
    typecheck: bool = False,
    seconds: float = 5.0,
    late: Late = "unknown",
    level: Level = "witness",
    delivery: Delivery = "interrupt",
    phase: PhaseFilter = "answer",
) -> Monitor:
    """Make a monitor that checks whether Python code blocks compile and pass the tests of the task.

    ``tests``: a program with asserts, in addition to the tests in the task. ``doctests``: also run the examples in the
    task and in the code. ``typecheck``: also run mypy. ``seconds``: the time limit of the code, which is run only in a
    sandbox. ``late``: the verdict on code that takes longer, ``unknown`` or ``violation``. ``level``, ``delivery`` and
    ``phase`` are those of :class:`~interwhen.Monitor`. Raises :class:`UsageError` if ``tests`` is not valid Python, if
    mypy is needed and not installed, and on an option value that is not allowed.
    """
    require_choice("python", get_args(Late), late=late)
    require_positive("python", seconds=seconds)
    if typecheck:
        need_mypy()
    try:
        compile(tests, "tests", "exec")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UsageError(f"python: tests must be valid Python, got {tests[:60]!r}: {error}; correct it") from error

    def prepare(task: Task) -> Given:
        given = read_given(task.text)
        return replace(given, programs=(*given.programs, tests)) if tests else given

    return Monitor(
        name="python",
        trigger=CodeBlocks(),
        extractor=Tracker(start, step),
        verifier=_verifier(seconds, late, doctests=doctests, typecheck=typecheck),
        prepare=prepare,
        delivery=delivery,
        remedy=Feedback(place="rewind"),
        level=level,
        phase=phase,
        scope="answer",
    )
