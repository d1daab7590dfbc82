"""The shipped verifier ``spatialmap``: statements about the map of the prompt must follow from it.

See ``docs/verifiers/spatialmap.md``.
"""

# ruff: noqa: RUF001 (apostrophes of both kinds are read here)

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeAlias

from interwhen import Monitor, Pass, Segment, Tracker, Unknown, Verdict, Violation, verifier
from interwhen.toolkit import Delivery, Level, PhaseFilter, safe_from_data

from interwhen_verifiers._factories import task_monitor
from interwhen_verifiers.puzzles._statements import (
    MAX_LINE,
    Afterwards,
    FinalAnswer,
    Spanned,
    Statement,
    choose,
    find_answer,
    is_doubtful,
    make_statement,
    of_answer,
    prepare_with,
    read_options,
    recognizer,
    watch_answer,
)

# The map of a prompt, and what follows from it, without a solver.
#
# "A is to the northeast of B" says that A lies further east and further north. So the sentences are comparisons on two
# independent axes, and exactly their transitive closure follows.

Axis = Literal[0, 1]
"""The axis: 0 from west to east, 1 from south to north."""
Sign = Literal[-1, 0, 1]
Status = Literal["follows", "contradicts", "open"]
Asked = Literal["direction", "which", "count", "unknown"]

MAX_PROMPT = 50_000
"""Longer prompts are not read."""
_MAX_PLACES = 200
WAY = (
    r"(?:north[ -]?east|north[ -]?west|south[ -]?east|south[ -]?west|north|south|east|west)(?:ern)?"
    r"|\b(?-i:NE|NW|SE|SW)\b"
)
_NAME = r"[^\s.:?!\n][^:?!\n]{0,60}?"
_PREMISE = re.compile(
    rf"(?P<one>{_NAME}) is (?:located |situated )?(?:directly )?(?:to the |in the )?(?P<way>{WAY}) of\s{{1,3}}"
    rf"(?P<other>{_NAME})\.(?=\s|$)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\.\s+|\n")
_QUESTION = re.compile(
    rf"in (?:which|what) direction is\s{{1,3}}(?P<one>{_NAME}) relative to\s{{1,3}}(?P<d>{_NAME})\?"
    rf"|which (?:object|place|location) is (?:in|to) the (?P<which>{WAY}) of\s{{1,3}}(?P<w>{_NAME})\?"
    rf"|how many (?:objects|places|locations) are (?:in|to) the (?P<count>{WAY}) of\s{{1,3}}(?P<c>{_NAME})\?",
    re.IGNORECASE,
)


class MapRelation(NamedTuple):
    """The direction from one place to another. ``east``: 1 for east, -1 for west; ``north``: 1 for north, -1 for south.

    0: the relation says nothing about this axis.
    """

    east: Sign
    north: Sign

    @property
    def signs(self) -> tuple[tuple[Axis, Sign], ...]:
        both: tuple[tuple[Axis, Sign], ...] = ((0, self.east), (1, self.north))
        return tuple(part for part in both if part[1])

    @property
    def is_diagonal(self) -> bool:
        return bool(self.east and self.north)


class Premise(NamedTuple):
    """A sentence of the map: place number *one* lies in the direction *relation*, as seen from place number *other*.

    *text* is the sentence, in the form "A is to the east of B".
    """

    one: int
    relation: MapRelation
    other: int
    text: str

    def ends(self, axis: Axis) -> tuple[int, int] | None:
        sign = self.relation[axis]
        return ((self.other, self.one) if sign > 0 else (self.one, self.other)) if sign else None


@dataclass(frozen=True, slots=True)
class MapOrder:
    """The sentences of a map, and all order relations between places that follow from them."""

    beyond: tuple[tuple[int, ...], tuple[int, ...]]
    """For each axis and each place: the places that must lie beyond it, one bit for each."""
    premises: tuple[Premise, ...]

    @property
    def is_consistent(self) -> bool:
        return not any(bits >> place & 1 for axis in self.beyond for place, bits in enumerate(axis))

    def sign(self, axis: Axis, one: int, other: int) -> Sign:
        if self.beyond[axis][other] >> one & 1:
            return 1
        return -1 if self.beyond[axis][one] >> other & 1 else 0

    def status(self, one: int, relation: MapRelation, other: int) -> Status:
        signs = [self.sign(axis, one, other) * sign for axis, sign in relation.signs]
        if one == other or -1 in signs:
            return "contradicts"
        return "follows" if signs and 0 not in signs else "open"

    def reasons(self, one: int, relation: MapRelation, other: int) -> tuple[str, ...]:
        follows = self.status(one, relation, other) == "follows"
        signs = [(axis, self.sign(axis, one, other), sign) for axis, sign in relation.signs]
        chains = [
            self._chain(axis, one, other) if known > 0 else self._chain(axis, other, one)
            for axis, known, sign in signs
            if known * sign == (1 if follows else -1)
        ]
        return tuple(dict.fromkeys(text for chain in (chains if follows else chains[:1]) for text in chain))

    def _chain(self, axis: Axis, high: int, low: int) -> list[str]:
        came: dict[int, tuple[int, str]] = {}
        waiting = deque([low])
        while waiting and high not in came:
            here = waiting.popleft()
            for premise in self.premises:
                ends = premise.ends(axis)
                if ends is not None and ends[0] == here and ends[1] not in came:
                    came[ends[1]] = here, premise.text
                    waiting.append(ends[1])
        chain: list[str] = []
        at = high
        while at in came and (at != low or not chain):
            at, text = came[at]
            chain.append(text)
        return chain[::-1]


def make_order(count: int, premises: Iterable[Premise]) -> MapOrder:
    listed = tuple(premises)
    return MapOrder((_closed(count, listed, 0), _closed(count, listed, 1)), listed)


def _closed(count: int, premises: Iterable[Premise], axis: Axis) -> tuple[int, ...]:
    beyond = [0] * count
    for low, high in filter(None, (premise.ends(axis) for premise in premises)):
        beyond[low] |= 1 << high
    for through in range(count):
        for place in range(count):
            if beyond[place] >> through & 1:
                beyond[place] |= beyond[through]
    return tuple(beyond)


@dataclass(frozen=True, slots=True)
class MapProblem:
    """A map with the names of its places, and the question about it."""

    names: tuple[str, ...]
    order: MapOrder
    asked: Asked = "unknown"
    """What the question asks for: a direction, which place lies in one, or how many places do."""
    one: int = -1
    """The place whose direction the question asks for; -1 if it asks for no direction."""
    relation: MapRelation | None = None
    """The direction that the question names, if any."""
    other: int = -1
    """The place from which the question looks; -1 if there is none."""
    options: dict[str, str] = field(default_factory=dict)
    """The text of each option, by its letter."""

    def find(self, name: str) -> int | None:
        wanted = name.strip().strip("*").casefold()
        return next((at for at, known in enumerate(self.names) if known.casefold() == wanted), None)


def way_of(text: str) -> MapRelation:
    low = text.lower()
    if len(low) == 2:
        low = {"n": "north", "s": "south"}[low[0]] + {"e": "east", "w": "west"}[low[1]]
    return MapRelation(
        1 if "east" in low else -1 if "west" in low else 0, 1 if "north" in low else -1 if "south" in low else 0
    )


def read_problem(prompt: str) -> MapProblem | None:
    if len(prompt) > MAX_PROMPT:
        return None
    asked = _QUESTION.search(prompt)
    text = prompt[: asked.start()] if asked else prompt
    # A sentence without a relation may stand before a name.
    said = [
        (_SENTENCE_END.split(match["one"])[-1].strip(), match["way"], match["other"].strip())
        for match in _PREMISE.finditer(text)
    ]
    names = tuple(dict.fromkeys(name for one, _, other in said for name in (one, other)))
    if len(said) < 2 or len(names) > _MAX_PLACES:
        return None
    premises = [
        Premise(names.index(one), way_of(way), names.index(other), f"{one} is to the {way.lower()} of {other}")
        for one, way, other in said
    ]
    problem = MapProblem(names, make_order(len(names), premises), options=read_options(prompt))
    if not problem.order.is_consistent:
        return None
    return _with_question(problem, asked) if asked else problem


def _with_question(problem: MapProblem, asked: re.Match[str]) -> MapProblem:
    one = problem.find(asked["one"]) if asked["one"] else -1
    other = problem.find(asked["d"] or asked["w"] or asked["c"])
    if one is None or other is None:
        return problem
    kind: Asked = "direction" if asked["one"] else "which" if asked["which"] else "count"
    way = asked["which"] or asked["count"]
    return replace(problem, asked=kind, one=one, relation=way_of(way) if way else None, other=other)


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
    """States that place ``one`` lies in the direction ``relation``, as seen from ``other``."""

    one: str
    relation: MapRelation
    other: str


@dataclass(frozen=True, slots=True)
class PlaceCount(Spanned):
    """States that ``number`` places lie in the direction ``relation``, as seen from ``other``."""

    number: int
    relation: MapRelation
    other: str


Said: TypeAlias = Related | PlaceCount | FinalAnswer


class MapGrammar(NamedTuple):
    """The patterns that find statements with the names of one map."""

    # `relation` finds directions, `number` numbers of places, and `alias` short names that the text introduces.

    relation: re.Pattern[str]
    number: re.Pattern[str]
    alias: re.Pattern[str]


class Map(NamedTuple):
    """The problem, and the patterns that find the names of its places."""

    problem: MapProblem
    grammar: MapGrammar


MapState: TypeAlias = tuple[Map, Mapping[str, str]]
"""The map of the prompt, and the place that each name or alias in the text so far stands for."""


def make_grammar(names: tuple[str, ...]) -> MapGrammar:
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
    if len(line) > MAX_LINE:
        return ()
    if (answer := find_answer(line)) is not None:
        return (answer,)
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
    # The words around a match may change its meaning, as in "what lies west of A is north of B".
    before = line[max(start, match.start() - 40) : match.start()]
    return not _AFTER.match(line, match.end()) and (not _BEFORE.search(before) or _AND.search(before) is not None)


def read_aliases(line: str, grammar: MapGrammar) -> Iterator[tuple[str, str]]:
    if len(line) <= MAX_LINE and "(" in line:
        for match in grammar.alias.finditer(line):
            yield match["alias"], match["name"]


def _read(state: MapState, segment: Segment) -> tuple[MapState, Iterable[Statement[Said, None]]]:
    prepared, aliases = state
    grammar, known = prepared.grammar, dict(aliases)
    for alias, name in read_aliases(segment.text, grammar):
        if alias in known and known[alias] != name:
            known[alias] = _AMBIGUOUS
        elif len(known) < _MAX_ALIASES + len(aliases):
            known[alias] = name
    said = read_line(segment.text, grammar, known)
    return (prepared, known), [make_statement(segment, each, None) for each in said]


@verifier(name="spatialmap", version="3", deadline=2.0, worker="inline")
def check(claim: Statement[Said, None], prepared: Map) -> Verdict:
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
        case FinalAnswer(text=text):
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
    statuses = [order.status(place, relation, other) for place in range(len(problem.names)) if place != other]
    # Due north of a place, there need not be any.
    least = statuses.count("follows") if relation.is_diagonal else 0
    most = len(statuses) - statuses.count("contradicts")
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
        watch_answer(
            Tracker(lambda prepared: (prepared, {name: name for name in prepared.problem.names}), _read), FinalAnswer
        ),
        prepare_with(_read_map),
        recognizer=recognizer(_RELATION),
        level=level,
        delivery=delivery,
        phase=phase,
    )
