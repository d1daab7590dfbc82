"""The kinds of problems, as one union: what a prompt states, how a line is read, how a statement is judged."""

from __future__ import annotations

from typing import TypeAlias, assert_never

from interwhen import Verdict

from interwhen_verifiers._logic.answers import Final
from interwhen_verifiers._logic.holdings import Holding, Told, judge_held, judge_holding, read_holdings
from interwhen_verifiers._logic.swaps import Swaps, read_swaps

Problem: TypeAlias = Swaps
Progress: TypeAlias = Told | None
"""What the text so far has come to; ``None``: nothing yet."""
Said: TypeAlias = Holding | Final


def read_problem(prompt: str) -> Problem | None:
    """Return the problem that *prompt* states; ``None``: none that is known."""
    return read_swaps(prompt)


def begin(problem: Problem) -> Progress:
    match problem:
        case Swaps():
            return Told()


def read_line(problem: Problem, progress: Progress, line: str) -> tuple[Progress, tuple[Said, ...]]:
    """Return how far *line* takes the problem, and what it says."""
    match problem:
        case Swaps():
            return read_holdings(problem, progress or Told(), line)


def judge(problem: Problem, said: Said) -> Verdict:
    """Judge a statement on *problem*."""
    match problem, said:
        case Swaps(), Holding():
            return judge_holding(problem, said)
        case Swaps(), Final():
            return judge_held(problem, said)
