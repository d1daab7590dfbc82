"""Words to sort: the problem of a prompt, and what is certain of their order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from interwhen_verifiers._logic.wording import MAX_PROMPT

WORD: Final = r"[^\W_][\w'.\-]{0,40}"
_ORDER = re.compile(
    r"\b(?:sort|alphabetize|arrange|order|put)\b[^\n]{0,200}?\b(?:alphabetical\w{0,2}|words?)\b",
    re.IGNORECASE,
)
_DESCENDING = re.compile(r"\b(?:descending|reverse)\b[^\n:]{0,60}:?", re.IGNORECASE)
_ASCENDING = re.compile(r"\bascending\b", re.IGNORECASE)
_LIST = re.compile(r"^[\s\[\"']*+(?:[\w'.\-\"]{1,44}(?:[\s,\"'\]]{1,6}|$)){2,200}$")
_PLAIN = re.compile(r"\s{0,4}(?:[a-z][a-z'.\-]{0,40}(?:\s{1,3}|$)){4,200}$")
_LEAST = 2
_AND = re.compile(r"(,?\s)and\s(?=[^\s,]+$)", re.IGNORECASE)
_PROSE = """
a all alphabetical alphabetically an and are as ascending at because but by descending following from given hence
in is it list now of or order sequence since so sorted that the then there therefore therefrom these they this thus
to was we when where which while with words
"""
PROSE: Final = frozenset(_PROSE.split())
"""Words of a sentence around a list. One of the words to sort may be among them."""


@dataclass(frozen=True, slots=True)
class Words:
    """The words, and whether the last comes first."""

    given: tuple[str, ...]
    is_descending: bool = False
    is_by_code: bool = False
    """Whether capitals come before all small letters, as their codes do; if not, that is left open."""

    def status(self, one: str, other: str) -> int:
        """Return -1 if *one* must stand before *other*, 1 if behind it, 0 if they are alike or it is left open."""
        found = {_sign(key(one), key(other)) for key in (_KEYS[:1] if self.is_by_code else _KEYS)}
        sign = found.pop() if len(found) == 1 else 0
        return -sign if self.is_descending else sign

    def misplaced(self, listed: Iterable[str]) -> tuple[str, str] | None:
        """Return the first two neighbours in *listed* of which the first must stand behind the second."""
        return next((pair for pair in pairwise(listed) if self.status(*pair) > 0), None)

    def difference(self, listed: Iterable[str]) -> str:
        """Say how *listed* differs from a rearrangement of the words; empty: it does not."""
        given, found = Counter(self.given), Counter(listed)
        for word in found:
            if word not in given:
                return f"{word!r} is not one of the words to sort"
            if found[word] > given[word]:
                return f"{word!r} is listed more than once"
        return next((f"{word!r} is missing" for word in given if word not in found), "")

    def knows(self, word: str) -> bool:
        """Tell whether *word* is one of those to sort."""
        return word in self.given


def _raw(word: str) -> str:
    return word


def _folded(word: str) -> str:
    return word.casefold()


def letters(word: str) -> str:
    """Return the letters of *word* alone, in small."""
    return "".join(sign for sign in word.casefold() if sign.isalpha())


_KEYS: Final = (_raw, _folded, letters)
"""Ways in which words are ordered: by code, and without regard for capitals, or for signs in the word."""


def _sign(one: str, other: str) -> int:
    return (one > other) - (one < other)


def _and_less(listed: str) -> str:
    """Return *listed* without the "and" before its last word, if commas part the words."""
    return _AND.sub(r"\1", listed.rstrip(" .")) if "," in listed else listed


def read_words(prompt: str) -> Words | None:
    """Return the words that *prompt* gives to sort; ``None``: it gives none."""
    if len(prompt) > MAX_PROMPT:
        return None
    if _PLAIN.fullmatch(prompt):
        return Words(tuple(prompt.split()))
    orders = list(_ORDER.finditer(prompt))
    if not orders:
        return None
    told = prompt[orders[-1].start() :]
    for line in told.rsplit("\n"):
        listed = _and_less(line[line.rfind(":") + 1 :])
        if ":" in line and _LIST.fullmatch(listed):
            is_quoted = re.search(r"(?<!\w)'", listed) is not None
            words = tuple(word.rstrip("'") if is_quoted else word for word in re.findall(WORD, listed))
            if len(words) >= _LEAST and "_" not in listed and len(words) == len(listed.replace(",", " ").split()):
                is_descending = bool(_DESCENDING.search(told)) and not _ASCENDING.search(told)
                return Words(words, is_descending, "ASCII" in told)
    return None
