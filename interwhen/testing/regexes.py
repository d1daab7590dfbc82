r"""Finds regexes that may take more than linear time, by how they are written.

``re`` tries every way to match before it gives up. Where one text can be matched in many ways, a text that almost fits
makes it try them all: quadratically many (``\\s+\\s+x``) or exponentially many (``(a+)+x``). Possessive quantifiers
(``++``, ``*+``) and atomic groups are the cure, from Python 3.11 on.
"""

from __future__ import annotations

import re
import re._constants as code  # type: ignore[import-not-found, unused-ignore]  # not public; the public module is gone
import re._parser as parser  # type: ignore[import-not-found, unused-ignore]  # the same
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

_Items: TypeAlias = Sequence[tuple[Any, Any]]
_SAMPLE = frozenset(map(chr, range(128))) | set("éß²½\u0663\u200b\u3000\uff11\u2019漢")
"""What stands for all characters: two classes overlap where one of these is in both."""
_GREEDY = (code.MAX_REPEAT, code.MIN_REPEAT)
_REPEATS = (*_GREEDY, code.POSSESSIVE_REPEAT)
_CATEGORIES: dict[Any, Callable[[str], bool]] = {
    code.CATEGORY_DIGIT: str.isdecimal,
    code.CATEGORY_SPACE: str.isspace,
    code.CATEGORY_WORD: lambda char: char.isalnum() or char == "_",
}
_NOT = {
    code.CATEGORY_NOT_DIGIT: code.CATEGORY_DIGIT,
    code.CATEGORY_NOT_SPACE: code.CATEGORY_SPACE,
    code.CATEGORY_NOT_WORD: code.CATEGORY_WORD,
}


def suspicious(pattern: str | re.Pattern[str]) -> tuple[str, ...]:
    """Return why *pattern* may backtrack without bound, one reason for each suspicion; nothing where it is sound.

    It knows the two common shapes: something repeated inside a repetition that can match the same text in several
    ways, and two unbounded repetitions that compete for the same text. It errs on the side of suspicion.
    """
    compiled = re.compile(pattern)
    items = parser.parse(compiled.pattern, compiled.flags & ~re.UNICODE.value)
    return tuple(dict.fromkeys(_walk(items, frozenset(), looped=False)))


def _walk(items: _Items, behind: frozenset[str], *, looped: bool) -> Iterator[str]:
    """Yield the suspicions of *items*, after which a character of *behind* may follow."""
    for at, (kind, value) in enumerate(items):
        first, empty = _first(items[at + 1 :])
        after = first | behind if empty else first
        if kind in _REPEATS:
            yield from _repetition(items, at, after, looped=looped)
        elif kind is code.BRANCH:
            starts = [_first(branch)[0] for branch in value[1]]
            if looped and any(one & two for n, one in enumerate(starts) for two in starts[:n]):
                yield "alternatives inside a repetition can match the same text"
            for branch in value[1]:
                yield from _walk(branch, after, looped=looped)
        elif kind is code.SUBPATTERN:
            yield from _walk(value[-1], after, looped=looped)
        elif kind is code.ATOMIC_GROUP:
            yield from _walk(value, frozenset(), looped=False)
        elif kind in {code.ASSERT, code.ASSERT_NOT}:
            yield from _walk(value[1], frozenset(), looped=False)


def _repetition(items: _Items, at: int, after: frozenset[str], *, looped: bool) -> Iterator[str]:
    kind, (low, high, body) = items[at]
    start = _first(body)[0]
    endless = kind in _GREEDY and high == code.MAXREPEAT
    if kind in _GREEDY and looped and low != high and start & after:
        yield "a repetition inside a repetition can divide one text in many ways"
    if endless and not looped and _competes(items, at, start):
        yield "two unbounded repetitions compete for the same text"
    yield from _walk(body, after | start if endless else after, looped=endless or (looped and kind in _GREEDY))


def _competes(items: _Items, at: int, start: frozenset[str]) -> bool:
    """Tell whether a later unbounded repetition can take over text of the one at *at*, which begins with *start*."""
    for kind, value in items[at + 1 :]:
        first, empty = _first([(kind, value)])
        if kind in _GREEDY and value[1] == code.MAXREPEAT and first & start:
            return True
        if not (empty or first & start):
            return False
    return False


def _first(items: _Items) -> tuple[frozenset[str], bool]:
    """Return what a match of *items* can begin with, and whether it can be empty."""
    found: frozenset[str] = frozenset()
    for kind, value in items:
        chars, empty = _head(kind, value)
        found |= chars
        if not empty:
            return found, False
    return found, True


def _head(kind: Any, value: Any) -> tuple[frozenset[str], bool]:
    if kind in _REPEATS:
        chars, empty = _first(value[2])
        return chars, empty or value[0] == 0
    if kind is code.SUBPATTERN:
        return _first(value[-1])
    if kind is code.ATOMIC_GROUP:
        return _first(value)
    if kind is code.BRANCH:
        heads = [_first(branch) for branch in value[1]]
        return frozenset().union(*(chars for chars, _ in heads)), any(empty for _, empty in heads)
    if kind in {code.AT, code.ASSERT, code.ASSERT_NOT}:
        return frozenset(), True
    if kind in {code.LITERAL, code.NOT_LITERAL, code.ANY, code.IN}:
        return _chars(kind, value), False
    return _SAMPLE, True  # a reference to a group: anything


def _chars(kind: Any, value: Any) -> frozenset[str]:
    if kind is code.LITERAL:
        return frozenset(chr(value))
    if kind is code.NOT_LITERAL:
        return _SAMPLE - {chr(value)}
    if kind is code.ANY:
        return _SAMPLE
    if kind is code.RANGE:
        low, high = value
        return frozenset(char for char in _SAMPLE if low <= ord(char) <= high) | {chr(low), chr(high)}
    if kind is code.CATEGORY:
        belongs = _CATEGORIES[_NOT.get(value, value)]
        return frozenset(char for char in _SAMPLE if belongs(char) is (value not in _NOT))
    assert kind is code.IN
    negated = value[0][0] is code.NEGATE
    chars = frozenset().union(*(_chars(*part) for part in value[negated:]))
    return _SAMPLE - chars if negated else chars
