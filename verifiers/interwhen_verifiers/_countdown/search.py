"""What can be made of numbers: an exact search.

To make a target from numbers, the last operation joins what one part of them makes with what the rest makes. The
smaller part is listed; what the other must make then follows, and is searched for in turn. So only small parts are ever
listed, and six numbers take no longer than the thousands of values of three.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from typing import TypeAlias

Numbers: TypeAlias = tuple[Fraction, ...]

MOST = 6
"""With more numbers than these, no search is begun."""
_LISTED = 3
"""Of so many numbers, all values are listed."""
_BUDGET = 400_000
"""The most values that one search looks at."""


class _Spent(Exception):
    pass


@lru_cache(maxsize=4096)
def reaches(numbers: Numbers, target: Fraction, *, partly: bool = False) -> bool | None:
    """Tell whether *target* can be made of all *numbers*, or, *partly*, of some of them; ``None``: too long a search.

    *numbers* must be sorted. Any order, any brackets, ``+ - * /``, exact fractions.
    """
    if len(numbers) > MOST:
        return None
    search = _Search()
    sizes = range(1, len(numbers) + 1) if partly else (len(numbers),)
    try:
        return any(search.makes(part, target) for size in sizes for part in sorted(set(combinations(numbers, size))))
    except _Spent:
        return None


@lru_cache(maxsize=4096)
def values(numbers: Numbers) -> frozenset[Fraction]:
    """Return all that can be made of all *numbers* (sorted, three at the most)."""
    if len(numbers) == 1:
        return frozenset(numbers)
    found: set[Fraction] = set()
    for one, other in _parts(numbers):
        for left in values(one):
            for right in values(other):
                found.update(_joined(left, right))
    return frozenset(found)


class _Search:
    def __init__(self) -> None:
        self._looked = 0
        self._known: dict[tuple[Numbers, Fraction], bool] = {}

    def makes(self, numbers: Numbers, target: Fraction) -> bool:
        self._looked += 1
        if self._looked > _BUDGET:
            raise _Spent
        if len(numbers) <= _LISTED:
            return target in values(numbers)
        known = self._known.get((numbers, target))
        if known is None:
            known = self._known[numbers, target] = any(
                self.makes(rest, wanted)
                for part, rest in _parts(numbers)
                for value in values(part)
                for wanted in _wanted(value, target, rest)
            )
        return known


def _wanted(value: Fraction, target: Fraction, rest: Numbers) -> Iterator[Fraction]:
    """Yield what *rest* must make, so that *target* comes of it and *value*."""
    yield target - value
    yield value - target
    yield value + target
    if value:
        yield target / value
        yield target * value
        if target:
            yield value / target
        # 0 / x and 0 * x are 0, whatever x is.
    elif not target:
        yield from _anything(rest)


def _anything(numbers: Numbers) -> Iterator[Fraction]:
    """Yield something that *numbers* make: their sum always is."""
    yield sum(numbers, Fraction(0))


def _joined(left: Fraction, right: Fraction) -> Iterable[Fraction]:
    yield left + right
    yield left - right
    yield right - left
    yield left * right
    if right:
        yield left / right
    if left:
        yield right / left


@lru_cache(maxsize=4096)
def _parts(numbers: Numbers) -> tuple[tuple[Numbers, Numbers], ...]:
    """Return the ways to part *numbers* in two, the first part never the larger one."""
    found = set()
    everyone = range(len(numbers))
    for size in range(1, len(numbers) // 2 + 1):
        for chosen in combinations(everyone, size):
            rest = tuple(numbers[at] for at in everyone if at not in chosen)
            found.add((tuple(numbers[at] for at in chosen), rest))
    return tuple(sorted(found, key=lambda parts: (len(parts[0]), parts)))
