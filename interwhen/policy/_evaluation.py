"""Evaluates expressions in a situation: to a value, or to the reason why the value is unknown. No Python code is run.

The logic is three-valued (Kleene). ``?`` is an unknown value. ``false and ?`` is false, ``true or ?`` is true, and
``any`` and ``all`` follow these rules. ``? in LIST`` is unknown. ``assume(?, B)`` is B. ``given(args.x)`` is true for a
null that was given, though its value is unknown. Most other operations on ``?`` are unknown.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias, assert_never, cast

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
from interwhen.policy._schemas import TALK, Schema, Situation
from interwhen.policy._syntax import (
    COMPARE,
    Apply,
    Compare,
    Constant,
    Field,
    If,
    In,
    Index,
    Junction,
    Listed,
    Name,
    Node,
    Not,
    Quantified,
    Scalar,
    Sum,
    plain_text,
)
from interwhen.toolkit.quantities import write_number

# Values while an expression is evaluated: exact, of a known kind, or missing.

_MOST_BITS = 4 * _limits.DIGITS
_MOST_COMPUTED_BITS = 1_000
"""The most bits of a computed number. With more, the conversion to a float or a text may raise an exception."""


@dataclass(frozen=True, slots=True)
class Missing:
    """An unknown value, with the reason why it is unknown."""

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


Value: TypeAlias = Scalar | Held | Missing
"""The value of an expression: a single exact value, data with parts, or an unknown value with the reason."""


class HeldItems(tuple[Value, ...]):
    """The items of a list, which are values already and not raw data."""

    __slots__ = ()


def hold(raw: Any, kind: Kind, where: str) -> Value:
    """Convert the raw data *raw* to an exact value of *kind*. ``None`` or data of another kind gives a missing value.

    A list, map or record is wrapped as :class:`Held`, and its parts are not checked. For pairs and for
    :class:`Anything`, the result is missing. *where* is the expression that leads to the data.
    """
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
        found = dt.datetime.fromisoformat(raw)
    except ValueError:
        return None
    return found if found.tzinfo is None and "T" in raw.replace(" ", "T") else None


def raw_of(value: Value, kind: Kind) -> Any:
    """Return *value*, which has *kind*, as raw data that :func:`hold` can read; ``None`` if it is missing.

    A number that is not whole becomes a float, which may be rounded.
    """
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
    """Return *value*, which has *kind*, as one line of text for a message: ``?`` for a missing value.

    Long texts and data are cut, and amounts of time are given in hours.
    """
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


# The built-in functions, for arguments that are known.

_LONGEST = 200_000
"""The longest text that ``mentions`` searches, in characters. For a longer text its result is missing."""
_LATIN = re.compile(r"[A-Za-z]")


def _length(of: Held) -> Value:
    if of.open:
        return Missing(f"how many {of.where} has is not known")
    return Fraction(len(of.raw))


def _end(of: Held, at: int) -> Value:
    if of.open or not of.raw:
        return Missing(f"{of.where} is empty")
    assert isinstance(of.kind, ListOf)
    if isinstance(of.raw, HeldItems):
        return of.raw[at]
    return hold(of.raw[at], of.kind.item, f"{of.where}[{at}]")


@functools.lru_cache(maxsize=256)
def _listed(words: tuple[str, ...]) -> tuple[tuple[str, bool], ...]:
    """Return each of *words* in lower case and without ``*`` at its end, with whether it ended with ``*``."""
    stems = ((_spaced(word.rstrip("*")), word.endswith("*")) for word in words)
    return tuple((stem, open_) for stem, open_ in stems if stem)


def _spaced(text: str) -> str:
    """Return *text* in lower case with single spaces, and with the apostrophe that keyboards have."""
    return " ".join(text.lower().replace("\u2019", "'").split())


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _holds(text: str, stem: str, *, may_go_on: bool) -> bool:
    """Tell whether *text* contains *stem* as a whole word. With *may_go_on*, it may be the start of a word."""
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
    flat = _spaced(text)
    listed = _listed(tuple(str(word) for word in words.raw))
    if any(_holds(flat, stem, may_go_on=may_go_on) for stem, may_go_on in listed):
        return True
    if text.strip() and not _LATIN.search(text):
        return Missing("the words are not understood")
    return False


PURE: Mapping[str, Callable[..., Any]] = {
    "length": _length,
    "first": lambda of: _end(of, 0),
    "last": lambda of: _end(of, -1),
    "values": lambda of: Held(list(of.raw.values()), ListOf(of.kind.value), f"values({of.where})"),
    "keys": lambda of: Held(list(of.raw), ListOf(of.kind.keys[0]), f"keys({of.where})"),
    "max": max,
    "min": min,
    "day": dt.datetime.date,
    "starts_with": str.startswith,
    "contains": str.__contains__,
    "mentions": _mentions,
    "unjudged": lambda what: Missing(f"{what} is not judged here"),
}
"""Built-in functions that need only the values of their arguments, by name."""


class _TooLongError(Exception):
    """The evaluation exceeds the limit of steps."""


def evaluate(node: Node, situation: Situation, schema: Schema, names: Mapping[str, Value] | None = None) -> Value:
    """Return the value of *node* in *situation*. If that takes more than 100,000 steps, it is :class:`Missing`.

    *node* must have passed the type check against *schema*. *names* has the values of additional names, such as
    ``item``.
    """
    try:
        return _Evaluator(situation, schema).value(node, names or {})
    except _TooLongError:
        return Missing(f"the rule takes more than {_limits.STEPS:,} steps here")


def steps_of(node: Node, situation: Situation, schema: Schema) -> int:
    """Evaluate *node* in *situation*, and return the number of steps. The evaluation stops soon after 100,000 steps."""
    evaluator = _Evaluator(situation, schema)
    with suppress(_TooLongError):
        evaluator.value(node, {})
    return evaluator.steps


@dataclass(slots=True)
class _Evaluator:
    situation: Situation
    schema: Schema
    steps: int = 0

    def value(self, node: Node, names: Mapping[str, Value]) -> Value:  # noqa: C901, PLR0912  # one line for each kind
        self.steps += 1
        if self.steps > _limits.STEPS:
            raise _TooLongError
        match node:
            case Constant(value=value):
                return value
            case Name(name=name):
                return names[name] if name in names else self._root(name)
            case Field(of=of, name=name):
                return _field(self.value(of, names), name)
            case Index(of=of, keys=keys):
                return _entry(self.value(of, names), [self.value(key, names) for key in keys])
            case Not(of=of):
                found = self.value(of, names)
                return not found if isinstance(found, bool) else found
            case Junction(op=op, parts=parts):
                return _joined((self.value(part, names) for part in parts), decides=op == "or")
            case Compare(op=op, left=left, right=right):
                return _compared(op, self.value(left, names), self.value(right, names))
            case In(item=item, among=among):
                return self._among(self.value(item, names), among, names)
            case Sum(op=op, left=left, right=right):
                return _added(op, self.value(left, names), self.value(right, names))
            case Quantified():
                return self._quantified(node, names)
            case Listed(items=items):
                return Held(HeldItems(self.value(item, names) for item in items), ListOf(Bool()), "the list")
            case Apply():
                return self._applied(node, names)
            case If(condition=condition, then=then, otherwise=otherwise):
                found = self.value(condition, names)
                return self.value(then if found else otherwise, names) if isinstance(found, bool) else found
            case _:
                assert_never(node)

    def _root(self, name: str) -> Value:
        situation = self.situation
        match name:
            case "args":
                return Held(situation.arguments, self.schema.arguments_of(situation.tool), "args")
            case "state":
                return Held(situation.state, self.schema.state, "state")
            case "result":
                return hold(situation.result, self.schema.result_of(situation.tool), "result")
            case "talk":
                if situation.talk is None:
                    return Missing("the conversation before the call is not known")
                return Held(situation.talk.fields(), TALK, "talk")
            case "beside":
                return Fraction(situation.beside)
            case _:
                if situation.now is None:
                    return Missing("the time is not known")
                # Times of the data have no zone, and Python refuses to compare them with a time that has one.
                return situation.now if situation.now.tzinfo is None else Missing("the time must have no time zone")

    def _among(self, item: Value, among: Node, names: Mapping[str, Value]) -> Value:
        if isinstance(item, Missing):
            return item
        found = self.value(among, names)
        if isinstance(found, Held) and isinstance(found.kind, MapOf):
            return plain_text(_scalar(item)) in found.raw
        return _joined((_compared("=", item, other) for other in self._items(found)), decides=True)

    def _items(self, source: Value) -> Iterator[Value]:
        """Yield the items of the list *source*, and count each as one step of the evaluation.

        A list that may have more items than are known ends with a missing value; another value gives one missing value.
        """
        if not isinstance(source, Held) or not isinstance(source.kind, ListOf):
            yield source if isinstance(source, Missing) else Missing("no list")
            return
        kind = source.kind.item
        for at, raw in enumerate(source.raw):
            self.steps += 1
            yield raw if isinstance(source.raw, HeldItems) else hold(raw, kind, f"{source.where}[{at}]")
        if source.open:
            yield Missing(f"whether {source.where} has more is not known")

    def _quantified(self, node: Quantified, names: Mapping[str, Value]) -> Value:
        source = self.value(node.source, names)
        bodies = self._bodies(node, source, names)
        if node.op in ("any", "all"):
            return _joined(bodies, decides=node.op == "any")
        total = Fraction(0)
        for value in bodies:
            if isinstance(value, Missing):
                return value
            added = _bounded(total + (Fraction(value) if isinstance(value, bool | Fraction) else 0))
            if isinstance(added, Missing):
                return added
            total = added
        return total

    def _bodies(self, node: Quantified, source: Value, names: Mapping[str, Value]) -> Iterator[Value]:
        for item in self._items(source):
            if isinstance(item, Missing):
                yield item
            elif isinstance(item, Held) and isinstance(item.kind, PairsOf):
                left, right = item.raw
                yield self.value(node.body, {**names, node.names[0]: left, node.names[1]: right})
            else:
                yield self.value(node.body, {**names, node.names[0]: item})

    def _applied(self, node: Apply, names: Mapping[str, Value]) -> Value:
        function, arguments = node.function, node.arguments
        if function == "calls":
            return self._calls(arguments[0])
        if function == "given":
            return isinstance(arguments[0], Field) and arguments[0].name in self.situation.arguments
        if function == "assume":
            found = self.value(arguments[0], names)
            return self.value(arguments[1], names) if isinstance(found, Missing) else found
        values = [self.value(argument, names) for argument in arguments]
        missing = next((value for value in values if isinstance(value, Missing)), None)
        if missing is not None:
            return missing
        if function in ("zip", "consecutive"):
            return self._pairs(values)
        if function == "flat":
            return self._flat(values[0])
        return cast("Value", PURE[function](*values))

    def _calls(self, tool: Node) -> Value:
        name = str(tool.value) if isinstance(tool, Constant) else ""
        made = [{"args": call.arguments, "result": call.result} for call in self.situation.calls if call.tool == name]
        kind = ListOf(self.schema.call_of(name))
        return Held(made, kind, f'calls("{name}")', open=self.situation.talk is None)

    def _pairs(self, values: list[Value]) -> Value:
        lists = [list(self._items(value)) for value in values]
        left, right = (lists[0], lists[0][1:]) if len(lists) == 1 else lists
        kind = PairsOf(Bool(), Bool())
        pairs = [Held(pair, kind, "the pair") for pair in zip(left, right, strict=False)]
        if any(isinstance(value, Held) and value.open for value in values):
            return Missing("a list may have more items than are known")
        return Held(HeldItems(pairs), ListOf(kind), "the pairs")

    def _flat(self, value: Value) -> Value:
        inner: list[Value] = []
        for item in self._items(value):
            if isinstance(item, Missing):  # it may hold any number of items
                return item
            if isinstance(item, Held) and item.open:
                return Missing(f"whether {item.where} has more is not known")
            inner += self._items(item)
        return Held(HeldItems(inner), ListOf(Bool()), "the list")


def _field(of: Value, name: str) -> Value:
    if isinstance(of, Missing):
        return of
    assert isinstance(of, Held)
    assert isinstance(of.kind, RecordOf)
    kind, where = of.kind.field(name), f"{of.where}.{name}"
    if kind is None:  # a tool that the schema does not know
        return Missing(f"{where} is in no schema")
    return hold(of.raw.get(name), kind, where)


def _entry(of: Value, keys: list[Value]) -> Value:
    for part in (of, *keys):
        if isinstance(part, Missing):
            return part
    assert isinstance(of, Held)
    assert isinstance(of.kind, MapOf)
    texts = [plain_text(_scalar(key)) for key in keys]
    where = f"{of.where}[{', '.join(texts)[: _limits.SHOWN]}]"
    return hold(of.raw.get(texts[0] if len(texts) == 1 else tuple(texts)), of.kind.value, where)


def _scalar(value: Value) -> Scalar:
    assert not isinstance(value, Held | Missing)
    return value


def _joined(values: Iterator[Value], *, decides: bool) -> Value:
    """Combine conditions: by ``or`` if *decides* is true, by ``and`` if it is false.

    The result is *decides* if any value equals it, or else the first missing value, or else the negation of *decides*.
    """
    missing: Missing | None = None
    for value in values:
        if value is decides:
            return decides
        if missing is None and isinstance(value, Missing):
            missing = value
    return missing or (not decides)


def _compared(op: str, left: Value, right: Value) -> Value:
    for side in (left, right):
        if isinstance(side, Missing):
            return side
    return bool(COMPARE[op](left, right))


def _added(op: str, left: Value, right: Value) -> Value:
    match left, right:
        case (Missing() as missing, _) | (_, Missing() as missing):
            return missing
        case Fraction(), Fraction():
            return _bounded(left * right if op == "*" else left + right if op == "+" else left - right)
        case dt.datetime(), Fraction():
            return _moved(left, right if op == "+" else -right)
        case dt.date(), dt.date():
            gap = left - right
            return Fraction(gap.days * 86_400 + gap.seconds) + Fraction(gap.microseconds, 1_000_000)
        case _:
            return Missing("these cannot be added")


def _bounded(number: Fraction) -> Fraction | Missing:
    """Return *number*; a missing value if its numerator or denominator has more than 1,000 bits."""
    if max(number.numerator.bit_length(), number.denominator.bit_length()) > _MOST_COMPUTED_BITS:
        return Missing("a computed number is too long")
    return number


def _moved(moment: dt.datetime, seconds: Fraction) -> Value:
    try:
        return moment + dt.timedelta(microseconds=int(seconds * 1_000_000))
    except OverflowError:
        return Missing("a time that far away is no date")
