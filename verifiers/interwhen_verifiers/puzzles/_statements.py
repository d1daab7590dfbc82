"""Shared by the verifiers of puzzles: statements of a line, the claims made of them, and a tracker per phase."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeAlias, TypeVar

from interwhen import Claim, Pass, Segment, Task, Tracker, Verdict, Violation

PuzzleT = TypeVar("PuzzleT")
StateT = TypeVar("StateT")
SaidT = TypeVar("SaidT", bound="Spanned")
Read: TypeAlias = Callable[[PuzzleT, StateT, Segment], tuple[StateT, Iterable[Claim]]]


@dataclass(frozen=True, slots=True)
class Spanned:
    """Something that a line says. *start* and *end* count from the start of the line."""

    start: int
    end: int

    @property
    def content(self) -> str:
        """All fields but the place, as text."""
        return f"{type(self).__name__}{tuple(getattr(self, field.name) for field in fields(self)[2:])}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement(Claim, Generic[SaidT, StateT]):
    """One statement of a line, and the state of the puzzle before it."""

    said: SaidT
    before: StateT


def make_statement(segment: Segment, said: SaidT, before: StateT, *, context: str = "") -> Statement[SaidT, StateT]:
    """Return the claim for *said* in *segment*.

    *context*: the text of the line and the state, where the verdict depends on more than the statement itself.
    """
    # A statement may be long, such as a list of moves. The context and the place identify it at less cost.
    key = f"{said.start} | {context}" if context else f"{segment.text[said.start : said.end]} | {said.content}"
    return Statement(key=key, span=segment.at(said.start, said.end), said=said, before=before)


def track_phases(begin: Callable[[PuzzleT], StateT], read: Read[PuzzleT, StateT]) -> Tracker[Any]:
    """Return a tracker that reads segments with *read*, from the state *begin* in each phase."""

    def step(
        state: tuple[PuzzleT, StateT, str], segment: Segment
    ) -> tuple[tuple[PuzzleT, StateT, str], Iterable[Claim]]:
        puzzle, before, phase = state
        after, claims = read(puzzle, before if phase in ("", segment.phase) else begin(puzzle), segment)
        return (puzzle, after, segment.phase), claims

    return Tracker(lambda puzzle: (puzzle, begin(puzzle), ""), step)


def prepare_with(read: Callable[[str], PuzzleT | None]) -> Callable[[Task], PuzzleT | None]:
    """Return what prepares a monitor: *read* the question alone, or else the whole prompt."""
    return lambda task: read(task.question) or read(task.text)


def judged(holds: bool, *, evidence: str, why: str, witness: str = "") -> Verdict:  # noqa: FBT001 (the condition itself)
    """Return a pass with *evidence* where a statement *holds*, and otherwise a violation."""
    return Pass(evidence) if holds else Violation(why=why, witness=witness)
