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
def _listed(words: tuple[str, ...]) -> tuple[tuple[str, bool], ...]:
    """Return *words* in lower case, each with whether it may go on (``*`` at its end). Empty ones are left out."""
    stems = ((" ".join(word.lower().rstrip("*").split()), word.endswith("*")) for word in words)
    return tuple((stem, open_) for stem, open_ in stems if stem)


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _holds(text: str, stem: str, *, may_go_on: bool) -> bool:
    """Tell whether *stem* stands in *text* as a whole word, or, if it *may_go_on*, as the beginning of one."""
    at = text.find(stem)
    while at >= 0:
        end = at + len(stem)
        if not (_is_word(text[at - 1 : at]) or (_is_word(text[end : end + 1]) and not may_go_on)):
            return True
        at = text.find(stem, at + 1)
    return False


def _mentions(text: str, words: Held) -> Value:
    if len(text) > _LONGEST:
        return Missing(f"a text of more than {_LONGEST:,} characters is not searched")
    flat = "".join(" " if char.isspace() else char for char in text.lower())
    listed = _listed(tuple(str(word) for word in words.raw))
    if any(_holds(flat, stem, may_go_on=may_go_on) for stem, may_go_on in listed):
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
