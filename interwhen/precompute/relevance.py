"""Which statements bear on a question: shared words, rare ones first (BM25), and numbers by how near they are."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

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


def words(text: str) -> list[str]:
    """Return the words and whole numbers of *text*."""
    return _WORD.findall(text.casefold())


def scores(question: str, statements: Sequence[str]) -> list[float]:
    """Return how far each of *statements* bears on *question*; 0: it shares nothing with it.

    Okapi BM25 (Robertson and Zaragoza, 2009) over the statements. A number of the question that a statement lacks is
    worth something there by its nearest one, so that the state after step 35 is found for a question on step 37.
    """
    wanted = set(words(question)) - _EMPTY
    texts = [words(statement) for statement in statements]
    spread = Counter(word for text in texts for word in set(text))
    usual = sum(map(len, texts)) / max(len(texts), 1)
    rarity = {word: math.log(1 + (len(texts) - spread[word] + 0.5) / (spread[word] + 0.5)) for word in wanted}
    return [_score(wanted, text, rarity, usual) for text in texts]


def _score(wanted: set[str], text: Sequence[str], rarity: dict[str, float], usual: float) -> float:
    counts = Counter(text)
    numbers = [int(word) for word in counts if _is_number(word)]
    length = 1 - _LENGTH + _LENGTH * len(text) / max(usual, 1.0)
    total = 0.0
    for word in wanted:
        count: float = counts[word]
        if not count and _is_number(word) and numbers:
            count = _NEAR / (1 + math.log2(1 + min(abs(int(word) - number) for number in numbers)))
        total += rarity[word] * count * (_FREQUENCY + 1) / (count + _FREQUENCY * length)
    return total


def _is_number(word: str) -> bool:
    return word.isdecimal() and len(word) <= _DIGITS
