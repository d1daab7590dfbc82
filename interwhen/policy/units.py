"""Units that mean one thing only, money among them."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from interwhen.quantities import read_number, read_unit

CURRENCIES = ("USD", "EUR", "GBP", "CHF", "JPY")
"""Each currency is a dimension of its own: nothing converts one to another."""
_DATA = {
    **{f"{letter}B": Fraction(1000) ** power for power, letter in enumerate("kMGTP", 1)},
    **{f"{letter}iB": Fraction(1024) ** power for power, letter in enumerate("KMGTP", 1)},
}


class Measure(NamedTuple):
    """A unit: its dimension, and how much of the first unit of that dimension it is."""

    dimension: str
    factor: Fraction


def unit_named(word: str) -> Measure | None:
    """Return the unit *word*; ``None`` where it is none, or may be several."""
    word = word.strip()
    if word in CURRENCIES:
        return Measure(word, Fraction(1))
    if word in _DATA:
        return Measure("data", _DATA[word])
    found = read_unit(word)
    return None if found is None else Measure(found.dimension, found.factor)


def read_amount(text: str, dimension: str) -> Fraction | None:
    """Return a written amount such as ``2.4 GB`` or ``$50`` in the first unit of *dimension*, exactly.

    ``None`` where it is not surely one: no unit is guessed, and nothing is rounded.
    """
    text = text.strip()
    if text.startswith("$"):
        return read_number(text[1:]) if dimension == "USD" else None
    number, _, unit = text.partition(" ")
    value, measure = read_number(number), unit_named(unit)
    if value is None or measure is None or measure.dimension != dimension:
        return None
    return value * measure.factor
