"""Values while an expression is evaluated: exact, of a known kind, or missing."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias, assert_never

from interwhen.policy import limits
from interwhen.policy.kinds import (
    Anything,
    Bool,
    Date,
    Kind,
    ListOf,
    MapOf,
    Moment,
    Number,
    PairsOf,
    Quantity,
    Record,
    Text,
    describe,
)
from interwhen.policy.nodes import Scalar
from interwhen.policy.units import read_amount
from interwhen.quantities import write_number

_MOST_BITS = 4 * limits.DIGITS


@dataclass(frozen=True, slots=True)
class Missing:
    """What is not known, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class Held:
    """Data of which parts are read when they are asked for."""

    raw: Any
    kind: Kind
    where: str
    """Its place, in the words of an expression."""
    open: bool = False
    """Whether a list may have more items than are known."""


Value: TypeAlias = Scalar | Held | Missing


class Items(tuple[Value, ...]):
    """Items of a list that are values already, and no data."""

    __slots__ = ()


def hold(raw: Any, kind: Kind, where: str) -> Value:
    """Return the data *raw* as a value of *kind*, exactly; what is no such value is missing, and never bent to fit."""
    if raw is None:
        return Missing(f"{where} is not known")
    found = _hold(raw, kind, where)
    return Missing(f"{where} is {_shown(raw)}, which is no {describe(kind)}") if found is None else found


def _hold(raw: Any, kind: Kind, where: str) -> Value | None:
    match kind:
        case Bool():
            return raw if isinstance(raw, bool) else None
        case Number() | Quantity():
            return _amount(raw, kind)
        case Text(words=words):
            return raw if isinstance(raw, str) and (words is None or raw in words) else None
        case Date() | Moment():
            return _time(raw, kind)
        case ListOf():
            return Held(raw, kind, where) if isinstance(raw, list | tuple) else None
        case MapOf() | Record():
            return Held(raw, kind, where) if isinstance(raw, Mapping) else None
        case PairsOf() | Anything():
            return None
        case _:
            assert_never(kind)


def _amount(raw: Any, kind: Number | Quantity) -> Fraction | None:
    if isinstance(raw, str) and isinstance(kind, Quantity):
        return read_amount(raw, kind.dimension)
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return None
    if isinstance(raw, float) and not math.isfinite(raw):
        return None
    # The shortest text that means this float is what was written: 2.4 is 12/5, and not the nearest power of two.
    value = Fraction(raw) if isinstance(raw, int) else Fraction(repr(raw))
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MOST_BITS:
        return None
    if isinstance(kind, Quantity):
        return value * kind.factor
    return None if kind.whole and value.denominator != 1 else value


def _time(raw: Any, kind: Date | Moment) -> dt.date | dt.datetime | None:
    if not isinstance(raw, str):
        return None
    try:
        if isinstance(kind, Date):
            return dt.date.fromisoformat(raw)
        found = dt.datetime.fromisoformat(raw)
    except ValueError:
        return None
    return found if found.tzinfo is None and "T" in raw.replace(" ", "T") else None


def key_text(value: Scalar) -> str:
    """Return *value* as the key of a map in data."""
    match value:
        case bool():
            return str(value).lower()
        case Fraction():
            return write_number(value) or str(value)
        case str():
            return value
        case dt.datetime() | dt.date():
            return value.isoformat()
        case _:
            assert_never(value)


def raw_of(value: Value, kind: Kind) -> Any:
    """Return the data of which :func:`hold` makes *value*, as one of *kind*; ``None`` for what is missing."""
    match value:
        case Missing():
            return None
        case Held(raw=raw):
            return raw
        case Fraction():
            plain = value / kind.factor if isinstance(kind, Quantity) else value
            return int(plain) if plain.denominator == 1 else float(plain)
        case bool() | str():
            return value
        case dt.datetime() | dt.date():
            return value.isoformat()
        case _:
            assert_never(value)


def tell(value: Value, kind: Kind) -> str:
    """Return *value* for a message: on one line, and short, whatever it holds."""
    match value:
        case Missing():
            return "?"
        case Held(raw=raw):
            return _shown(raw)
        case Fraction() if isinstance(kind, Quantity):
            return _told_amount(value, kind)
        case _:
            return _shown(key_text(value), quote=False)


def _told_amount(value: Fraction, kind: Quantity) -> str:
    if kind.dimension == "USD":
        places = "" if value.denominator == 1 else ".2f"
        return f"{'-' if value < 0 else ''}${abs(int(value)) if not places else format(abs(float(value)), places)}"
    if kind.dimension == "time":
        return f"{write_number(value / 3600) or float(value / 3600)} h"
    number = write_number(value / kind.factor) or str(value / kind.factor)
    return f"{number} {kind.dimension}" if kind.factor == 1 else number


def _shown(raw: Any, *, quote: bool = True) -> str:
    try:
        text = (repr(raw) if quote else str(raw))[: 4 * limits.SHOWN]
    except (ValueError, RecursionError):  # a number of thousands of digits, or something very deep
        text = f"something very large ({type(raw).__name__})"
    flat = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return flat if len(flat) <= limits.SHOWN else f"{flat[: limits.SHOWN - 1]}…"
