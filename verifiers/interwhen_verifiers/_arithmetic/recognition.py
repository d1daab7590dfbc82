"""Finds relations in signs between two expressions, whether the parser can read them or not.

The test accepts too much on purpose: a statement that no claim covers is reported as not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from interwhen_verifiers._arithmetic.tokens import Token
from interwhen_verifiers._arithmetic.vocabulary import LABELS

REACH = 40
"""Fewer than this many tokens are searched on each side of a relation."""
_SOFT = frozenset(",|!✓✔✅")
_OPERANDS = frozenset(("num", "open", "close", "frac", "opaque", "pct", "cur", "sup"))


def statements(tokens: list[Token]) -> Iterator[tuple[int, int]]:
    for at, token in enumerate(tokens):
        if token.kind == "rel" and (bounds := _signed(tokens, at)) is not None:
            yield bounds


class _Part(NamedTuple):
    """One side of a relation."""

    near: Token | None
    """The number nearest to the relation; labels such as ``Step 2`` are left out."""
    distance: int
    """How many tokens stand between the relation and the nearest number."""
    words: bool
    operates: bool
    """Whether it holds an operation in signs, or a token that is not understood."""
    begins: bool
    """Whether it begins with a number, a currency sign or a bracket."""


def _is_named(tokens: list[Token], at: int) -> bool:
    while at and tokens[at - 1].kind in {"math", "cur"}:
        at -= 1
    if not at or tokens[at - 1].kind != "opaque" or not tokens[at - 1].text[:1].isalpha():
        return False
    return at < 2 or tokens[at - 2].kind in {"word", "break", "math", "cur", "quote"}


def _signed(tokens: list[Token], at: int) -> tuple[int, int] | None:
    if _is_named(tokens, at):
        return None
    left = _part(tokens, at, -1)
    if left.near is None or not (left.operates or left.begins or left.distance == 0):
        return None  # a name, with or without a number: "The cost of 3 apples ="
    right = _part(tokens, at, 1)
    if right.near is None:
        return None
    if not (left.operates or right.operates) and (left.distance or right.words):
        return None  # a quantity in other units: "3 boxes = 36 eggs"
    return left.near.start, right.near.end


def _part(tokens: list[Token], at: int, step: int) -> _Part:
    near: Token | None = None
    distance = 0
    words = signs = False
    first: Token | None = None
    last: Token | None = None
    stop = min(len(tokens), at + REACH) if step > 0 else max(-1, at - REACH)
    for index in range(at + step, stop, step):
        kind, text, _, _ = here = tokens[index]
        if kind == "rel" or (kind == "break" and text not in _SOFT):
            break
        if text == "," and near is None and step < 0:
            break  # "..., so the total ="
        if kind != "break":
            first, last = first or here, here
        words = words or kind == "word"
        signs = signs or (kind != "word" and _is_sign(tokens, index))
        if near is None and _has_digits(here) and not _is_label(tokens, index):
            near, distance = here, abs(index - at) - 1
    edge = last if step < 0 else first
    begins = edge is not None and (edge.kind in {"num", "cur", "open"} or edge.text[:1].isdigit())
    return _Part(near, distance, words, signs, begins)


def _has_digits(token: Token) -> bool:
    return token.kind == "num" or (token.kind == "opaque" and token.text[:1].isdigit())


def _is_label(tokens: list[Token], at: int) -> bool:
    before = tokens[at - 1] if at else None
    if before is not None and before.kind == "open" and at > 1:
        before = tokens[at - 2]
        return before.text == "_"
    return before is not None and (before.text == "_" or (before.kind == "word" and before.text in LABELS))


def _is_sign(tokens: list[Token], at: int) -> bool:
    kind, text = tokens[at].kind, tokens[at].text
    if kind == "op":
        if text == "/" and tokens[at + 1 : at + 2] and tokens[at + 1].kind == "word":
            return False  # miles/hour
        beside = {
            "open" if token.text == "|" else token.kind
            for token in (*tokens[max(0, at - 1) : at], *tokens[at + 1 : at + 2])
        }
        return 0 < at < len(tokens) - 1 and not beside & {"break", "math", "rel"} and bool(beside & _OPERANDS)
    return kind in {"pct", "sup", "frac"} or text == "!" or (kind == "opaque" and text not in {"_", "#"})
