"""What the functions of the language do with values that are known."""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from interwhen.policy.kinds import ListOf, MapOf
from interwhen.policy.values import Held, Items, Missing, Value, hold

_LONGEST = 200_000
"""Longer texts are not searched, and that is said."""
_LATIN = re.compile(r"[A-Za-z]")


def _length(of: Held) -> Value:
    if of.open:
        return Missing(f"how many {of.where} has is not known")
    return Fraction(len(of.raw))


def _end(of: Held, at: int) -> Value:
    if of.open or not of.raw:
        return Missing(f"{of.where} is empty")
    assert isinstance(of.kind, ListOf)
    if isinstance(of.raw, Items):
        return of.raw[at]
    return hold(of.raw[at], of.kind.item, f"{of.where}[{at}]")


def _values(of: Held) -> Value:
    assert isinstance(of.kind, MapOf)
    return Held(list(of.raw.values()), ListOf(of.kind.value), f"values({of.where})")


def _keys(of: Held) -> Value:
    assert isinstance(of.kind, MapOf)
    return Held(list(of.raw), ListOf(of.kind.keys[0]), f"keys({of.where})")


@functools.lru_cache(maxsize=256)
def _searcher(words: tuple[str, ...]) -> re.Pattern[str]:
    """Return a pattern for whole words; ``*`` at the end of one stands for any ending. It takes linear time."""
    parts = []
    for word in words:
        stem = r"\s".join(map(re.escape, word.rstrip("*").split()))
        parts.append(stem + (r"\w*+" if word.endswith("*") else ""))
    return re.compile(rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)", re.IGNORECASE)


def _mentions(text: str, words: Held) -> Value:
    if len(text) > _LONGEST:
        return Missing(f"a text of more than {_LONGEST:,} characters is not searched")
    if _searcher(tuple(str(word) for word in words.raw)).search(text):
        return True
    if text.strip() and not _LATIN.search(text):
        return Missing("the words are not understood")
    return False


def _unjudged(what: str) -> Value:
    return Missing(f"{what} is not judged here")


PURE: Mapping[str, Callable[..., Any]] = {
    "length": _length,
    "first": lambda of: _end(of, 0),
    "last": lambda of: _end(of, -1),
    "values": _values,
    "keys": _keys,
    "max": max,
    "min": min,
    "day": dt.datetime.date,
    "starts_with": str.startswith,
    "contains": str.__contains__,
    "mentions": _mentions,
    "unjudged": _unjudged,
}
"""Functions of values alone, by name."""
