"""The shipped verifier ``logic``: small problems of state and order, in the words that such problems are told in.

It finds one problem in the prompt: things that are swapped, words to sort, objects in an order, brackets to close, or
premises; and judges what the text says of it, step by step and in the end. See ``docs/verifiers/logic.md``.

Why: docs/decisions/0021-five-small-problems.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from interwhen import (
    Claim,
    Delivery,
    Level,
    Monitor,
    PhaseFilter,
    Segment,
    Task,
    Tracker,
    Verdict,
    verifier,
)

from interwhen_verifiers._factories import task_monitor
from interwhen_verifiers._puzzles.unread import recognizer
from interwhen_verifiers.puzzles._answers import of_answer
from interwhen_verifiers.puzzles._logic.answers import FinalAnswer
from interwhen_verifiers.puzzles._logic.problems import Problem, Progress, Said, begin, judge, read_line, read_problem


@dataclass(frozen=True, slots=True)
class State:
    """The problem, and how far the text has come."""

    problem: Problem | None
    progress: Progress = None
    phase: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement(Claim):
    """One statement, with what it depends on."""

    said: Said


def _prepare(task: Task) -> Problem | None:
    return read_problem(task.question) or read_problem(task.text)


def _start(problem: Problem | None) -> State:
    return State(problem)


def _read(state: State, segment: Segment) -> tuple[State, Iterable[Statement]]:
    """Read one line, and take the problem on. Linear in its length."""
    problem = state.problem
    if problem is None:
        return state, ()
    progress = state.progress if segment.phase == state.phase else begin(problem)
    progress, found = read_line(problem, progress, segment.text)
    claims = [Statement(key=repr(each), span=segment.at(each.start, each.end), said=each) for each in found]
    return State(problem, progress, segment.phase), claims


@verifier(name="logic", version="2", deadline=2.0, worker="inline")
def check(claim: Statement, problem: Problem) -> Verdict:
    """Judge a statement by the problem of the prompt."""
    verdict = judge(problem, claim.said)
    return of_answer(verdict) if isinstance(claim.said, FinalAnswer) else verdict


def logic(
    *,
    level: Level = "witness",
    delivery: Delivery = "interrupt",
    phase: PhaseFilter = "both",
) -> Monitor:
    """Make the monitor. It stands aside where the prompt states no problem that it knows."""
    return task_monitor(
        "logic",
        check,
        Tracker(_start, _read),
        _prepare,
        recognizer=recognizer(),
        level=level,
        delivery=delivery,
        phase=phase,
    )
