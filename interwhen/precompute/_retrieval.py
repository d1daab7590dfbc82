"""Finds the passages of a context that belong to a question, by words (Okapi BM25)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from interwhen.precompute._producer import ContextPiece

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
"""Stop words: a passage that shares only these with a question does not belong to it."""
_ENDINGS = ("ies", "ing", "ed", "es", "s")


def words(text: str) -> list[str]:
    return [_stem(word) for word in _WORD.findall(text.casefold())]


def _stem(word: str) -> str:
    if len(word) > 4:
        for ending in _ENDINGS:
            if word.endswith(ending):
                return word[: -len(ending)].rstrip("e")
    return word.rstrip("e") if len(word) > 3 else word


_STOPS = frozenset(map(_stem, _EMPTY))


MOST, BUDGET = 4, 4000
"""The default limits for the passages of one question: their number, and their characters."""
_WIDE = re.compile(r"[^\x00-\x7f]+")
_SAMPLE = 20_000
"""The characters at the beginning of a text that are looked at for its script."""


def characters_in(window: int | None, text: str = "") -> int:
    # Half of the window is for the text. A token is taken as three ASCII characters or one other character.
    wide = sum(len(run) for run in _WIDE.findall(text[:_SAMPLE])) / max(len(text[:_SAMPLE]), 1)
    return int((window or 16_384) / 2 / (wide + (1 - wide) / 3))


def passage_of(piece: ContextPiece) -> str:
    return f"{piece.lead}\n{piece.text}" if piece.lead else piece.text


class PassageIndex:
    """Ranks the pieces of a context by how well they fit a question: Okapi BM25 (Robertson and Zaragoza, 2009)."""

    def __init__(self, pieces: Sequence[ContextPiece]) -> None:
        self._pieces = tuple(pieces)
        texts = [words(passage_of(piece)) for piece in self._pieces]
        usual = max(sum(map(len, texts)) / max(len(texts), 1), 1.0)
        self._damping = [_FREQUENCY * (1 - _LENGTH + _LENGTH * len(text) / usual) for text in texts]
        self._places: dict[str, dict[int, int]] = {}
        for at, text in enumerate(texts):
            for word, count in Counter(text).items():
                self._places.setdefault(word, {})[at] = count

    def ranked(self, question: str) -> list[ContextPiece]:
        scores: dict[int, float] = {}
        for word in sorted(set(words(question)) - _STOPS):
            places = self._places.get(word, {})
            rarity = math.log(1 + (len(self._pieces) - len(places) + 0.5) / (len(places) + 0.5))
            for at, count in places.items():
                gain = rarity * count * (_FREQUENCY + 1) / (count + self._damping[at])
                scores[at] = scores.get(at, 0.0) + gain
        return [self._pieces[at] for at in sorted(scores, key=lambda at: (-scores[at], at))]


def within(pieces: Sequence[ContextPiece], *, most: int = MOST, budget: int = BUDGET) -> tuple[ContextPiece, ...]:
    chosen: list[ContextPiece] = []
    left = budget
    for piece in pieces:
        size = len(passage_of(piece)) + 1
        if len(chosen) == most:
            break
        if size <= left:
            chosen.append(piece)
            left -= size
    return tuple(chosen)
