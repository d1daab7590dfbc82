"""The map of a prompt, and the question on it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from interwhen_verifiers.puzzles._answers import read_options
from interwhen_verifiers.puzzles._spatialmap.order import Order, Premise, Relation, make_order

Asked = Literal["direction", "which", "count", "unknown"]

MAX_PROMPT = 50_000
_MOST = 200
"""A map of more places is not read."""
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
    rf"in (?:which|what) direction is\s{{1,3}}(?P<d1>{_NAME}) relative to\s{{1,3}}(?P<d2>{_NAME})\?"
    rf"|which (?:object|place|location) is (?:in|to) the (?P<w1>{WAY}) of\s{{1,3}}(?P<w2>{_NAME})\?"
    rf"|how many (?:objects|places|locations) are (?:in|to) the (?P<c1>{WAY}) of\s{{1,3}}(?P<c2>{_NAME})\?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Problem:
    """The places, what follows on them, and what is asked."""

    names: tuple[str, ...]
    order: Order
    asked: Asked = "unknown"
    one: int = -1
    """The place whose direction is asked for."""
    relation: Relation | None = None
    other: int = -1
    """The place from which it is seen."""
    options: dict[str, str] = field(default_factory=dict)

    def find(self, name: str) -> int | None:
        """Return the place of that name."""
        wanted = name.strip().strip("*").casefold()
        return next((at for at, known in enumerate(self.names) if known.casefold() == wanted), None)


def way_of(text: str) -> Relation:
    """Return what a direction says."""
    low = text.lower()
    if low in {"ne", "nw", "se", "sw"}:
        low = {"n": "north", "s": "south"}[low[0]] + {"e": "east", "w": "west"}[low[1]]
    return Relation(
        1 if "east" in low else -1 if "west" in low else 0, 1 if "north" in low else -1 if "south" in low else 0
    )


def read_problem(prompt: str) -> Problem | None:
    """Return the map of *prompt*; ``None``: there is none, or it contradicts itself."""
    if len(prompt) > MAX_PROMPT:
        return None
    asked = _QUESTION.search(prompt)
    text = prompt[: asked.start()] if asked else prompt
    said = [(_cut(match["one"]), match["way"], match["other"].strip()) for match in _PREMISE.finditer(text)]
    names = tuple(dict.fromkeys(name for one, _, other in said for name in (one, other)))
    if len(said) < 2 or len(names) > _MOST:
        return None
    at = {name: number for number, name in enumerate(names)}
    premises = [
        Premise(at[one], way_of(way), at[other], f"{one} is to the {way.lower()} of {other}")
        for one, way, other in said
    ]
    problem = Problem(names, make_order(len(names), premises), options=read_options(prompt))
    if not problem.order.is_consistent:
        return None
    return _with_question(problem, asked) if asked else problem


def _cut(name: str) -> str:
    """Return what stands behind the last end of a sentence, for a sentence without a relation may stand before it."""
    return _SENTENCE_END.split(name)[-1].strip()


def _with_question(problem: Problem, asked: re.Match[str]) -> Problem:
    kind: Asked = "direction" if asked["d1"] else "which" if asked["w1"] else "count"
    one = problem.find(asked["d1"]) if asked["d1"] else -1
    other = problem.find(asked["d2"] or asked["w2"] or asked["c2"])
    if one is None or other is None:
        return problem
    way = asked["w1"] or asked["c1"]
    return Problem(problem.names, problem.order, kind, one, way_of(way) if way else None, other, problem.options)
