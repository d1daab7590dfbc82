"""The shipped verifiers ``countdown`` and ``game24``: they check how a target is made from numbers.

They read the numbers and the target from the prompt. In the text they read steps (``8 - 4 = 4 (left: 4 6 4)``) and the
answer (``Answer: (4 + 8) * (6 - 4) = 24``). Values are exact fractions. A step counts as a dead end only after a
complete search. See ``docs/verifiers/countdown.md``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from interwhen import (
    Delivery,
    Level,
    Monitor,
    PhaseFilter,
    Segment,
    Task,
    Verdict,
    verifier,
)

from interwhen_verifiers._factories import require_choice, task_monitor
from interwhen_verifiers._puzzles.unread import recognizer
from interwhen_verifiers.puzzles._answers import of_answer
from interwhen_verifiers.puzzles._countdown.judge import Numbers, follow, judge_final, judge_hopeless, judge_step
from interwhen_verifiers.puzzles._countdown.lines import CalculationStep, ExpressionAnswer, Hopeless, Said, read_line
from interwhen_verifiers.puzzles._countdown.problem import NumberPuzzle, Use, read_puzzle
from interwhen_verifiers.puzzles._statements import Statement, make_statement, track_phases

_EQUATION = re.compile(r"(?=(\d[\s)\]|*$`}]{0,8}[=\u2260\u2248\u2261<>\u2264\u2265]{1,2}[\s(\[|*$`{\u2212-]{0,8}\d))")
_IN_WORDS = re.compile(
    r"(\d\s{1,3}(?:is|are|equals?|makes?|made|gives?|yields?|gets?|leaves?|becomes?)\s{1,3}-?\d)", re.IGNORECASE
)
_HOPELESS = re.compile(
    r"\b(impossible|infeasible|cannot\s(?:be\s)?(?:made|make|reached?|obtain(?:ed)?|get)|can't\s(?:be|make|reach|get)|no\s(?:way|solution))\b",
    re.IGNORECASE,
)
recognize = recognizer(_EQUATION, _IN_WORDS, _HOPELESS)
"""Finds equations, answers, and statements that something cannot be made."""


class BeforeStep(NamedTuple):
    """The numbers left before a statement (``None`` if they are not known), and the text of its line."""

    left: Numbers | None
    line: str


@dataclass(frozen=True, slots=True)
class CountdownProblem:
    """The puzzle, and whether a step after which the target cannot be made any more is a violation."""

    puzzle: NumberPuzzle
    dead_ends: bool


def _begin(problem: CountdownProblem) -> Numbers | None:
    return problem.puzzle.numbers


def _read(
    problem: CountdownProblem, left: Numbers | None, segment: Segment
) -> tuple[Numbers | None, Iterable[Statement[Said, BeforeStep]]]:
    """Read one line. Return the numbers left after it (``None`` if they are not known), and its claims.

    Takes time linear in the length of the line.
    """
    puzzle = problem.puzzle
    if any(character.isdecimal() and not character.isascii() for character in segment.text):
        # Digits of another script are not read: the line may be a step that leaves other numbers.
        return None, ()
    said = read_line(segment.text, puzzle, answering=segment.phase == "answer")
    if said is None:
        return left, ()
    if isinstance(said, Hopeless) and not said.is_answer and left != puzzle.numbers:
        return left, ()  # It may speak of the numbers that are left, and be right.
    known = "?" if left is None else " ".join(map(str, left))
    context = f"{segment.text} | {segment.phase} | {known} | {puzzle.listed}"
    claim = make_statement(segment, said, BeforeStep(left, segment.text), context=context)
    return follow(puzzle, left, said).left if isinstance(said, CalculationStep) else left, (claim,)


@verifier(name="countdown", version="2", deadline=10.0, worker="thread")
def check(claim: Statement[Said, BeforeStep], problem: CountdownProblem) -> Verdict:
    """Judge a step or an answer: its arithmetic, the numbers that it uses, and whether the target can be made.

    The arithmetic is exact, and the search is complete.
    """
    match claim.said:
        case CalculationStep() as step:
            return judge_step(problem.puzzle, claim.before.left, step, dead_ends=problem.dead_ends)
        case ExpressionAnswer() as final:
            return of_answer(judge_final(problem.puzzle, final, claim.before.line))
        case Hopeless(is_answer=is_answer):
            verdict = judge_hopeless(problem.puzzle)
            return of_answer(verdict) if is_answer else verdict


def countdown(
    *,
    target: int | None = None,
    use: Literal["prompt", "all", "some"] = "prompt",
    dead_ends: bool = True,
    level: Level = "witness",
    delivery: Delivery = "interrupt",
    phase: PhaseFilter = "both",
) -> Monitor:
    """Make a monitor for puzzles that make a target from numbers. It does nothing if the prompt has no such puzzle.

    ``target`` is used if the prompt does not name a target. ``use`` says whether all numbers must be used, if the
    prompt does not say it. With ``dead_ends=False``, a correct step passes even if the target cannot be made any more.
    ``level``, ``delivery`` and ``phase`` are those of :class:`~interwhen.Monitor`. Raises :class:`UsageError` on an
    unknown option value.
    """
    require_choice("countdown", ("prompt", "all", "some"), use=use)

    def prepare(task: Task) -> CountdownProblem | None:
        found = read_puzzle(task.question, target) or read_puzzle(task.text, target)
        return None if found is None else CountdownProblem(_decided(found, use), dead_ends)

    return _monitor("countdown", prepare, level, delivery, phase)


def game24(
    *,
    dead_ends: bool = True,
    level: Level = "witness",
    delivery: Delivery = "interrupt",
    phase: PhaseFilter = "both",
) -> Monitor:
    """Make a ``countdown`` monitor for the game of 24: the target is 24, and each number is used exactly once.

    It does nothing if the prompt names another target. The options are those of :func:`countdown`.
    """

    def prepare(task: Task) -> CountdownProblem | None:
        found = read_puzzle(task.question, 24) or read_puzzle(task.text, 24)
        if found is None or found.target != 24:
            return None
        return CountdownProblem(_decided(found, "all"), dead_ends)

    return _monitor("game24", prepare, level, delivery, phase)


def _decided(puzzle: NumberPuzzle, use: Literal["prompt", "all", "some"]) -> NumberPuzzle:
    decided: Use = puzzle.use if use == "prompt" or puzzle.use != "unclear" else use
    return NumberPuzzle(puzzle.numbers, puzzle.target, decided)


def _monitor(
    name: str, prepare: Callable[[Task], CountdownProblem | None], level: Level, delivery: Delivery, phase: PhaseFilter
) -> Monitor:
    return task_monitor(
        name,
        check,
        track_phases(_begin, _read),
        prepare,
        recognizer=recognize,
        level=level,
        delivery=delivery,
        phase=phase,
    )
