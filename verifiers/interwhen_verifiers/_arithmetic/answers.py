"""Reads the last value that a text plainly states as its answer.

A text states an answer only if each of its words and signs is known, so that none of them can deny, doubt or change the
value.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Container, Iterable
from itertools import takewhile
from typing import NamedTuple

from interwhen_verifiers._arithmetic.chains import Chain
from interwhen_verifiers._arithmetic.nodes import Binary, Node, Value, bare, numbers, render, ungrouped, value_of
from interwhen_verifiers._arithmetic.parser import Parser, Side, read_number
from interwhen_verifiers._arithmetic.tokens import Token
from interwhen_verifiers._arithmetic.vocabulary import words_of

_CLOSING = words_of(
    "so thus therefore hence then and finally we get the have has final answer result value sum product difference "
    "quotient total of to is equals equal gives it this that expression equation comes out our my a problem question "
    "are following original json reasoning explanation"
)
"""Words that may stand beside the answer and after it."""
_WORKING = _CLOSING | words_of(
    "calculate compute evaluate solve simplify find work state step steps by show number first second third next "
    "now let's let us me i as in with each can be written where which do doing use using here here's calculation "
    "solution you need want start from into parts break breaking down split up order operations operation pemdas "
    "bodmas rule brackets bracket parentheses parenthesis inside innermost outside expressions times plus minus "
    "multiply multiplied multiplying add added adding subtract subtracted subtracting divide divided dividing "
    "multiplication addition subtraction division left right perform performing together products sums results "
    "partial both ones tens hundreds digits digit distributive property standard method numbers put combine "
    "combining substitute back values rewrite simplifying calculating evaluating going sure because since on for at "
    "begin given these them its will all"
)
"""Words that may stand in the calculation before the answer: none of them doubts, denies or withdraws a value."""
_BINARY = words_of(
    "times plus minus multiplied divided added subtracted multiply divide add subtract mod modulo sum product xor "
    "difference quotient mal geteilt durch por más menos dividido entre fois moins divisé"
)
_SIGNS = frozenset((*".,:;!|\"'`✓✔✅", "⇒", "→", "=>", "->", "<answer>", "</answer>"))
_ENDS = frozenset((*".!,\"'`✓✔✅", "</answer>"))
_BREAKS = frozenset(".;:!|")
_EXACT = frozenset(("num", "op", "open", "close", "frac", "sup", "math"))
_QUIET = frozenset(("word", "break", "quote", "math", "open", "close"))
_OPERAND = frozenset(("num", "frac", "open", "op", "cur"))
_SIGNED = frozenset(("op", "open", "rel", "word", "break", "math", "quote"))
"""The kinds of tokens after which a minus sign belongs to the number after it."""
_MARK = re.compile(
    r"(?P<said>[\W_]{0,8}(?:(?:so|thus|therefore|hence),?\s)?(?:(?:the|my|our)\s)?(?:final[\s_])?answer\b[\s*_\"']{0,4}"
    r"(?:is\b|=|:)?[\s:*_\"']{0,6}|\s*+(?:####|<answer>)\s*+|\s*+(?=\${0,2}\\boxed))"
    r"|[\W_]{0,8}(?:the\s)?result\b[\s*_\"']{0,4}(?:is\b|=|:)[\s:*_\"']{0,6}|\s*+(?:=\s*+)?(?=-?[0-9(])",
    re.IGNORECASE,
)
"""The beginning of an answer. Without the group *said*, the line may give another value."""
_STATES = re.compile(r"(?:\b|_)answer\b[\s*_\"']{0,4}(?:is\b|=|:)|\\boxed|####|<answer>", re.IGNORECASE)
"""A mark, anywhere in a line, of the value after it as the answer."""
_MATH = re.compile(r"(?<!\$)\$(?!\$)[^$]+\$(?![$0-9])")
_LABEL = re.compile(r"[\s#>*_]*+(?:step\s)?(?:([0-9]{1,2})[.):](?=[\s*]))?", re.IGNORECASE)
"""The marks and the number before an item of a list."""


class Answer(NamedTuple):
    """A value that a line gives as the answer."""

    side: Side
    said: bool
    """Whether the line marks the value as the answer. If not, it may be another value, such as a result on the way."""
    start: int
    """The offset of the computation that the line equates with the value, or else of the value."""


class Stated(NamedTuple):
    """What the answer phase has stated up to a line."""

    value: Value | None = None
    """The value that it plainly gave as the answer; ``None`` before that."""
    known: frozenset[Value] = frozenset()
    """The numbers in its equations."""
    loose: frozenset[Value] = frozenset()
    """Its other numbers. A text with a number that it does not use may give two answers."""
    item: int = 0
    """The number of the last item of a list."""
    is_unclear: bool = False
    """Whether it has an unknown word or sign, or marks a value as the answer that is not its last value."""


class Reading(NamedTuple):
    stated: Stated
    """What the text states up to the end of the line."""
    given: Answer | None
    """The value after the last equation, if the line gives it as the answer."""
    at: int | None
    """The offset of the answer, the last value of the line, if the text so far plainly states it and no other."""
    changes: bool = False
    """Whether the line comes after the answer, and may change it."""


def read_line(text: str, tokens: list[Token], chains: Iterable[Chain], asked: Node, before: Stated) -> Reading:
    """Read the line *text* in normal form. *asked* is the computation whose value is the answer."""
    label = _LABEL.match(text)
    assert label is not None  # the pattern also matches an empty text
    if label[1] is None or int(label[1]) == before.item + 1:
        before = before._replace(item=before.item + (label[1] is not None))
        tokens = [token for token in tokens if token.start >= label.end()]
    dollars = {at for pair in _MATH.finditer(text) for at in (pair.start(), pair.end() - 1)}
    tokens = [token for token in tokens if token.start not in dollars]
    chains = [chain for chain in chains if not chain.is_trivial]
    stop = chains[-1].sides[-1].end if chains else 0
    ends_in_chain = bool(chains) and all(_is_end(token) for token in tokens if token.start >= stop)
    given = None if ends_in_chain else _answer_in(text, tokens, stop, asked)
    side = chains[-1].sides[-1] if ends_in_chain else given.side if given else None
    value = None if side is None else value_of(side.node)
    inside = [(chain.sides[0].start, chain.sides[-1].end) for chain in chains]
    known, loose = _numbers(tokens, inside, side)
    agrees = all(_marked(tokens, mark.end()) in {None, value, value_of(asked)} for mark in _STATES.finditer(text))
    goes_on = bool(tokens) and tokens[-1].text in _BINARY
    stated = before._replace(
        known=before.known | known,
        loose=before.loose | loose,
        is_unclear=before.is_unclear or not agrees or goes_on or not is_plain(tokens, _WORKING),
    )
    gives = (
        value is not None
        and not stated.is_unclear
        and stated.loose <= {*stated.known, *(each.value for each in numbers(asked)), value}
        and (given is not None or _is_answer(chains[-1], asked, tokens, dollars))
    )
    at = side.start if side and gives else None
    if before.value is None:
        return Reading(stated._replace(value=value if gives else None), given, at)
    repeats = gives and value == before.value
    follows = is_plain(tokens, _CLOSING) and (repeats if side else _QUIET.issuperset(token.kind for token in tokens))
    return Reading(stated, given, at if follows else None, changes=not follows)


def is_plain(tokens: Iterable[Token], words: Container[str]) -> bool:
    return all(
        token.kind in _EXACT
        or (token.kind == "word" and token.text in words)
        or (token.kind in {"break", "quote"} and token.text in _SIGNS)
        or (token.kind == "rel" and token.text == "=")
        or (token.kind == "opaque" and _is_name(token.text, words))
        for token in tokens
    )


def _is_name(text: str, words: Container[str]) -> bool:
    is_variable = len(text) == 1 and text.isascii() and text.isalpha()
    return is_variable or all(part in words for part in text.split("_"))


def _is_end(token: Token) -> bool:
    return token.kind in {"math", "close"} or token.text in _ENDS


def _is_answer(chain: Chain, asked: Node, tokens: list[Token], dollars: Container[int]) -> bool:
    first = chain.sides[0]
    before = (token for token in reversed(tokens) if token.start < first.start)
    return (
        render(first.node) == render(asked)
        and set(chain.links) == {"="}
        and is_result(chain.sides[-1])
        and not any(side.units or side.remark or (side.currency and side.start not in dollars) for side in chain.sides)
        and is_plain(takewhile(lambda token: token.text not in _BREAKS, before), _CLOSING)
    )


def _marked(tokens: list[Token], at: int) -> Value | str | None:
    for index in range(bisect_left(tokens, at, key=_start_of), len(tokens)):
        token, parser = tokens[index], Parser(tokens, index, len(tokens))
        if token.kind in {"num", "frac", "open", "op", "cur", "rel"} or token.text in _BINARY:
            side = parser.side(whole=False)
            after = tokens[parser.index : parser.index + 1]
            value = None if side is None or (after and after[0].kind == "opaque") else value_of(side.node)
            if value is not None or token.kind != "open":
                return "not read" if value is None else value
    return None


def _numbers(
    tokens: list[Token], inside: list[tuple[int, int]], given: Side | None
) -> tuple[frozenset[Value], frozenset[Value]]:
    known: set[Value] = set()
    loose: set[Value] = set()
    for index, token in enumerate(tokens):
        if token.kind != "num" or (given and given.start <= token.start < given.end):
            continue
        number = read_number(token).value
        is_negative = index > 0 and tokens[index - 1].text == "-" and (index < 2 or tokens[index - 2].kind in _SIGNED)
        signed = -number if is_negative else number
        if any(start <= token.start < end for start, end in inside):
            known |= {number, signed}
        else:
            loose.add(signed)
    return frozenset(known), frozenset(loose)


def _answer_in(text: str, tokens: list[Token], start: int, asked: Node) -> Answer | None:
    mark = _MARK.match(text, start)
    first = bisect_left(tokens, mark.end() if mark else start, key=_start_of)
    while first < len(tokens) and tokens[first].kind == "math":
        first += 1
    side = _whole(tokens, first)
    if side is None:
        return _after_words(text, tokens, start, asked)
    said = mark is not None and mark["said"] is not None
    if render(ungrouped(side.node)) == render(ungrouped(asked)) and not said:
        return None
    if tokens[first].text == "-":
        if mark is not None and mark[0].rstrip(" *_")[-1:].lower() in {"r", "t"}:
            return None  # "Answer - 15": a dash
        if tokens[first].end < tokens[first + 1].start:
            side = side._replace(doubt=side.doubt or "the sign may be a dash")
    return Answer(side, said, side.start)


def _after_words(text: str, tokens: list[Token], start: int, asked: Node) -> Answer | None:
    at, equated = bisect_left(tokens, start, key=_start_of), None
    while at < len(tokens):
        if tokens[at].kind not in _OPERAND:
            if not is_plain(tokens[at : at + 1], _CLOSING):
                return None
            at += 1
            continue
        side = _whole(tokens, at)
        if side is not None:
            if render(ungrouped(side.node)) == render(ungrouped(asked)):
                return None
            marks = [mark.end() for mark in _STATES.finditer(text, start)]
            said = bool(marks) and bisect_left(tokens, marks[-1], key=_start_of) == at and is_plain(tokens, _WORKING)
            return Answer(side, said, side.start if equated is None else equated)
        after = _restated(tokens, at, asked)
        if after == at:
            return None
        equated = tokens[at].start if after > at + 1 else equated
        at = after
    return None


def _start_of(token: Token) -> int:
    return token.start


def _whole(tokens: list[Token], first: int) -> Side | None:
    stop = len(tokens)
    while stop > first:
        side = Parser(tokens, first, stop).side(whole=True)
        if side is not None:
            return None if side.units or side.remark or side.currency else side
        if not _is_end(tokens[stop - 1]):
            return None
        stop -= 1
    return None


def _restated(tokens: list[Token], at: int, asked: Node) -> int:
    parser = Parser(tokens, at, len(tokens))
    side = parser.side(whole=False)
    if side is None or side.units or side.currency or side.remark:
        return at
    number = bare(side.node)
    is_given = number is not None and number.text in {each.text for each in numbers(asked)}
    return parser.index if is_given or render(side.node) == render(asked) else at


def is_result(side: Side) -> bool:
    node = ungrouped(side.node)
    if isinstance(node, Binary) and node.operator == "/":
        return bare(node.left) is not None and bare(node.right) is not None
    return bare(node) is not None
