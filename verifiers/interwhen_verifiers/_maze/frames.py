"""How a text counts rows and columns: from 0 or 1, row or column first, from the top or not."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import NamedTuple, TypeAlias

from interwhen_verifiers._maze.grid import Cell
from interwhen_verifiers._maze.problem import Problem


class Frame(NamedTuple):
    """One way to write coordinates. ``base`` is -1 where the outer wall is not counted."""

    order: str
    base: int
    height: int
    is_from_below: bool

    def cell(self, pair: tuple[int, int]) -> Cell:
        """Return the cell that *pair* stands for."""
        row, column = pair if self.order == "rc" else pair[::-1]
        row, column = row - self.base, column - self.base
        return (self.height - 1 - row if self.is_from_below else row), column

    def pair(self, cell: Cell) -> tuple[int, int]:
        """Return how *cell* is written."""
        row = self.height - 1 - cell[0] if self.is_from_below else cell[0]
        pair = row + self.base, cell[1] + self.base
        return pair if self.order == "rc" else pair[::-1]


Frames: TypeAlias = tuple[Frame, ...]


def all_frames(problem: Problem) -> Frames:
    """Return the frames that the prompt allows."""
    orders = (problem.order,) if problem.order else ("rc", "xy")
    bases = (problem.base,) if problem.base is not None else (0, 1, -1)
    return tuple(
        Frame(order, base, problem.maze.size[0], below) for below, order, base in product((False, True), orders, bases)
    )


def fitting(frames: Iterable[Frame], pair: tuple[int, int], cell: Cell) -> Frames:
    """Return the *frames* in which *pair* is *cell*."""
    return tuple(frame for frame in frames if frame.cell(pair) == cell)
