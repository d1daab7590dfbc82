r"""The shipped verifier ``zebralogic``: puzzles of houses, persons and clues, as ZebraLogic asks them.

It reads the puzzle from the prompt, finds its one solution with Z3 while the model begins to write, and judges each
statement about the houses: sentences, lists, tables, and the final grid as JSON. What contradicts the clues is refuted
by the numbers of the clues that rule it out. See ``docs/verifiers/zebralogic.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from interwhen import (
    Claim,
    Delivery,
    Level,
    Lines,
    Monitor,
    Pass,
    PhaseFilter,
    Resample,
    Segment,
    Task,
    Tracker,
    Unknown,
    Verdict,
    Violation,
    verifier,
)

from interwhen_verifiers.puzzles._zebralogic.clues import Relation
from interwhen_verifiers.puzzles._zebralogic.puzzle import Puzzle, read_puzzle
from interwhen_verifiers.puzzles._zebralogic.reading import Reading, Statement, read_line
from interwhen_verifiers.puzzles._zebralogic.solving import Finding, Solved, examine, holds, solve

_SHOWN_CLUES = 3


@dataclass(frozen=True, slots=True)
class Prepared:
    """The puzzle, and what its clues come to."""

    puzzle: Puzzle
    solved: Solved


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated(Claim):
    """A statement about the houses."""

    relation: Relation


def prepare(task: Task) -> Prepared | None:
    """Read and solve the puzzle of *task*; ``None`` where it asks none."""
    puzzle = read_puzzle(task.question)
    return None if puzzle is None else Prepared(puzzle, solve(puzzle))


def _start(prepared: Prepared | None) -> Reading | None:
    return None if prepared is None else Reading(prepared.puzzle)


def _step(state: Reading | None, segment: Segment) -> tuple[Reading | None, Iterator[Stated]]:
    if state is None:
        return None, iter(())
    state, found = read_line(state, segment.text, answer=segment.phase == "answer")
    return state, (_claim(segment, statement) for statement in found)


def _claim(segment: Segment, found: Statement) -> Stated:
    return Stated(key=repr(tuple(found.relation)), span=segment.at(found.start, found.end), relation=found.relation)


@verifier(name="zebralogic", version="1", deadline=10.0)
def check(claim: Stated, prepared: Prepared) -> Verdict:
    """Judge a statement by the one arrangement that fits the clues; where there are more, by all of them."""
    puzzle, solved = prepared.puzzle, prepared.solved
    if solved.status == "contradiction":
        return Unknown("the clues, as they were understood, contradict each other")
    missing = len(puzzle.clues) - len(puzzle.understood)
    fits = f"the {len(puzzle.understood)} clues" + (f" that were understood ({missing} were not)" if missing else "")
    if solved.status == "unique" and solved.arrangement is not None and holds(claim.relation, solved.arrangement):
        return Pass(f"it holds in the only arrangement that fits {fits}")
    finding = examine(puzzle, solved.text, claim.relation)
    match finding.status:
        case "refuted":
            return _violation(puzzle, claim.relation, finding)
        case "follows":
            return Pass(f"it follows from clues {_numbers(finding.clues)}" if finding.clues else "it always holds")
        case "open":
            return Unknown(f"it does not follow from {fits}, and is not ruled out by them")
        case "late":
            return Unknown("Z3 did not answer in time")


def _violation(puzzle: Puzzle, relation: Relation, finding: Finding) -> Violation:
    said = _words(puzzle, relation)
    if not finding.clues:
        return Violation(why=f"it cannot be that {said}: no two values of a kind share a house")
    many = len(finding.clues) > 1
    by = f"clues {_numbers(finding.clues)} rule it out" if many else f"clue {_numbers(finding.clues)} rules it out"
    why = f"it cannot be that {said}: {by}"
    if len(finding.clues) > _SHOWN_CLUES:
        return Violation(why=why)
    texts = " ".join(f"Clue {number}: {puzzle.clues[number - 1].text}" for number in finding.clues)
    return Violation(why=why, witness=f"{why} ({texts})")


def _numbers(clues: tuple[int, ...]) -> str:
    *first, last = map(str, clues)
    return f"{', '.join(first)} and {last}" if first else last


def _words(puzzle: Puzzle, relation: Relation) -> str:
    """Say *relation* in the puzzle's own words; nothing of the trace is repeated."""
    one = puzzle.phrases.name(relation.one)
    no = "not " if relation.denied else ""
    if relation.other is None:
        return f"{one!r} is {no}in house {relation.number}"
    other = puzzle.phrases.name(relation.other)
    match relation.kind:
        case "same":
            return f"{one!r} is {no}in the house of {other!r}"
        case "beside":
            return f"{one!r} is {no}next to {other!r}"
        case "directly_left":
            return f"{one!r} is {no}directly left of {other!r}"
        case "left":
            return f"{one!r} is {no}left of {other!r}"
        case _:
            return f"there are {no}{relation.number} houses between {one!r} and {other!r}"


def zebralogic(*, level: Level = "witness", delivery: Delivery = "interrupt", phase: PhaseFilter = "both") -> Monitor:
    """Make the monitor; needs the extra ``z3``."""
    return Monitor(
        name="zebralogic",
        trigger=Lines(),
        extractor=Tracker(start=_start, step=_step),
        verifier=check,
        delivery=delivery,
        remedy=Resample(),
        level=level,
        phase=phase,
        prepare=prepare,
    )
