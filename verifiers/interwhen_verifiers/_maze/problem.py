"""What is asked about which maze."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from interwhen_verifiers._maze.grid import Maze, make_maze
from interwhen_verifiers._puzzles.answers import read_options

Asked = Literal["right turns", "left turns", "turns", "place", "steps", "moves", "unknown"]
"""What the question is: how many turns, where the exit is, how many steps at least, a way, or something else."""

MAX_PROMPT = 100_000
_MOST = 200
"""A larger maze is not read."""
_TURNS = re.compile(r"how many (right|left|total)?[ -]?turns?\b", re.IGNORECASE)
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
class Problem:
    """The maze, the question, its options, and what the prompt says of coordinates."""

    maze: Maze
    asked: Asked = "unknown"
    place: str = ""
    """Where the exit is asked to be, as ``top left`` or ``directly above``."""
    options: dict[str, str] = field(default_factory=dict)
    base: int | None = None
    distance: int | None = None
    """The least number of steps from start to goal; ``None``: there is no way."""
    order: str = ""
    """``rc``: row first; ``xy``: column first; empty: the prompt does not say."""


def read_problem(prompt: str) -> Problem | None:
    """Return the maze of *prompt* and what is asked of it; ``None``: it shows none that is understood."""
    if len(prompt) > MAX_PROMPT:
        return None
    maze = _quoted(prompt) or _drawn(prompt)
    if maze is None:
        return None
    asked, place = _asked(prompt)
    base, order = _coordinates(prompt)
    return Problem(maze, asked, place, read_options(prompt), base, maze.distance(), order)


def _quoted(prompt: str) -> Maze | None:
    found = _QUOTED.search(prompt)
    if found is None:
        return None
    rows = found[3].split("\n")
    return make_maze(rows, walls=found[4], start=found[1], goal=found[2]) if len(rows) <= _MOST else None


def _drawn(prompt: str) -> Maze | None:
    """Return the last maze that is drawn with the signs of the legend, or with common ones."""
    found = None
    for roles in _roles(prompt):
        for block in _blocks(prompt, frozenset("".join(roles.values()) + " .")):
            rows = block
            if all(set(row[1::2]) == {" "} and " " not in row[::2] for row in rows):
                rows = [row[::2] for row in rows]
            maze = make_maze(rows, walls=roles["wall"], start=roles["start"], goal=roles["goal"], mark=roles["path"])
            found = maze or found
        if found is not None:
            break
    return found


def _blocks(prompt: str, allowed: frozenset[str]) -> list[list[str]]:
    """Return the runs of two and more lines of equal length that hold nothing else than signs of a maze."""
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
    """Return what the signs may mean: what a legend says, or else what they commonly mean."""
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
    if turns := _TURNS.search(prompt):
        kind = (turns[1] or "total").lower()
        return ("right turns" if kind == "right" else "left turns" if kind == "left" else "turns"), ""
    if place := _PLACE.search(prompt):
        return "place", place[1].lower().strip()
    if _MOVES.search(prompt) and not re.search("minimum number of steps", prompt):
        return "moves", ""
    return ("steps", "") if _STEPS.search(prompt) else ("unknown", "")


def _coordinates(prompt: str) -> tuple[int | None, str]:
    bases = {
        int(word.translate({}) if word.isdigit() else word == "one")
        for pair in _BASE.findall(prompt)
        for word in pair
        if word
    }
    orders = {"rc" if first.lower() in {"row", "r"} else "xy" for first, _ in _ORDER.findall(prompt)}
    return (bases.pop() if len(bases) == 1 else None), (orders.pop() if len(orders) == 1 else "")
