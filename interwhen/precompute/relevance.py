"""Which statements bear on a question: shared words, rare ones first (BM25), and numbers by how near they are."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

_WORD = re.compile(r"\d+|[^\W\d_]+")
_FREQUENCY = 1.2
_LENGTH = 0.5
_EMPTY = frozenset(
    (  # noqa: SIM905
        "a an and are as at be been by can could did do does for from had has have how i if in into is it its many may "
        "me much my no not of on or our should so some than that the their them then there these they this to us was "
        "we were what when where which who whom whose why will with would you your"
    ).split()
)
"""Words that are everywhere: a statement that shares nothing else with a question does not bear on it."""
_DIGITS = 18
"""A longer number is a word."""
_NEAR = 0.5
"""What a number that is all but the same is worth, beside one that is the same."""


_NEIGHBOURS = 32
"""So many nearest numbers on each side count as near."""


def words(text: str) -> list[str]:
    """Return the words and whole numbers of *text*."""
    return _WORD.findall(text.casefold())


class Index:
    """Statements by their words: a question is answered from the statements that share something with it.

    Okapi BM25 (Robertson and Zaragoza, 2009). A number of the question that a statement lacks is worth something there
    if its own is among the nearest, so that the state after step 35 is found for a question on step 37.
    """

    def __init__(self, statements: Sequence[str]) -> None:
        texts = [words(statement) for statement in statements]
        usual = max(sum(map(len, texts)) / max(len(texts), 1), 1.0)
        self._size = len(texts)
        self._damping = [_FREQUENCY * (1 - _LENGTH + _LENGTH * len(text) / usual) for text in texts]
        self._places: dict[str, dict[int, int]] = {}
        for at, text in enumerate(texts):
            for word, count in Counter(text).items():
                self._places.setdefault(word, {})[at] = count
        self._numbers = sorted(
            (int(word), at) for word, places in self._places.items() if _is_number(word) for at in places
        )

    def scores(self, question: str) -> dict[int, float]:
        """Return how far statements bear on *question*, by place; those that share nothing with it are left out."""
        found: dict[int, float] = {}
        for word in sorted(set(words(question)) - _EMPTY):
            places = self._places.get(word, {})
            rarity = math.log(1 + (self._size - len(places) + 0.5) / (len(places) + 0.5))
            counts: dict[int, float] = {**self._near(word), **places}
            for at, count in counts.items():
                gain = rarity * count * (_FREQUENCY + 1) / (count + self._damping[at])
                found[at] = found.get(at, 0.0) + gain
        return found

    def _near(self, word: str) -> dict[int, float]:
        if not _is_number(word):
            return {}
        wanted = int(word)
        middle = bisect_left(self._numbers, (wanted, -1))
        found: dict[int, float] = {}
        for number, at in self._numbers[max(middle - _NEIGHBOURS, 0) : middle + _NEIGHBOURS]:
            found[at] = max(found.get(at, 0.0), _NEAR / (1 + math.log2(1 + abs(wanted - number))))
        return found


@lru_cache(maxsize=64)
def index_of(statements: tuple[str, ...]) -> Index:
    """Return the index of *statements*, which is kept: the same ones are looked at for each question."""
    return Index(statements)


def _is_number(word: str) -> bool:
    return word.isdecimal() and len(word) <= _DIGITS
