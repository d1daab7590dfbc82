"""Words in disguise: other letters that look alike, digits for letters, signs and spaces between the letters."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

SHORTEST = 4
"""Shorter words are not looked for in disguise: too much ordinary text is spelled like them."""
_GAP = 4
"""How far apart two neighbouring letters of a word in disguise may stand."""

_ALIKE = {
    **dict(zip("абвгезікморстухѕјө", "abbreeikmopctyxsjo", strict=True)),
    **dict(zip("αβεηικμνορτυχ", "abenikuvoptux", strict=True)),
    **dict(zip("ıłøđħ", "iiodh", strict=True)),
    **dict(zip("0134578|!@$l", "oieastbiiasi", strict=True)),
    "н": "h",
}
"""Letters of Cyrillic and Greek, digits and signs, by the Latin letter that they pass for. ``i``, ``l`` and ``1`` are
one letter here, since each passes for the others. A selection from the confusables of Unicode (UTS 39)."""
_SIGNS = frozenset("|!@$")
"""Signs that may stand for a letter, or between two letters."""


class Disguise(NamedTuple):
    """Where a word may stand, in the text that was searched."""

    start: int
    end: int


class Skeleton:
    """The letters of a text as they look, without the characters between them, and the place of each."""

    __slots__ = ("_letters", "_places", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._letters: list[str] = []
        self._places: list[list[int]] = []
        for signs in (True, False):
            letters, places = [], []
            for at, character in enumerate(text):
                if character in _SIGNS and not signs:
                    continue
                look = _look(character)
                letters.append(look)
                places.extend([at] * len(look))
            self._letters.append("".join(letters))
            self._places.append(places)

    def find(self, word: str) -> Disguise | None:
        """Return the first place where *word* may stand in disguise, as a word of its own; ``None``: there is none."""
        sought = look_of(word)
        if len(sought) < SHORTEST:
            return None
        for letters, places in zip(self._letters, self._places, strict=True):
            at = letters.find(sought)
            while at >= 0:
                found = places[at : at + len(sought)]
                if self._is_word(found):
                    return Disguise(found[0], found[-1] + 1)
                at = letters.find(sought, at + 1)
        return None

    def _is_word(self, places: list[int]) -> bool:
        text, start, end = self._text, places[0], places[-1] + 1
        if start and text[start - 1].isalnum():
            return False
        if end < len(text) and text[end].isalnum():
            return False
        if any(after - before > _GAP for before, after in pairwise(places)):
            return False
        return any(character.isalpha() for character in text[start:end])


@lru_cache(maxsize=4096)
def look_of(word: str) -> str:
    """Return the letters of *word* as they look."""
    return "".join(map(_look, word))


@lru_cache(maxsize=4096)
def _look(character: str) -> str:
    plain = unicodedata.normalize("NFKD", character).casefold()
    return "".join(_ALIKE.get(each, each) for each in plain if each.isalnum() or each in _SIGNS)
