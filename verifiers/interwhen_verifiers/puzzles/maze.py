"""The shipped verifier ``maze``: it replays moves, turns and counts on the maze that the prompt shows.

It learns from the text itself how the text counts rows and columns. See ``docs/verifiers/maze.md``.
"""

from __future__ import annotations

import re
from dataclasses import replace

from interwhen import Monitor, Segment, Verdict, verifier
from interwhen.toolkit import Delivery, Level, PhaseFilter, safe_from_data

from interwhen_verifiers._factories import task_monitor
from interwhen_verifiers.puzzles._maze.grid import MazeProblem, read_problem
from interwhen_verifiers.puzzles._maze.lines import (
    Count,
    ExitPlace,
    Field,
    Located,
    MazeAnswer,
    Moves,
    Rotation,
    Said,
    read_line,
)
from interwhen_verifiers.puzzles._maze.walk import (
    WalkState,
    begin,
    judge_count,
    judge_field,
    judge_final,
    judge_place,
    judge_rotation,
    locate,
    walk,
)
from interwhen_verifiers.puzzles._statements import (
    Afterwards,
    Statement,
    make_statement,
    of_answer,
    prepare_with,
    recognizer,
    track_phases,
    watch_answer,
)

_WAY = r"(?:up|down|left|right|north|south|east|west)(?:wards?)?"
_PAIR = re.compile(r"(\(\s{0,2}-?\d{1,3}\s{0,2}[,;]\s{0,2}-?\d{1,3}\s{0,2}\))")
_ROW = re.compile(r"\brow\s?[=:]?\s?(\d{1,3})\b|\bcol(?:umn)?\s?[=:]?\s?(\d{1,3})\b", re.IGNORECASE)
_MOVE = re.compile(
    rf"\b(?:mov(?:e|es|ed|ing)|go(?:es|ing)?|went|walk(?:s|ed|ing)?|heads?|heading|steps?|turn(?:s|ed|ing)?)\s(?:\w{{1,9}}\s){{0,3}}?({_WAY})\b"
    rf"|\b({_WAY})\b(?=\s?(?:,|->|\u2192|then)\s?\b{_WAY}\b)|([\u2191\u2193\u2190])|\b([UDLR]{{3,}})\b",
    re.IGNORECASE,
)
_TURN = re.compile(
    r"\b(\d{1,4})\s(?:\w{1,6}\s)?turns?\b|\bturns?\b[^.\n]{0,16}?(?:is|are|:|=)\W{0,4}(\d{1,4})\b|\b(right|left)[\s_-]turn\b"
    r"|\bturn(?: type)?\W{1,4}(right|left|straight|none)\b"
    r"|\b(no|one|two|three|four|five|six|seven|eight|nine|ten)\s(?:right|left)[\s_-]turns?\b",
    re.IGNORECASE,
)
_BESIDE = re.compile(
    r"\b(?:exit|E|goal)\b[^.\n]{0,24}?\b(above|below|left|right|top|bottom|upper|lower)\b"
    r"[^.\n]{0,16}?\b(?:of|from|the start|S)\b"
)
recognize = recognizer(_PAIR, _ROW, _MOVE, _TURN, _BESIDE)


def _read(
    problem: MazeProblem, where: WalkState, segment: Segment
) -> tuple[WalkState, list[Statement[Said, WalkState]]]:
    where = replace(where, is_reasoning=segment.phase == "reasoning")
    claims = []
    least = _least(problem, where, segment)
    for said in read_line(segment.text, least=least):
        claims.append(make_statement(segment, said, where, context=f"{segment.text} | {least} | {where.key}"))
        match said:
            case Located():
                where = locate(problem, where, said).place
            case Moves():
                where = walk(problem, where, said).place
    return where, claims


def _least(problem: MazeProblem, where: WalkState, segment: Segment) -> int:
    # The least number of moves that make a line without a label the answer; 0 if such a line never is.
    if segment.phase != "answer" or problem.asked != "moves":
        return 0
    return 1 if problem.distance == 1 and where.walk == begin(problem).walk else 2


@verifier(name="maze", version="3", deadline=2.0, worker="inline")
def check(claim: Statement[Said, WalkState], problem: MazeProblem) -> Verdict:
    """Judge the statement in *claim* by the maze.

    Positions and moves that are right in one way in which the text may count rows and columns pass. Wrong ones are
    ``Unknown`` if that way, or the place of the walk, is not certain.
    """
    match claim.said:
        case Afterwards(verdict=verdict):
            return verdict
        case Located() as located:
            return locate(problem, claim.before, located).verdict
        case Moves() as moves:
            return walk(problem, claim.before, moves).verdict
        case Field() as field:
            return judge_field(claim.before, field)
        case Rotation() as rotation:
            return judge_rotation(rotation)
        case Count() as count:
            return judge_count(problem, count, claim.before.walk)
        case ExitPlace(place=place):
            return judge_place(problem, place)
        case MazeAnswer() as final:
            return of_answer(judge_final(problem, final))


@safe_from_data()
def maze(
    *,
    level: Level = "witness",
    delivery: Delivery = "interrupt",
    phase: PhaseFilter = "both",
) -> Monitor:
    """Make a monitor that replays moves, turns and counts on a maze. It does nothing if it can read none in the prompt.

    ``level``, ``delivery`` and ``phase`` are those of :class:`~interwhen.Monitor`.
    """
    return task_monitor(
        "maze",
        check,
        watch_answer(track_phases(begin, _read), MazeAnswer),
        prepare_with(read_problem),
        recognizer=recognize,
        level=level,
        delivery=delivery,
        phase=phase,
    )
