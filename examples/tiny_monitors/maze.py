"""A maze: each line goes through a door into a new room, or back from a dead end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from interwhen import Pass, Verdict, Violation

from .trace import LOST, UNREAD, Step, wrong

_DOORS = r"(?P<doors>[A-Z]-[A-Z](?:, [A-Z]-[A-Z])*)"
_FORMS = (
    re.compile(rf"Doors: {_DOORS}\. Start: (?P<start>[A-Z])\. Exit: (?P<goal>[A-Z])\."),
    re.compile(rf"A maze has doors {_DOORS}\. Go from (?P<start>[A-Z]) to (?P<goal>[A-Z])\."),
    re.compile(rf"The rooms of a maze are joined: {_DOORS}\. Find a way from (?P<start>[A-Z]) to (?P<goal>[A-Z])\."),
)
_MOVE = re.compile(r"([A-Z]) to ([A-Z])")
_BACK = re.compile(r"(([A-Z]) is a dead end), (back to ([A-Z]))")
_ANSWER = re.compile(r"Answer: *([A-Z](?: [A-Z])*)\.?")
_ROOMS = re.compile(r"\b[A-Z]\b")


class Walk(NamedTuple):
    """The rooms from the start to the current one, and all rooms that were visited."""

    path: tuple[str, ...]
    visited: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Maze:
    """The rooms beside each room, in the order of the text."""

    beside: dict[str, list[str]]
    first: str
    goal: str

    @property
    def start(self) -> Walk:
        """The walk is at the start."""
        return Walk((self.first,), (self.first,))

    def step(self, state: Walk | None, line: str) -> Step[Walk] | None:
        """Judge a move, or a way back."""
        if match := _MOVE.fullmatch(line):
            return self._move(state, match)
        if match := _BACK.fullmatch(line):
            return self._back(state, match)
        return None if line.startswith("Wait") or not _ROOMS.search(line) else Step(UNREAD)

    def answer(self, _state: Walk | None, text: str) -> Verdict | None:
        """Judge the answer alone. The right answer is never given."""
        match = _ANSWER.fullmatch(text)
        if match is None:
            return UNREAD if text.startswith("Answer") else None
        path, where = match[1].split(), match.span(1)
        if path[0] != self.first:
            return wrong(where, f"the way does not start in {path[0]}")
        for room, following in pairwise(path):
            if following not in self.beside.get(room, ()):
                return wrong(where, f"there is no door from {room} to {following}")
        if path[-1] != self.goal:
            return wrong(where, f"{path[-1]} is not the exit")
        return Pass("a way along doors")

    def _move(self, state: Walk | None, match: re.Match[str]) -> Step[Walk]:
        here, there = match[1], match[2]
        if state is not None and here != state.path[-1]:
            return Step(_elsewhere(match.span(1), here, state.path[-1]))
        if there not in self.beside.get(here, ()):
            witness = f"{here} has doors to {', '.join(self.beside[here])}" if here in self.beside else ""
            return Step(wrong(match.span(), f"there is no door from {here} to {there}", witness))
        if state is None:
            return Step(LOST)
        if there in state.visited:
            why = f"{there} was visited before"
            return Step(wrong(match.span(), why, why))
        return Step(Pass("a door into a new room"), Walk((*state.path, there), (*state.visited, there)))

    def _back(self, state: Walk | None, match: re.Match[str]) -> Step[Walk]:
        here, there = match[2], match[4]
        if state is None:
            return Step(LOST)
        if here != state.path[-1]:
            return Step(_elsewhere(match.span(2), here, state.path[-1]))
        onward = [room for room in self.beside[here] if room not in state.visited]
        if onward:
            return Step(wrong(match.span(1), f"{here} is not a dead end", f"{here} has a door to {onward[0]}"))
        if len(state.path) < 2 or there != state.path[-2]:
            came = state.path[-2] if len(state.path) > 1 else None
            why = f"you did not come to {here} from {there}"
            witness = f"you came to {here} from {came}" if came else f"you started in {here}"
            return Step(wrong(match.span(3), why, witness, f"back to {came}" if came else None))
        return Step(Pass("no new room beside it"), state._replace(path=state.path[:-1]))


def _elsewhere(where: tuple[int, int], said: str, here: str) -> Violation:
    return wrong(where, f"you are not in {said}", f"you are in {here}, not in {said}", here)


def read_maze(prompt: str) -> Maze:
    """Read the doors, the start and the exit."""
    match = next((match for form in _FORMS if (match := form.fullmatch(prompt))), None)
    if match is None:
        raise ValueError(
            f"the prompt must be a problem of the family maze, got {prompt!r:.300}: write it as in the training data"
        )
    beside: dict[str, list[str]] = {}
    for door in match["doors"].split(", "):
        one, other = door.split("-")
        beside.setdefault(one, []).append(other)
        beside.setdefault(other, []).append(one)
    if not {match["start"], match["goal"]} <= beside.keys():
        raise ValueError(
            "the start and the exit of a problem of the family maze must have a door, and one has none in "
            f"{prompt!r:.300}: "
            "correct the problem"
        )
    return Maze(beside, match["start"], match["goal"])
