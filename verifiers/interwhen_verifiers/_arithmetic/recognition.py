"""Finds text that looks like a statement of arithmetic, whether the parser can read it or not.

The test accepts too much on purpose: a statement that no claim covers is reported as not read.
"""

# ruff: noqa: RUF001 (signs that look alike are what this file is about)

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from interwhen_verifiers._arithmetic.tokens import Token
from interwhen_verifiers._arithmetic.vocabulary import LABELS, words_of

NEAR = 3
"""The most tokens between a relation in words and the numbers beside it: ``17 times 24 is a total of 418``."""
REACH = 40
"""Fewer than this many tokens are searched on each side of a relation."""


BINARY = words_of(
    "times plus minus multiplied divided added subtracted multiply divide add subtract mod modulo sum product xor "
    "difference quotient mal geteilt durch por más menos dividido entre fois moins divisé"
)
"""Words for an operation on two numbers."""
_BEFORE = words_of("sum product difference quotient")
"""Words of ``BINARY`` that stand before their numbers: ``the sum of 3 and 4``."""
UNARY = words_of("half twice thrice double triple squared cubed factorial hälfte doppelt mitad doble moitié")
"""Words for an operation on one number."""
RELATIONS = words_of(
    "is are was were equals equal makes make made gives give yields totals becomes leaves get gets comes results "
    "ist sind ergibt gleich gibt macht es son igual da hacen est font égale donne fait "
)
NUMERALS = words_of(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million "
    "eins zwei drei vier fünf sechs sieben acht neun zehn uno dos tres cuatro cinco seis siete ocho nueve diez"
)
ARROWS = frozenset(("->", "-->", "=>", "==>", "→", "⇒", "⟹"))
_SOFT = frozenset(",|!✓✔✅")
_OPERANDS = frozenset(("num", "open", "close", "frac", "opaque", "pct", "cur", "sup"))
_DIGIT = re.compile(r"\d")
_EXPRESSION = re.compile(r"\d\s?[-+*/×÷]\s?\d")
_TWO = re.compile(r"\d\D+\d")
_MAKING = frozenset(("make", "makes", "give", "gives", "equals"))
_MORE = frozenset(("more", "less", "fewer"))
_CUES = BINARY | UNARY | _MORE
_ROW = re.compile(r"(?<=\|)\s*([0-9.,]+\s*[-+*/×÷^]\s*[0-9.,]+\s*\|\s*[0-9.,]+)\s*(?=\|)")
_WRITTEN = re.compile(
    r"[\d一二三四五六七八九十百千万].{0,6}?[加减減乘除].{0,16}?(?:等于|等於|是|为|為|得|=).{0,6}?[\d一二三四五六七八九十百千万]+"
    r"|[0-9０-９]+\s?[^\W\d_a-zA-Z]{1,8}\s?[0-9０-９]+\s?[^\W\d_a-zA-Z]{1,8}\s?[0-9０-９]+"
)
"""A statement in a script without spaces between words."""


def may_state(text: str) -> bool:
    """Tell whether *text*, which has no relation sign, may state a relation in words or in a row of a table."""
    if text.startswith("|"):
        return True
    signs = "+" in text or "*" in text or "/" in text or "×" in text or " - " in text or "÷" in text
    signs = signs and _EXPRESSION.search(text) is not None
    if signs or _may_operate(text):
        words = set(text.lower().split())
        operates = signs or not _CUES.isdisjoint(words) or ("and" in words and not _MAKING.isdisjoint(words))
        if operates and not RELATIONS.isdisjoint(words):
            return _TWO.search(text) is not None or len(NUMERALS & words) + (_DIGIT.search(text) is not None) > 1
    return not text.isascii() and _WRITTEN.search(text) is not None


def _may_operate(text: str) -> bool:
    """Tell whether *text* may hold a word for an operation."""
    return (
        ("times" in text or "plus" in text or "minus" in text or "multipl" in text or "divid" in text)
        or ("half" in text or "Half" in text or "wice" in text or "hrice" in text or "ouble" in text or "riple" in text)
        or ("sum " in text or "product" in text or "difference" in text or "quotient" in text or "subtract" in text)
        or (
            "mod" in text
            or "xor" in text
            or "add" in text
            or "squared" in text
            or "cubed" in text
            or "factorial" in text
        )
        or (" than " in text or " make" in text or " give" in text or " equals" in text)
        or (" mal " in text or "geteilt" in text or " por " in text or "más" in text or "menos" in text)
        or (
            "fois" in text
            or "moins" in text
            or "divis" in text
            or "mitad" in text
            or "oble" in text
            or "oppelt" in text
        )
        or ("moiti" in text or "lfte" in text or " entre " in text)
    )


def statements(tokens: list[Token], text: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each range of *text* that looks like a relation of two expressions.

    *tokens* are the tokens of *text*.
    """
    for at, (kind, word, _, _) in enumerate(tokens):
        if kind == "word":
            found = _spoken(tokens, at) if word in RELATIONS else None
        elif kind == "rel":
            found = _signed(tokens, at)
        elif kind == "break" and word in ARROWS:
            found = _led(tokens, at)
        else:
            continue
        if found is not None:
            yield found
    yield from _written(text)


def _written(text: str) -> Iterator[tuple[int, int]]:
    if text.startswith("|"):
        for match in _ROW.finditer(text):
            yield match.span(1)
    if not text.isascii():
        for match in _WRITTEN.finditer(text):
            yield match.span()


class _Part(NamedTuple):
    """One side of a relation."""

    near: Token | None
    """The number nearest to the relation, in digits or in words; labels such as ``Step 2`` are left out."""
    far: Token | None
    """The number farthest from the relation, in digits or in words, without labels."""
    numbers: int
    """How many numbers it has, in digits or in words, without labels."""
    distance: int
    """How many tokens stand between the relation and the nearest number."""
    words: bool
    """Whether it holds a word."""
    operates: bool
    """Whether it holds an operation, in words or signs, or a token that is not understood."""
    combines: bool
    """Whether it has two numbers, and a word that may combine them: ``17 times 24``."""
    signs: bool
    """Whether it holds an operation in signs, or a token that is not understood."""
    begins: bool
    """Whether it begins with a number, a currency sign or a bracket."""
    related: bool
    """Whether another relation ends it."""


def _is_named(tokens: list[Token], at: int) -> bool:
    """Tell whether the relation at index *at* defines a variable: ``A = (2 + 3) and B = (4 - 1)``."""
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


def _spoken(tokens: list[Token], at: int) -> tuple[int, int] | None:
    if not (_has_near(tokens[max(0, at - NEAR - 1) : at]) and _has_near(tokens[at + 1 : at + NEAR + 2])):
        return None
    left = _part(tokens, at, -1, soft=frozenset("|"))
    if left.near is None or left.distance > NEAR:
        return None
    right = _part(tokens, at, 1, soft=frozenset("|"))
    if right.near is None or right.far is None or right.distance > NEAR:
        return None
    if not left.operates and not (tokens[at].text in _MAKING and _counts_together(tokens, at)):
        # The result may stand first: "408 is 17 times 24". Where another relation follows, that one is read instead.
        return (left.near.start, right.far.end) if (right.combines or right.signs) and not right.related else None
    if left.numbers < 2 and right.signs and right.related:
        return None  # a name for an equation that follows: "Twice the 12 is 2 * 12 = 24"
    return left.near.start, right.near.end


def _counts_together(tokens: list[Token], at: int) -> bool:
    """Tell whether two amounts stand before the verb at index *at*: ``3 apples and 4 apples make``."""
    before = tokens[max(0, at - 6) : at]
    joined = next((index for index, token in enumerate(before) if token.text == "and"), 0)
    return _has_near(before[max(0, joined - 2) : joined]) and _has_near(before[joined + 1 : joined + 2])


def _has_near(tokens: list[Token]) -> bool:
    return any(token[0] == "num" or _has_digits(token) for token in tokens)


def _led(tokens: list[Token], at: int) -> tuple[int, int] | None:
    left, right = _part(tokens, at, -1), _part(tokens, at, 1)
    if left.near is None or right.near is None or not (left.signs and left.begins and right.begins):
        return None
    return left.near.start, right.near.end


def _part(tokens: list[Token], at: int, step: int, soft: frozenset[str] = _SOFT) -> _Part:
    """Read one side of the relation at index *at*: the left one if *step* is -1, the right one if *step* is 1.

    A mark in *soft* usually does not end the side.
    """
    near: Token | None = None
    far: Token | None = None
    count = distance = 0
    words = binary = unary = signs = related = combines = False
    first: Token | None = None
    last: Token | None = None
    stop = min(len(tokens), at + REACH) if step > 0 else max(-1, at - REACH)
    for index in range(at + step, stop, step):
        kind, text, _, _ = here = tokens[index]
        if kind == "rel" or (kind == "break" and text not in soft):
            related = kind == "rel"
            break
        if text == "," and near is None and step < 0:
            break  # "..., so the total ="
        if kind != "break":
            first, last = first or here, here
        if kind == "word":
            words = True
            binary = binary or text in BINARY or _joins(tokens, index)
            beside = text in _BEFORE or (index > 0 and _has_digits(tokens[index - 1]))
            combines = combines or (beside and text in BINARY) or (text in _MORE and _joins(tokens, index))
            unary = unary or text in UNARY
        else:
            signs = signs or _is_sign(tokens, index)
        if _has_digits(here) and not _is_label(tokens, index):
            if near is None:
                near, distance = here, abs(index - at) - 1
            far = here
            count += 1
    edge = last if step < 0 else first
    begins = edge is not None and (edge.kind in {"num", "cur", "open"} or edge.text[:1].isdigit())
    operates = unary or signs or (binary and count >= 2)
    return _Part(near, far, count, distance, words, operates, combines and count >= 2, signs, begins, related)


def _joins(tokens: list[Token], at: int) -> bool:
    """Tell whether the word at index *at* joins two numbers: ``5 more than 3``, ``3 and 4``."""
    before, text, after = tokens[max(0, at - 1) : at], tokens[at].text, tokens[at + 1 : at + 3]
    if text == "and":
        return bool(before and after) and _has_digits(before[0]) and _has_digits(after[0])
    if text not in _MORE or not before or len(after) < 2:
        return False
    return _has_digits(before[0]) and after[0].text == "than" and _has_digits(after[1])


def _has_digits(token: Token) -> bool:
    kind, text, _, _ = token
    if kind == "word":
        return text in NUMERALS or ("-" in text and text.partition("-")[0] in NUMERALS)
    return kind == "num" or (kind == "opaque" and text[:1].isdigit())


def _is_label(tokens: list[Token], at: int) -> bool:
    """Tell whether the number at index *at* is a label and not an amount: ``Step 2``, ``x_1``, ``x_{1}``."""
    before = tokens[at - 1] if at else None
    if before is not None and before.kind == "open" and at > 1:
        before = tokens[at - 2]
        return before.text == "_"
    return before is not None and (before.text == "_" or (before.kind == "word" and before.text in LABELS))


def _is_sign(tokens: list[Token], at: int) -> bool:
    """Tell whether the token with the index *at* is an operation, or a token that is not understood."""
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
