"""The types of the values in a policy, here called kinds. Only values of the same kind can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple, TypeAlias, assert_never

from interwhen._types.errors import UsageError
from interwhen.toolkit.quantities import read_number, read_unit

CURRENCIES = ("USD", "EUR", "GBP", "CHF", "JPY")
"""Each currency is a separate dimension, so no amount is converted from one to another."""
_DATA = {
    **{f"{letter}B": Fraction(1000) ** power for power, letter in enumerate("kMGTP", 1)},
    **{f"{letter}iB": Fraction(1024) ** power for power, letter in enumerate("KMGTP", 1)},
}


class Measure(NamedTuple):
    """A unit. *factor* converts an amount to the base unit of the dimension."""

    dimension: str
    factor: Fraction


def unit_named(word: str) -> Measure | None:
    word = word.strip()
    if word in CURRENCIES:
        return Measure(word, Fraction(1))
    if word in _DATA:
        return Measure("data", _DATA[word])
    unit = read_unit(word)
    return None if unit is None else Measure(unit.dimension, unit.factor)


def read_amount(text: str, dimension: str) -> Fraction | None:
    # An amount has a space before its unit, such as `24 hours`, or begins with a dollar sign, such as `$30`.
    text = text.strip()
    if text.startswith("$"):
        return read_number(text[1:]) if dimension == "USD" else None
    number, _, unit = text.partition(" ")
    value, measure = read_number(number), unit_named(unit)
    if value is None or measure is None or measure.dimension != dimension:
        return None
    return value * measure.factor


_DEEPEST = 12


@dataclass(frozen=True, slots=True)
class Bool:
    """True or false."""


@dataclass(frozen=True, slots=True)
class Number:
    """An exact number without a unit."""

    whole: bool = False
    """Whether only integers are of this kind."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact amount with a dimension, such as money, time or data."""

    dimension: str
    """Its name, such as ``time`` or ``data``; for money, the currency, such as ``USD``."""
    factor: Fraction = Fraction(1)
    """The unit of a number that the data gives without a unit, in base units of the dimension."""


@dataclass(frozen=True, slots=True)
class Text:
    """If *words* is given, the text must be one of them."""

    words: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Date:
    """A calendar date."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A date with a time of day, in the time zone of the data."""


@dataclass(frozen=True, slots=True)
class ListOf:
    item: Kind
    parts: tuple[Kind, ...] = field(default=(), compare=False, repr=False)
    """The kind of each item, if the list is written out in an expression."""


@dataclass(frozen=True, slots=True)
class MapOf:
    """A map from a key, or from a combination of several keys, to values."""

    keys: tuple[Kind, ...]
    value: Kind
    open: bool = False
    """Whether the map may have entries that are not known, such as a table of the state. A key without an entry is then
    unknown, not absent."""


@dataclass(frozen=True, slots=True)
class RecordOf:
    name: str
    fields: tuple[tuple[str, Kind], ...]

    def field(self, name: str) -> Kind | None:
        return next((kind for known, kind in self.fields if known == name), None)


@dataclass(frozen=True, slots=True)
class PairsOf:
    """Pairs of values: neighbours in one list, or the values at the same index of two lists."""

    left: Kind
    right: Kind


@dataclass(frozen=True, slots=True)
class Anything:
    """A value that the schema does not describe. A rule can only ask whether such an argument is given."""


Kind: TypeAlias = Bool | Number | Quantity | Text | Date | Moment | ListOf | MapOf | RecordOf | PairsOf | Anything

_PLAIN: Mapping[str, Kind] = {
    "bool": Bool(),
    "number": Number(),
    "integer": Number(whole=True),
    "text": Text(),
    "date": Date(),
    "moment": Moment(),
    "money": Quantity("USD"),
    "any": Anything(),
}


def parts_of(kind: Kind) -> Iterator[Kind]:
    yield kind
    match kind:
        case ListOf(item=item):
            yield from parts_of(item)
        case MapOf(keys=keys, value=value):
            for part in (*keys, value):
                yield from parts_of(part)
        case RecordOf(fields=fields):
            for _, field_kind in fields:
                yield from parts_of(field_kind)
        case _:
            return


def describe(kind: Kind) -> str:
    match kind:
        case Bool() | Date() | Moment() | Anything():
            return {"Anything": "any"}.get(type(kind).__name__, type(kind).__name__.lower())
        case Number(whole=whole):
            return "integer" if whole else "number"
        case Quantity(dimension=dimension):
            return "money" if dimension == "USD" else f"quantity of {dimension}"
        case Text(words=words):
            return "text" if words is None else " | ".join(f'"{word}"' for word in sorted(words))
        case ListOf(item=item):
            return f"list[{describe(item)}]"
        case MapOf(keys=keys, value=value):
            return f"map[{', '.join(map(describe, (*keys, value)))}]"
        case RecordOf(name=name):
            return name
        case PairsOf(left=left, right=right):
            return f"pairs of {describe(left)} and {describe(right)}"
        case _:
            assert_never(kind)


def joined(left: Kind, right: Kind) -> Kind | None:
    # Return the kind for values of both kinds; `None` if there is none, as for `Anything` with any kind, even itself.
    match left, right:
        case Number(whole=one), Number(whole=other):
            return Number(one and other)
        case Quantity(dimension=one), Quantity(dimension=other):
            return left if one == other else None
        case Text(words=one), Text(words=other):
            return Text(None if one is None or other is None else one | other)
        case ListOf(item=one), ListOf(item=other):
            item = joined(one, other)
            return None if item is None else ListOf(item)
        case _:
            return left if left == right and not isinstance(left, Anything) else None


def read_kind(text: str, records: Mapping[str, Kind], depth: int = 0) -> Kind:
    """Parse a kind as a schema writes it: ``integer``, ``list[Flight]``, ``map[text, date, Fare]``, ``"a" | "b"``.

    *records* has the records that *text* may name.
    """
    text = text.strip()
    if depth > _DEEPEST:
        raise UsageError(f"a kind must be nested at most {_DEEPEST} levels deep, got {text!r:.80}: make it flatter")
    if text in _PLAIN:
        return _PLAIN[text]
    if text in records:
        return records[text]
    if text.startswith('"'):
        words = [word.strip() for word in text.split("|")]
        if all(len(word) > 2 and word[0] == word[-1] == '"' for word in words):
            return Text(frozenset(word[1:-1] for word in words))
    head, bracket, rest = text.partition("[")
    if bracket and rest.endswith("]"):
        return _compound(head, rest[:-1], records, depth)
    known = ", ".join([*_PLAIN, "list[...]", "map[..., ...]", "quantity[UNIT]", '"a" | "b"', *records])
    raise UsageError(f"the kind of a value must be one of {known[:450]}, got {text!r:.80}")


def _compound(head: str, inside: str, records: Mapping[str, Kind], depth: int) -> Kind:
    if head == "quantity":
        unit = unit_named(inside)
        if unit is None:
            raise UsageError(
                "the unit of a quantity must be one that means one thing only, such as hours, kg or USD, "
                f"got {inside!r:.40}: choose another"
            )
        return Quantity(unit.dimension, unit.factor)
    parts = [read_kind(part, records, depth + 1) for part in _split(inside)]
    if head == "list" and len(parts) == 1:
        return ListOf(parts[0])
    if head == "map" and len(parts) > 1:
        return MapOf(tuple(parts[:-1]), parts[-1])
    raise UsageError(
        "the kind of a value with [...] must be list[KIND] or map[KEY, KIND], got "
        f"{f'{head}[{inside}]'!r:.120}: write one of them"
    )


def _split(text: str) -> list[str]:
    parts, level = [""], 0
    for char in text:
        level += (char == "[") - (char == "]")
        if char == "," and level == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts
