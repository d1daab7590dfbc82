"""Reads a puzzle of houses, and the relations that its clues and other sentences state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal, NamedTuple

# The values of a puzzle that phrases name, such as "the person who keeps horses".

_TOKEN = re.compile(r"[a-z0-9]+")
_POSSESSIVE = re.compile(r"['\u2019]s?(?![a-z])")
_MODEL = re.compile(r"(?<![a-z0-9])([a-z])[- ](?=\d)")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
MAX_PHRASE = 200
"""Longer phrases are not read."""

_ALIASES = {
    "british": "brit",
    "swedish": "swede",
    "danish": "dane",
    "january": "jan",
    "february": "feb",
    "march": "mar",
    "april": "apr",
    "june": "jun",
    "july": "jul",
    "august": "aug",
    "september": "sep",
    "sept": "sep",
    "october": "oct",
    "november": "nov",
    "december": "dec",
    "goes": "go",
    "grey": "gray",
    "colour": "color",
    "favourite": "favorite",
}


@cache
def _stem(word: str) -> str:
    word = _ALIASES.get(word, word)
    if len(word) > 4 and word.endswith(("ies", "ie")):
        return word[: word.rindex("ie")] + "y"
    if len(word) > 6 and word.endswith("ing"):
        return word[:-3]
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        return _ALIASES.get(word[:-1], word[:-1])
    return word


_FILLER_WORDS = """
a an the person one people man woman who whose that which is are be has have having get in of for on with as to by
and only many unique favorite own owner keep keeper love lover like enjoy enthusiast prefer preference fan drink
drinker eat eater eating bring use user smoke smoker drive driver play player work live living reside residing go
going partial person's child kid son daughter named name mother mom book genre novel read reader music listen food
lunch meal color hair haired animal pet aquarium phone model car degree diploma education graduate holder vacation
trip tour break retreat holiday getaway birthday born month hobby hobbyist style home house villa smoothie height
sport cigar bouquet boquet vase arrangement flower nationality national occupation job professional
attend attended attends graduated study studied studies finish finished complete completed earned earns hold
holds holder went comes come from called calls wear wears ride rides collect collects practice practices watch
watches visit visits visited travel travels grow grows order orders buy buys works work train trains born into
at level type kind variety brand
"""
_FILLERS = frozenset(_stem(word) for word in _FILLER_WORDS.split())
_KINDS: tuple[tuple[str, frozenset[str]], ...] = tuple(
    (kind, frozenset(map(_stem, words.split())))
    for kind, words in (
        ("hair", "hair haircolor"),
        ("child", "child kid son daughter children"),
        ("mother", "mother mom"),
        ("style", "style housestyle"),
        ("book", "book genre_book reading"),
        ("music", "music song"),
        ("color", "color"),
        ("pet", "pet"),
        ("animal", "animal"),
        ("nationality", "nationality nationalitie nation country"),
        ("food", "lunch food meal"),
        ("job", "occupation job profession career"),
        ("phone", "phone phonemodel smartphone"),
        ("education", "education degree"),
        ("vacation", "vacation trip holiday"),
        ("car", "car carmodel vehicle"),
        ("birthday", "birthday month"),
        ("hobby", "hobby hobbie"),
        ("smoothie", "smoothie"),
        ("drink", "drink beverage"),
        ("height", "height"),
        ("sport", "sport"),
        ("cigar", "cigar"),
        ("flower", "flower"),
        ("name", "name person"),
    )
)
_CUES: dict[str, dict[str, int]] = {
    "hair": {"hair": 3, "haired": 3},
    "child": {"child": 3, "kid": 3, "son": 3, "daughter": 3, "mother of": 4},
    "mother": {"mother name": 4, "mother": 2, "mom": 2},
    "pet": {"pet": 4, "aquarium": 4, "has": 1, "have": 1, "own": 1},
    "animal": {"animal": 4, "keeper": 2, "owner": 2, "lover": 2, "enthusiast": 2, "keep": 2},
    "style": {"style": 3, "home": 2, "villa": 2},
    "name": {"": 1},
    "color": {"": 1},
}
"""If several attributes have the same value, these words of a phrase decide which attribute is meant, by weight."""


class Cell(NamedTuple):
    """A value of an attribute, by the indices of both, from 0. It stands for the person who has this value."""

    attribute: int
    value: int


@dataclass(frozen=True, slots=True)
class Attribute:
    """One characteristic of the houses, such as the colour, with its values."""

    header: str
    """Its name in the puzzle."""
    kind: str
    """One of the kinds of attributes that this module knows; empty for any other."""
    values: tuple[str, ...]


def stems(text: str) -> list[str]:
    plain = _POSSESSIVE.sub("", text.lower())
    return [_stem(word) for word in _TOKEN.findall(_MODEL.sub(r"\1", plain))]


def kind_of(header: str) -> str:
    words = set(stems(_CAMEL.sub(" ", header)))
    return next((kind for kind, cues in _KINDS if words & cues), "")


@dataclass(eq=False)
class Phrases:
    """Finds the values of a puzzle by the words that name them."""

    attributes: tuple[Attribute, ...]

    def __post_init__(self) -> None:
        self._cells: dict[tuple[str, ...], list[Cell]] = {}
        for at, attribute in enumerate(self.attributes):
            for number, value in enumerate(attribute.values):
                self._cells.setdefault(tuple(stems(value)), []).append(Cell(at, number))
        self._longest = max(map(len, self._cells), default=0)

    def find(self, phrase: str) -> Cell | None:
        mention = self._mention(phrase)
        return None if mention is None else self._chosen(*mention)

    def labelled(self, label: str, phrase: str) -> Cell | None:
        mention = self._mention(phrase)
        if mention is None:
            return None
        cells, words = mention
        kind = kind_of(label)
        fitting = [cell for cell in cells if kind and self.attributes[cell.attribute].kind == kind]
        return fitting[0] if len(fitting) == 1 else self._chosen(cells, words)

    def name(self, cell: Cell) -> str:
        return self.attributes[cell.attribute].values[cell.value]

    def _mention(self, phrase: str) -> tuple[list[Cell], list[str]] | None:
        # The words for one value may stand for several cells. The other words may choose between them.
        if len(phrase) > MAX_PHRASE:
            return None
        words = stems(phrase)
        cells: list[Cell] | None = None
        others: list[str] = []
        at = 0
        while at < len(words):
            length = next(
                (
                    n
                    for n in range(self._longest, 0, -1)
                    if tuple(words[at : at + n]) in self._cells and at + n <= len(words)
                ),
                0,
            )
            if length and cells is not None:
                return None
            if length:
                cells = self._cells[tuple(words[at : at + length])]
            elif words[at] in _FILLERS and not (cells and words[at] in {"is", "are"}):
                others.append(words[at])
            else:
                return None
            at += length or 1
        return None if cells is None else (cells, others)

    def _chosen(self, cells: list[Cell], words: list[str]) -> Cell | None:
        if len(cells) == 1:
            return cells[0]
        said = {*words, *map(" ".join, pairwise(words)), ""}
        weights = [self._weight(cell, said) for cell in cells]
        best = max(weights)
        return cells[weights.index(best)] if best > 0 and weights.count(best) == 1 else None

    def _weight(self, cell: Cell, said: set[str]) -> int:
        cues = _CUES.get(self.attributes[cell.attribute].kind, {})
        return max((weight for cue, weight in cues.items() if cue in said), default=0)


Kind = Literal["same", "beside", "directly_left", "left", "between", "house"]
MAX_CLUE = 300
"""Longer sentences are not read."""


class HouseRelation(NamedTuple):
    """A relation between the houses of one or two values."""

    # The kinds: `same`, `beside`, `directly_left` and `left` (`one` is left of `other`), `between` (`number` houses are
    # between them), `house` (`one` is in house `number`). With `denied`, the relation is said not to hold.

    kind: Kind
    one: Cell
    other: Cell | None = None
    number: int = 0
    denied: bool = False

    def holds(self, one: int, other: int = 0) -> bool:
        match self.kind:
            case "same":
                is_met = one == other
            case "beside":
                is_met = abs(one - other) == 1
            case "directly_left":
                is_met = one + 1 == other
            case "left":
                is_met = one < other
            case "between":
                is_met = abs(one - other) == self.number + 1
            case "house":
                is_met = one == self.number
        return is_met is not self.denied


_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ORDINAL = rf"(?P<ordinal>{'|'.join(_ORDINALS)}|\d{{1,2}}(?:st|nd|rd|th)|leftmost|rightmost|middle|last)"
_AT = (
    rf"(?:in|at|living in|occupies|lives in) (?:the )?(?:{_ORDINAL} (?:house|position)"
    r"|(?:house|position)(?: number| no\.?)? #?(?P<digit>\d{1,2}|one|two|three|four|five|six|seven|eight|nine|ten))"
)
_WHERE = (
    re.compile(rf"(?: is| are| lives| must be| has to be)? (?P<not>not )?(?:located |living )?{_AT}$"),
    re.compile(rf" (?:does|do|can) ?(?P<not>not )(?:live|be) {_AT}$"),
    re.compile(rf" cannot (?P<not>)be {_AT}$"),
)
_OCCUPANT = re.compile(
    rf"(?:(?:the )?(?:person|one) )?(?P<where>{_AT}) (?:is|has|=) (?P<not>not )?(?P<who>.*)$", re.DOTALL
)
_HOUSE_FIRST = re.compile(r"(?:the )?(?:\w+ )?(?:house|position)\b")
_BETWEEN = re.compile(
    rf"there (?:is|are) (?:exactly )?(?P<count>{'|'.join(_NUMBERS[:9])}|\d{{1,2}}) houses? between (?P<rest>.*)$",
    re.DOTALL,
)
_TOGETHER = re.compile(
    r" (?:are|live) (?P<not>not )?"
    r"(?:(?:directly |immediately )?next to each other|adjacent|neighbou?rs)$"
)
_SIDE = re.compile(
    r" (?:is|lives|stays) (?P<not>not )?(?P<near>directly |immediately |just )?(?:somewhere |anywhere )?"
    r"(?:to |on )?(?:the )?(?P<immediate>immediate )?(?P<side>left|right)(?: side)? of ",
    re.IGNORECASE,
)
_BESIDE = re.compile(
    r" (?:is|lives|stays) (?P<not>not )?(?:directly |immediately |right )?(?:next to|beside|adjacent to) ",
    re.IGNORECASE,
)
_COPULA = re.compile(r" (?:is|are|=|==) (?P<not>not )?(?:the same (?:person )?as )?", re.IGNORECASE)
_AND = re.compile(r" and ", re.IGNORECASE)


def read_relation(text: str, phrases: Phrases, houses: int) -> HouseRelation | None:
    plain = " ".join(text.split()).rstrip(".!").strip()
    if not plain or len(plain) > MAX_CLUE:
        return None
    low = plain.lower()
    if match := _BETWEEN.match(low):
        return _related("between", plain[match.start("rest") :], _AND, phrases, number=_count(match["count"]))
    if match := next(filter(None, (pattern.search(low) for pattern in _WHERE)), None):
        return _in_house(phrases.find(plain[: match.start()]), match, houses)
    if match := _TOGETHER.search(low):
        return _related("beside", plain[: match.start()], _AND, phrases, denied=match["not"] is not None)
    if _SIDE.search(plain):
        return _related("left", plain, _SIDE, phrases)
    if _BESIDE.search(plain):
        return _related("beside", plain, _BESIDE, phrases)
    if match := _OCCUPANT.match(f"in {low}" if _HOUSE_FIRST.match(low) else low):
        return _in_house(phrases.find(plain[len(plain) - len(match["who"]) :]), match, houses)
    return _related("same", plain, _COPULA, phrases)


def _count(word: str) -> int:
    return _NUMBERS.index(word) if word in _NUMBERS else int(word)


def _in_house(one: Cell | None, match: re.Match[str], houses: int) -> HouseRelation | None:
    number = _house_number(match, houses)
    if one is None or number is None:
        return None
    return HouseRelation("house", one, number=number, denied=match["not"] is not None)


def _house_number(match: re.Match[str], houses: int) -> int | None:
    digit, ordinal = match["digit"], match["ordinal"]
    if digit:
        return _count(digit)
    named = {"leftmost": 1, "rightmost": houses, "last": houses, "middle": houses // 2 + 1 if houses % 2 else None}
    named |= {word: number for number, word in enumerate(_ORDINALS, 1)}
    return named[ordinal] if ordinal in named else int(ordinal.rstrip("stndrh"))


def _related(
    kind: Kind, text: str, between: re.Pattern[str], phrases: Phrases, *, number: int = 0, denied: bool = False
) -> HouseRelation | None:
    # Words such as "directly" in `text` change the `kind`.
    meanings: dict[tuple[Cell, Cell, str | None], re.Match[str]] = {}
    for match in between.finditer(text):
        one = phrases.find(text[: match.start()])
        other = phrases.find(text[match.end() :]) if one is not None else None
        if one is not None and other is not None:
            meanings[one, other, match.groupdict().get("not")] = match
    if len(meanings) != 1:
        return None
    (((one, other, no), match),) = meanings.items()
    groups = match.groupdict()
    if groups.get("near") or groups.get("immediate"):
        kind = "directly_left"
    if groups.get("side", "").lower() == "right":
        one, other = other, one
    return HouseRelation(kind, one, other, number, denied or no is not None)


MAX_HOUSES = 12
MAX_ATTRIBUTES = 16
MAX_CLUES = 120
MAX_TEXT = 40_000
"""The most characters of a text that is searched for a puzzle."""

_HOUSES = re.compile(
    r"\bthere are (\d{1,3}|two|three|four|five|six|seven|eight|nine|ten) houses\b(?! between)", re.IGNORECASE
)
_ATTRIBUTE = re.compile(r"[ \t]*[-*\u2022] ([^:\n]{1,200}):[ \t]*([^\n]{1,1000})")
_CLUE = re.compile(r"[ \t]*(\d{1,3})[.)] ?([^\n]+)")
_CLUES = re.compile(r"^[#* \t]*clues?\b[:* \t]*$", re.IGNORECASE | re.MULTILINE)
_END = re.compile(r"^(?:#|===|answer|solution|your task|please)", re.IGNORECASE)
_TICKED = re.compile(r"`([^`\n]{1,80})`")


@dataclass(frozen=True, slots=True)
class Clue:
    """A clue with its number, from 1. *relation* is ``None`` if the clue was not understood."""

    number: int
    text: str
    relation: HouseRelation | None


@dataclass(frozen=True, slots=True)
class HousePuzzle:
    """A puzzle of houses. Each attribute has one value for each house."""

    houses: int
    phrases: Phrases
    clues: tuple[Clue, ...]

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        return self.phrases.attributes

    @property
    def understood(self) -> tuple[Clue, ...]:
        return tuple(clue for clue in self.clues if clue.relation is not None)


def read_puzzle(text: str) -> HousePuzzle | None:
    # The last puzzle in `text` counts. Its attributes must fit the number of houses, and its clues must be numbered
    # from 1.
    starts = list(_HOUSES.finditer(text)) if len(text) <= MAX_TEXT else []
    if not starts:
        return None
    houses = _count(starts[-1][1].lower())
    body = text[starts[-1].start() :]
    border = _CLUES.search(body)
    if border is None or not 2 <= houses <= MAX_HOUSES:
        return None
    attributes = _attributes(body[: border.start()], houses)
    if attributes is None:
        return None
    phrases = Phrases(tuple(attributes))
    clues = _clues(body[border.end() :], phrases, houses)
    return HousePuzzle(houses, phrases, clues) if clues is not None and len(clues) <= MAX_CLUES else None


def _attributes(text: str, houses: int) -> list[Attribute] | None:
    attributes = []
    for match in filter(None, map(_ATTRIBUTE.match, text.splitlines())):
        values = tuple(_TICKED.findall(match[2])) or tuple(map(str.strip, match[2].rstrip(".").split(",")))
        if len(values) != houses or len({tuple(stems(value)) for value in values}) != houses or "" in values:
            return None
        attributes.append(Attribute(match[1].strip(), kind_of(match[1]), values))
    return attributes if 1 <= len(attributes) <= MAX_ATTRIBUTES else None


def _clues(text: str, phrases: Phrases, houses: int) -> tuple[Clue, ...] | None:
    clues: list[Clue] = []
    for line in text.splitlines():
        match = _CLUE.match(line)
        if (match and int(match[1]) != len(clues) + 1) or (match is None and _END.match(line)):
            break
        if match:
            clues.append(Clue(len(clues) + 1, match[2].strip(), read_relation(match[2], phrases, houses)))
    return tuple(clues) or None
