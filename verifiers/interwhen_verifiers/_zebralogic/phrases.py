"""Which value of a puzzle a phrase means, such as "the person who keeps horses"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import NamedTuple

_TOKEN = re.compile(r"[a-z0-9]+")
_POSSESSIVE = re.compile(r"['\u2019]s?(?![a-z])")
_MODEL = re.compile(r"(?<![a-z0-9])([a-z])[- ](?=\d)")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
MAX_PHRASE = 200
"""A longer phrase is not read."""

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
"""What in a phrase speaks for an attribute where its value alone is found in several; ``""``: nothing need."""


class Cell(NamedTuple):
    """A value of an attribute: the person who has it."""

    attribute: int
    value: int


@dataclass(frozen=True, slots=True)
class Attribute:
    """One characteristic of the houses."""

    header: str
    kind: str
    """One of the kinds that the language of these puzzles knows; empty for any other."""
    values: tuple[str, ...]


def stems(text: str) -> list[str]:
    """Return the words of *text* without their endings; hyphens, case and quotes do not count."""
    plain = _POSSESSIVE.sub("", text.lower())
    return [_stem(word) for word in _TOKEN.findall(_MODEL.sub(r"\1", plain))]


def kind_of(header: str) -> str:
    """Return which kind of attribute *header* announces; empty where none is known."""
    words = set(stems(_CAMEL.sub(" ", header)))
    return next((kind for kind, cues in _KINDS if words & cues), "")


@dataclass(eq=False)
class Phrases:
    """The values of a puzzle, by the words that name them."""

    attributes: tuple[Attribute, ...]

    def __post_init__(self) -> None:
        self._cells: dict[tuple[str, ...], list[Cell]] = {}
        for at, attribute in enumerate(self.attributes):
            for number, value in enumerate(attribute.values):
                self._cells.setdefault(tuple(stems(value)), []).append(Cell(at, number))
        self._longest = max(map(len, self._cells), default=0)

    def find(self, phrase: str) -> Cell | None:
        """Return the one value that *phrase* names; ``None`` where it holds anything that is not understood."""
        found = self._mention(phrase)
        return None if found is None else self._chosen(*found)

    def labelled(self, label: str, phrase: str) -> Cell | None:
        """Return the value that *phrase* names in a column with this *label*."""
        found = self._mention(phrase)
        if found is None:
            return None
        cells, words = found
        kind = kind_of(label)
        fitting = [cell for cell in cells if kind and self.attributes[cell.attribute].kind == kind]
        return fitting[0] if len(fitting) == 1 else self._chosen(cells, words)

    def name(self, cell: Cell) -> str:
        """Return the value of *cell*, as the puzzle writes it."""
        return self.attributes[cell.attribute].values[cell.value]

    def _mention(self, phrase: str) -> tuple[list[Cell], list[str]] | None:
        """Return the cells that the one value in *phrase* may be, and the other words."""
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
