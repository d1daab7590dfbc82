"""Finds the facts and the passages of a context that belong to a question: by words, and optionally by embeddings.

By words: Okapi BM25, in our own code, because near numbers count, too. By meaning: the embeddings of an
OpenAI-compatible endpoint.
"""

from __future__ import annotations

import math
import re
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import mul

import msgspec

from interwhen._types.errors import DECODE_ERRORS, UpstreamError
from interwhen._types.models import Timeouts
from interwhen._types.vetting import Positive, require
from interwhen.models._transport import HttpRequest, Transport, exchange
from interwhen.precompute._items import Digest, digest
from interwhen.precompute._producer import ContextPiece

# The relevance of statements to a question: shared words weighted by rarity (BM25), and the distance of numbers.

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
"""Stop words: a statement that shares only these with a question is not relevant."""
_ENDINGS = ("ies", "ing", "ed", "es", "s")
_DIGITS = 18
"""A number with more digits is treated as a word."""
_NEAR = 0.5
"""The weight of a number that is near the one in the question, before it is reduced by the distance."""


_NEIGHBOURS = 32
"""How many of the numbers next to the one in the question are considered, on each side."""


def words(text: str) -> list[str]:
    """Return the words and whole numbers of *text* in order, in lower case; longer words without endings like "ing"."""
    return [_stem(word) for word in _WORD.findall(text.casefold())]


def _stem(word: str) -> str:
    if len(word) > 4:
        for ending in _ENDINGS:
            if word.endswith(ending):
                return word[: -len(ending)].rstrip("e")
    return word.rstrip("e") if len(word) > 3 else word


_STOPS = frozenset(map(_stem, _EMPTY))


class FactIndex:
    """Finds the statements that share words, or near numbers, with a question.

    Okapi BM25 (Robertson and Zaragoza, 2009).
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
        """Return the score of each statement for *question* by the index of the statement; a higher score fits better.

        Statements that share neither a word nor a near number with the question are left out. Stop words do not count.
        """
        found: dict[int, float] = {}
        for word in sorted(set(words(question)) - _STOPS):
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
def index_of(statements: tuple[str, ...]) -> FactIndex:
    """Return the index of *statements*, which is cached."""
    return FactIndex(statements)


def _is_number(word: str) -> bool:
    return word.isdecimal() and len(word) <= _DIGITS


# Passages: the pieces of a long document that are put before a question.

MOST, BUDGET = 4, 4000
"""The default limits for the passages of one question: their number, and their characters."""
_WIDE = re.compile(r"[^\x00-\x7f]+")
_SAMPLE = 20_000
"""The characters at the beginning of a text that are looked at for its script."""
_FUSION = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Buettcher, 2009)."""


def characters_in(window: int | None, text: str = "") -> int:
    """Return how many characters of *text* may be in a prompt, for a model with a context window of *window* tokens.

    Half of the window is for the text. A token is taken as three ASCII characters or one other character, in the
    proportion of the first 20,000 characters. An unknown window counts as 16,384 tokens.
    """
    wide = sum(len(run) for run in _WIDE.findall(text[:_SAMPLE])) / max(len(text[:_SAMPLE]), 1)
    return int((window or 16_384) / 2 / (wide + (1 - wide) / 3))


def passage_of(piece: ContextPiece) -> str:
    """Return the text of *piece* below its lead, if it has one."""
    return f"{piece.lead}\n{piece.text}" if piece.lead else piece.text


class PassageIndex:
    """Ranks the pieces of a context by how well they fit a question."""

    def __init__(self, pieces: Sequence[ContextPiece]) -> None:
        self._pieces = tuple(pieces)
        self._index = FactIndex([passage_of(piece) for piece in self._pieces])

    def ranked(self, question: str, nearness: Mapping[Digest, float] | None = None) -> list[ContextPiece]:
        """Return the pieces that fit *question*, best first.

        Without *nearness*, pieces without a score (:meth:`FactIndex.scores`) are left out. *nearness* maps the digest
        of each piece to its similarity to the question. With it, all pieces are returned, by reciprocal rank fusion of
        both rankings.
        """
        scores = self._index.scores(question)
        by_words = sorted(scores, key=lambda at: (-scores[at], at))
        if nearness is None:
            return [self._pieces[at] for at in by_words]
        by_meaning = sorted(range(len(self._pieces)), key=lambda at: -nearness.get(self._pieces[at].sha256, -1.0))
        fused: dict[int, float] = {}
        for ranking in (by_words, by_meaning):
            for rank, at in enumerate(ranking):
                fused[at] = fused.get(at, 0.0) + 1 / (_FUSION + rank)
        return [self._pieces[at] for at in sorted(fused, key=lambda at: (-fused[at], at))]


def within(pieces: Sequence[ContextPiece], *, most: int = MOST, budget: int = BUDGET) -> tuple[ContextPiece, ...]:
    """Return the first of *pieces* that fit: at most *most* of them, with at most *budget* characters with their leads.

    A piece that is too long for the rest of the budget is skipped.
    """
    found: list[ContextPiece] = []
    left = budget
    for piece in pieces:
        size = len(passage_of(piece)) + 1
        if len(found) == most:
            break
        if size <= left:
            found.append(piece)
            left -= size
    return tuple(found)


class _Embedding(msgspec.Struct, frozen=True):
    embedding: list[float]
    index: int = 0


class _Embeddings(msgspec.Struct, frozen=True):
    data: list[_Embedding]


class Embedder:
    """Asks the OpenAI-compatible server at *base_url* (with its version, such as ``/v1``) for embeddings by *model*.

    One request has at most *batch* texts. Raises :class:`UsageError` if *batch* is below 1.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        transport: Transport,
        *,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        batch: int = 64,
    ) -> None:
        require("batch", batch, Positive)
        self._url = f"{base_url.rstrip('/')}/embeddings"
        self._model = model
        self._transport = transport
        self._headers = {"content-type": "application/json", **(headers or {})}
        self._timeouts = timeouts or Timeouts()
        self._batch = batch

    @property
    def name(self) -> Digest:
        """A digest of the address and the model. Compare embeddings only if this name is the same."""
        return digest(self._url, self._model)

    async def embed(self, texts: Sequence[str]) -> list[array[float]]:
        """Return the embedding of each of *texts*, scaled to length 1 (zeros stay zeros).

        Raises :class:`~interwhen.ModelError` if the server fails or does not answer with as many embeddings.
        """
        found: list[array[float]] = []
        for at in range(0, len(texts), self._batch):
            found.extend(await self._ask(texts[at : at + self._batch]))
        return found

    async def _ask(self, texts: Sequence[str]) -> list[array[float]]:
        body = msgspec.json.encode({"model": self._model, "input": texts})
        request = HttpRequest("POST", self._url, self._headers, body)
        answer = await exchange(self._transport, request, self._timeouts)
        try:
            found = msgspec.json.decode(answer, type=_Embeddings).data
        except DECODE_ERRORS:
            found = []
        if len(found) != len(texts):
            raise UpstreamError(
                f"{self._url} must return an embedding for each of {len(texts)} texts, got {answer[:200]!r}; check the "
                f"address and the model {self._model!r}"
            )
        return [_unit(each.embedding) for each in sorted(found, key=lambda each: each.index)]


def _unit(vector: Sequence[float]) -> array[float]:
    length = math.sqrt(sum(map(mul, vector, vector))) or 1.0
    return array("f", (value / length for value in vector))


def similarity(one: array[float], other: array[float]) -> float:
    """Return the cosine of two embeddings of length 1."""
    return float(sum(map(mul, one, other)))
