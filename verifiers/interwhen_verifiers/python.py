"""The shipped verifier ``python``: it checks that Python code blocks compile and pass the tests of the task.

The model's code is compiled and run only in a sandbox. See ``docs/verifiers/python.md`` for the tests that are found,
the meaning of the verdicts, and the measurements.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from interwhen import (
    Claim,
    CodeBlocks,
    Delivery,
    Feedback,
    FunctionVerifier,
    Level,
    Monitor,
    PhaseFilter,
    Segment,
    Task,
    Tracker,
    Unknown,
    UsageError,
    Verdict,
    Violation,
    verifier,
)
from interwhen.sandbox import Limits

from interwhen_verifiers._blocks import LONGEST, read_block
from interwhen_verifiers._factories import require_choice, require_positive
from interwhen_verifiers._python.evaluation import judge
from interwhen_verifiers._python.given import Given, bare, completed, read_given
from interwhen_verifiers._python.types import SECONDS, both, judge_types, need_mypy
from interwhen_verifiers._python.verdicts import verdict_of

Late: TypeAlias = Literal["unknown", "violation"]

_LANGUAGES = frozenset(("python", "py", "python3", "py3"))
_MOST_EARLIER = 16
_RUNS = 2
"""How many times one judgement may run the tests: on the block alone, and after the earlier blocks."""
_STARTING = 5.0
"""Seconds to start a sandbox on a busy machine, besides the time for the code itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Code(Claim):
    """A code block that declares Python."""

    code: str
    starts: tuple[int, ...]
    """The offsets of its lines, from the start of the claim."""
    earlier: tuple[str, ...]
    """The code of the blocks before it, oldest first."""
    doubt: str = ""
    """Why it is not checked. Empty: it is checked."""


@dataclass(frozen=True, slots=True)
class Before:
    """The state of the tracker after some code blocks."""

    given: Given
    blocks: tuple[str, ...] = ()


def start(given: Given | None) -> Before:
    """Return the state before the first block. *given* are the tests of the task; ``None`` if there is no task."""
    return Before(given or Given())


def step(before: Before, segment: Segment) -> tuple[Before, Iterable[Code]]:
    """Read one code block; return the next state and the block's claim. Takes time linear in its length."""
    if len(segment.text) > LONGEST:
        doubt = f"a block of more than {LONGEST:,} characters is not read"
        return before, (Code(key=doubt, span=segment.span, code="", starts=(), earlier=(), doubt=doubt),)
    block = read_block(segment.text)
    if block is None or block.language not in _LANGUAGES or bare(block.code) in before.given.code:
        return before, ()
    base = block.starts[0]
    code, more = completed(before.given.stub, block.code)
    digest = hashlib.sha256("\x1e".join((code, *before.blocks)).encode("utf-8", "surrogatepass")).hexdigest()
    # The lines of the task's stub are not in the trace, so they get the offset 0, the start of the claim.
    claim = Code(
        key=f"{block.language}:{digest}",
        span=segment.at(base, block.end),
        code=code,
        starts=((0,) * more + tuple(at - base for at in block.starts)),
        earlier=before.blocks,
        doubt="the task is about Python 2" if before.given.python_2 else "",
    )
    return replace(before, blocks=(*before.blocks, code)[-_MOST_EARLIER:]), (claim,)


def _verifier(seconds: float, late: Late, *, doctests: bool, typecheck: bool) -> FunctionVerifier:
    limits = Limits(seconds=seconds, cpu_seconds=seconds)

    async def run(claim: Code, given: Given) -> Verdict:
        told = await judge(claim.code, claim.earlier, given, limits, doctests=doctests)
        return verdict_of(told, claim.code, claim.starts, _size(claim), late=late)

    name, more = ("python-types", 2 * SECONDS) if typecheck else ("python", 0.0)

    @verifier(name=name, version="2", deadline=2 * _RUNS * seconds + _STARTING + more)
    async def check(claim: Code, given: Given = Given()) -> Verdict:  # noqa: B008  (it is immutable)
        if claim.doubt:
            return Unknown(claim.doubt)
        found = await run(claim, given)
        # A second run has another order of sets and other random numbers. A failure by chance is no violation.
        if isinstance(found, Violation) and await run(claim, given) != found:
            return Unknown(f"it fails in one run and not, or otherwise, in another: {found.why}")
        if not typecheck or isinstance(found, Violation):
            return found
        return both(found, await judge_types(claim.code, claim.earlier, claim.starts, _size(claim)))

    return check


def _size(claim: Code) -> int:
    return claim.starts[-1] + len(claim.code) if claim.span is None else len(claim.span)


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
    task and in the code. ``typecheck``: also run mypy, which must be installed. ``seconds``: the time limit of the
    code. ``late``: the verdict on code that takes longer. ``level``, ``delivery`` and ``phase`` are those of
    :class:`~interwhen.Monitor`. Raises :class:`UsageError` on an unknown option value.
    """
    require_choice("python", get_args(Late), late=late)
    require_positive("python", seconds=seconds)
    if typecheck:
        need_mypy()
    try:
        compile(tests, "tests", "exec")
    except (SyntaxError, ValueError) as error:
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
