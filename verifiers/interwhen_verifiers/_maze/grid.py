"""A maze on a grid: walls, start, exit, perhaps a marked path; and directions and turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

Cell: TypeAlias = tuple[int, int]
"""Row and column, from the top left corner, counted from 0."""
Direction = Literal["up", "right", "down", "left"]
Turn = Literal["straight", "right", "back", "left"]

CLOCKWISE: tuple[Direction, ...] = ("up", "right", "down", "left")
STEPS: dict[Direction, Cell] = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1)}
_TURNS: tuple[Turn, ...] = ("straight", "right", "back", "left")


def turn_between(before: Direction, after: Direction) -> Turn:
    """Return the turn from one direction of movement to the next."""
    return _TURNS[(CLOCKWISE.index(after) - CLOCKWISE.index(before)) % 4]


def direction_between(one: Cell, other: Cell) -> Direction | None:
    """Return the direction from *one* cell to *other* in the same row or column; ``None``: it is in neither."""
    rows, columns = other[0] - one[0], other[1] - one[1]
    if (rows == 0) == (columns == 0):
        return None
    if rows:
        return "down" if rows > 0 else "up"
    return "right" if columns > 0 else "left"


def moved(cell: Cell, direction: Direction, count: int = 1) -> Cell:
    """Return the cell that is *count* steps away."""
    step = STEPS[direction]
    return cell[0] + count * step[0], cell[1] + count * step[1]


@dataclass(frozen=True, slots=True)
class Maze:
    """A maze; ``path`` is the marked way from start to goal, in its order."""

    open: frozenset[Cell]
    size: Cell
    start: Cell
    goal: Cell
    path: tuple[Cell, ...] = ()
    marked: frozenset[Cell] = frozenset()
    """The cells of the path, start and goal included; empty where none is marked."""

    def distance(self) -> int | None:
        """Return the least number of steps from start to goal; ``None``: there is no way."""
        seen, waiting = {self.start}, deque([(self.start, 0)])
        while waiting:
            cell, steps = waiting.popleft()
            if cell == self.goal:
                return steps
            for direction in CLOCKWISE:
                beside = moved(cell, direction)
                if beside in self.open and beside not in seen:
                    seen.add(beside)
                    waiting.append((beside, steps + 1))
        return None

    @property
    def turns(self) -> list[Turn]:
        """The turns of the marked path, in their order."""
        ways = [way for one, other in pairwise(self.path) if (way := direction_between(one, other)) is not None]
        return [turn for one, other in pairwise(ways) if (turn := turn_between(one, other)) != "straight"]


def make_maze(rows: Sequence[str], *, walls: str, start: str, goal: str, mark: str = "") -> Maze | None:
    """Return the maze drawn by *rows*; ``None``: it has not exactly one start and one goal.

    A mark is a path only where it is one: no branches, no gaps, from start to goal.
    """
    cells = {(r, c): char for r, row in enumerate(rows) for c, char in enumerate(row)}
    starts = [cell for cell, char in cells.items() if char == start]
    goals = [cell for cell, char in cells.items() if char == goal]
    if len(starts) != 1 or len(goals) != 1:
        return None
    free = frozenset(cell for cell, char in cells.items() if char not in walls)
    size = (len(rows), max(map(len, rows)))
    marks = frozenset(cell for cell, char in cells.items() if mark and char == mark)
    path = _chain(marks, starts[0], goals[0]) if mark else ()
    if marks and not path:
        return None
    return Maze(free, size, starts[0], goals[0], path, frozenset(path))


def _chain(marks: frozenset[Cell], start: Cell, goal: Cell) -> tuple[Cell, ...]:
    path, left, here = [start], set(marks) | {goal}, start
    while here != goal:
        onward = [cell for way in CLOCKWISE if (cell := moved(here, way)) in left]
        if goal in onward and len(left) == 1:
            onward = [goal]
        elif len(onward) > 1:
            onward = [cell for cell in onward if cell != goal]
        if len(onward) != 1:
            return ()
        here = onward[0]
        left.discard(here)
        path.append(here)
    return () if left else tuple(path)
