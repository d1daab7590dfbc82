"""Replays the moves of a text on the maze, and judges its statements."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import NamedTuple

from interwhen import Pass, Span, Unknown, Verdict, Violation

from interwhen_verifiers.puzzles._maze.grid import (
    TURN_QUESTIONS,
    Asked,
    Cell,
    CoordinateFrame,
    Direction,
    Frames,
    Maze,
    MazeProblem,
    Turn,
    all_frames,
    direction_between,
    fitting,
    moved,
    turn_between,
)
from interwhen_verifiers.puzzles._maze.lines import Count, Field, Located, MazeAnswer, Move, Moves, Pair, Rotation
from interwhen_verifiers.puzzles._statements import Spanned, choose, judged

_UNPLACED = Unknown("it is not known how the text counts rows and columns")


@dataclass(frozen=True, slots=True)
class Walk:
    """The walk so far: the current ``cell`` (``None`` if it is not known), the last directions, and the turns."""

    cell: Cell | None
    before: Direction | None = None
    """The direction of the step before the last one."""
    way: Direction | None = None
    """The direction of the last step."""
    turn: Turn | None = None
    """The turn of the last step, ``straight`` for the first step from the start; ``None`` if it is not known."""
    right: int = 0
    """The number of right turns so far; ``left`` is that of left turns."""
    left: int = 0
    is_counted: bool = True
    """Whether ``right`` and ``left`` count the turns of all steps from the start."""
    number: int | None = None
    """The number of the last step; ``None`` if none was read, as for a numbered chain of cells."""


@dataclass(frozen=True, slots=True)
class WalkState:
    """The possible ways in which the text writes coordinates, and the walk so far."""

    frames: Frames
    walk: Walk
    is_reasoning: bool = False
    """Whether the model is reasoning, where it may change how it writes coordinates."""
    is_confirmed: bool = False
    """Whether the text or the prompt has shown that one of ``frames`` is the right one."""

    @property
    def key(self) -> str:
        walk = self.walk
        ways = (walk.cell, walk.before, walk.way, walk.turn, walk.right, walk.left, walk.is_counted, walk.number)
        frames = " ".join(f"{frame.order}{frame.base}{frame.is_from_below:d}" for frame in self.frames)
        return f"{ways} {self.is_reasoning:d}{self.is_confirmed:d} {frames}"


class Outcome(NamedTuple):
    """The state of the walk after a statement, and the verdict on the statement."""

    place: WalkState
    verdict: Verdict


class _Fault(Exception):
    """A move cannot be made: why, and the start and end of what is wrong."""

    def __init__(self, why: str, wrong: Spanned) -> None:
        self.why, self.wrong = why, wrong


def begin(problem: MazeProblem) -> WalkState:
    confirmed = problem.base is not None and bool(problem.order)
    return WalkState(all_frames(problem), Walk(problem.maze.start), is_confirmed=confirmed)


def locate(problem: MazeProblem, place: WalkState, said: Located) -> Outcome:
    # The start or exit passes if the position is right in one way in which the text may write coordinates. A wrong
    # position is a violation only if that way is certain.
    maze = problem.maze
    if said.what == "here":
        if place.walk.cell is None or not place.is_confirmed:
            return Outcome(place, Unknown("it is not known where the walk is"))
        if fitting(place.frames, said.pair.numbers, place.walk.cell):
            return Outcome(place, Pass("where the moves lead to"))
        right = _written(place.frames, place.walk.cell)
        return Outcome(place, Violation(why="the moves lead elsewhere", witness=f"the moves lead to {right}"))
    cell = maze.start if said.what == "S" else maze.goal
    frames = _named(place.frames, said.pair)
    fitted = fitting(frames, said.pair.numbers, cell)
    others = fitting(_named(all_frames(problem), said.pair), said.pair.numbers, cell)
    if not fitted and others and said.what == "S" and place.is_confirmed:
        # It may count in another way from here on, or be wrong.
        return Outcome(
            replace(place, frames=others), Unknown("the text counted rows and columns in another way before")
        )
    if fitted or (others and said.what == "S"):
        # A position that is symmetric, or lies in the middle, fits several frames: all are kept.
        return Outcome(replace(place, frames=fitted or others, is_confirmed=True), Pass("as the maze shows"))
    if place.is_confirmed and said.is_sure and frames and not (others and place.is_reasoning):
        right = _written(place.frames, cell)
        who = "the start" if said.what == "S" else "the exit"
        return Outcome(place, Violation(why=f"{who} is not there", witness=f"{who} is at {right}"))
    return Outcome(place, _UNPLACED)


def walk(problem: MazeProblem, place: WalkState, moves: Moves, *, whole: bool = False) -> Outcome:
    """Replay *moves* from the current cell of the walk, or from the start if the moves may begin there again.

    *whole*: the moves must lead from the start to the exit, unless they name cells.
    """
    if any(step.after is not None for step in moves.steps):
        return _walk_by_pairs(problem, place, moves)
    starts = [] if whole else [place.walk.cell]
    if whole or moves.is_list:
        starts.append(problem.maze.start)
    first: Outcome | None = None
    if not whole and _names_runs(problem.maze, moves):
        return Outcome(_lost(place), Unknown("it may name the directions of straight runs"))
    for cell in dict.fromkeys(cell for cell in starts if cell is not None):
        begun = place.walk if cell == place.walk.cell and not whole else Walk(cell)
        try:
            replayed = _replay(problem, begun, moves, None)
            if whole and replayed.cell != problem.maze.goal:
                return _refuted(place, moves, _Fault("these moves do not end at the exit", moves))
            return Outcome(replace(place, walk=replace(replayed, number=moves.number)), Pass("the moves were replayed"))
        except _Fault as fault:
            first = first or _refuted(place, moves, fault)
    return first or Outcome(_lost(place), Unknown("it is not known where the walk is"))


def _names_runs(maze: Maze, moves: Moves) -> bool:
    ways = [direction_between(one, other) for one, other in pairwise(maze.path)]
    runs = [way for way, _ in groupby(ways)]
    return 1 < len(runs) < len(ways) and [(step.way, step.count) for step in moves.steps] == [(way, 1) for way in runs]


def judge_field(place: WalkState, said: Field) -> Verdict:
    last = place.walk
    if said.name == "turn":
        if last.turn is None or last.turn == "back":
            return Unknown("the turn of the last step is not known")
        turn = "straight on" if last.turn == "straight" else f"a {last.turn} turn"
        witness = f"from {last.before} to {last.way} is {turn}" if last.before else "the first step is no turn"
        why = "the directions of the steps say otherwise"
        return judged(last.turn == said.value, evidence="by the directions of both steps", why=why, witness=witness)
    if said.name in {"current", "previous"}:
        way = last.way if said.name == "current" else last.before
        if way is None or last.turn is None:
            return Unknown("the direction is not known")
        why = f"the {said.name} direction is not {said.value}"
        return judged(way == said.value, evidence="as the moves say", why=why, witness=f"it is {way}")
    if not last.is_counted or last.cell is None:
        return Unknown("not all steps before are known")
    counts = {"right": last.right, "left": last.left, "all": last.right + last.left}
    # The numbers are those of right turns, of left turns, and perhaps of all.
    for stated, (kind, true_count) in zip(said.numbers, counts.items(), strict=False):
        if stated != true_count:
            return Violation(why=f"the moves so far do not have {stated} turns ({kind})")
    return Pass("counted along the moves")


def judge_rotation(said: Rotation) -> Verdict:
    right = turn_between(said.one, said.other)
    if right in {"straight", "back"} and right != said.turn:
        return Unknown("that is no turn to the side")
    pair = f"from {said.one} to {said.other} is"
    why, witness = f"{pair} not a {said.turn} turn", f"{pair} a {right} turn"
    return judged(right == said.turn, evidence="by the compass", why=why, witness=witness)


def _walk_by_pairs(problem: MazeProblem, place: WalkState, moves: Moves) -> Outcome:
    first = moves.steps[0].before
    begins = [cell for cell in (place.walk.cell, problem.maze.start) if cell is not None]
    known = place.is_confirmed
    frames = place.frames
    if first is not None and not known:
        fits = tuple(frame for frame in frames if frame.cell(first.numbers) in begins)
        frames, known = (fits, True) if fits else (frames, False)
    alive, fault = _replayed(problem, place.walk, moves, frames)
    if not alive and first is not None and place.is_reasoning:
        # It may have begun to count in another way; then it continues from where it was, or from the start.
        others = [frame for frame in all_frames(problem) if frame.cell(first.numbers) in begins]
        alive, _ = _replayed(problem, place.walk, moves, others)
    if alive:
        walks = {replace(replayed, number=moves.number) for _, replayed in alive}
        after = walks.pop() if len(walks) == 1 else Walk(None, is_counted=False)
        fitted = tuple(frame for frame, _ in alive)
        confirmed = place.is_confirmed or len(fitted) < len(place.frames)
        new_place = replace(place, frames=fitted, walk=after, is_confirmed=confirmed)
        return Outcome(new_place, Pass("the moves were replayed"))
    if fault is None or not known:
        return Outcome(_lost(place), _UNPLACED)
    return _refuted(place, moves, fault)


def _replayed(
    problem: MazeProblem, last: Walk, moves: Moves, frames: Iterable[CoordinateFrame]
) -> tuple[list[tuple[CoordinateFrame, Walk]], _Fault | None]:
    # `frames` are the possible meanings of coordinates. The result has those in which all moves can be made, with the
    # walks after them, and the first fault.
    alive: list[tuple[CoordinateFrame, Walk]] = []
    fault: _Fault | None = None
    for frame in frames:
        try:
            alive.append((frame, _replay(problem, _begun(problem, last, moves, frame), moves, frame)))
        except _Fault as error:
            fault = fault or error.with_traceback(None)  # without its frames, which refer to it
    return alive, fault


def _begun(problem: MazeProblem, last: Walk, moves: Moves, frame: CoordinateFrame) -> Walk:
    step = moves.steps[0]
    cell = last.cell if step.before is None else frame.cell(step.before.numbers)
    if cell is None:
        if step.way is None or step.after is None:
            return Walk(None, is_counted=False)
        return Walk(moved(frame.cell(step.after.numbers), step.way, -step.count), is_counted=False)
    if cell == last.cell:
        return last
    if cell == problem.maze.start:
        return Walk(cell)
    if last.number is not None and moves.number == last.number + 1 and last.cell is not None:
        raise _Fault(f"the step before does not end there, but at {frame.pair(last.cell)}", step)
    return Walk(cell, is_counted=False)


def _replay(problem: MazeProblem, last: Walk, moves: Moves, frame: CoordinateFrame | None) -> Walk:
    maze = problem.maze
    rows, columns = maze.size
    for step in moves.steps:
        if last.cell is None:
            raise _Fault("it is not known where this begins", step)
        there = _target(last.cell, step, frame)
        way = direction_between(last.cell, there)
        if way is None:
            raise _Fault("these cells are not in one row or column", step)
        cell = last.cell
        while cell != there:
            cell = moved(cell, way)
            if not (0 <= cell[0] < rows and 0 <= cell[1] < columns):
                raise _Fault("that leads out of the maze", step)
            if cell not in maze.open:
                raise _Fault("that leads into a wall", step)
            if maze.marked and cell not in maze.marked:
                raise _Fault("that leaves the marked path", step)
        if maze.marked and last.way is not None and turn_between(last.way, way) == "back":
            raise _Fault("that goes back", step)
        last = _turned(last, there, way)
    return last


def _target(cell: Cell, step: Move, frame: CoordinateFrame | None) -> Cell:
    if step.after is None or frame is None:
        if step.way is None:
            raise _Fault("no direction", step)
        return moved(cell, step.way, step.count)
    there = frame.cell(step.after.numbers)
    if there == cell:
        raise _Fault("this is no move", step)
    if step.way is not None and direction_between(cell, there) != step.way:
        raise _Fault(f"that cell is not {_beside(step.way)}", step)
    return there


def _turned(last: Walk, there: Cell, way: Direction) -> Walk:
    turn: Turn | None = turn_between(last.way, way) if last.way else "straight" if last.is_counted else None
    return replace(
        last,
        cell=there,
        before=last.way,
        way=way,
        turn=turn,
        right=last.right + (turn == "right"),
        left=last.left + (turn == "left"),
        is_counted=last.is_counted and turn is not None,
    )


def _refuted(place: WalkState, moves: Moves, fault: _Fault) -> Outcome:
    where = Span(fault.wrong.start - moves.start, fault.wrong.end - moves.start)
    return Outcome(_lost(place), Violation(why=fault.why, where=where))


def _lost(place: WalkState) -> WalkState:
    return replace(place, walk=Walk(None, is_counted=False))


def _named(frames: Frames, pair: Pair) -> Frames:
    return tuple(frame for frame in frames if not pair.order or frame.order == pair.order)


def _written(frames: Frames, cell: Cell) -> str:
    return str(frames[0].pair(cell))


def _beside(way: Direction) -> str:
    return {"up": "above", "down": "below"}.get(way, f"to the {way}")


_NUMBER = re.compile(
    r"(?:(?:number of )?(?:right |left |total )?(?:turns|steps|moves) ?[=:] ?)?(\d{1,6})"
    r"(?: ?(?:right |left |total )?(?:turns?|steps?|moves?))?",
    re.IGNORECASE,
)
_NO_WAY = re.compile(r"infeasible|no (?:path|way|solution)|impossible|none", re.IGNORECASE)


def judge_count(problem: MazeProblem, said: Count, last: Walk) -> Verdict:
    verdict = _judge_turns(problem, TURN_QUESTIONS[said.kind], said.number)
    is_high = said.number > sum(said.kind in {turn, "total"} for turn in problem.maze.turns)
    if isinstance(verdict, Violation) and said.is_tally and not is_high and last.cell != problem.maze.goal:
        return Unknown("the walk is not over, and may have this many turns so far")
    return verdict


def judge_place(problem: MazeProblem, place: str) -> Verdict:
    holds = _is_there(problem.maze, place)
    if holds is None:
        return Unknown(f"{place[:40]!r} was not understood")
    return judged(holds, evidence="by the rows and columns of both", why="the exit is not there")


def judge_final(problem: MazeProblem, final: MazeAnswer) -> Verdict:
    chosen = choose(final.text, problem.options) if problem.options else None
    text = chosen[1] if chosen else final.text
    match problem.asked:
        case "right turns" | "left turns" | "turns" | "steps":
            number = _NUMBER.fullmatch(text.strip())
            if number is None:
                return Unknown("the answer is not a number")
            stated = int(number[1])
            if problem.asked != "steps":
                return _judge_turns(problem, problem.asked, stated)
            why = f"{stated} is not the least number of steps"
            return judged(problem.distance == stated, evidence="by a breadth-first search", why=why)
        case "place":
            return _judge_yes(problem, text)
        case _ if text != final.text:
            # The letter of the option (such as D) could be read as a move.
            return Unknown("the answer names an option, whose moves are not judged")
        case asked if asked == "moves" or final.moves:
            return _judge_path(problem, final)
        case _:
            return Unknown("the question was not understood")


def _judge_turns(problem: MazeProblem, asked: Asked, stated: int) -> Verdict:
    if not problem.maze.path:
        return Unknown("no path is marked")
    kinds = {"right turns": ("right",), "left turns": ("left",)}.get(asked, ("right", "left"))
    count = sum(turn in kinds for turn in problem.maze.turns)
    why = f"the marked path does not have {stated} {asked}"
    return judged(count == stated, evidence="counted along the marked path", why=why)


def _judge_yes(problem: MazeProblem, text: str) -> Verdict:
    said = re.match(r"(yes|no)\b", text.strip(), re.IGNORECASE)
    holds = _is_there(problem.maze, problem.place)
    if said is None or holds is None:
        return Unknown("the answer is neither yes nor no, or the question was not understood")
    evidence, word = "by the rows and columns of start and exit", said[1].lower()
    why = f"the rows and columns of start and exit do not say {word}"
    return judged((word == "yes") == holds, evidence=evidence, why=why)


def _judge_path(problem: MazeProblem, final: MazeAnswer) -> Verdict:
    # The answer is a list of moves, or says that there is no path. If the question asks for moves, the list must be a
    # shortest one.
    if final.moves is None:
        if not _NO_WAY.fullmatch(final.text.strip(" .!")):
            return Unknown("the answer is no list of moves")
        has_way = problem.distance is not None
        return Violation(why="there is a way") if has_way else Pass("a search found no way")
    verdict = walk(problem, begin(problem), final.moves, whole=True).verdict
    if not isinstance(verdict, Pass) or problem.asked != "moves":
        return verdict
    evidence = "the moves were replayed, and a search found no shorter way"
    shortest = sum(step.count for step in final.moves.steps) == problem.distance
    return judged(shortest, evidence=evidence, why="there is a shorter way")


_UP, _DOWN, _LEFT, _RIGHT = (
    frozenset(words.split())
    for words in ("top above upper up north", "bottom below lower south", "left west", "right east")
)
_PLACE_WORDS = (_UP | _DOWN | _LEFT | _RIGHT | {"directly", "to", "the", "and", "side"}) - {
    "north",
    "south",
    "west",
    "east",
}


def _is_there(maze: Maze, place: str) -> bool | None:
    rows, columns = maze.goal[0] - maze.start[0], maze.goal[1] - maze.start[1]
    words = set(re.findall(r"[a-z]+", place.lower()))
    up, down, left, right = (bool(words & names) for names in (_UP, _DOWN, _LEFT, _RIGHT))
    if words - _PLACE_WORDS or (up and down) or (left and right) or not (up or down or left or right):
        return None
    vertical = (rows < 0 if up else rows > 0) if up or down else None
    horizontal = (columns < 0 if left else columns > 0) if left or right else None
    if "directly" in words:
        if vertical is not None and horizontal is not None:
            return None
        return (bool(vertical) and columns == 0) or (bool(horizontal) and rows == 0)
    return vertical is not False and horizontal is not False
