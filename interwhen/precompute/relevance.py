"""Which statements bear on a question: shared words, rare ones first (BM25), and numbers by how near they are."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"\d+|[^\W\d_]+")
_FREQUENCY = 1.2
_LENGTH = 0.5
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
    wanted = set(words(question))
    texts = [words(statement) for statement in statements]
    spread = Counter(word for text in texts for word in set(text))
    usual = sum(map(len, texts)) / max(len(texts), 1)
    rarity = {word: math.log(1 + (len(texts) - spread[word] + 0.5) / (spread[word] + 0.5)) for word in wanted}
    return [_score(wanted, text, rarity, usual) for text in texts]


def _score(wanted: set[str], text: Sequence[str], rarity: dict[str, float], usual: float) -> float:
    counts = Counter(text)
    numbers = [int(word) for word in counts if word.isdecimal()]
    total = 0.0
    for word in wanted:
        count: float = counts[word]
        if not count and word.isdecimal() and numbers:
            away = min(abs(int(word) - number) for number in numbers)
            count = _NEAR / (1 + math.log2(away))
        total += (
            rarity[word] * count * (_FREQUENCY + 1) / (count + _FREQUENCY * (1 - _LENGTH + _LENGTH * len(text) / usual))
        )
    return total
