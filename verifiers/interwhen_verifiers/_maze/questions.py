"""Judges counts, places and answers."""

from __future__ import annotations

import re

from interwhen import Pass, Unknown, Verdict, Violation

from interwhen_verifiers._maze.grid import Maze
from interwhen_verifiers._maze.lines import Count, Final, Moves
from interwhen_verifiers._maze.problem import Asked, Problem
from interwhen_verifiers._maze.walk import Walk, begin, walk
from interwhen_verifiers._puzzles.answers import choose

_NUMBER = re.compile(
    r"(?:(?:number of )?(?:right |left |total )?(?:turns|steps|moves) ?[=:] ?)?(\d{1,6})"
    r"(?: ?(?:right |left |total )?(?:turns?|steps?|moves?))?",
    re.IGNORECASE,
)
_NO_WAY = re.compile(r"infeasible|no (?:path|way|solution)|impossible|none", re.IGNORECASE)
_KINDS: dict[str, Asked] = {"right": "right turns", "left": "left turns", "total": "turns"}


def judge_count(problem: Problem, said: Count, last: Walk) -> Verdict:
    """Compare a number of turns with the marked path. Before its end, there may be fewer of them so far."""
    verdict = _judge_turns(problem, _KINDS[said.kind], said.number)
    is_high = said.number > sum(said.kind in {turn, "total"} for turn in problem.maze.turns)
    if isinstance(verdict, Violation) and said.is_tally and not is_high and last.cell != problem.maze.goal:
        return Unknown("there may be so many turns so far")
    return verdict


def judge_place(problem: Problem, place: str) -> Verdict:
    """Judge where the exit is, as seen from the start."""
    holds = _is_there(problem.maze, place)
    if holds is None:
        return Unknown(f"{place[:40]!r} was not understood")
    return Pass("by the rows and columns of both") if holds else Violation(why="the exit does not lie there")


def judge_final(problem: Problem, final: Final) -> Verdict:
    """Judge the answer to the question of the prompt."""
    chosen = choose(final.text, problem.options) if problem.options else None
    text = chosen[1] if chosen else final.text
    match problem.asked:
        case "right turns" | "left turns" | "turns" | "steps":
            number = _NUMBER.fullmatch(text.strip())
            if number is None:
                return Unknown("the answer is no number")
            stated = int(number[1])
            return (
                _judge_distance(problem, stated)
                if problem.asked == "steps"
                else _judge_turns(problem, problem.asked, stated)
            )
        case "place":
            return _judge_yes(problem, text)
        case "moves":
            return _judge_way(problem, final)
        case _:
            return _judge_way(problem, final) if final.moves else Unknown("the question was not understood")


def _judge_turns(problem: Problem, asked: Asked, stated: int) -> Verdict:
    if not problem.maze.path:
        return Unknown("no path is marked")
    turns = problem.maze.turns
    kinds = {"right turns": ("right",), "left turns": ("left",)}.get(asked, ("right", "left"))
    if sum(turn in kinds for turn in turns) == stated:
        return Pass("counted along the marked path")
    return Violation(why=f"the marked path does not have {stated} {asked}")


def _judge_distance(problem: Problem, stated: int) -> Verdict:
    distance = problem.distance
    if distance == stated:
        return Pass("by a breadth-first search")
    return Violation(why=f"{stated} is not the least number of steps")


def _judge_yes(problem: Problem, text: str) -> Verdict:
    said = re.match(r"(yes|no)\b", text.strip(), re.IGNORECASE)
    holds = _is_there(problem.maze, problem.place)
    if said is None or holds is None:
        return Unknown("the answer is neither yes nor no, or the question was not understood")
    if (said[1].lower() == "yes") == holds:
        return Pass("by the rows and columns of start and exit")
    return Violation(why=f"the rows and columns of start and exit do not say {said[1].lower()}")


def _judge_way(problem: Problem, final: Final) -> Verdict:
    if final.moves is None:
        if not _NO_WAY.fullmatch(final.text.strip(" .!")):
            return Unknown("the answer is no list of moves")
        found = problem.distance is not None
        return Violation(why="there is a way") if found else Pass("a search found no way")
    return _judge_moves(problem, final.moves)


def _judge_moves(problem: Problem, moves: Moves) -> Verdict:
    """Judge a whole way from start to exit, and whether it is a shortest one where that is asked."""
    verdict = walk(problem, begin(problem), moves, whole=True).verdict
    if not isinstance(verdict, Pass) or problem.asked != "moves":
        return verdict
    if sum(step.count for step in moves.steps) == problem.distance:
        return Pass("the moves were replayed, and a search found no shorter way")
    return Violation(why="there is a shorter way")


def _is_there(maze: Maze, place: str) -> bool | None:
    """Tell whether the exit lies at *place*; ``None``: that is not understood."""
    rows, columns = maze.goal[0] - maze.start[0], maze.goal[1] - maze.start[1]
    words = set(re.findall(r"[a-z]+", place.lower()))
    up, down = (
        bool(words & {"top", "above", "upper", "up", "north"}),
        bool(words & {"bottom", "below", "lower", "south"}),
    )
    left, right = bool(words & {"left", "west"}), bool(words & {"right", "east"})
    known = {
        "directly",
        "to",
        "the",
        "top",
        "above",
        "upper",
        "up",
        "bottom",
        "below",
        "lower",
        "left",
        "right",
        "and",
        "side",
    }
    if words - known or (up and down) or (left and right) or not (up or down or left or right):
        return None
    vertical = (rows < 0 if up else rows > 0) if up or down else None
    horizontal = (columns < 0 if left else columns > 0) if left or right else None
    if "directly" in words:
        if vertical is not None and horizontal is not None:
            return None
        return bool(vertical) and columns == 0 if vertical is not None else bool(horizontal) and rows == 0
    return vertical is not False and horizontal is not False
