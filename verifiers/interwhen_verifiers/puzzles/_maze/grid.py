"""Reads the maze and the question of a prompt. Defines directions, turns, and ways to write coordinates."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product
from typing import Literal, NamedTuple, TypeAlias

from interwhen_verifiers.puzzles._statements import read_options

Cell: TypeAlias = tuple[int, int]
"""A row and a column, counted from 0 from the top left corner."""
Direction = Literal["up", "right", "down", "left"]
Turn = Literal["straight", "right", "back", "left"]

CLOCKWISE: tuple[Direction, ...] = ("up", "right", "down", "left")
STEPS: dict[Direction, Cell] = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1)}
_TURNS: tuple[Turn, ...] = ("straight", "right", "back", "left")


def turn_between(before: Direction, after: Direction) -> Turn:
    return _TURNS[(CLOCKWISE.index(after) - CLOCKWISE.index(before)) % 4]


def direction_between(one: Cell, other: Cell) -> Direction | None:
    rows, columns = other[0] - one[0], other[1] - one[1]
    if (rows == 0) == (columns == 0):
        return None
    step = ((rows > 0) - (rows < 0), (columns > 0) - (columns < 0))
    return next(direction for direction, one_step in STEPS.items() if one_step == step)


def moved(cell: Cell, direction: Direction, count: int = 1) -> Cell:
    step = STEPS[direction]
    return cell[0] + count * step[0], cell[1] + count * step[1]


@dataclass(frozen=True, slots=True)
class Maze:
    """A maze. ``open`` are the cells without a wall; ``path`` is the marked way from start to goal, if there is one."""

    open: frozenset[Cell]
    size: Cell
    """The numbers of rows and columns."""
    start: Cell
    goal: Cell
    path: tuple[Cell, ...] = ()
    marked: frozenset[Cell] = frozenset()
    """The cells of the path, start and goal included."""

    def distance(self) -> int | None:
        seen, waiting = {self.start}, deque([(self.start, 0)])
        while waiting:
            cell, steps = waiting.popleft()
            if cell == self.goal:
                return steps
            beside = self.open.intersection(moved(cell, direction) for direction in CLOCKWISE) - seen
            seen |= beside
            waiting.extend((each, steps + 1) for each in beside)
        return None

    @property
    def turns(self) -> list[Turn]:
        ways = [way for one, other in pairwise(self.path) if (way := direction_between(one, other)) is not None]
        return [turn for one, other in pairwise(ways) if (turn := turn_between(one, other)) != "straight"]


def make_maze(rows: Sequence[str], *, walls: str, start: str, goal: str, mark: str = "") -> Maze | None:
    """Read the maze drawn by *rows*. The other arguments are the signs of the drawing.

    Return ``None`` unless it has exactly one start and one goal, and its marks, if any, form a path between them.
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
        if len(onward) > 1:
            onward = [cell for cell in onward if (cell == goal) == (len(left) == 1)]
        if len(onward) != 1:
            return ()
        here = onward[0]
        left.discard(here)
        path.append(here)
    return () if left else tuple(path)


Asked = Literal["right turns", "left turns", "turns", "place", "steps", "moves", "unknown"]
"""What the question asks for. ``place``: where the exit is; ``steps``: the least number of steps."""

TURN_QUESTIONS: dict[str, Asked] = {"right": "right turns", "left": "left turns", "total": "turns"}

MAX_PROMPT = 100_000
"""Longer prompts are not read."""
_MOST = 200
"""A maze with more rows is not read."""
_TURN_WORDS = re.compile(r"how many (right|left|total)?[ -]?turns?\b", re.IGNORECASE)
_PLACE = re.compile(
    r"\bis the (?:exit|goal|end|destination)\b(?: ?\(.\))? ((?:directly )?(?:to the )?[a-z -]{2,40}?)"
    r"(?: of)? the start",
    re.IGNORECASE,
)
_STEPS = re.compile(
    r"(?:minimum|least|fewest|smallest) (?:number of )?(?:steps|moves)|how many (?:steps|moves)", re.IGNORECASE
)
_MOVES = re.compile(
    r"sequence of (?:directions|moves)|shortest (?:path|way|route)|(?:list|give|find|output) [^.\n]{0,40}\b"
    r"(?:path|directions|moves)",
    re.IGNORECASE,
)
_BLOCKED = re.compile(
    r"\bX\b\W{0,4}(?:is|are|=|:|represents?|marks?|means?|denotes?)?\W{0,3}(?:an? |the )?(?:blocked|wall"
    r"|obstacle|barrier)",
    re.IGNORECASE,
)
_QUOTED = re.compile(
    r"Navigate from '(.)' \(start\) to '(.)' \(goal\):\s*```\n(.+)\n```\s*Legend: '(.)' = Wall, '(.)' = Passage",
    re.DOTALL,
)
_LEGEND = re.compile(
    r"^[ \t]*[-*•] ?['`\"]?(\S)['`\"]?[ \t]?(?::|=|represents?|is|marks?|means|denotes|indicates)[ \t]*([^\n]{3,80})$",
    re.MULTILINE,
)
_MEANINGS = {
    "wall": re.compile("wall|block|barrier|obstacle", re.IGNORECASE),
    "start": re.compile(r"\bstart", re.IGNORECASE),
    "goal": re.compile(r"\bexit|\bgoal|\bdestination|\bend\b|\bfinish", re.IGNORECASE),
    "path": re.compile(r"\bpath\b|\broute\b|\bmark", re.IGNORECASE),
    "open": re.compile("open|empty|passage|free|corridor", re.IGNORECASE),
}
_BASE = re.compile(
    r"\b(0|1|zero|one)[ -](?:indexed|based)|\b(?:row|rows) (?:numbered |start(?:s|ing)? )?(?:from |at )?"
    r"(?:the )?(?:top )?\(?(?:row )?(0|1)\b",
    re.IGNORECASE,
)
_ORDER = re.compile(r"\((row|r|x|col|column), ?(col|column|c|y|row)\)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MazeProblem:
    """The maze, the question with its options, and how the prompt writes coordinates."""

    maze: Maze
    asked: Asked = "unknown"
    place: str = ""
    """The position of the exit that a yes-or-no question names, such as ``top left`` or ``directly above``."""
    options: dict[str, str] = field(default_factory=dict)
    """The text of each option, by its letter."""
    base: int | None = None
    """The number of the first row and column, 0 or 1; ``None`` if the prompt does not say."""
    distance: int | None = None
    """The least number of steps from start to goal; ``None`` if the goal cannot be reached."""
    order: str = ""
    """The order of coordinates: ``rc`` (row first), ``xy`` (column first), or empty if the prompt does not say."""


def read_problem(prompt: str) -> MazeProblem | None:
    if len(prompt) > MAX_PROMPT:
        return None
    maze = _quoted(prompt) or _drawn(prompt)
    if maze is None:
        return None
    bases = {int(word in {"1", "one"}) for pair in _BASE.findall(prompt.lower()) for word in pair if word}
    orders = {"rc" if first in {"row", "r"} else "xy" for first, _ in _ORDER.findall(prompt.lower())}
    return MazeProblem(
        maze,
        *_asked(prompt),
        options=read_options(prompt),
        base=bases.pop() if len(bases) == 1 else None,
        distance=maze.distance(),
        order=orders.pop() if len(orders) == 1 else "",
    )


def _quoted(prompt: str) -> Maze | None:
    match = _QUOTED.search(prompt)
    if match is None or match[3].count("\n") >= _MOST:
        return None
    return make_maze(match[3].split("\n"), walls=match[4], start=match[1], goal=match[2])


def _drawn(prompt: str) -> Maze | None:
    last_maze: Maze | None = None
    for roles in _roles(prompt):
        for block in _blocks(prompt, frozenset("".join(roles.values()) + " .")):
            is_spaced = all(set(row[1::2]) == {" "} and " " not in row[::2] for row in block)
            rows = [row[::2] for row in block] if is_spaced else block
            maze = make_maze(rows, walls=roles["wall"], start=roles["start"], goal=roles["goal"], mark=roles["path"])
            last_maze = maze or last_maze
        if last_maze is not None:
            return last_maze
    return None


def _blocks(prompt: str, allowed: frozenset[str]) -> list[list[str]]:
    blocks: list[list[str]] = [[]]
    for line in prompt.split("\n"):
        row = line.strip("\t\r`").strip()
        fits = 2 < len(row) <= 2 * _MOST and allowed.issuperset(row)
        if fits and (not blocks[-1] or len(blocks[-1][-1]) == len(row)):
            blocks[-1].append(row)
        elif blocks[-1] or fits:
            blocks.append([row] if fits else [])
    return [block for block in blocks if 2 <= len(block) <= _MOST]


def _roles(prompt: str) -> list[dict[str, str]]:
    legend = {"wall": "", "start": "", "goal": "", "path": "", "open": ""}
    for sign, meaning in _LEGEND.findall(prompt):
        role = next((role for role, words in _MEANINGS.items() if words.search(meaning)), None)
        if role is not None:
            legend[role] += sign
    if legend["wall"] and len(legend["start"]) == len(legend["goal"]) == 1 and len(legend["path"]) <= 1:
        return [legend]
    is_blocked = _BLOCKED.search(prompt) is not None
    common = {"wall": "#█X" if is_blocked else "#█", "start": "S", "path": "" if is_blocked else "X", "open": " ."}
    return [common | {"goal": "E"}, common | {"goal": "G"}]


def _asked(prompt: str) -> tuple[Asked, str]:
    if turns := _TURN_WORDS.search(prompt):
        return TURN_QUESTIONS[(turns[1] or "total").lower()], ""
    if place := _PLACE.search(prompt):
        return "place", place[1].lower().strip()
    if _MOVES.search(prompt) and not re.search("minimum number of steps", prompt):
        return "moves", ""
    return ("steps", "") if _STEPS.search(prompt) else ("unknown", "")


# How a text counts rows and columns: from 0 or 1, row or column first, from the top or not.


class CoordinateFrame(NamedTuple):
    """One way to write coordinates."""

    # `base` is the number of the first row and column; -1 if the outer wall is not counted.

    order: str
    """``rc`` (row first) or ``xy`` (column first)."""
    base: int
    height: int
    is_from_below: bool
    """Whether the rows are counted from the bottom."""

    def cell(self, pair: tuple[int, int]) -> Cell:
        row, column = pair if self.order == "rc" else pair[::-1]
        row, column = row - self.base, column - self.base
        return (self.height - 1 - row if self.is_from_below else row), column

    def pair(self, cell: Cell) -> tuple[int, int]:
        row = self.height - 1 - cell[0] if self.is_from_below else cell[0]
        pair = row + self.base, cell[1] + self.base
        return pair if self.order == "rc" else pair[::-1]


Frames: TypeAlias = tuple[CoordinateFrame, ...]


def all_frames(problem: MazeProblem) -> Frames:
    orders = (problem.order,) if problem.order else ("rc", "xy")
    bases = (problem.base,) if problem.base is not None else (0, 1, -1)
    return tuple(
        CoordinateFrame(order, base, problem.maze.size[0], below)
        for below, order, base in product((False, True), orders, bases)
    )


def fitting(frames: Iterable[CoordinateFrame], pair: tuple[int, int], cell: Cell) -> Frames:
    return tuple(frame for frame in frames if frame.cell(pair) == cell)
