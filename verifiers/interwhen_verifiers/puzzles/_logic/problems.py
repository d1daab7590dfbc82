"""The kinds of problems, as one union: what a prompt states, how a line is read, how a statement is judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final as Constant
from typing import TypeAlias

from interwhen import Unknown, Verdict

from interwhen_verifiers.puzzles._logic.answers import FinalAnswer
from interwhen_verifiers.puzzles._logic.brackets import (
    Bracketed,
    Brackets,
    Closing,
    Read,
    Stack,
    judge_brackets,
    read_brackets,
    read_stacks,
)
from interwhen_verifiers.puzzles._logic.orders import (
    Order,
    Reading,
    judge_arrangement,
    judge_choice,
    read_arrangement,
    read_order,
)
from interwhen_verifiers.puzzles._logic.orders import Told as Arranged
from interwhen_verifiers.puzzles._logic.premises import (
    Concluded,
    Premises,
    judge_concluded,
    judge_reply,
    read_conclusions,
    read_premises,
)
from interwhen_verifiers.puzzles._logic.sorting import (
    Chain,
    Letter,
    Sorted,
    Subpart,
    Words,
    judge_sorting,
    read_sorting,
    read_words,
)
from interwhen_verifiers.puzzles._logic.swaps import (
    Holding,
    Swaps,
    Told,
    judge_held,
    judge_holding,
    read_holdings,
    read_swaps,
)

Problem: TypeAlias = Swaps | Words | Order | Brackets | Premises
Progress: TypeAlias = Told | int | Reading | bool | None
"""What the text so far has come to; ``None``: nothing yet."""
Said: TypeAlias = Holding | Sorted | Arranged | Bracketed | Concluded


_READERS: Constant[tuple[Callable[[str], Problem | None], ...]] = (
    read_swaps,
    read_order,
    read_brackets,
    read_premises,
    read_words,
)


def read_problem(prompt: str) -> Problem | None:
    """Return the problem that *prompt* states; ``None``: none that is known."""
    for read in _READERS:
        if (problem := read(prompt)) is not None:
            return problem
    return None


def begin(problem: Problem) -> Progress:
    """Return what a text has come to before its first line."""
    match problem:
        case Swaps():
            return Told()
        case Words() | Brackets():
            return 0
        case Order():
            return Reading()
        case Premises():
            return False


def read_line(problem: Problem, progress: Progress, line: str) -> tuple[Progress, tuple[Said, ...]]:
    """Return how far *line* takes the problem, and what it says."""
    match problem:
        case Swaps():
            return read_holdings(problem, progress if isinstance(progress, Told) else Told(), line)
        case Words():
            return read_sorting(progress if isinstance(progress, int) else 0, line)
        case Brackets():
            return read_stacks(problem, progress if isinstance(progress, int) else 0, line)
        case Premises():
            return read_conclusions(problem, progress is True, line)
        case Order():
            return read_arrangement(problem, progress if isinstance(progress, Reading) else Reading(), line)


def judge(problem: Problem, said: Said) -> Verdict:
    """Judge a statement on *problem*."""
    match problem, said:
        case Swaps(), Holding():
            return judge_holding(problem, said)
        case Swaps(), FinalAnswer():
            return judge_held(problem, said)
        case Words(), Letter() | Subpart() | Chain() | FinalAnswer():
            return judge_sorting(problem, said)
        case Brackets(), Read() | Stack() | Closing() | FinalAnswer():
            return judge_brackets(problem, said)
        case Order(), Arranged():
            return judge_arrangement(problem, said)
        case Order(), FinalAnswer():
            return judge_choice(problem, said)
        case Premises(), Concluded():
            return judge_concluded(problem, said)
        case Premises(), FinalAnswer():
            return judge_reply(problem, said)
        case _:
            return Unknown("that is no statement on this problem")
