"""Parses exact numbers, and some common units.

All values are a :class:`~fractions.Fraction`, so 0.1 + 0.2 is 0.3. If a text is not a number or unit in a form that is
read here, the result is ``None``, so that the verifier can answer ``Unknown``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Literal, NamedTuple, TypeAlias

__all__ = ["convert", "read_number", "read_unit", "write_number"]

_MOST_DIGITS = 40
_NUMBER = re.compile(
    r"(?P<sign>[-+\u2212]?)"
    r"(?P<whole>[0-9]{1,3}(?:,[0-9]{3})++|[0-9]++)?+(?:\.(?P<decimals>[0-9]++))?+"
    r"(?:/(?P<below>[0-9]++))?+(?P<percent>%?)"
)

Dimension: TypeAlias = Literal["length", "mass", "time", "volume", "angle", "data"]


class Unit(NamedTuple):
    """A unit: its dimension, and the factor that converts a value to the base unit of the dimension (m, g, s, ...)."""

    dimension: Dimension
    factor: Fraction


def read_number(text: str, *, digits: int = _MOST_DIGITS) -> Fraction | None:
    """Return the exact value of a number such as ``17``, ``-1,234.5``, ``3/4`` or ``12.5%``; ``None`` for other texts.

    A comma separates thousands, so ``1,500`` is 1500 and ``1,5`` is not read. Not read are also numbers with a part of
    more than *digits* digits or a whole part such as ``007`` (a label), a fraction with decimals (``1.5/2``), and a
    division by zero.
    """
    text = text.strip()
    if len(text) > 4 * digits + 8:
        return None
    match = _NUMBER.fullmatch(text)
    if match is None or not (match["whole"] or match["decimals"]):
        return None
    whole, decimals, below = ((match[name] or "").replace(",", "") for name in ("whole", "decimals", "below"))
    if max(len(whole), len(decimals), len(below)) > digits or (len(whole) > 1 and whole[0] == "0"):
        return None
    if below and (decimals or int(below) == 0):
        return None
    value = Fraction(int(whole + decimals or "0"), 10 ** len(decimals)) / int(below or 1)
    return (-value if match["sign"] in ("-", "\u2212") else value) / (100 if match["percent"] else 1)


def write_number(value: Fraction | int, *, digits: int = _MOST_DIGITS) -> str | None:
    """Return *value* as text: as an integer, as a decimal if the decimal is finite, or else as a fraction.

    ``None`` if the text would have more than *digits* digits in a row, or if the numerator or denominator needs more
    than ``4 * digits`` bits.
    """
    value = Fraction(value)
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > 4 * digits:
        return None
    below, places = value.denominator, 0
    while below % 10 == 0:
        below, places = below // 10, places + 1
    for prime in (2, 5):
        while below % prime == 0:
            below, places = below // prime, places + 1
    if below != 1:
        above, under = str(value.numerator), str(value.denominator)
        return f"{above}/{under}" if max(len(above.lstrip("-")), len(under)) <= digits else None
    scaled = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    whole, decimals = scaled[: len(scaled) - places], scaled[len(scaled) - places :].rstrip("0")
    if max(len(whole), len(decimals)) > digits:
        return None
    return f"{'-' if value < 0 else ''}{whole}{'.' if decimals else ''}{decimals}"


def _table() -> Mapping[str, Unit]:
    tables: dict[Dimension, dict[str, Fraction]] = {
        "length": {
            "m meter meters metre metres": Fraction(1),
            "mm millimeter millimeters millimetre millimetres": Fraction(1, 1000),
            "cm centimeter centimeters centimetre centimetres": Fraction(1, 100),
            "km kilometer kilometers kilometre kilometres": Fraction(1000),
            "inch inches": Fraction(254, 10_000),
            "ft foot feet": Fraction(3048, 10_000),
            "yd yard yards": Fraction(9144, 10_000),
            "mi mile miles": Fraction(1_609_344, 1000),
        },
        "mass": {
            "g gram grams": Fraction(1),
            "mg milligram milligrams": Fraction(1, 1000),
            "kg kilogram kilograms": Fraction(1000),
        },
        "time": {
            "s sec second seconds": Fraction(1),
            "ms millisecond milliseconds": Fraction(1, 1000),
            "min minute minutes": Fraction(60),
            "h hr hour hours": Fraction(3600),
            "day days": Fraction(86_400),
            "week weeks": Fraction(604_800),
        },
        "volume": {
            "l liter liters litre litres": Fraction(1),
            "ml milliliter milliliters millilitre millilitres": Fraction(1, 1000),
        },
        "angle": {"degree degrees °": Fraction(1)},
        "data": {"byte bytes": Fraction(1), "bit bits": Fraction(1, 8)},
    }
    return {
        word: Unit(dimension, factor)
        for dimension, units in tables.items()
        for words, factor in units.items()
        for word in words.split()
    }


_UNITS = _table()


def read_unit(text: str) -> Unit | None:
    """Return the unit that *text* names; ``None`` if it is not one of the common units that this function knows.

    Words of four or more letters may have capital letters; shorter ones are case-sensitive. Units with several meanings
    or lengths, such as ounces, pounds, tons and months, are not read.
    """
    word = text.strip()
    return _UNITS.get(word) or (_UNITS.get(word.lower()) if len(word) > 3 else None)


def convert(value: Fraction, source: Unit, target: Unit) -> Fraction | None:
    """Convert *value* from the unit *source* to the unit *target*, exactly; ``None`` if their dimensions differ."""
    return value * source.factor / target.factor if source.dimension == target.dimension else None
