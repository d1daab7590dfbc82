"""The functions that an expression may use: a closed list, each one linear in what it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from interwhen.policy.kinds import Bool, Date, Kind, ListOf, MapOf, Moment, Number, PairsOf, Quantity, Text
from interwhen.policy.nodes import Constant, Field, Listed, Name, Node


@dataclass(frozen=True, slots=True)
class Function:
    """What a function takes, and what it gives."""

    says: str
    arguments: int
    kind: Callable[..., Kind | None]
    """The kinds of the arguments to that of the value; ``None`` where they do not fit."""
    problem: Callable[[tuple[Node, ...]], str] = lambda _arguments: ""
    """What is wrong with the arguments as they are written, if anything is."""


def _length(of: Kind) -> Kind | None:
    return Number(whole=True) if isinstance(of, ListOf) or (isinstance(of, MapOf) and not of.open) else None


def _item(of: Kind) -> Kind | None:
    return of.item if isinstance(of, ListOf) else None


def _values(of: Kind) -> Kind | None:
    return ListOf(of.value) if isinstance(of, MapOf) and not of.open else None


def _keys(of: Kind) -> Kind | None:
    return ListOf(of.keys[0]) if isinstance(of, MapOf) and not of.open and len(of.keys) == 1 else None


def _flat(of: Kind) -> Kind | None:
    return of.item if isinstance(of, ListOf) and isinstance(of.item, ListOf) else None


def _consecutive(of: Kind) -> Kind | None:
    return ListOf(PairsOf(of.item, of.item)) if isinstance(of, ListOf) else None


def _zip(one: Kind, other: Kind) -> Kind | None:
    return ListOf(PairsOf(one.item, other.item)) if isinstance(one, ListOf) and isinstance(other, ListOf) else None


def _larger(one: Kind, other: Kind) -> Kind | None:
    match one, other:
        case Number(whole=left), Number(whole=right):
            return Number(left and right)
        case Quantity(dimension=left), Quantity(dimension=right) if left == right:
            return one
        case _:
            return None


def _day(of: Kind) -> Kind | None:
    return Date() if isinstance(of, Moment) else None


def _texts(*kinds: Kind) -> Kind | None:
    return Bool() if all(isinstance(kind, Text) for kind in kinds) else None


def _mentions(of: Kind, words: Kind) -> Kind | None:
    fits = isinstance(of, Text) and isinstance(words, ListOf) and isinstance(words.item, Text)
    return Bool() if fits else None


def _truths(*kinds: Kind) -> Kind | None:
    return Bool() if all(isinstance(kind, Bool) for kind in kinds) else None


def _written(arguments: tuple[Node, ...]) -> str:
    last = arguments[-1]
    parts = last.items if isinstance(last, Listed) else (last,)
    fits = all(isinstance(part, Constant) and str(part.value).strip(" *") for part in parts)
    return "" if fits else "the last value must be written out"


def _of_arguments(arguments: tuple[Node, ...]) -> str:
    match arguments:
        case (Field(of=Name(name="args")),):
            return ""
        case _:
            return "only an argument of the call can be asked for: given(args.NAME)"


FUNCTIONS: Mapping[str, Function] = {
    "length": Function("length(LIST or MAP): how many there are", 1, _length),
    "first": Function("first(LIST): its first item", 1, _item),
    "last": Function("last(LIST): its last item", 1, _item),
    "values": Function("values(MAP): a list", 1, _values),
    "keys": Function("keys(MAP): a list", 1, _keys),
    "flat": Function("flat(LIST of LISTS): one list", 1, _flat),
    "consecutive": Function("consecutive(LIST): each item with the next one", 1, _consecutive),
    "zip": Function("zip(LIST, LIST): the items at the same places", 2, _zip),
    "max": Function("max(A, B): the larger of two numbers or amounts", 2, _larger),
    "min": Function("min(A, B): the smaller of two numbers or amounts", 2, _larger),
    "day": Function("day(MOMENT): its date", 1, _day),
    "starts_with": Function('starts_with(TEXT, "text")', 2, _texts, _written),
    "contains": Function('contains(TEXT, "text")', 2, _texts, _written),
    "mentions": Function(
        'mentions(TEXT, ["yes", "go ahead", "confirm*"]): whether it has one of these words or phrases, in any case; '
        "texts in other scripts are not understood",
        2,
        _mentions,
        _written,
    ),
    "given": Function("given(args.NAME): whether the call has this argument", 1, lambda _kind: Bool(), _of_arguments),
    "unjudged": Function('unjudged("what"): nobody can tell here, so it is not known', 1, _texts, _written),
    "assume": Function("assume(A, B): A; where A is not known, B", 2, _truths),
}
"""Each function by its name. ``calls("tool")`` is beside them: the earlier calls of a tool."""
