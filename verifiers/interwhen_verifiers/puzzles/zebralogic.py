"""The shipped verifier ``zebralogic``: puzzles of houses, persons and clues in the form of ZebraLogic.

It solves the puzzle of the prompt with Z3. See ``docs/verifiers/zebralogic.md``.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any, Literal, NamedTuple, TypeAlias

import z3
from interwhen import (
    Lines,
    Monitor,
    Pass,
    Segment,
    Span,
    Task,
    Tracker,
    Unknown,
    Verdict,
    Violation,
    verifier,
)
from interwhen.toolkit import Delivery, Level, PhaseFilter, safe_from_data, time_left
from interwhen.toolkit.solving import problem

from interwhen_verifiers.puzzles._statements import Spanned, Statement, make_statement
from interwhen_verifiers.puzzles._zebralogic import MAX_CLUE, HousePuzzle, HouseRelation, read_puzzle, read_relation

# Solving puzzles with Z3: the arrangement, and the clues that contradict a statement.


Arrangement: TypeAlias = tuple[tuple[int, ...], ...]
"""For each attribute, the houses of its values, numbered from 1."""

_SHARE = 0.9
"""The share of the remaining time that Z3 may use."""


@dataclass(frozen=True, slots=True)
class Solved:
    """What Z3 found: how many arrangements fit the clues that were understood, and one of them."""

    status: Literal["unique", "open", "contradiction", "late"]
    """``open``: several arrangements fit; ``late``: Z3 did not answer within its limit."""
    arrangement: Arrangement | None = None
    """``None`` for ``contradiction`` and ``late``."""


class Finding(NamedTuple):
    """Whether one statement follows from the clues or contradicts them, and which clues show this."""

    status: Literal["follows", "refuted", "open", "late"]
    """``open``: neither; ``late``: Z3 did not answer within its limit."""
    clues: tuple[int, ...] = ()
    """The numbers of the clues that contradict the statement (with ``follows``: that contradict its opposite)."""


def holds(relation: HouseRelation, arrangement: Arrangement) -> bool:
    one = arrangement[relation.one.attribute][relation.one.value]
    other = arrangement[relation.other.attribute][relation.other.value] if relation.other is not None else 0
    return relation.holds(one, other)


def solve(puzzle: HousePuzzle) -> Solved:
    with problem() as z3_problem:
        houses = _Houses(puzzle, z3_problem.context)
        answer = houses.ask(houses.labels)
        if answer != z3.sat:
            return Solved("contradiction" if answer == z3.unsat else "late")
        arrangement = houses.arrangement()
        with houses.assuming(houses.differs_from(arrangement)):
            other = houses.ask(houses.labels)
        if other == z3.unknown:
            return Solved("late")
        return Solved("unique" if other == z3.unsat else "open", arrangement)


def examine(puzzle: HousePuzzle, relation: HouseRelation) -> Finding:
    with problem() as z3_problem:
        last: _Houses | None = getattr(_LAST, "houses", None)
        if last is None or last.context is not z3_problem.context or last.puzzle != puzzle:
            last = _LAST.houses = _Houses(puzzle, z3_problem.context)
        refuted = last.core(relation)
        if isinstance(refuted, tuple):
            return Finding("refuted", refuted)
        follows = last.core(relation._replace(denied=not relation.denied)) if refuted == "open" else refuted
        return Finding("follows", follows) if isinstance(follows, tuple) else Finding(follows)


_LAST = threading.local()
"""The variables and clues of the last puzzle that each thread has examined: ``houses``."""


class _Houses:
    """A puzzle in one Z3 context: its variables, and a solver with the rules and the clues that were understood."""

    # There is one Boolean for each value and house, true if the value is in the house. A clue applies only if its label
    # is assumed.

    def __init__(self, puzzle: HousePuzzle, context: Any) -> None:
        self.puzzle = puzzle
        self.context = context
        self._numbers = range(1, puzzle.houses + 1)
        self._rows = [
            [[z3.Bool(f"a{at}v{value}h{house}", context) for house in self._numbers] for value in range(puzzle.houses)]
            for at in range(len(puzzle.attributes))
        ]
        self._solver = z3.SolverFor("QF_FD", ctx=context)
        for values in self._rows:
            # Each value has one house, and each house one value of each attribute.
            for row in (*values, *map(list, zip(*values, strict=True))):
                self._solver.add(z3.Or(row), z3.AtMost(*row, 1))
        self.labels: dict[int, Any] = {}
        """By the number of the clue."""
        for clue in puzzle.understood:
            assert clue.relation is not None
            self.labels[clue.number] = z3.Bool(f"clue{clue.number}", context)
            self._solver.add(z3.Implies(self.labels[clue.number], self._states(clue.relation)))

    def ask(self, clues: Iterable[int]) -> Any:
        left = time_left() * _SHARE
        if left != float("inf"):
            self._solver.set("timeout", max(int(left * 1000), 1))
        try:
            return self._solver.check(*(self.labels[clue] for clue in clues))
        except z3.Z3Exception:
            return z3.unknown

    @contextmanager
    def assuming(self, condition: Any) -> Iterator[None]:
        self._solver.push()
        try:
            self._solver.add(condition)
            yield
        finally:
            self._solver.pop()

    def core(self, relation: HouseRelation) -> tuple[int, ...] | Literal["open", "late"]:
        # The clues that contradict `relation` together, without those that are not needed for it. `"late"`: Z3 reached
        # its limit.
        with self.assuming(self._states(relation)):
            answer = self.ask(self.labels)
            if answer != z3.unsat:
                return "open" if answer == z3.sat else "late"
            kept = tuple(self.labels)
            for one in reversed(kept):
                less = tuple(clue for clue in kept if clue != one)
                if self.ask(less) == z3.unsat:
                    kept = less
            return kept

    def arrangement(self) -> Arrangement:
        model = self._solver.model()
        return tuple(
            tuple(
                next(n for n, here in zip(self._numbers, row, strict=True) if z3.is_true(model[here])) for row in values
            )
            for values in self._rows
        )

    def differs_from(self, arrangement: Arrangement) -> Any:
        return z3.Or(
            [
                z3.Not(row[house - 1])
                for values, homes in zip(self._rows, arrangement, strict=True)
                for row, house in zip(values, homes, strict=True)
            ]
        )

    def _states(self, relation: HouseRelation) -> Any:
        rows = [self._rows[cell.attribute][cell.value] for cell in (relation.one, relation.other) if cell is not None]
        cases = [
            z3.And(*(row[house - 1] for row, house in zip(rows, houses, strict=True)))
            for houses in product(self._numbers, repeat=len(rows))
            if relation.holds(*houses)
        ]
        return z3.Or(*cases) if cases else z3.BoolVal(False, self.context)


# Reading the statements of a trace about the houses, line by line: sentences, lists, tables and JSON.


MAX_LINE = 20_000
"""Longer lines are not read."""
_MAX_COLUMNS = 32

_SUPPOSED = re.compile(
    r"\b(?:suppose|assum\w*|if|let'?s (?:try|say|test|consider|see|put|place)|try(?:ing)?|case \d|case [a-z]\b|"
    r"scenario|option|possibilit\w*|possible|hypothes\w*|what if|perhaps|maybe|"
    r"might|may (?:be|have|not|live|well)|could|would|should|either|"
    r"unless|guess|tentativ\w*|contradict\w*|wrong|mistake|incorrect|wait|alternatively|or|"
    r"then again|not sure|example)\b|\?",
    re.IGNORECASE,
)
"""A line with any of these words may not assert anything."""
_OPENS = re.compile(
    r"\b(?:suppose|assum\w*|let'?s (?:try|say|test|consider|put|place)|try(?:ing)?|case \d|case [a-z]\b|"
    r"scenario|option|possibility|what if|guess|tentativ\w*|if|either|example)\b"
    r"|\b(?:possib\w*|candidates?|options|potential|remaining|left)\b[^.\n]{0,60}:[\s*]{0,6}$",
    re.IGNORECASE,
)
"""The lines after one with any of these words may depend on a supposition."""
_FINAL = re.compile(
    r"\b(?:final|complete) (?:answer|solution|arrangement|grid|table|assignment|result)|\bsolution\b[^\n]{0,20}:"
    r"|\bthe (?:answer|solution) is\b|\"solution\"",
    re.IGNORECASE,
)
_JSON = re.compile(r'"((?:[^"\\\n]|\\.){1,80})"\s{0,8}:\s{0,8}(?:"((?:[^"\\\n]|\\.){0,80})"|(\{))', re.IGNORECASE)
_HOUSE = re.compile(r"(?:house|position)[ _#-]{0,3}(\d{1,2})$", re.IGNORECASE)
_LISTED = re.compile(r"[-*\u2022#\s]{0,12}(?:house|position)[ #]{1,2}(\d{1,2})[*_ ]{0,4}[:=-][*_ ]{0,4}", re.IGNORECASE)
_DENIED = re.compile("[\u2717\u2718\u274c~\u00ac{}]")
"""A sign that denies a value, or braces around the candidates for a house."""
_OPEN = re.compile(
    r"candidate|possib|option|potential|remain|exclud|eliminat|ruled|\bnot\b|can(?:no|')t", re.IGNORECASE
)
"""A label of values that are not asserted: "Candidates"."""
_PART = re.compile(r"[^,;|]+")
_LABEL = re.compile(r"([A-Za-z' _*-]{1,40})[:=]")
_CELLS = re.compile(r"[^|\n]+")
_SENTENCE = re.compile(r"[^.;!\n]+[.;!]?")
_BULLET = re.compile(r"[-*\u2022\s]+|\d{1,3}[.)]")
_LEAD = re.compile(
    r"(?:(?:and|but|so|thus|hence|therefore|then|now|also|finally|clearly|this means|this implies|we know|we get|"
    r"we have|it follows|which means|meaning)(?: that)?|"
    r"(?:from |by |using )?clues? #?\d{1,3}(?: says| states| tells us| means)?(?: that)?)[,:]?\s+",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Stated(Spanned):
    """States that *relation* is true."""

    relation: HouseRelation


@dataclass(frozen=True, slots=True)
class ReadingState:
    """What the lines so far tell about the meaning of the next line."""

    puzzle: HousePuzzle
    house: int = 0
    """The number, from 1, of the house whose JSON object began last; 0 if there is none."""
    columns: tuple[str, ...] = ()
    """The header of the table in which the next line may be a row."""
    supposing: bool = False
    """Whether the next line may depend on a supposition."""


def read_line(reading: ReadingState, line: str, *, answer: bool) -> tuple[ReadingState, list[Stated]]:
    """Return the state after *line*, and its statements. *answer*: the line is in the answer."""
    if len(line) > MAX_LINE:
        return reading, []
    final = _FINAL.search(line) is not None
    opens = not final and _OPENS.search(line) is not None
    reading = replace(reading, supposing=not final and (reading.supposing or opens))
    if '"' in line and _JSON.search(line):
        reading, statements = _json(reading, line)
        return reading, [] if reading.supposing and not final and not answer else statements
    if line.lstrip().startswith("|"):
        reading, statements = _table(reading, line)
        return reading, [] if reading.supposing else statements
    reading = replace(reading, columns=())
    if reading.supposing or _SUPPOSED.search(line):
        return reading, []
    listed = _LISTED.match(line)
    return reading, list(_list(reading, line, listed) if listed else _sentences(reading, line))


def _placed(reading: ReadingState, label: str, value: str, house: int, span: tuple[int, int]) -> Iterator[Stated]:
    is_stated = 1 <= house <= reading.puzzle.houses and not _DENIED.search(value) and not _OPEN.search(label)
    cell = reading.puzzle.phrases.labelled(label, value) if is_stated else None
    if cell is not None:
        yield Stated(*span, HouseRelation("house", cell, number=house))


def _json(reading: ReadingState, line: str) -> tuple[ReadingState, list[Stated]]:
    statements: list[Stated] = []
    house = reading.house
    for match in _JSON.finditer(line):
        named = _HOUSE.fullmatch(match[1].strip())
        if match[3]:
            house = int(named[1]) if named else 0
        elif house and match[2] is not None:
            statements.extend(_placed(reading, match[1], match[2], house, match.span(2)))
    return replace(reading, house=house), statements


def _table(reading: ReadingState, line: str) -> tuple[ReadingState, list[Stated]]:
    # The first row of a table is its header.
    cells = [(_bare(match[0]), match) for match in _CELLS.finditer(line)][:_MAX_COLUMNS]
    texts = tuple(text for text, _ in cells)
    if not reading.columns:
        return replace(reading, columns=texts), []
    if len(texts) != len(reading.columns):
        return reading, []
    statements: list[Stated] = []
    by_column = [_house(text) for text in reading.columns]
    row = _house(texts[0], bare=True)
    for (text, match), label, column in list(zip(cells, reading.columns, by_column, strict=True))[1:]:
        span = _trimmed(match)
        if column and not row:
            statements.extend(_placed(reading, texts[0], text, column, span))
        elif row and not any(by_column) and _house(reading.columns[0] + " 1"):
            statements.extend(_placed(reading, label, text, row, span))
    return reading, statements


def _house(text: str, *, bare: bool = False) -> int:
    match = _HOUSE.fullmatch(text) or (re.fullmatch(r"#?(\d{1,2})", text) if bare else None)
    return int(match[1]) if match else 0


def _bare(text: str) -> str:
    return text.strip(" \t*_`")


def _trimmed(match: re.Match[str]) -> tuple[int, int]:
    text = match[0].lstrip(" \t*_`")
    start = match.end() - len(text)
    return start, start + len(_bare(text))


def _list(reading: ReadingState, line: str, listed: re.Match[str]) -> list[Stated]:
    # Read a line such as "House 2: Eric, color: red". Two parts of one attribute may be candidates: then it states
    # nothing.
    statements: list[Stated] = []
    for match in _PART.finditer(line, listed.end()):
        start, end = _trimmed(match)
        text = line[start:end].rstrip(".")
        label = _LABEL.match(text)
        value = _bare(text[label.end() :]) if label else text
        stated = list(_placed(reading, label[1] if label else "", value, int(listed[1]), (start, start + len(text))))
        if text and not stated:
            return []
        statements.extend(stated)
    attributes = [each.relation.one.attribute for each in statements]
    return statements if len(set(attributes)) == len(attributes) else []


def _skip(pattern: re.Pattern[str], line: str, start: int, end: int) -> int:
    while match := pattern.match(line, start, end):
        start = match.end()
    return start


def _sentences(reading: ReadingState, line: str) -> Iterator[Stated]:
    for match in _SENTENCE.finditer(line):
        start = _skip(_LEAD, line, _skip(_BULLET, line, match.start(), match.end()), match.end())
        text = line[start : match.end()].rstrip(" .;!*_")
        plain = text.replace("*", "").replace("`", "") if len(text) <= MAX_CLUE else ""
        relation = read_relation(plain, reading.puzzle.phrases, reading.puzzle.houses)
        if relation is not None:
            yield Stated(start, start + len(text), relation)


_IN_HOUSE = re.compile(
    r"\b(?:house|position|haus|maison|casa|huis)\b[ _#*-]{0,3}\d{1,2}\b|\A\s*\||\"\s*:", re.IGNORECASE
)
"""Signs of a line that places values in houses: it names a house, or is a row of a table or a part of JSON."""
_HOLDING = re.compile(
    r"\b(?:is|has|have|owns?|keeps?|loves?|likes?|drinks?|smokes?|eats?|drives?|lives?|prefers?|wears?|plays?|uses?|reads?"
    r"|works?|grows?|colou?r|favou?rite)\b",
    re.IGNORECASE,
)


@lru_cache(maxsize=16)
def _values(attributes: tuple[tuple[str, ...], ...]) -> tuple[re.Pattern[str], dict[str, int]]:
    of = {value.lower(): at for at, values in enumerate(attributes) for value in values}
    listed = "|".join(re.escape(value) for value in sorted(of, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{listed})(?!\w)", re.IGNORECASE), of


def recognize(segment: Segment, prepared: Prepared | None = None) -> Iterator[Span]:
    # A line places values if it names a house, is a row of a table or JSON, or says of one value what another is. A
    # line that may not assert anything is left out.
    line = segment.text
    if prepared is None or segment.phase != "answer" or len(line) > MAX_LINE:
        return
    if _SUPPOSED.search(line) is not None and _JSON.search(line) is None:
        return
    pattern, of = _values(tuple(attribute.values for attribute in prepared.puzzle.attributes))
    matches = list(pattern.finditer(line))
    if _IN_HOUSE.search(line) is not None:
        yield from (segment.at(*match.span()) for match in matches)
    elif len({of[match[0].lower()] for match in matches}) > 1 and _HOLDING.search(line) is not None:
        yield segment.at(*matches[0].span())


_SHOWN_CLUES = 3


@dataclass(frozen=True, slots=True)
class Prepared:
    """The puzzle, and its solution."""

    puzzle: HousePuzzle
    solved: Solved


def prepare(task: Task) -> Prepared | None:
    puzzle = read_puzzle(task.question)
    return None if puzzle is None else Prepared(puzzle, solve(puzzle))


def _step(state: ReadingState, segment: Segment) -> tuple[ReadingState, list[Statement[Stated, None]]]:
    state, statements = read_line(state, segment.text, answer=segment.phase == "answer")
    return state, [make_statement(segment, stated, None) for stated in statements]


@verifier(name="zebralogic", version="1", deadline=10.0)
def check(claim: Statement[Stated, None], prepared: Prepared) -> Verdict:
    """Judge a statement by all arrangements that fit the clues that were understood."""
    puzzle, solved = prepared.puzzle, prepared.solved
    if solved.status == "contradiction":
        return Unknown("the clues, as they were understood, contradict each other")
    missing = len(puzzle.clues) - len(puzzle.understood)
    fits = f"the {len(puzzle.understood)} clues" + (f" that were understood ({missing} were not)" if missing else "")
    if solved.status == "unique" and solved.arrangement is not None and holds(claim.said.relation, solved.arrangement):
        return Pass(f"it holds in the only arrangement that fits {fits}")
    finding = examine(puzzle, claim.said.relation)
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
    one = puzzle.phrases.name(relation.one)
    no = "not " if relation.denied else ""
    if relation.other is None:
        return f"{one!r} is {no}in house {relation.number}"
    other = puzzle.phrases.name(relation.other)
    if relation.kind == "between":
        return f"there are {no}{relation.number} houses between {one!r} and {other!r}"
    return f"{one!r} is {no}{_RELATIONS[relation.kind]} {other!r}"


@safe_from_data()
def zebralogic(*, level: Level = "witness", delivery: Delivery = "interrupt", phase: PhaseFilter = "both") -> Monitor:
    """Make a monitor for puzzles of houses, persons and clues. It does nothing if it can read none in the prompt.

    It needs the extra ``z3``. ``level``, ``delivery`` and ``phase`` are those of :class:`~interwhen.Monitor`.
    """
    return Monitor(
        name="zebralogic",
        trigger=Lines(),
        extractor=Tracker(lambda prepared: ReadingState(prepared.puzzle), _step),
        verifier=check,
        delivery=delivery,
        level=level,
        phase=phase,
        prepare=prepare,
        recognizer=recognize,
    )
