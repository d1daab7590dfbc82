"""Reads the map and the question of a prompt, and decides what follows from the map, without a solver.

"A is to the northeast of B" says that A lies further east and further north. So the sentences are comparisons on two
independent axes, and exactly their transitive closure follows.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from interwhen_verifiers.puzzles._answers import read_options

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
        """The axes about which the relation says something, each with its sign."""
        both: tuple[tuple[Axis, Sign], ...] = ((0, self.east), (1, self.north))
        return tuple(part for part in both if part[1])

    @property
    def is_diagonal(self) -> bool:
        """Whether the relation says something about both axes."""
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
        """Return the lower and the higher place on *axis*; ``None`` if the sentence says nothing about that axis."""
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
        """Whether the sentences do not contradict each other: no place lies north or east of itself."""
        return not any(bits >> place & 1 for axis in self.beyond for place, bits in enumerate(axis))

    def sign(self, axis: Axis, one: int, other: int) -> Sign:
        """Return 1 if *one* lies beyond *other* (farther north or east) on *axis*, -1 for the contrary, else 0."""
        if self.beyond[axis][other] >> one & 1:
            return 1
        return -1 if self.beyond[axis][one] >> other & 1 else 0

    def status(self, one: int, relation: MapRelation, other: int) -> Status:
        """Tell whether the map shows that *one* has *relation* to *other*, or shows that it has not, or neither.

        The results are ``follows``, ``contradicts`` and ``open``; for a place and itself, ``contradicts``.
        """
        found = [self.sign(axis, one, other) * sign for axis, sign in relation.signs]
        if one == other or -1 in found:
            return "contradicts"
        return "follows" if found and 0 not in found else "open"

    def reasons(self, one: int, relation: MapRelation, other: int) -> tuple[str, ...]:
        """Return the sentences, if any, that prove the result of :meth:`status` for the same arguments."""
        follows = self.status(one, relation, other) == "follows"
        signs = [(axis, self.sign(axis, one, other), sign) for axis, sign in relation.signs]
        chains = [
            self._chain(axis, one, other) if known > 0 else self._chain(axis, other, one)
            for axis, known, sign in signs
            if known * sign == (1 if follows else -1)
        ]
        return tuple(dict.fromkeys(text for chain in (chains if follows else chains[:1]) for text in chain))

    def _chain(self, axis: Axis, high: int, low: int) -> list[str]:
        """Find a shortest chain of sentences on *axis* from the place *low* to the place *high*."""
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
    """Derive everything that follows from *premises* about *count* places."""
    listed = tuple(premises)
    return MapOrder((_closed(count, listed, 0), _closed(count, listed, 1)), listed)


def _closed(count: int, premises: Iterable[Premise], axis: Axis) -> tuple[int, ...]:
    """Return what follows from *premises* on *axis* about *count* places: for each, the places beyond it, as bits."""
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
    """What follows from the sentences of the map."""
    asked: Asked = "unknown"
    """What the question asks for: a direction, which place lies in one, or how many places do."""
    one: int = -1
    """The place whose direction the question asks for; -1 if it asks for no direction."""
    relation: MapRelation | None = None
    """The direction that the question names; ``None`` if it names none."""
    other: int = -1
    """The place from which the question looks; -1 if there is none."""
    options: dict[str, str] = field(default_factory=dict)
    """The text of each option, by its letter."""

    def find(self, name: str) -> int | None:
        """Return the index of the place with this *name*, or ``None``."""
        wanted = name.strip().strip("*").casefold()
        return next((at for at, known in enumerate(self.names) if known.casefold() == wanted), None)


def way_of(text: str) -> MapRelation:
    """Return the relation that the compass point *text* names."""
    low = text.lower()
    if len(low) == 2:
        low = {"n": "north", "s": "south"}[low[0]] + {"e": "east", "w": "west"}[low[1]]
    return MapRelation(
        1 if "east" in low else -1 if "west" in low else 0, 1 if "north" in low else -1 if "south" in low else 0
    )


def read_problem(prompt: str) -> MapProblem | None:
    """Read the map of *prompt*; ``None`` if it has fewer than two sentences, contradicts itself, or is too large."""
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
