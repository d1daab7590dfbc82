"""Z3, warm and cold: the same questions on the same timetable, counted by Z3 itself, and timed."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from interwhen.errors import MissingExtraError
from interwhen.verdicts import Verdict


class SolverRow(msgspec.Struct, frozen=True):
    """Questions on a timetable. ``spent`` is Z3's own deterministic count (``rlimit count``), a question."""

    conditions: int
    minimal: bool
    """Whether each verdict comes with reasons none of which is in vain."""
    questions: int
    cold_spent: float
    warm_spent: float
    cold_ms: float
    warm_ms: float
    same: bool
    """Whether both came to the same verdicts."""


def timetable(context: Any, jobs: int) -> dict[str, Any]:
    """Return a timetable of *jobs* as named conditions: jobs in chains, and pairs of jobs that share a machine."""
    import z3

    job = [z3.Int(f"job {number}", context) for number in range(jobs)]
    found = {f"job {at} is in time": z3.And(job[at] >= 0, job[at] <= 2 * jobs) for at in range(jobs)}
    for at in range(jobs - 3):
        found[f"job {at + 3} follows job {at}"] = job[at + 3] >= job[at] + 2 + at % 4
    for at in range(0, jobs - 1, 2):
        found[f"jobs {at} and {at + 1} share a machine"] = z3.Or(job[at] + 3 <= job[at + 1], job[at + 1] + 2 <= job[at])
    return found


def question(context: Any, jobs: int, number: int) -> Any:
    """Return a question on job *number*, for :meth:`~interwhen.solving.Problem.follows`."""
    import z3

    return z3.Int(f"job {number}", context) <= (3 * jobs // 2 if number % 2 else 2 * jobs + 5)


def solver_rows(sizes: tuple[int, ...] = (20, 40, 60), questions: int = 12) -> tuple[SolverRow, ...]:
    """Return a row for each size, with and without minimal reasons; none where Z3 is not installed."""
    try:
        return tuple(solver_row(jobs, questions, minimal=minimal) for minimal in (False, True) for jobs in sizes)
    except MissingExtraError:
        return ()


def solver_row(jobs: int, questions: int, *, minimal: bool) -> SolverRow:
    """Ask *questions*, each of a warm problem and of one that is built for it. Raises :class:`MissingExtraError`."""
    from interwhen.precompute.warm import WarmProblem, WarmProblems
    from interwhen.solving import Problem

    def build(found: Problem) -> None:
        for name, condition in timetable(found.context, jobs).items():
            found.require(name, condition)

    pool = WarmProblems(minimal=minimal)
    with pool.problem("timetable", build) as found:
        found.follows(question(found.context, jobs, 0))
        size = found.size
    spent, seconds = [0, 0], [0.0, 0.0]
    kinds: tuple[list[type[Verdict]], list[type[Verdict]]] = ([], [])
    for number in range(0, jobs, max(jobs // questions, 1)):
        begun = time.perf_counter()
        with pool.problem("timetable", build) as found:
            before = found.spent
            kinds[0].append(type(found.follows(question(found.context, jobs, number))))
            spent[0] += found.spent - before
        seconds[0] += time.perf_counter() - begun
        begun = time.perf_counter()
        fresh = WarmProblem(build, minimal=minimal, ahead=False)
        kinds[1].append(type(fresh.follows(question(fresh.context, jobs, number))))
        seconds[1] += time.perf_counter() - begun
        spent[1] += fresh.spent
    asked = len(kinds[0])
    return SolverRow(
        conditions=size,
        minimal=minimal,
        questions=asked,
        cold_spent=spent[1] / asked,
        warm_spent=spent[0] / asked,
        cold_ms=1e3 * seconds[1] / asked,
        warm_ms=1e3 * seconds[0] / asked,
        same=kinds[0] == kinds[1],
    )
