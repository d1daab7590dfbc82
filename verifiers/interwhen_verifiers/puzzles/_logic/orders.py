"""Reads the clues of a prompt about the order of objects, and judges statements about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, NamedTuple, TypeAlias

from interwhen import Pass, Span, Unknown, Verdict, Violation

from interwhen_verifiers.puzzles._logic.wording import (
    MAX_PROMPT,
    NUMBERS,
    ORDINAL,
    is_doubtful,
    ordinal,
    sentences,
    supposes,
)
from interwhen_verifiers.puzzles._statements import FinalAnswer, Spanned, read_options

# Ways to say how things stand in a row: left to right, by age, by price, by rank.


@dataclass(frozen=True, slots=True)
class Axis:
    """The words for one kind of order (by age, price, rank ...), as patterns. Each axis has a low and a high end."""

    name: str
    low: str
    """A comparison that places the first object nearer to the low end, such as "to the left of"."""
    high: str
    from_low: str
    """A place counted from the low end, such as "second from the left". The group ``low`` has the ordinal, if any."""
    from_high: str
    """The same from the high end, with the group ``high``."""
    ends: tuple[str, str]
    """The words for the low and the high end in "from … to …", each a text with ``|`` between alternatives."""


def _compared(name: str, low: tuple[str, str], high: tuple[str, str]) -> Axis:
    return Axis(
        name,
        rf"(?:{low[0]}) than",
        rf"(?:{high[0]}) than",
        rf"(?:the )?(?:(?P<low>{ORDINAL})[ -])?(?:{low[1]})",
        rf"(?:the )?(?:(?P<high>{ORDINAL})[ -])?(?:{high[1]})",
        (low[1], high[1]),
    )


AXES: Final = (
    Axis(
        "side",
        r"(?:directly |somewhere )?(?:to|on) the left of",
        r"(?:directly |somewhere )?(?:to|on) the right of",
        rf"(?:the |in the )?(?:leftmost|(?P<low>{ORDINAL}) (?:\w{{1,12}} )?from the left)",
        rf"(?:the |in the )?(?:rightmost|(?P<high>{ORDINAL}) (?:\w{{1,12}} )?from the right)",
        ("left|leftmost", "right|rightmost"),
    ),
    _compared("age", ("older", "oldest"), ("newer|younger", "newest|youngest")),
    _compared(
        "price",
        ("cheaper|less expensive", "cheapest|least expensive"),
        ("more expensive|costlier", "most expensive|costliest"),
    ),
    _compared("height", ("shorter", "shortest"), ("taller", "tallest")),
    _compared("weight", ("lighter", "lightest"), ("heavier", "heaviest")),
    _compared("speed", ("slower", "slowest"), ("faster", "fastest")),
    _compared("size", ("smaller", "smallest"), ("larger|bigger", "largest|biggest")),
    Axis(
        "rank",
        r"(?:above|ahead of|before)",
        r"(?:below|behind|after)",
        rf"(?:in )?(?P<low>{ORDINAL})(?: place)?(?![ -](?:to|from|in|on|of)\b)",
        rf"(?:in )?(?:(?P<high>{ORDINAL})[ -](?:to|from)[ -])?(?:the )?last(?: place)?",
        ("first|top", "last|bottom"),
    ),
)


MOST: Final = 7
"""Problems with more objects are not read."""
_SET = re.compile(
    rf"\b(?P<number>{'|'.join(NUMBERS)}|[2-8]) (?P<noun>[a-z]{{2,20}}): (?P<list>[^.:;\n]{{3,300}})\.", re.IGNORECASE
)
_END = re.compile(r"\n\s{0,4}(?:Q|Question)\s?:|\n\s{0,4}Options?\s?:|\bwhich of the following\b|\?", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:and )?(?:an?|the) |^and ", re.IGNORECASE)
_BE: Final = (
    r"(?:(?:is|are|was|were|finished|finishes|came|comes|placed|stands?|sits?|costs?)(?: also| therefore| thus)?"
    r"|(?:must|has to|have to)(?: be| have finished| finish| come)?)"
)
_NOT: Final = r"(?:(?:can ?not|can['\u2019]t)(?: be| have finished| finish)?|(?:is|are|was|were) not)"
_CLAUSE = re.compile(
    r"(?:^|[,:;.\u2022\-(]|\b(?:so|then|that|thus|therefore|hence|because|since|as|and|know|conclude|now))[\s*\"(]{0,4}$",
    re.IGNORECASE,
)
_AFTER = re.compile(r"[\s*]{0,3}(?:or|unless|if|nor|except)\b|['\u2019]s\b|\?|/", re.IGNORECASE)


class Placed(NamedTuple):
    """The fact that object *item* is in one of *places*. Both are counted from 0; places begin at the low end."""

    item: int
    places: frozenset[int]


class OrderedPair(NamedTuple):
    """The fact that object number *one* is nearer to the low end than object number *other*."""

    one: int
    other: int


Fact: TypeAlias = Placed | OrderedPair
Way: TypeAlias = Literal["up", "down"]
"""The direction in which a text lists places: ``up`` begins at the low end, ``down`` at the high end."""


class FoundFact(NamedTuple):
    """A fact, with its start and end in the sentence."""

    fact: Fact
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class OrderGrammar:
    """The patterns for one set of objects on one axis."""

    axis: Axis
    item: str
    """A pattern that matches the name of any of the objects."""
    noun: str
    """The word for all of the objects, such as "books"."""
    facts: re.Pattern[str]
    """Finds statements that begin with an object, such as "the red book is second from the left"."""
    inverted: re.Pattern[str]
    """Finds statements that begin with a place, such as "second from the left is the red book"."""


@dataclass(frozen=True, slots=True)
class OrderState:
    """What the text so far tells about the meaning of its next line."""

    is_supposed: bool = False
    """Whether later statements may depend on a supposition."""
    way: Way | None = None
    """``None`` if it is not known."""


@dataclass(frozen=True, slots=True)
class ObjectOrder:
    """An order problem: the names of the objects, and all arrangements that the clues that were understood allow."""

    names: tuple[str, ...]
    grammar: OrderGrammar
    rows: tuple[tuple[int, ...], ...]
    """The allowed arrangements. Each has the place of each object, from 0 at the low end."""
    options: tuple[tuple[str, str], ...]
    """The letter and the text of each option."""

    def find(self, said: str) -> int | None:
        return _lookup(self.names, said, self.grammar.noun)

    def mentions(self, text: str) -> bool:
        return re.search(self.grammar.item, text, re.IGNORECASE) is not None

    start: ClassVar[OrderState] = OrderState()
    """The state before the first line."""
    lost: ClassVar[OrderState] = OrderState(is_supposed=True)
    """A line that is too long to read may begin a supposition."""

    def read(self, reading: OrderState, line: str) -> tuple[OrderState, list[ToldFacts]]:
        # What follows a supposition is not asserted, so it is left out.
        statements: list[ToldFacts] = []
        # An option that is quoted is not asserted.
        for start, end in [] if _OPTION.search(line) else sentences(line):
            text = line[start:end]
            if reading.is_supposed or supposes(text, is_about=self.mentions(text)):
                return self.lost, statements
            told, way = _sentence(self, reading.way, text)
            reading = OrderState(way=way)
            statements += [_moved(each, start) for each in told]
        return reading, statements

    def judge(self, said: ToldFacts | FinalAnswer) -> Verdict:
        # The option that the answer names must follow from the clues. Facts that the clues leave open are `Unknown`.
        if isinstance(said, ToldFacts):
            return _judge_arrangement(self, said)
        text = dict(self.options).get(said.letter, said.text)
        facts = tuple(read_facts(self.grammar, self.names, text))
        if not facts:
            return Unknown("the answer was not understood")
        verdict = _judge_arrangement(self, ToldFacts(0, len(text), facts))
        return Violation(why="that answer contradicts the clues") if isinstance(verdict, Violation) else verdict


@dataclass(frozen=True, slots=True)
class ToldFacts(Spanned):
    """Facts that one line states together.

    *beyond* is a stated place that does not exist, counted from 1; 0 if all stated places exist.
    """

    facts: tuple[FoundFact, ...] = ()
    beyond: int = 0


def holds(fact: Fact, row: tuple[int, ...]) -> bool:
    return row[fact.item] in fact.places if isinstance(fact, Placed) else row[fact.one] < row[fact.other]


def read_order(prompt: str) -> ObjectOrder | None:
    sets = list(_SET.finditer(prompt)) if len(prompt) <= MAX_PROMPT else []
    if not sets:
        return None
    given = sets[-1]
    number = NUMBERS.get(given["number"].lower()) or int(given["number"])
    noun = given["noun"].lower()
    names = tuple(_core(each, noun) for each in re.split(r",\s|\sand\s", given["list"]) if each.strip())
    if not 2 <= len(names) == number <= MOST or len(set(names)) < number or not all(names):
        return None
    rest = prompt[given.end() :]
    end = _END.search(rest)
    told = rest[: end.start()] if end else rest
    for axis in AXES:
        if not re.search(rf"{axis.low}|{axis.high}|{axis.from_low}|{axis.from_high}", told, re.IGNORECASE):
            continue
        grammar = _grammar(axis, names, noun)
        facts = [fact.fact for low, high in sentences(told) for fact in read_facts(grammar, names, told[low:high])]
        if facts:
            rows = tuple(_arranged(number, facts))
            return ObjectOrder(names, grammar, rows, tuple(read_options(prompt).items())) if rows else None
    return None


def _arranged(count: int, facts: list[Fact]) -> Iterator[tuple[int, ...]]:
    allowed = [set(range(count)) for _ in range(count)]
    befores = [fact for fact in facts if isinstance(fact, OrderedPair)]
    for fact in facts:
        if isinstance(fact, Placed):
            allowed[fact.item] &= fact.places
    # The objects with the fewest places first, so that few arrangements are tried.
    items = sorted(range(count), key=lambda item: len(allowed[item]))
    rows: list[dict[int, int]] = [{}]
    for item in items:
        ties = [fact for fact in befores if item in fact and rows and {*fact} - {item} <= rows[0].keys()]
        longer = [{**row, item: place} for row in rows for place in sorted(allowed[item]) if place not in row.values()]
        rows = [row for row in longer if all(row[fact.one] < row[fact.other] for fact in ties)]
    yield from (tuple(row[item] for item in range(count)) for row in rows)


def read_facts(
    grammar: OrderGrammar, names: tuple[str, ...], sentence: str, *, counts_down: bool = False
) -> Iterator[FoundFact]:
    """Yield the facts that *sentence* asserts, from left to right.

    *counts_down*: the text has listed places from the high end. Then "second is X" is not read, because it may count
    from either end.
    """
    inverted = [] if counts_down else [*grammar.inverted.finditer(sentence)]
    matches = sorted([*grammar.facts.finditer(sentence), *inverted], key=lambda match: match.start())
    plain = re.sub(rf"{_NOT}(?! (?:be )?that)", "", sentence, flags=re.IGNORECASE) if matches else ""
    if not matches or is_doubtful(plain):
        return
    subject: int | None = None
    for match in matches:
        groups = match.groupdict()
        if not _CLAUSE.search(sentence[: match.start()]) or _AFTER.match(sentence, match.end()):
            continue
        one = _lookup(names, groups.get("one") or "", grammar.noun) if not groups.get("pronoun") else subject
        if one is None:
            continue
        subject = one if subject is None else subject
        fact = _fact(names, grammar, match, one)
        if fact is not None:
            yield FoundFact(fact, *match.span())


def _fact(names: tuple[str, ...], grammar: OrderGrammar, match: re.Match[str], one: int) -> Fact | None:
    groups = match.groupdict()
    count = len(names)
    if groups.get("other"):
        other = _lookup(names, groups["other"], grammar.noun)
        if other is None or other == one or groups.get("not"):
            return None
        return OrderedPair(one, other) if groups.get("nearer") else OrderedPair(other, one)
    low, high = groups.get("low"), groups.get("high")
    from_low = (ordinal(low) if low else 1) - 1
    place = from_low if groups.get("place_low") else count - (ordinal(high) if high else 1)
    if groups.get("not"):
        return Placed(one, frozenset(range(count)) - {place})
    return Placed(one, frozenset({place}) if 0 <= place < count else frozenset())


def _grammar(axis: Axis, names: tuple[str, ...], noun: str) -> OrderGrammar:
    forms = sorted({form for name in names for form in _forms(name)}, key=len, reverse=True)
    kinds = "|".join(re.escape(form) for form in _forms(noun))
    item = rf"(?:\b(?:the )?\b(?:{'|'.join(map(re.escape, forms))})(?: (?:{kinds}))?\b)"
    place = rf"(?:(?P<place_low>{axis.from_low})|(?P<place_high>{axis.from_high}))"
    be = rf"(?:(?P<not>{_NOT})|{_BE})"
    facts = re.compile(
        rf"(?:(?P<one>{item})|\bso (?P<pronoun>they|it|he|she)) {be} (?:(?:(?P<nearer>{axis.low})|{axis.high}) "
        rf"(?P<other>{item})|{place}(?: (?:{kinds}))?\b)(?! {item})",
        re.IGNORECASE,
    )
    inverted = re.compile(
        rf"\b(?:the )?(?:(?:{kinds}|person|one) (?:that|who|which) (?:is|are|finished|finishes) )?{place}"
        rf"(?: (?:{kinds}|one))? (?:is|are|must be) (?P<one>{item})",
        re.IGNORECASE,
    )
    return OrderGrammar(axis, item, noun, facts, inverted)


def _core(text: str, noun: str) -> str:
    low = _ARTICLE.sub("", " ".join(text.strip().strip("*").casefold().split()))
    for form in _forms(noun):
        if low.endswith(f" {form}"):
            return low[: -len(form) - 1].strip()
    return low


def _forms(name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((name, *(name[: -len(end)] for end in ("s", "es") if name.endswith(end)))))


def _lookup(names: tuple[str, ...], said: str, noun: str) -> int | None:
    wanted = _core(said, noun)
    return next((at for at, name in enumerate(names) if wanted in _forms(name)), None)


# Statements of a line on the order: facts, lists of places, an answer.

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
_NOT_PLACED = re.compile(r"\b(?:is not|can ?not be)\b", re.IGNORECASE)
_MAYBE = frozenset({"can be", "could be", "may be"})


def _moved(told: ToldFacts, by: int) -> ToldFacts:
    facts = tuple(FoundFact(each.fact, each.start + by, each.end + by) for each in told.facts)
    return ToldFacts(told.start + by, told.end + by, facts, told.beyond)


def _sentence(problem: ObjectOrder, way: Way | None, text: str) -> tuple[list[ToldFacts], Way | None]:
    header = _HEADER.search(text)
    rising = _direction(problem, header) if header else None
    if header is None or rising is None:
        is_ranked = problem.grammar.axis.name == "rank"
        facts = list(read_facts(problem.grammar, problem.names, text, counts_down=is_ranked and way == "down"))
        facts += _by_rank(problem, way, text)
        return [ToldFacts(each.start, each.end, (each,)) for each in facts], way
    before = read_facts(problem.grammar, problem.names, text[: header.start()])
    told = [ToldFacts(each.start, each.end, (each,)) for each in before]
    if not is_doubtful(_NOT_PLACED.sub("is", text)):
        told += _listed(problem, rising, text, header.end()) or _in_a_row(problem, rising, text, header.end())
    return told, rising


def _direction(problem: ObjectOrder, header: re.Match[str]) -> Way | None:
    low, high = (end.split("|") for end in problem.grammar.axis.ends)
    one, other = (header[group].strip().lower().removeprefix("the ") for group in ("one", "other"))
    ways: tuple[tuple[Way, list[str], list[str]], ...] = (("up", low, high), ("down", high, low))
    for way, begins, ends in ways:
        # "from most to least expensive": the first is cut short.
        if other in ends and any(name == one or name.startswith(f"{one} ") for name in begins):
            return way
    return None


def _place(word: str, *, count: int, way: Way) -> int:
    rank = count if word.lower() == "last" else ordinal(word)
    return rank - 1 if way == "up" else count - rank


def _listed(problem: ObjectOrder, way: Way, text: str, start: int) -> list[ToldFacts]:
    """Read a list such as "first is the black book, then second is …" from *start* on, as one statement.

    A place that does not exist is a statement of its own.
    """
    count = len(problem.names)
    facts: list[FoundFact] = []
    for match in _ITEM.finditer(text, start):
        ranks = re.split(r",? or |, ", match["places"].lower())
        far = next((ordinal(rank) for rank in ranks if rank != "last" and ordinal(rank) > count), 0)
        if far:
            return [*_joined(facts), ToldFacts(*match.span(), beyond=far)]
        item = problem.find(match["who"])
        if match["can"].lower() in _MAYBE or item is None:
            continue
        places = frozenset(_place(rank, count=count, way=way) for rank in ranks)
        if "not" in match["can"].lower():
            places = frozenset(range(count)) - places
        facts.append(FoundFact(Placed(item, places), *match.span()))
    return _joined(facts)


def _joined(facts: list[FoundFact]) -> list[ToldFacts]:
    return [ToldFacts(facts[0].start, facts[-1].end, tuple(facts))] if facts else []


def _in_a_row(problem: ObjectOrder, way: Way, text: str, start: int) -> list[ToldFacts]:
    rest = text[start:].rstrip(" .!")
    items = [problem.find(part) for part in _SPLIT.split(rest) if part.strip()]
    known = [item for item in items if item is not None]
    count = len(problem.names)
    if not len(known) == len(items) == count:
        return []
    end = start + len(rest)
    places = range(count) if way == "up" else range(count - 1, -1, -1)
    facts = tuple(
        FoundFact(Placed(item, frozenset({place})), start, end) for item, place in zip(known, places, strict=True)
    )
    return [ToldFacts(start, end, facts)]


def _by_rank(problem: ObjectOrder, way: Way | None, text: str) -> Iterator[FoundFact]:
    # Facts such as "the third bird must be the falcon".
    if way is None or is_doubtful(text):
        return
    for match in _PLACED.finditer(text):
        item = problem.find(match["who"])
        if item is None or match["noun"].lower() not in {problem.grammar.noun, problem.grammar.noun.removesuffix("s")}:
            continue
        place = _place(match["rank"], count=len(problem.names), way=way)
        yield FoundFact(Placed(item, frozenset({place}) & frozenset(range(len(problem.names)))), *match.span())


def _judge_arrangement(problem: ObjectOrder, said: ToldFacts) -> Verdict:
    count = len(problem.names)
    if said.beyond:
        return Violation(why=f"there are {count} places, and so no place {said.beyond}")
    rows = problem.rows
    for fact in said.facts:
        left = tuple(row for row in rows if holds(fact.fact, row))
        if not left:
            what = "that contradicts the clues" if len(rows) == len(problem.rows) else "the clues do not allow both"
            where = Span(fact.start - said.start, fact.end - said.start)
            return Violation(why=f"{what}: {_denial(problem, fact.fact)}", where=where)
        rows = left
    return Pass("it follows from the clues") if len(rows) == len(problem.rows) else Unknown("the clues leave it open")


def _denial(problem: ObjectOrder, fact: Fact) -> str:
    if isinstance(fact, Placed):
        return f"{problem.names[fact.item]!r} cannot stand there"
    return f"{problem.names[fact.one]!r} and {problem.names[fact.other]!r} stand the other way round"
