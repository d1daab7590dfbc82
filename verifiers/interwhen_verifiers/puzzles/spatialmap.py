"""The shipped verifier ``spatialmap``: what is said of a map must follow from the map, or is not known.

It reads sentences such as "A is to the northeast of B" from the prompt, and judges such sentences and the answer in the
text: right if they follow, wrong if their contrary does, unknown where the map leaves them open. See
``docs/verifiers/spatialmap.md``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from interwhen import (
    Claim,
    Delivery,
    Level,
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

from interwhen_verifiers._factories import task_monitor
from interwhen_verifiers._puzzles.unread import recognizer
from interwhen_verifiers.puzzles._answers import choose, of_answer
from interwhen_verifiers.puzzles._spatialmap.lines import (
    Final,
    Grammar,
    Number,
    Said,
    Statement,
    make_grammar,
    read_aliases,
    read_line,
)
from interwhen_verifiers.puzzles._spatialmap.order import Relation
from interwhen_verifiers.puzzles._spatialmap.problem import WAY, Problem, read_problem, way_of

_WAY = re.compile(rf"(?:to the |in the )?({WAY})", re.IGNORECASE)
_NUMBER = re.compile(r"(\d{1,4})(?: (?:objects?|places?|locations?))?", re.IGNORECASE)
_RELATION = re.compile(
    rf"\b(?:is|are|lies?|sits?|stands?|located|situated)\b[^.;\n]{{0,30}}?\b({WAY})\b\s?(?:of|from)\b", re.IGNORECASE
)
_AMBIGUOUS = ""
"""The name that an alias of two places stands for."""
_MOST_ALIASES = 100


@dataclass(frozen=True, slots=True)
class Map:
    """A problem, and the patterns for its names."""

    problem: Problem
    grammar: Grammar


@dataclass(frozen=True, slots=True)
class State:
    """The short names that the text has given so far."""

    map: Map | None
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark(Claim):
    """One statement on the map."""

    said: Said


def _prepare(task: Task) -> Map | None:
    problem = read_problem(task.question) or read_problem(task.text)
    return Map(problem, make_grammar(problem.names)) if problem else None


def _start(prepared: Map | None) -> State:
    return State(prepared, {name: name for name in prepared.problem.names} if prepared else {})


def _read(state: State, segment: Segment) -> tuple[State, Iterable[Remark]]:
    """Read one line, and the short names that it gives. Linear in its length."""
    if state.map is None:
        return state, ()
    grammar = state.map.grammar
    given = list(read_aliases(segment.text, grammar))
    if given:
        state = State(state.map, _with(state.aliases, given))
    said = read_line(segment.text, grammar, state.aliases)
    claims = [
        Remark(
            key=f"{segment.text[each.start : each.end]} | {each[:3]}", span=segment.at(each.start, each.end), said=each
        )
        for each in said
    ]
    return state, claims


def _with(aliases: Mapping[str, str], given: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    known = dict(aliases)
    for alias, name in given:
        if alias in known and known[alias] != name:
            known[alias] = _AMBIGUOUS
        elif len(known) < _MOST_ALIASES + len(aliases):
            known[alias] = name
    return known


@verifier(name="spatialmap", version="2", deadline=2.0, worker="inline")
def check(claim: Remark, prepared: Map) -> Verdict:
    """Judge a statement by what follows from the map."""
    problem = prepared.problem
    match claim.said:
        case Statement(one=one, relation=relation, other=other):
            first, second = problem.find(one), problem.find(other)
            if first is None or second is None:
                return Unknown("a place is not on the map")
            return _judge(problem, first, relation, second)
        case Number(number=number, relation=relation, other=other):
            place = problem.find(other)
            return (
                Unknown("the place is not on the map")
                if place is None
                else _judge_count(problem, number, relation, place)
            )
        case Final(text=text):
            return of_answer(_judge_final(problem, text))


def _judge(problem: Problem, one: int, relation: Relation, other: int) -> Verdict:
    status = problem.order.status(one, relation, other)
    reasons = "; ".join(problem.order.reasons(one, relation, other))[:300]
    if status == "contradicts":
        # The witness must not answer the question itself.
        is_asked = problem.asked == "direction" and {one, other} == {problem.one, problem.other}
        witness = "" if is_asked or not reasons else f"that contradicts the map: {reasons}"
        return Violation(why="that contradicts the map", witness=witness)
    if status == "open":
        return Unknown("the map leaves it open")
    if not relation.is_diagonal:
        return Unknown("it may mean due north (south, east, west), which the map does not say of anything")
    return Pass(f"it follows: {reasons}")


def _judge_count(problem: Problem, number: int, relation: Relation, other: int) -> Verdict:
    order = problem.order
    found = [order.status(place, relation, other) for place in range(len(problem.names)) if place != other]
    least, most = found.count("follows"), len(found) - found.count("contradicts")
    if not relation.is_diagonal:
        least = 0  # Due north of a place, there need not be any.
    if not least <= number <= most:
        return Violation(why=f"the map does not allow {number} places there")
    if least < most:
        return Unknown(f"the map allows {least} to {most} places there")
    return Pass("each other place must be there, or cannot be")


def _judge_final(problem: Problem, answer: str) -> Verdict:
    chosen = choose(answer, problem.options) if problem.options else None
    text = (chosen[1] if chosen else answer).strip()
    match problem.asked:
        case "direction":
            way = _WAY.fullmatch(text)
            if way is None:
                return Unknown("the answer is no direction")
            return _told(_judge(problem, problem.one, way_of(way[1]), problem.other))
        case "which":
            place = problem.find(text)
            if place is None or problem.relation is None:
                return Unknown("the answer is no place of the map")
            return _told(_judge(problem, place, problem.relation, problem.other))
        case "count":
            number = _NUMBER.fullmatch(text)
            if number is None or problem.relation is None:
                return Unknown("the answer is no number")
            return _judge_count(problem, int(number[1]), problem.relation, problem.other)
        case _:
            return Unknown("the question was not understood")


def _told(verdict: Verdict) -> Verdict:
    return Violation(why="that answer contradicts the map") if isinstance(verdict, Violation) else verdict


def spatialmap(
    *,
    level: Level = "witness",
    delivery: Delivery = "interrupt",
    phase: PhaseFilter = "both",
) -> Monitor:
    """Make the monitor. It stands aside where the prompt describes no map, or one that contradicts itself."""
    return task_monitor(
        "spatialmap",
        check,
        Tracker(_start, _read),
        _prepare,
        recognizer=recognizer(_RELATION),
        level=level,
        delivery=delivery,
        phase=phase,
    )
