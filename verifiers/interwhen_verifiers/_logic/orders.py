"""Objects in a fixed order: the problem of a prompt, and every arrangement that its clues allow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from interwhen_verifiers._logic.axes import AXES, Axis
from interwhen_verifiers._logic.wording import MAX_PROMPT, NUMBERS, is_doubtful, ordinal, sentences
from interwhen_verifiers._puzzles.answers import read_options

MOST: Final = 7
"""More objects are not arranged."""
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
    """The object stands in one of the places; places are counted from 0 at the low end."""

    item: int
    places: frozenset[int]


class Before(NamedTuple):
    """*one* stands nearer to the low end than *other*."""

    one: int
    other: int


Fact: TypeAlias = Placed | Before


class Found(NamedTuple):
    """A fact, and where it is told."""

    fact: Fact
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Grammar:
    """The patterns for one set of objects on one axis."""

    axis: Axis
    item: str
    noun: str
    facts: re.Pattern[str]
    inverted: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Order:
    """The objects, and the arrangements that are left."""

    names: tuple[str, ...]
    grammar: Grammar
    rows: tuple[tuple[int, ...], ...]
    """For each arrangement: the place of each object."""
    options: tuple[tuple[str, str], ...]

    def find(self, said: str) -> int | None:
        """Return the object of that name."""
        wanted = _core(said, self.grammar.noun)
        return next((at for at, name in enumerate(self.names) if wanted in _forms(name)), None)

    def mentions(self, text: str) -> bool:
        """Tell whether *text* names any of the objects."""
        return re.search(self.grammar.item, text, re.IGNORECASE) is not None


def holds(fact: Fact, row: tuple[int, ...]) -> bool:
    """Tell whether *fact* is so in the arrangement *row*."""
    match fact:
        case Placed(item=item, places=places):
            return row[item] in places
        case Before(one=one, other=other):
            return row[one] < row[other]


def read_order(prompt: str) -> Order | None:
    """Return the problem of *prompt*; ``None``: there is none, or its clues contradict each other."""
    if len(prompt) > MAX_PROMPT:
        return None
    sets = list(_SET.finditer(prompt))
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
        facts = [found.fact for low, high in sentences(told) for found in read_facts(grammar, names, told[low:high])]
        if facts:
            rows = tuple(_arranged(number, facts))
            return Order(names, grammar, rows, tuple(read_options(prompt).items())) if rows else None
    return None


def _arranged(count: int, facts: list[Fact]) -> Iterator[tuple[int, ...]]:
    """Yield each arrangement in which *facts* hold: object by object, so that most are never begun."""
    allowed = [set(range(count)) for _ in range(count)]
    befores = [fact for fact in facts if isinstance(fact, Before)]
    for fact in facts:
        if isinstance(fact, Placed):
            allowed[fact.item] &= fact.places
    # The objects with the fewest places first, so that little is tried in vain.
    items = sorted(range(count), key=lambda item: len(allowed[item]))
    rows: list[dict[int, int]] = [{}]
    for item in items:
        ties = [fact for fact in befores if item in fact and rows and {*fact} - {item} <= rows[0].keys()]
        longer = [{**row, item: place} for row in rows for place in sorted(allowed[item]) if place not in row.values()]
        rows = [row for row in longer if all(row[fact.one] < row[fact.other] for fact in ties)]
    yield from (tuple(row[item] for item in range(count)) for row in rows)


def read_facts(
    grammar: Grammar, names: tuple[str, ...], sentence: str, *, counts_down: bool = False
) -> Iterator[Found]:
    """Yield what *sentence* asserts, in its order.

    *counts_down*: places have been listed from the high end, so that "second is X" may not count from the low one.
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
            yield Found(fact, *match.span())


def _fact(names: tuple[str, ...], grammar: Grammar, match: re.Match[str], one: int) -> Fact | None:
    groups = match.groupdict()
    count = len(names)
    if groups.get("other"):
        other = _lookup(names, groups["other"], grammar.noun)
        if other is None or other == one or groups.get("not"):
            return None
        return Before(one, other) if groups.get("nearer") else Before(other, one)
    place = place_of(match, count)
    if groups.get("not"):
        return Placed(one, frozenset(range(count)) - {place})
    return Placed(one, frozenset({place}) if 0 <= place < count else frozenset())


def place_of(match: re.Match[str], count: int) -> int:
    """Return the place that *match* names: one that is not there, too."""
    groups = match.groupdict()
    if groups.get("place_low"):
        return ordinal(groups["low"]) - 1 if groups.get("low") else 0
    return count - ordinal(groups["high"]) if groups.get("high") else count - 1


def _grammar(axis: Axis, names: tuple[str, ...], noun: str) -> Grammar:
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
    return Grammar(axis, item, noun, facts, inverted)


def _core(text: str, noun: str) -> str:
    """Return a name without its article and its noun."""
    low = _ARTICLE.sub("", " ".join(text.strip().strip("*").casefold().split()))
    for form in _forms(noun):
        if low.endswith(f" {form}"):
            return low[: -len(form) - 1].strip()
    return low


def _forms(name: str) -> tuple[str, ...]:
    """Return a name as it is, and in the singular."""
    return tuple(dict.fromkeys((name, *(name[: -len(end)] for end in ("s", "es") if name.endswith(end)))))


def _lookup(names: tuple[str, ...], said: str, noun: str) -> int | None:
    wanted = _core(said, noun)
    return next((at for at, name in enumerate(names) if wanted in _forms(name)), None)
