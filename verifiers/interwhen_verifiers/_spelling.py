"""Finds words in disguise: with letters that look alike, digits for letters, or signs and spaces between letters."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

SHORTEST = 4
"""Shorter words are not searched for in disguise, since too much ordinary text looks like them."""
_GAP = 4
"""The largest distance, in characters, between two neighbouring letters of a word in disguise."""

_ALIKE = {
    **dict(zip("абвгезікморстухѕјө", "abbreeikmopctyxsjo", strict=True)),
    **dict(zip("αβεηικμνορτυχ", "abenikuvoptux", strict=True)),
    **dict(zip("ıłøđħ", "iiodh", strict=True)),
    **dict(zip("0134578|!@$l", "oieastbiiasi", strict=True)),
    "н": "h",
}
"""The Latin letter that a letter, digit or sign looks like, from the confusables of Unicode (UTS 39).

``i``, ``l`` and ``1`` count as one letter.
"""
_SIGNS = frozenset("|!@$")
"""Signs that may stand for a letter, or between two letters."""
_SIGN = re.compile("[|!@$]")


class Disguise(NamedTuple):
    """The range of the searched text in which a word in disguise may stand."""

    start: int
    end: int


class Skeleton:
    """The letters and digits of a text with their offsets, replaced by the Latin letters that they look like, if any.

    Signs that look like a letter are read as this letter or left out: a search tries both.
    """

    __slots__ = ("_letters", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._letters = {_letters(text): True}
        if _SIGN.search(text):
            self._letters[_letters(_SIGN.sub("", text))] = False

    def may_hold(self, look: str) -> bool:
        return any(look in letters for letters in self._letters)

    def find(self, word: str) -> Disguise | None:
        # In disguise, letters are replaced by characters that look like them, or up to three signs or spaces are
        # between them. Case is ignored, and `word` must stand there as a separate word.
        sought = look_of(word)
        if len(sought) < SHORTEST:
            return None
        for letters, signs in self._letters.items():
            at = letters.find(sought)
            places = self._places(signs=signs) if at >= 0 else []
            while at >= 0:
                word_places = places[at : at + len(sought)]
                if self._is_word(word_places):
                    return Disguise(word_places[0], word_places[-1] + 1)
                at = letters.find(sought, at + 1)
        return None

    def _places(self, *, signs: bool) -> list[int]:
        # `signs`: the signs are read as letters.
        return [
            at for at, character in enumerate(self._text) if signs or character not in _SIGNS for _ in _look(character)
        ]

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
    # Each letter, digit and sign of `|!@$` becomes the Latin letter that it looks like, if any. Other characters are
    # left out.
    return _letters(word)


@lru_cache(maxsize=4096)
def _look(character: str) -> str:
    plain = unicodedata.normalize("NFKD", character).casefold()
    return "".join(_ALIKE.get(each, each) for each in plain if each.isalnum() or each in _SIGNS)


_ASCII = str.maketrans({chr(code): _look(chr(code)) or None for code in range(128)})


def _letters(text: str) -> str:
    return text.translate(_ASCII) if text.isascii() else "".join(map(_look, text))
