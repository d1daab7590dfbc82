"""Puzzles: a target made from numbers (verifier ``countdown``), and the shortest way through a grid (``maze``)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from interwhen.models import Prompt
from interwhen.strategies import Exercise

from interwhen_verifiers.tasks._gym import chat, exercises

_COUNTDOWN = """\
Make the target from the numbers with + - * /, each number used exactly once. Take two numbers at a time, one step
a line, and say which numbers are left. End with a line "Answer: EXPRESSION". Write nothing else.
For the numbers 3 5 7 and the target 56 you write:
3 + 5 = 8 (left: 7 8)
8 * 7 = 56 (left: 56)
Answer: (3 + 5) * 7"""
_WAY = """\
Find the shortest way. Say where the start is, as (row, column), counted from 1 from the upper left corner. Then write
each move on a line of its own, and where it leads. End with a line "Answer: MOVES". Write nothing else.
For the grid
X # O
O O X
* O O
you write:
The start is at (3,1).
Move up to (2,1)
Move right to (2,2)
Move up to (1,2)
Answer: up right up"""
_EXAMPLE = re.compile(r"Your output should be a sequence[^\n]*\n+")
"""The example in the questions of the dataset. It is removed, since small models repeat it as their answer."""
_EXPRESSION = re.compile(r"[\d+\-*/() ]{1,200}")
_ANSWER = re.compile(r"^\W{0,4}(?:final )?answer\W{0,3}:\W{0,3}?(?P<said>[^\n]{1,400})", re.IGNORECASE | re.MULTILINE)
_MOVES = re.compile(r"\b(up|down|left|right)\b", re.IGNORECASE)


def _said(text: str) -> str | None:
    found = [match["said"].strip() for match in _ANSWER.finditer(text)]
    return found[-1] if found else None


def read_expression(text: str) -> str | None:
    """Return the expression after the last "Answer:", up to an equality sign; ``None`` if there is none.

    It has at most 200 characters: numbers, brackets and the operators ``+ - * /``, but no ``**`` or ``//``, since the
    grader evaluates it.
    """
    said = (_said(text) or "").partition("=")[0].replace("\u00d7", "*").replace("\u2212", "-").replace("\u00f7", "/")
    said = " ".join(said.strip("` $.").split())
    if not _EXPRESSION.fullmatch(said) or "**" in said or "//" in said or not any(map(str.isdigit, said)):
        return None
    return said


def read_moves(text: str) -> str | None:
    """Return the moves after the last "Answer:", in lower case with spaces between them.

    The result is ``infeasible`` if that word is there, and ``None`` if there are no moves or no "Answer:".
    """
    said = _said(text)
    if said is None:
        return None
    if "infeasible" in said.lower():
        return "infeasible"
    return " ".join(move.lower() for move in _MOVES.findall(said)) or None


def countdown(
    *, count: int, seed: int, numbers: int = 4, largest: int = 20, target: int = 99, dead_ends: bool = True
) -> Iterator[Exercise]:
    """Generate *count* puzzles from *seed*: make a target from *numbers* numbers, each of which is at most *largest*.

    The target is from 10 to *target*, or *target* itself if that is below 10. With ``dead_ends=False``, a correct step
    after which the target cannot be reached is not a violation. Raises :class:`~interwhen.toolkit.MissingExtraError` at
    the first exercise if ``reasoning-gym`` is not installed.
    """

    def prompt(entry: Mapping[str, Any]) -> Prompt:
        given = " ".join(map(str, entry["metadata"]["numbers"]))
        return chat(_COUNTDOWN, f"Numbers: {given}\nTarget: {entry['metadata']['target']}")

    return exercises(
        "countdown",
        count,
        seed,
        prompt=prompt,
        read=read_expression,
        monitor=f"countdown:use=all,dead_ends={str(dead_ends).lower()}",
        min_numbers=numbers,
        max_numbers=numbers,
        max_value=largest,
        min_target=min(10, target),
        max_target=target,
    )


def shortest_path(*, count: int, seed: int, size: int = 5) -> Iterator[Exercise]:
    """Generate *count* puzzles from *seed*: find a shortest way in a grid of *size* rows and columns.

    The right answer may also be that there is no way. Raises :class:`~interwhen.toolkit.MissingExtraError` at the first
    exercise if ``reasoning-gym`` is not installed.
    """
    return exercises(
        "shortest_path",
        count,
        seed,
        prompt=lambda entry: chat(_WAY, _EXAMPLE.sub("", entry["question"])),
        read=read_moves,
        monitor="maze",
        min_rows=size,
        max_rows=size,
        min_cols=size,
        max_cols=size,
    )
