"""What a line says of an order: facts, lists of places, an answer; and whether the clues allow it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from interwhen import Pass, Span, Unknown, Verdict, Violation

from interwhen_verifiers._logic.answers import Final, read_final
from interwhen_verifiers._logic.orders import Fact, Found, Order, Placed, holds, read_facts
from interwhen_verifiers._logic.wording import MAX_LINE, ORDINAL, is_doubtful, ordinal, sentences, supposes

_HEADER = re.compile(r"\bfrom (?P<one>[a-z \-]{3,24}?) to (?P<other>[a-z \-]{3,24}?)(?: is)?\s?[:,]\s?", re.IGNORECASE)
_ITEM = re.compile(
    rf"\b(?P<places>(?:{ORDINAL}|last)(?:(?:,? or |, (?!or ))(?:{ORDINAL}|last)){{0,6}}) "
    r"(?P<can>is not|is|are|must be|can ?not be|can be|could be|can only be|may be) (?P<who>[^,;:.()]{1,60}?)"
    r"(?=,|;|\.|$|\sthen\b|\sand then\b)",
    re.IGNORECASE,
)
_PLACED = re.compile(
    rf"\bthe (?P<rank>{ORDINAL}|last) (?P<noun>[a-z]{{2,20}}) (?:is|must be) (?P<who>[^,;:.()]{{1,60}}?)(?=,|;|\.|$)",
    re.IGNORECASE,
)
_OPTION = re.compile(r"(?:^|\s)[(*\-]{0,3}[A-H]\s?[).:]\s")
_SPLIT = re.compile(r"\s?[,>\u2192|]\s?(?:and )?|\sand\s|\sthen\s")
_NOT = re.compile(r"\b(?:is not|can ?not be)\b", re.IGNORECASE)
_MAYBE = frozenset({"can be", "could be", "may be"})


Way: TypeAlias = Literal["up", "down"]
"""Whether places are listed from the low end, or from the high one."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the text so far has come to."""

    is_supposed: bool = False
    """Whether it has supposed something, so that what it says may rest on that."""
    way: Way | None = None
    """How it lists places. ``None``: that is not known."""


class Told(NamedTuple):
    """Facts that are said to hold together. *beyond*: a place that is not there, from 1; 0: all are there."""

    facts: tuple[Found, ...]
    beyond: int
    start: int
    end: int


def read_arrangement(problem: Order, reading: Reading, line: str) -> tuple[Reading, tuple[Told | Final, ...]]:
    """Return what *line* says of the order. Linear in its length."""
    if len(line) > MAX_LINE:
        return Reading(is_supposed=True), ()
    found: list[Told | Final] = []
    final = read_final(line)
    # An option that is quoted is not asserted.
    cut = 0 if _OPTION.search(line, 0, final.start if final else len(line)) else final.start if final else len(line)
    for start, end in sentences(line[:cut]):
        text = line[start:end]
        if reading.is_supposed or supposes(text, is_about=problem.mentions(text)):
            reading = Reading(is_supposed=True)
            break
        told, way = _sentence(problem, reading.way, text)
        reading = Reading(way=way)
        found += [_moved(each, start) for each in told]
    return reading, (*found, final) if final else tuple(found)


def _moved(told: Told, by: int) -> Told:
    facts = tuple(Found(each.fact, each.start + by, each.end + by) for each in told.facts)
    return Told(facts, told.beyond, told.start + by, told.end + by)


def _sentence(problem: Order, way: Way | None, text: str) -> tuple[list[Told], Way | None]:
    header = _HEADER.search(text)
    rising = _direction(problem, header) if header else None
    if header is None or rising is None:
        is_ranked = problem.grammar.axis.name == "rank"
        facts = list(read_facts(problem.grammar, problem.names, text, counts_down=is_ranked and way == "down"))
        facts += _by_rank(problem, way, text)
        return [Told((each,), 0, each.start, each.end) for each in facts], way
    before = read_facts(problem.grammar, problem.names, text[: header.start()])
    told = [Told((each,), 0, each.start, each.end) for each in before]
    if not is_doubtful(_NOT.sub("is", text)):
        told += _listed(problem, rising, text, header.end()) or _in_a_row(problem, rising, text, header.end())
    return told, rising


def _direction(problem: Order, header: re.Match[str]) -> Way | None:
    ends = problem.grammar.axis.ends
    one, other = (re.sub(r"^the ", "", header[group].strip().lower()) for group in ("one", "other"))
    for low, high in (("low", "high"), ("high", "low")):
        names = dict(zip(("low", "high"), (end.split("|") for end in ends), strict=True))
        # "from most to least expensive": the first is cut short.
        if other in names[high] and (one in names[low] or any(name.startswith(f"{one} ") for name in names[low])):
            return "up" if low == "low" else "down"
    return None


def _place(word: str, *, count: int, way: Way) -> int:
    rank = count if word.lower() == "last" else ordinal(word)
    return rank - 1 if way == "up" else count - rank


def _listed(problem: Order, way: Way, text: str, start: int) -> list[Told]:
    """Read "first is the black book, then second is …" as one statement."""
    count = len(problem.names)
    found: list[Found] = []
    spans: list[tuple[int, int]] = []
    for match in _ITEM.finditer(text, start):
        ranks = re.split(r",? or |, ", match["places"].lower())
        far = next((ordinal(rank) for rank in ranks if rank != "last" and ordinal(rank) > count), 0)
        if far:
            return [*_joined(found, spans), Told((), far, *match.span())]
        item = problem.find(match["who"])
        if match["can"].lower() in _MAYBE or item is None:
            continue
        places = frozenset(_place(rank, count=count, way=way) for rank in ranks)
        if "not" in match["can"].lower():
            places = frozenset(range(count)) - places
        found.append(Found(Placed(item, places), *match.span()))
        spans.append(match.span())
    return _joined(found, spans)


def _joined(found: list[Found], spans: list[tuple[int, int]]) -> list[Told]:
    return [Told(tuple(found), 0, spans[0][0], spans[-1][1])] if found else []


def _in_a_row(problem: Order, way: Way, text: str, start: int) -> list[Told]:
    """Read "the black book, the red book, …" if it names all of them."""
    rest = text[start:].rstrip(" .!")
    parts = [part for part in _SPLIT.split(rest) if part.strip()]
    items = [problem.find(part) for part in parts]
    known = [item for item in items if item is not None]
    count = len(problem.names)
    if len(known) != len(items) or len(items) != count:
        return []
    end = start + len(rest)
    places = range(count) if way == "up" else range(count - 1, -1, -1)
    facts = tuple(
        Found(Placed(item, frozenset({place})), start, end) for item, place in zip(known, places, strict=True)
    )
    return [Told(facts, 0, start, end)]


def _by_rank(problem: Order, way: Way | None, text: str) -> Iterator[Found]:
    """Yield "the third bird must be the falcon", which counts as the last list did."""
    if way is None or is_doubtful(text):
        return
    for match in _PLACED.finditer(text):
        item = problem.find(match["who"])
        if item is None or match["noun"].lower() not in {problem.grammar.noun, problem.grammar.noun.removesuffix("s")}:
            continue
        place = _place(match["rank"], count=len(problem.names), way=way)
        yield Found(Placed(item, frozenset({place}) & frozenset(range(len(problem.names)))), *match.span())


def judge_arrangement(problem: Order, said: Told) -> Verdict:
    """Judge facts by the arrangements that the clues allow: none with them all is a contradiction."""
    count = len(problem.names)
    if said.beyond:
        return Violation(why=f"there are {count} places, and so no place {said.beyond}")
    rows = problem.rows
    for found in said.facts:
        left = tuple(row for row in rows if holds(found.fact, row))
        if not left:
            what = "that contradicts the clues" if len(rows) == len(problem.rows) else "the clues do not allow both"
            where = Span(found.start - said.start, found.end - said.start)
            return Violation(why=f"{what}: {_told(problem, found.fact)}", where=where)
        rows = left
    return Pass("it follows from the clues") if len(rows) == len(problem.rows) else Unknown("the clues leave it open")


def _told(problem: Order, fact: Fact) -> str:
    match fact:
        case Placed(item=item):
            return f"{problem.names[item]!r} cannot stand there"
        case _:
            return f"{problem.names[fact.one]!r} and {problem.names[fact.other]!r} stand the other way round"


def judge_choice(problem: Order, said: Final) -> Verdict:
    """Judge the answer: the option that it names must follow."""
    text = dict(problem.options).get(said.letter, said.text)
    facts = tuple(read_facts(problem.grammar, problem.names, text))
    if not facts:
        return Unknown("the answer was not understood")
    verdict = judge_arrangement(problem, Told(facts, 0, 0, len(text)))
    return Violation(why="that answer contradicts the clues") if isinstance(verdict, Violation) else verdict
