"""The shipped verifier ``spatialmap``: statements about the map of the prompt must follow from it.

It reads sentences such as "A is to the northeast of B" from the prompt, and judges such sentences and the answer in the
text. See ``docs/verifiers/spatialmap.md``.
"""

# ruff: noqa: RUF001 (apostrophes of both kinds are read here)

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from interwhen import (
    Delivery,
    Level,
    Monitor,
    Pass,
    PhaseFilter,
    Segment,
    Tracker,
    Unknown,
    Verdict,
    Violation,
    verifier,
)
from interwhen.toolkit import safe_from_data

from interwhen_verifiers._factories import task_monitor
from interwhen_verifiers.puzzles._answers import MAX_LINE, choose, find_answer, is_doubtful, of_answer
from interwhen_verifiers.puzzles._spatialmap import WAY, MapProblem, MapRelation, read_problem, way_of
from interwhen_verifiers.puzzles._statements import (
    Afterwards,
    Spanned,
    Statement,
    make_statement,
    prepare_with,
    recognizer,
    watch_answer,
)

_WAY = re.compile(rf"(?:to the |in the )?({WAY})", re.IGNORECASE)
_NUMBER = re.compile(r"(\d{1,4})(?: (?:objects?|places?|locations?))?", re.IGNORECASE)
_RELATION = re.compile(
    rf"\b(?:is|are|lies?|sits?|stands?|located|situated)\b[^.;\n]{{0,30}}?\b(?:({WAY})\b\s?(?:of|from)\b"
    r"|((?:directly )?(?:above|below|beneath|left of|right of)) )",
    re.IGNORECASE,
)
_AMBIGUOUS = ""
"""Replaces the name for an alias that stands for two places."""
_MAX_ALIASES = 100
_MAX_REASONS = 300

# How lines are read.

_ADVERBS = (
    r"(?:(?:also|thus|therefore|indeed|clearly|definitely|located|situated|positioned|further|directly|then)\s){0,2}+"
)
_SENTENCE = re.compile(r"[^;!?]*?(?:[.;!?](?=\s|$)|$)")
_BEFORE = re.compile(
    r"\b(?:of|from|to|than|by|near|between|or|beyond|with|and|both|that|if|is|are|as|not)\s*$", re.IGNORECASE
)
_AND = re.compile(
    r"[,;:]\s?(?:and|so|then|that)\s*$|^\s*(?:and|so|then|so that|that is|thus)\s*$|\bso\s*$", re.IGNORECASE
)
_AFTER = re.compile(r"\s?(?:'s\b|’s\b|or\b|\(?\?|if\b|[-–—:(]{1,2}\s?no\b)", re.IGNORECASE)
_DENIED = re.compile(
    r"[\s*:(\-]{0,6}(?:false|no|incorrect|wrong|not)\b|[\s*:(\-]{0,6}[\u2717\u2718\u274c]", re.IGNORECASE
)
_ALIAS = r"(?-i:[A-Z][A-Za-z]{0,5})\b"
_SHORTEST_NAME = 7
"""A shorter single word is a name only if the map or the text has introduced it."""


@dataclass(frozen=True, slots=True)
class Related(Spanned):
    """The statement that place ``one`` lies in the direction ``relation``, as seen from ``other``."""

    one: str
    relation: MapRelation
    other: str


@dataclass(frozen=True, slots=True)
class PlaceCount(Spanned):
    """The statement that ``number`` places lie in the direction ``relation``, as seen from ``other``."""

    number: int
    relation: MapRelation
    other: str


@dataclass(frozen=True, slots=True)
class MapAnswer(Spanned):
    """The answer to the question."""

    text: str


Said: TypeAlias = Related | PlaceCount | MapAnswer


class MapGrammar(NamedTuple):
    """The patterns that find statements with the names of one map.

    ``relation`` finds directions, ``number`` numbers of places, and ``alias`` short names that the text introduces.
    """

    relation: re.Pattern[str]
    number: re.Pattern[str]
    alias: re.Pattern[str]


class Map(NamedTuple):
    """The problem, and the patterns that find the names of its places."""

    problem: MapProblem
    grammar: MapGrammar


class MapState(NamedTuple):
    """The map of the prompt, and the place that each name or alias in the text so far stands for.

    An alias that stands for two places has an empty text instead of a place.
    """

    map: Map
    aliases: Mapping[str, str]


def make_grammar(names: tuple[str, ...]) -> MapGrammar:
    """Make the patterns for *names*."""
    listed = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    bold, aside = r"(?:\*\*|\")?", r"(?:\s\([A-Z][A-Za-z]{0,5}\))?"
    one, other = (rf"{bold}(?P<{group}>{listed}|{_ALIAS}){bold}{aside}" for group in ("one", "other"))
    way = rf"(?:to the |in the |on the |at the )?{bold}(?P<way>{WAY}){bold}(?: direction| corner| side)?"
    return MapGrammar(
        re.compile(
            rf"(?<![\w'’-]){one} (?:is|lies|sits) {_ADVERBS}{way} (?:of|from|relative to)\s{{1,3}}(?:the "
            rf"(?={listed}))?{other}(?![\w-])",
            re.IGNORECASE,
        ),
        re.compile(
            rf"(?<![\w.])(?P<number>\d{{1,3}}) (?:objects?|places?|locations?) (?:is |are |lies? )?(?:in the "
            rf"|to the |located to the )?"
            rf"(?P<way>{WAY}) of {other}(?![\w-])",
            re.IGNORECASE,
        ),
        re.compile(rf"(?<![\w'’-])(?P<name>{listed})\*{{0,2}} \(\*{{0,2}}(?P<alias>[A-Z][A-Za-z]{{0,5}})\*{{0,2}}\)"),
    )


def read_line(line: str, grammar: MapGrammar, aliases: Mapping[str, str]) -> tuple[Said, ...]:
    """Return the statements of *line*, in which *aliases* are replaced by names; none if *line* is too long.

    If the line gives the answer, this is its only statement. *grammar* has the patterns for the names.
    """
    if len(line) > MAX_LINE:
        return ()
    if (answer := find_answer(line)) is not None:
        return (MapAnswer(answer.start, answer.end, answer.text),)
    return tuple(_statements(line, grammar, aliases))


def _statements(line: str, grammar: MapGrammar, aliases: Mapping[str, str]) -> Iterator[Said]:
    def name(said: str) -> str | None:
        return aliases.get(said, said if len(said) >= _SHORTEST_NAME or " " in said else None)

    for sentence in _SENTENCE.finditer(line):
        start, end = sentence.span()
        if start == end or is_doubtful(sentence[0]) or _DENIED.match(line, end):
            continue
        for match in grammar.relation.finditer(line, start, end):
            one, other = name(match["one"]), name(match["other"])
            if one and other and one != other and _is_whole(line, start, match):
                yield Related(*match.span(), one, way_of(match["way"]), other)
        for match in grammar.number.finditer(line, start, end):
            other = name(match["other"])
            if other and not _AFTER.match(line, match.end()):
                yield PlaceCount(*match.span(), int(match["number"]), way_of(match["way"]), other)


def _is_whole(line: str, start: int, match: re.Match[str]) -> bool:
    """Tell whether the words around *match* in *line*, from *start* on, leave its meaning as it is.

    They do not in "what lies west of A is north of B".
    """
    before = line[max(start, match.start() - 40) : match.start()]
    return not _AFTER.match(line, match.end()) and (not _BEFORE.search(before) or _AND.search(before) is not None)


def read_aliases(line: str, grammar: MapGrammar) -> Iterator[tuple[str, str]]:
    """Yield each alias that *line* introduces, with the name that it stands for: ``Recycle Center (RC)``."""
    if len(line) <= MAX_LINE and "(" in line:
        for match in grammar.alias.finditer(line):
            yield match["alias"], match["name"]


def _start(prepared: Map) -> MapState:
    return MapState(prepared, {name: name for name in prepared.problem.names})


def _read(state: MapState, segment: Segment) -> tuple[MapState, Iterable[Statement[Said, None]]]:
    """Read one line and the aliases in it, in *state*. Return the state after it, and its claims."""
    grammar = state.map.grammar
    known = dict(state.aliases)
    for alias, name in read_aliases(segment.text, grammar):
        if alias in known and known[alias] != name:
            known[alias] = _AMBIGUOUS
        elif len(known) < _MAX_ALIASES + len(state.aliases):
            known[alias] = name
    said = read_line(segment.text, grammar, known)
    return MapState(state.map, known), [make_statement(segment, each, None) for each in said]


@verifier(name="spatialmap", version="3", deadline=2.0, worker="inline")
def check(claim: Statement[Said, None], prepared: Map) -> Verdict:
    """Judge the statement of *claim* by what follows from the map in *prepared*.

    It is a violation if the map contradicts it, and passes if it follows. It is ``Unknown`` if the map leaves it open,
    if it is not understood or about a place that is not on the map, and if it follows but names one axis only: north
    may mean due north. If the final answer passes, the scope is ``answer``.
    """
    problem = prepared.problem
    match claim.said:
        case Afterwards(verdict=verdict):
            return verdict
        case Related(one=one, relation=relation, other=other):
            first, second = problem.find(one), problem.find(other)
            if first is None or second is None:
                return Unknown("a place is not on the map")
            return _judge(problem, first, relation, second)
        case PlaceCount(number=number, relation=relation, other=other):
            place = problem.find(other)
            if place is None:
                return Unknown("the place is not on the map")
            return _judge_count(problem, number, relation, place)
        case MapAnswer(text=text):
            return of_answer(_judge_final(problem, text))


def _judge(problem: MapProblem, one: int, relation: MapRelation, other: int) -> Verdict:
    status = problem.order.status(one, relation, other)
    reasons = "; ".join(problem.order.reasons(one, relation, other))[:_MAX_REASONS]
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


def _judge_count(problem: MapProblem, number: int, relation: MapRelation, other: int) -> Verdict:
    order = problem.order
    found = [order.status(place, relation, other) for place in range(len(problem.names)) if place != other]
    # Due north of a place, there need not be any.
    least = found.count("follows") if relation.is_diagonal else 0
    most = len(found) - found.count("contradicts")
    if not least <= number <= most:
        return Violation(why=f"the map does not allow {number} places there")
    if least < most:
        return Unknown(f"the map allows {least} to {most} places there")
    return Pass("each other place must be there, or cannot be")


def _judge_final(problem: MapProblem, answer: str) -> Verdict:
    chosen = choose(answer, problem.options) if problem.options else None
    text = (chosen[1] if chosen else answer).strip()
    one, relation = problem.one, problem.relation
    match problem.asked:
        case "count":
            number = _NUMBER.fullmatch(text)
            if number is None or relation is None:
                return Unknown("the answer is not a number")
            return _judge_count(problem, int(number[1]), relation, problem.other)
        case "direction":
            way = _WAY.fullmatch(text)
            if way is None:
                return Unknown("the answer is no direction")
            relation = way_of(way[1])
        case "which":
            place = problem.find(text)
            if place is None:
                return Unknown("the answer is no place of the map")
            one = place
        case _:
            return Unknown("the question was not understood")
    assert relation is not None
    verdict = _judge(problem, one, relation, problem.other)
    return Violation(why="that answer contradicts the map") if isinstance(verdict, Violation) else verdict


def _read_map(prompt: str) -> Map | None:
    problem = read_problem(prompt)
    return Map(problem, make_grammar(problem.names)) if problem else None


@safe_from_data()
def spatialmap(
    *,
    level: Level = "witness",
    delivery: Delivery = "interrupt",
    phase: PhaseFilter = "both",
) -> Monitor:
    """Make a monitor that checks statements about the map in the prompt.

    A statement that the map contradicts is a violation. One that the map leaves open is ``Unknown``, and so is one that
    may mean due north (south, east, west). The monitor does nothing if it can read no map in the prompt. ``level``,
    ``delivery`` and ``phase`` are those of :class:`~interwhen.Monitor`.
    """
    return task_monitor(
        "spatialmap",
        check,
        watch_answer(Tracker(_start, _read), MapAnswer),
        prepare_with(_read_map),
        recognizer=recognizer(_RELATION),
        level=level,
        delivery=delivery,
        phase=phase,
    )
