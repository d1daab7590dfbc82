"""Solves puzzles with Z3: finds the arrangement, and the clues that contradict a statement."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import z3
from interwhen import time_left
from interwhen.toolkit.solving import problem

from interwhen_verifiers.puzzles._zebralogic.clues import Cell, HouseRelation
from interwhen_verifiers.puzzles._zebralogic.puzzle import HousePuzzle

Arrangement: TypeAlias = tuple[tuple[int, ...], ...]
"""For each attribute, the houses of its values."""

_SHARE = 0.9
"""The share of the remaining time that Z3 may use."""


@dataclass(frozen=True, slots=True)
class Solved:
    """The arrangement that fits the clues that were understood."""

    status: Literal["unique", "open", "contradiction", "late"]
    arrangement: Arrangement | None = None
    """An arrangement that fits the clues, if Z3 found one."""
    text: str = ""
    """The puzzle in the language of Z3, for :func:`examine`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether one statement follows from the clues or contradicts them, and which clues show this."""

    status: Literal["follows", "refuted", "open", "late"]
    clues: tuple[int, ...] = ()
    """The numbers of the clues that contradict the statement (with ``follows``: that contradict its opposite)."""


def holds(relation: HouseRelation, arrangement: Arrangement) -> bool:
    """Tell whether *relation* is true in *arrangement*."""
    one = arrangement[relation.one.attribute][relation.one.value]
    other = arrangement[relation.other.attribute][relation.other.value] if relation.other is not None else 0
    return relation.holds(one, other)


def solve(puzzle: HousePuzzle) -> Solved:
    """Find an arrangement that fits the clues, and find out whether there is another one."""
    text = write(puzzle)
    with problem() as found:
        houses = _Houses(puzzle, found.context)
        solver = z3.SolverFor("QF_FD", ctx=found.context)
        solver.from_string(text)
        solver.add(*(_label(clue.number, found.context) for clue in puzzle.understood))
        answer = _ask(solver)
        if answer != z3.sat:
            return Solved("contradiction" if answer == z3.unsat else "late", text=text)
        arrangement = houses.arrangement(solver.model())
        solver.add(houses.differs_from(arrangement))
        other = _ask(solver)
        if other == z3.unknown:
            return Solved("late", text=text)
        return Solved("unique" if other == z3.unsat else "open", arrangement, text)


def examine(puzzle: HousePuzzle, text: str, relation: HouseRelation) -> Finding:
    """Tell whether *relation* follows from the clues, or is contradicted by a minimal set of them.

    *text* is the puzzle in the form that :func:`write` returns.
    """
    refuted = _core(puzzle, text, relation)
    if isinstance(refuted, tuple):
        return Finding("refuted", refuted)
    if refuted == "late":
        return Finding("late")
    follows = _core(puzzle, text, relation._replace(denied=not relation.denied))
    return Finding("follows", follows) if isinstance(follows, tuple) else Finding(follows)


def write(puzzle: HousePuzzle) -> str:
    """Return the puzzle as a text for Z3. Each clue has a label, and applies only if this label is assumed.

    Z3 reads a text several times faster than it receives the same conditions one by one.
    """
    with problem() as found:
        houses = _Houses(puzzle, found.context)
        solver = houses.writer()
        for clue in puzzle.understood:
            assert clue.relation is not None
            solver.add(z3.Implies(_label(clue.number, found.context), houses.states(clue.relation)))
        return str(solver.to_smt2()).replace("(check-sat)", "")


def _label(number: int, context: Any) -> Any:
    return z3.Bool(f"clue{number}", context)


class _Read(NamedTuple):
    """A puzzle that Z3 has read, in the context of one thread."""

    text: str
    context: Any
    solver: Any
    """The solver with the clues alone. Each question is added and removed again (``push``, ``pop``)."""
    houses: _Houses
    numbers: dict[str, int]
    labels: tuple[Any, ...]


_READ = threading.local()
"""The last puzzle that each thread has read."""


def _read(puzzle: HousePuzzle, text: str, context: Any) -> _Read:
    """Return the puzzle in *text*. Each thread reads it only once for all its questions."""
    last: _Read | None = getattr(_READ, "last", None)
    if last is not None and last.text == text and last.context is context:
        return last
    solver = z3.SolverFor("QF_FD", ctx=context)
    solver.from_string(text)
    numbers = {f"clue{clue.number}": clue.number for clue in puzzle.understood}
    labels = tuple(_label(number, context) for number in numbers.values())
    read = _Read(text, context, solver, _Houses(puzzle, context), numbers, labels)
    _READ.last = read
    return read


def _core(puzzle: HousePuzzle, text: str, relation: HouseRelation) -> tuple[int, ...] | Literal["open", "late"]:
    """Return a minimal set of clues that contradict *relation*; ``"open"`` if the clues do not contradict it."""
    with problem() as found:
        read = _read(puzzle, text, found.context)
        solver = read.solver
        solver.push()
        try:
            solver.add(read.houses.states(relation))
            answer = _ask(solver, *read.labels)
            if answer == z3.unsat:
                return tuple(read.numbers[str(label)] for label in _needed(solver, read.labels))
        finally:
            solver.pop()
        return "open" if answer == z3.sat else "late"


def _needed(solver: Any, labels: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a minimal part of *labels* that is still contradictory, by leaving out one label after the other.

    Z3's own cores depend on what it was asked before, and are not always minimal.
    """
    kept = labels
    for one in reversed(labels):
        less = tuple(label for label in kept if label is not one)
        if _ask(solver, *less) == z3.unsat:
            kept = less
    return kept


def _ask(solver: Any, *assumed: Any) -> Any:
    left = time_left() * _SHARE
    if left != float("inf"):
        solver.set("timeout", max(int(left * 1000), 1))
    try:
        return solver.check(*assumed)
    except z3.Z3Exception:
        return z3.unknown


class _Houses:
    """The variables of a puzzle: one Boolean for each value and house, true if the value is in the house."""

    def __init__(self, puzzle: HousePuzzle, context: Any) -> None:
        self._context = context
        self._numbers = range(1, puzzle.houses + 1)
        self._attributes = puzzle.attributes
        self._rows: dict[tuple[int, int], list[Any]] = {}

    def writer(self) -> Any:
        """Return a solver with the rules of the puzzle, to be written as text.

        The rules: each value has one house, and each house has one value of each attribute.
        """
        solver = z3.SimpleSolver(ctx=self._context)
        for values in self._all():
            for row in (*values, *map(list, zip(*values, strict=True))):
                solver.add(z3.Or(row))
                solver.add(z3.AtMost(*row, 1))
        return solver

    def states(self, relation: HouseRelation) -> Any:
        """Return *relation* as a condition of Z3 on the variables."""
        one = self._row(relation.one)
        if relation.other is None:
            pairs: Iterable[Sequence[Any]] = (
                [here] for house, here in zip(self._numbers, one, strict=True) if relation.holds(house, 0)
            )
        else:
            other = self._row(relation.other)
            pairs = ((one[a - 1], other[b - 1]) for a in self._numbers for b in self._numbers if relation.holds(a, b))
        cases = [z3.And(*pair) if len(pair) > 1 else pair[0] for pair in pairs]
        return z3.Or(*cases) if cases else z3.BoolVal(False, self._context)

    def arrangement(self, model: Any) -> Arrangement:
        """Read the houses of all values from *model*."""
        return tuple(
            tuple(
                next(n for n, here in zip(self._numbers, row, strict=True) if z3.is_true(model[here])) for row in values
            )
            for values in self._all()
        )

    def differs_from(self, arrangement: Arrangement) -> Any:
        """Return the condition that at least one value is in another house than in *arrangement*."""
        return z3.Or(
            [
                z3.Not(row[house - 1])
                for values, homes in zip(self._all(), arrangement, strict=True)
                for row, house in zip(values, homes, strict=True)
            ]
        )

    def _all(self) -> list[list[list[Any]]]:
        return [
            [self._row(Cell(number, value)) for value in range(len(attribute.values))]
            for number, attribute in enumerate(self._attributes)
        ]

    def _row(self, cell: Cell) -> list[Any]:
        row = self._rows.get(cell)
        if row is None:
            names = (f"a{cell.attribute}v{cell.value}h{house}" for house in self._numbers)
            row = self._rows[cell] = [z3.Bool(name, self._context) for name in names]
        return row
