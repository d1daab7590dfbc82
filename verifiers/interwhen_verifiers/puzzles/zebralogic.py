"""The shipped verifier ``zebralogic``: puzzles of houses, persons and clues in the form of ZebraLogic.

It reads the puzzle from the prompt, solves it with Z3 while the model begins to write, and judges each statement about
the houses: sentences, lists, tables, and the final grid as JSON. A violation names the clues that contradict the
statement. See ``docs/verifiers/zebralogic.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

from interwhen import (
    Delivery,
    Level,
    Lines,
    Monitor,
    Pass,
    PhaseFilter,
    Segment,
    Task,
    Tracker,
    Unknown,
    Verdict,
    Violation,
    verifier,
)

from interwhen_verifiers.puzzles._statements import Statement, make_statement
from interwhen_verifiers.puzzles._zebralogic.clues import HouseRelation
from interwhen_verifiers.puzzles._zebralogic.puzzle import HousePuzzle, read_puzzle
from interwhen_verifiers.puzzles._zebralogic.reading import ReadingState, Stated, read_line
from interwhen_verifiers.puzzles._zebralogic.solving import Finding, Solved, examine, holds, solve

_SHOWN_CLUES = 3


@dataclass(frozen=True, slots=True)
class Prepared:
    """The puzzle, and its solution."""

    puzzle: HousePuzzle
    solved: Solved


def prepare(task: Task) -> Prepared | None:
    """Read and solve the puzzle of *task*. Return ``None`` if it has none."""
    puzzle = read_puzzle(task.question)
    return None if puzzle is None else Prepared(puzzle, solve(puzzle))


def _start(prepared: Prepared) -> ReadingState:
    return ReadingState(prepared.puzzle)


def _step(state: ReadingState, segment: Segment) -> tuple[ReadingState, list[Statement[Stated, None]]]:
    state, found = read_line(state, segment.text, answer=segment.phase == "answer")
    return state, [make_statement(segment, stated, None) for stated in found]


@verifier(name="zebralogic", version="1", deadline=10.0)
def check(claim: Statement[Stated, None], prepared: Prepared) -> Verdict:
    """Judge a statement by the arrangement that fits the clues; if several arrangements fit, by all of them."""
    puzzle, solved = prepared.puzzle, prepared.solved
    if solved.status == "contradiction":
        return Unknown("the clues, as they were understood, contradict each other")
    missing = len(puzzle.clues) - len(puzzle.understood)
    fits = f"the {len(puzzle.understood)} clues" + (f" that were understood ({missing} were not)" if missing else "")
    if solved.status == "unique" and solved.arrangement is not None and holds(claim.said.relation, solved.arrangement):
        return Pass(f"it holds in the only arrangement that fits {fits}")
    finding = examine(puzzle, solved.text, claim.said.relation)
    match finding.status:
        case "refuted":
            return _violation(puzzle, claim.said.relation, finding)
        case "follows":
            return Pass(f"it follows from clues {_numbers(finding.clues)}" if finding.clues else "it always holds")
        case "open":
            return Unknown(f"it does not follow from {fits}, and is not ruled out by them")
        case "late":
            return Unknown("Z3 did not answer in time")


def _violation(puzzle: HousePuzzle, relation: HouseRelation, finding: Finding) -> Violation:
    said = _words(puzzle, relation)
    if not finding.clues:
        return Violation(why=f"it cannot be that {said}: no two values of a kind share a house")
    many = len(finding.clues) > 1
    by = f"clues {_numbers(finding.clues)} rule it out" if many else f"clue {_numbers(finding.clues)} rules it out"
    why = f"it cannot be that {said}: {by}"
    texts = " ".join(f"Clue {number}: {puzzle.clues[number - 1].text}" for number in finding.clues)
    return Violation(why=why, witness=f"{why} ({texts})" if len(finding.clues) <= _SHOWN_CLUES else "")


def _numbers(clues: tuple[int, ...]) -> str:
    *first, last = map(str, clues)
    return f"{', '.join(first)} and {last}" if first else last


_RELATIONS = {"same": "in the house of", "beside": "next to", "directly_left": "directly left of", "left": "left of"}


def _words(puzzle: HousePuzzle, relation: HouseRelation) -> str:
    """Express *relation* in the words of the puzzle, so that a message does not repeat any text of the trace."""
    one = puzzle.phrases.name(relation.one)
    no = "not " if relation.denied else ""
    if relation.other is None:
        return f"{one!r} is {no}in house {relation.number}"
    other = puzzle.phrases.name(relation.other)
    if relation.kind == "between":
        return f"there are {no}{relation.number} houses between {one!r} and {other!r}"
    return f"{one!r} is {no}{_RELATIONS[relation.kind]} {other!r}"


def zebralogic(*, level: Level = "witness", delivery: Delivery = "interrupt", phase: PhaseFilter = "both") -> Monitor:
    """Make a monitor for puzzles of houses, persons and clues. It does nothing if the prompt has no such puzzle.

    It needs the extra ``z3``. ``level``, ``delivery`` and ``phase`` are those of :class:`~interwhen.Monitor`.
    """
    return Monitor(
        name="zebralogic",
        trigger=Lines(),
        extractor=Tracker(start=_start, step=_step),
        verifier=check,
        delivery=delivery,
        level=level,
        phase=phase,
        prepare=prepare,
    )
