"""The operators and functions of rules: one row each, with its kinds, its value, its formula and its mutants.

The list is closed, and each takes time linear in the size of its arguments. `_kind_check.py`, `_evaluation.py` and
`_smt.py` walk over a tree and apply these rows to the arguments.
"""

from __future__ import annotations

import datetime as dt
import functools
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from interwhen.policy._kinds import (
    Bool,
    Date,
    Kind,
    ListOf,
    MapOf,
    Moment,
    Number,
    PairsOf,
    Quantity,
    Text,
    describe,
    joined,
)
from interwhen.policy._syntax import (
    WORDS,
    Apply,
    Constant,
    ExpressionError,
    Field,
    Listed,
    Name,
    Node,
    plain_text,
    show,
)
from interwhen.policy._values import Held, HeldItems, Missing, Value


class MisfitError(Exception):
    """The kinds of the parts of an expression do not match."""


@dataclass(frozen=True, slots=True)
class OnNodes:
    """A function that gets the nodes of the arguments, and decides itself which of them it walks over."""

    # Its first arguments are those of the walker: `(scope, *nodes)` for kinds, `(evaluation, names, *nodes)` for
    # values, and `(encoder, names, *nodes)` for formulas.

    call: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Builtin:
    """An operator or a function."""

    name: str
    says: str
    """How it is written and what it gives, for messages and for models that write rules."""
    takes: tuple[Any, ...]
    """The classes of the kinds of the arguments. ``...`` at its end: one or more arguments of the first class."""
    kind: Callable[..., Kind | None] | OnNodes
    """The kind of the result, by those of the arguments. ``None``: they do not fit."""
    value: Callable[..., Any] | OnNodes
    """The value, by those of the arguments. If one of these is missing, so is the value."""
    term: Callable[..., Any] | OnNodes
    """The encoding in Z3, from the encoder and the encodings of the arguments."""
    check: Callable[..., str] = lambda *_nodes: ""
    """Checks the nodes of the arguments. Returns an error message, or an empty text."""
    # Without a default: a row that forgot it would show an answer in feedback, and no test would fail.
    shows: Literal["", "one", "parts"] = field(kw_only=True)
    """What its value reveals: ``one`` of its last two arguments, or ``parts`` of its arguments."""
    twins: tuple[str, ...] = ()
    """The builtins that a mutant has in its place."""
    is_opaque: bool = False
    """Whether mutants leave its arguments alone: these are words or names, not numbers or conditions."""


_SINGLE = (Bool, Number, Quantity, Text, Date, Moment)
_ORDERED = (Number, Quantity, Date, Moment)


def common(kinds: Iterable[Kind]) -> Kind:
    shared: Kind | None = None
    for kind in kinds:
        both = kind if shared is None else joined(shared, kind)
        if shared is not None and both is None:
            raise MisfitError(
                f"both sides must be of one kind, got {describe(shared)} and {describe(kind)}", "compare like with like"
            )
        shared = both
    if shared is None:
        raise ExpressionError("a list must have at least one item to compare with, got []: add one")
    return shared


def comparable(left: Kind, right: Kind) -> Kind:
    # Values that can never be equal are a mistake of the rule, so their comparison raises `MisfitError`.
    shared = common((left, right))
    match left, right:
        case Text(words=one), Text(words=other) if one is not None and other is not None and not one & other:
            raise MisfitError(
                f"both sides must have a value in common, got {describe(left)[:120]} and {describe(right)[:120]}, "
                "which are never equal,",
                "correct the word",
            )
        case _:
            return shared


def _in_kind(item: Kind, among: Kind) -> Kind | None:
    match among:
        case ListOf(item=wanted):
            if not isinstance(wanted, _SINGLE):
                raise MisfitError(
                    f"the items of a list after 'in' must be single values, got {describe(wanted)}",
                    "use 'any' and compare a field",
                )
            for part in among.parts:  # a word that the item can never be equal to is an error
                comparable(item, part)
            comparable(item, wanted)
        case MapOf(keys=(wanted,), open=False):
            comparable(item, wanted)
        case MapOf():
            raise MisfitError(
                "'in' must ask a map that is known whole, got one of which only single entries are known,",
                "look the entry up with [...]",
            )
        case _:
            raise MisfitError(f"'in' must ask a list or a map, got {describe(among)}", "correct it")
    return Bool()


def _sum_kind(op: str, left: Kind, right: Kind) -> Kind:
    kind: Kind | None = None
    match op, left, right:
        case "*", Number(whole=one), Number(whole=other):
            kind = Number(one and other)
        case ("*", Quantity(dimension=dimension), Number()) | ("*", Number(), Quantity(dimension=dimension)):
            kind = Quantity(dimension)
        case ("-", Moment(), Moment()) | ("-", Date(), Date()):
            kind = Quantity("time")
        case "+" | "-", Moment(), Quantity(dimension="time"):
            kind = left
        case ("+" | "-", Number(), Number()) | ("+" | "-", Quantity(), Quantity()):
            kind = joined(left, right)
    if kind is None:
        raise MisfitError(
            f"{op} must join numbers, quantities of one unit or times, got {describe(left)} {op} {describe(right)}",
            "correct it",
        )
    return kind


def _calls_kind(scope: Any, tool: Node) -> Kind:
    if not isinstance(tool, Constant):
        raise MisfitError(
            "calls(...) must have one argument, the name of a tool as a text, got another", 'write calls("tool")'
        )
    if tool.value not in scope.calls:
        known = ", ".join(scope.calls)[:200]
        raise ExpressionError(f"calls(...) must name one of the tools {known}, got {tool.value!r:.80}: correct it")
    return ListOf(scope.calls[tool.value])


def _is_written(*nodes: Node) -> str:
    last = nodes[-1]
    parts = last.items if isinstance(last, Listed) else (last,)
    fits = all(isinstance(part, Constant) and str(part.value).strip(" *") for part in parts)
    return "" if fits else "the last argument must be written out as texts"


def _is_argument(node: Node) -> str:
    fits = isinstance(node, Field) and node.of == Name("args")
    return "" if fits else "the argument of given must be args.NAME"


_MOST_BITS = 1_000
"""The most bits of a computed number. With more, the conversion to a float or a text may raise an exception."""
_LONGEST = 200_000
"""The longest text that ``mentions`` searches, in characters. For a longer text its result is missing."""
_LATIN = re.compile(r"[A-Za-z]")


def combined(values: Iterable[Value], *, decides: bool) -> Value:
    # The `or` (if `decides` is true) or the `and` of `values`. A missing value counts only if no value decides.
    missing: Missing | None = None
    for value in values:
        if value is decides:
            return decides
        if missing is None and isinstance(value, Missing):
            missing = value
    return missing or (not decides)


def bounded(number: Fraction) -> Fraction | Missing:
    if max(number.numerator.bit_length(), number.denominator.bit_length()) > _MOST_BITS:
        return Missing("a computed number is too long")
    return number


def _plus(left: Any, right: Fraction) -> Value:
    if isinstance(left, Fraction):
        return bounded(left + right)
    try:
        return left + dt.timedelta(microseconds=int(right * 1_000_000))  # type: ignore[no-any-return]
    except OverflowError:
        return Missing("a time that far away is no date")


def _minus(left: Any, right: Any) -> Value:
    if isinstance(right, Fraction):
        return _plus(left, -right)
    gap: dt.timedelta = left - right
    return Fraction(gap.days * 86_400 + gap.seconds) + Fraction(gap.microseconds, 1_000_000)


def _is_in(run: Any, names: Any, item: Node, among: Node) -> Value:
    value = run.value(item, names)
    if isinstance(value, Missing):
        return value
    container = run.value(among, names)
    if isinstance(container, Held) and isinstance(container.kind, MapOf):
        return plain_text(value) in container.raw
    return combined(
        (other if isinstance(other, Missing) else value == other for other in run.items(container)), decides=True
    )


def _chosen(run: Any, names: Any, condition: Node, then: Node, otherwise: Node) -> Any:
    truth = run.value(condition, names)
    return run.value(then if truth else otherwise, names) if isinstance(truth, bool) else truth


def _assumed(run: Any, names: Any, condition: Node, otherwise: Node) -> Any:
    first = run.value(condition, names)
    return run.value(otherwise, names) if isinstance(first, Missing) else first


def _length(of: Held) -> Value:
    if of.open:
        return Missing(f"how many {of.where} has is not known")
    return Fraction(len(of.raw))


def _end(at: int, of: Held) -> Value:
    if of.open or not of.raw:
        return Missing(f"{of.where} is empty")
    return of.item(at)


def _with_items(function: Callable[..., Value]) -> OnNodes:
    return OnNodes(lambda run, names, *nodes: run.known(functools.partial(function, run), nodes, names))


def _pairs(run: Any, one: Held, other: Held | None = None) -> Value:
    left = list(run.items(one))
    right = left[1:] if other is None else list(run.items(other))
    if one.open or (other is not None and other.open):
        return Missing("a list may have more items than are known")
    kind = PairsOf(Bool(), Bool())
    pairs = HeldItems(Held(pair, kind, "the pair") for pair in zip(left, right, strict=False))
    return Held(pairs, ListOf(kind), "the pairs")


def _flat(run: Any, of: Held) -> Value:
    inner: list[Value] = []
    for item in run.items(of):
        if isinstance(item, Missing):  # it may hold any number of items
            return item
        if isinstance(item, Held) and item.open:
            return Missing(f"whether {item.where} has more is not known")
        inner += run.items(item)
    return Held(HeldItems(inner), ListOf(Bool()), "the list")


@functools.lru_cache(maxsize=256)
def _stems(words: tuple[str, ...]) -> tuple[tuple[str, bool], ...]:
    stems = ((_spaced(word.rstrip("*")), word.endswith("*")) for word in words)
    return tuple((stem, open_) for stem, open_ in stems if stem)


def _spaced(text: str) -> str:
    return " ".join(text.lower().replace("\u2019", "'").split())


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _holds(text: str, stem: str, *, may_go_on: bool) -> bool:
    # Return whether `text` has `stem` as a whole word or, with `may_go_on`, as the start of a word.
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
    stems = _stems(tuple(str(word) for word in words.raw))
    if any(_holds(flat, stem, may_go_on=may_go_on) for stem, may_go_on in stems):
        return True
    if text.strip() and not _LATIN.search(text):
        return Missing("the words are not understood")
    return False


# In the functions below, `e` is the encoder of terms for Z3.


def _length_term(e: Any, of: Any) -> Any:
    if not isinstance(of, tuple):
        return e.z3.ToReal(e.length(of))
    return e.z3.Sum(e.zero, *(e.z3.If(item.there, e.one, e.zero) for item in of))


def _test_term(name: str) -> OnNodes:
    return OnNodes(lambda e, names, of, part: e.test(name, part, e.encode(of, names)))


def _unknown_term(name: str) -> OnNodes:
    return OnNodes(lambda e, _names, of: e.z3.Bool(f"{name}({show(of)})", e.context))


def _condition(*_kinds: Kind) -> Kind:
    return Bool()


def _junction(name: str, twin: str, *, decides: bool) -> Builtin:
    return Builtin(
        name,
        f"A {name} B",
        (Bool, ...),
        kind=_condition,
        value=OnNodes(lambda run, names, *parts: combined((run.value(at, names) for at in parts), decides=decides)),
        term=lambda e, *parts: e.z3.Or(*parts) if decides else e.z3.And(*parts),
        twins=(twin,),
        shows="",
    )


def _comparison(name: str, test: Callable[[Any, Any], Any], *twins: str) -> Builtin:
    allowed = _SINGLE if name in ("=", "!=") else _ORDERED

    def kind(left: Kind, right: Kind) -> Kind:
        shared = comparable(left, right)
        if not isinstance(shared, allowed):
            raise MisfitError(
                f"the values of {name} must have an order, or be texts or true/false for = and !=, got "
                f"{describe(shared)}",
                "compare a field of it",
            )
        return Bool()

    return Builtin(
        name,
        f"A {name} B",
        (object, object),
        kind=kind,
        value=test,
        term=lambda _e, a, b: test(a, b),
        twins=twins,
        shows="",
    )


def _arithmetic(name: str, value: Callable[[Any, Any], Value], term: Callable[[Any, Any], Any], *twins: str) -> Builtin:
    return Builtin(
        name,
        f"A {name} B",
        (object, object),
        kind=functools.partial(_sum_kind, name),
        value=value,
        term=lambda _e, a, b: term(a, b),
        twins=twins,
        shows="",
    )


_ROWS = (
    _junction("and", "or", decides=False),
    _junction("or", "and", decides=True),
    Builtin("not", "not A", (Bool,), kind=_condition, value=operator.not_, term=lambda e, of: e.z3.Not(of), shows=""),
    Builtin(
        "if",
        "if A then B else C",
        (Bool, object, object),
        kind=lambda _, then, otherwise: common((then, otherwise)),
        value=OnNodes(_chosen),
        term=OnNodes(lambda e, names, *nodes: e.choice(names, *nodes)),
        shows="one",
    ),
    _comparison("=", operator.eq, "!="),
    _comparison("!=", operator.ne, "="),
    _comparison("<", operator.lt, "<=", ">"),
    _comparison("<=", operator.le, "<", ">="),
    _comparison(">", operator.gt, ">=", "<"),
    _comparison(">=", operator.ge, ">", "<="),
    Builtin(
        "in",
        "A in LIST or MAP",
        (object, object),
        kind=_in_kind,
        value=OnNodes(_is_in),
        term=lambda e, item, among: e.among(item, among),
        shows="",
    ),
    _arithmetic("+", _plus, operator.add, "-"),
    _arithmetic("-", _minus, operator.sub, "+"),
    _arithmetic("*", lambda a, b: bounded(a * b), operator.mul),
    Builtin(
        "length",
        "length(LIST or MAP): how many there are",
        (ListOf | MapOf,),
        kind=lambda of: None if isinstance(of, MapOf) and of.open else Number(whole=True),
        value=_length,
        term=_length_term,
        shows="",
    ),
    Builtin(
        "first",
        "first(LIST): its first item",
        (ListOf,),
        kind=lambda of: of.item,
        value=functools.partial(_end, 0),
        term=lambda e, of: e.item(of, 0),
        shows="parts",
        twins=("last",),
    ),
    Builtin(
        "last",
        "last(LIST): its last item",
        (ListOf,),
        kind=lambda of: of.item,
        value=functools.partial(_end, -1),
        term=lambda e, of: e.item(of, -1),
        shows="parts",
        twins=("first",),
    ),
    Builtin(
        "values",
        "values(MAP): a list",
        (MapOf,),
        kind=lambda of: None if of.open else ListOf(of.value),
        value=lambda of: Held(list(of.raw.values()), ListOf(of.kind.value), f"values({of.where})"),
        term=lambda e, of: e.free_list("values", of),
        shows="parts",
    ),
    Builtin(
        "keys",
        "keys(MAP): a list",
        (MapOf,),
        kind=lambda of: None if of.open or len(of.keys) > 1 else ListOf(of.keys[0]),
        value=lambda of: Held(list(of.raw), ListOf(of.kind.keys[0]), f"keys({of.where})"),
        term=lambda e, of: e.free_list("keys", of),
        shows="parts",
    ),
    Builtin(
        "flat",
        "flat(LIST of LISTS): one list",
        (ListOf,),
        kind=lambda of: of.item if isinstance(of.item, ListOf) else None,
        value=_with_items(_flat),
        term=lambda e, of: e.free_list("flat", of),
        shows="parts",
    ),
    Builtin(
        "consecutive",
        "consecutive(LIST): each item with the next one",
        (ListOf,),
        kind=lambda of: ListOf(PairsOf(of.item, of.item)),
        value=_with_items(_pairs),
        term=lambda e, of: e.pairs(e.items(of), e.items(of)[1:]),
        shows="parts",
    ),
    Builtin(
        "zip",
        "zip(LIST, LIST): the items at the same places",
        (ListOf, ListOf),
        kind=lambda one, other: ListOf(PairsOf(one.item, other.item)),
        value=_with_items(_pairs),
        term=lambda e, one, other: e.pairs(e.items(one), e.items(other)),
        shows="parts",
    ),
    Builtin(
        "max",
        "max(A, B): the larger of two numbers or amounts",
        (Number | Quantity, Number | Quantity),
        kind=joined,
        value=max,
        term=lambda e, a, b: e.z3.If(a >= b, a, b),
        shows="one",
        twins=("min",),
    ),
    Builtin(
        "min",
        "min(A, B): the smaller of two numbers or amounts",
        (Number | Quantity, Number | Quantity),
        kind=joined,
        value=min,
        term=lambda e, a, b: e.z3.If(e.z3.Not(a >= b), a, b),
        shows="one",
        twins=("max",),
    ),
    Builtin(
        "day",
        "day(MOMENT): its date",
        (Moment,),
        kind=lambda _: Date(),
        value=dt.datetime.date,
        term=lambda e, of: (e.z3.ToReal(e.z3.ToInt(of / 86_400)) + 1) * 86_400,
        shows="",
    ),
    Builtin(
        "starts_with",
        'starts_with(TEXT, "text")',
        (Text, Text),
        kind=_condition,
        value=str.startswith,
        term=_test_term("starts_with"),
        check=_is_written,
        shows="",
    ),
    Builtin(
        "contains",
        'contains(TEXT, "text")',
        (Text, Text),
        kind=_condition,
        value=str.__contains__,
        term=_test_term("contains"),
        check=_is_written,
        shows="",
    ),
    Builtin(
        "mentions",
        'mentions(TEXT, ["yes", "go ahead", "confirm*"]): whether it has one of these words or phrases, in any case; '
        "texts in other scripts are not understood",
        (Text, ListOf),
        kind=lambda _, words: Bool() if isinstance(words.item, Text) else None,
        value=_mentions,
        term=_test_term("mentions"),
        check=_is_written,
        is_opaque=True,
        shows="",
    ),
    Builtin(
        "given",
        "given(args.NAME): whether the call has this argument",
        (object,),
        kind=_condition,
        value=OnNodes(lambda run, _names, argument: argument.name in run.situation.arguments),
        term=_unknown_term("given"),
        check=_is_argument,
        is_opaque=True,
        shows="",
    ),
    Builtin(
        "unjudged",
        'unjudged("what"): it cannot be decided here, so it is not known',
        (Text,),
        kind=_condition,
        value=lambda what: Missing(f"{what} is not judged here"),
        term=_unknown_term("unjudged"),
        check=_is_written,
        is_opaque=True,
        shows="",
    ),
    Builtin(
        "assume",
        "assume(A, B): A; where A is not known, B",
        (Bool, Bool),
        kind=_condition,
        value=OnNodes(_assumed),
        term=lambda e, condition, otherwise: e.assumed(condition, otherwise),
        shows="",
    ),
    Builtin(
        "calls",
        'calls("tool"): the earlier calls of this tool',
        (object,),
        kind=OnNodes(_calls_kind),
        value=OnNodes(lambda run, _names, tool: run.calls(tool.value)),
        term=OnNodes(lambda e, _names, tool: e.calls_of(tool.value)),
        is_opaque=True,
        shows="",
    ),
)

BUILTINS: Mapping[str, Builtin] = {row.name: row for row in _ROWS}
FUNCTIONS = tuple(row for row in _ROWS if row.name.isidentifier() and row.name not in WORDS)
"""The functions, which are written ``NAME(...)``."""


def builtin(node: Apply) -> Builtin:
    if node.function not in BUILTINS:
        known = ", ".join(row.name for row in FUNCTIONS)
        raise ExpressionError(
            f"a function must be a definition or one of {known}, got {node.function!r:.80}: correct it"
        )
    return BUILTINS[node.function]
