"""The values of expressions: exact and of a known kind, or missing with the reason."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias, assert_never

from interwhen.policy import _limits
from interwhen.policy._kinds import (
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
    RecordOf,
    Text,
    describe,
    read_amount,
)
from interwhen.policy._syntax import Scalar, plain_text
from interwhen.toolkit.quantities import write_number

_MOST_BITS = 4 * _limits.DIGITS


@dataclass(frozen=True, slots=True)
class Missing:
    why: str


@dataclass(frozen=True, slots=True)
class Held:
    """A list, map, record or pair. Raw data in it is converted to values only when a part of it is accessed."""

    raw: Any
    """The raw data, or :class:`HeldItems` for a list whose items are values already. A pair has a tuple of two
    values."""
    kind: Kind
    where: str
    """The expression that leads to this data, for messages."""
    open: bool = False
    """Whether a list may have more items than are known."""

    def item(self, at: int) -> Value:
        assert isinstance(self.kind, ListOf)
        raw = self.raw[at]
        return raw if isinstance(self.raw, HeldItems) else hold(raw, self.kind.item, f"{self.where}[{at}]")


Value: TypeAlias = Scalar | Held | Missing


class HeldItems(tuple[Value, ...]):
    """The items of a list, which are values already and not raw data."""

    __slots__ = ()


def hold(raw: Any, kind: Kind, where: str) -> Value:
    # `where` is the expression that leads to the data. The parts of a list, map or record are not checked here.
    if raw is None:
        return Missing(f"{where} is not known")
    held = _hold(raw, kind, where)
    return Missing(f"{where} is {_shown(raw)}, which is no {describe(kind)}") if held is None else held


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
        case MapOf() | RecordOf():
            return Held(raw, kind, where) if isinstance(raw, Mapping) else None
        case PairsOf() | Anything():
            return None
        case _:
            assert_never(kind)


def _amount(raw: Any, kind: Number | Quantity) -> Fraction | None:
    if isinstance(raw, str) and isinstance(kind, Quantity):
        return read_amount(raw, kind.dimension)
    if isinstance(raw, bool) or not isinstance(raw, int | float) or (isinstance(raw, float) and not math.isfinite(raw)):
        return None
    # ``repr`` gives the shortest text of this float, which is the number as written: 2.4 becomes exactly 12/5.
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
        moment = dt.datetime.fromisoformat(raw)
    except ValueError:
        return None
    return moment if moment.tzinfo is None and "T" in raw.replace(" ", "T") else None


def raw_of(value: Value, kind: Kind) -> Any:
    # A number that is not whole becomes a float, which may be rounded.
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
    # Long texts and data are cut, and amounts of time are given in hours.
    match value:
        case Missing():
            return "?"
        case Held(raw=raw):
            return _shown(raw)
        case Fraction() if isinstance(kind, Quantity):
            return _told_amount(value, kind)
        case _:
            return _shown(plain_text(value), quote=False)


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
        text = (repr(raw) if quote else str(raw))[: 4 * _limits.SHOWN]
    except (ValueError, RecursionError):  # a number with thousands of digits, or very deep nesting
        text = f"something very large ({type(raw).__name__})"
    flat = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return flat if len(flat) <= _limits.SHOWN else f"{flat[: _limits.SHOWN - 1]}…"
