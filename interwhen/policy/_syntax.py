"""The expression language of rules: syntax tree, tokens, parser and the list of built-in functions."""

from __future__ import annotations

import datetime as dt
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any, Literal, NamedTuple, TypeAlias, TypeGuard, assert_never, cast, get_args

from interwhen._types.errors import UsageError
from interwhen.policy import _limits
from interwhen.policy._kinds import Bool, Date, Kind, ListOf, MapOf, Moment, Number, PairsOf, Quantity, Text, unit_named
from interwhen.toolkit.quantities import write_number

Scalar: TypeAlias = bool | Fraction | str | dt.date | dt.datetime
Comparison = Literal["=", "!=", "<", "<=", ">", ">="]
Counting = Literal["any", "all", "count", "sum"]
Arithmetic = Literal["+", "-", "*"]
COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
"""The Python function for each comparison operator."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal, such as ``5`` or ``"open"``, with its kind."""

    value: Scalar
    """The value; an amount with a unit is in the base unit of its dimension, and 5 % is 1/20."""
    kind: Kind


@dataclass(frozen=True, slots=True)
class Name:
    """A reference to a root name (``args``, ``state``, ...), a variable, or a definition that is not expanded yet."""

    name: str


@dataclass(frozen=True, slots=True)
class Field:
    """Access to the field *name* of the record *of*."""

    of: Node
    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """A look-up in the map *of*, under *keys*."""

    of: Node
    keys: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The negation of a condition."""

    of: Node


@dataclass(frozen=True, slots=True)
class Junction:
    """A conjunction (``and``) or a disjunction (``or``) of conditions."""

    op: Literal["and", "or"]
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison of two values of the same kind."""

    op: Comparison
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class In:
    """A membership test: whether *item* is in the list *among*, or is a key of the map *among*."""

    item: Node
    among: Node


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum, a difference or a product."""

    op: Arithmetic
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Quantified:
    """A quantifier or an aggregate over a list: it evaluates *body* for each item of *source*.

    *names* are the variables for the item: one name, or two if the items are pairs.
    """

    op: Counting
    names: tuple[str, ...]
    source: Node
    body: Node


@dataclass(frozen=True, slots=True)
class Listed:
    """A list that is written item by item, such as ``[1, args.size]``."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Apply:
    """A call of a built-in function, or of a definition that is not expanded yet."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class If:
    """A conditional expression."""

    condition: Node
    then: Node
    otherwise: Node


Node: TypeAlias = (
    Constant | Name | Field | Index | Not | Junction | Compare | In | Sum | Quantified | Listed | Apply | If
)


_NODES = get_args(Node)


def children(node: Node) -> tuple[Node, ...]:
    """Return the direct children of *node*, in the order of :func:`rebuild`."""
    values = [getattr(node, field.name) for field in fields(node)]
    listed = (value if isinstance(value, tuple) else (value,) for value in values)
    return tuple(part for parts in listed for part in parts if isinstance(part, _NODES))


def rebuild(node: Node, new: tuple[Node, ...]) -> Node:
    """Return a copy of *node* with *new* as its direct children.

    *new* must have as many nodes as :func:`children` returns for *node*, in the same order.
    """
    below = iter(new)
    changes: dict[str, Any] = {}
    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, _NODES):
            changes[field.name] = next(below)
        elif isinstance(value, tuple):
            changes[field.name] = tuple(next(below) if isinstance(part, _NODES) else part for part in value)
    return replace(node, **changes)


def walk(node: Node) -> Iterator[Node]:
    """Yield *node* and all its descendants, parents first."""
    yield node
    for child in children(node):
        yield from walk(child)


def show(node: Node) -> str:  # noqa: C901, PLR0912  # one line for each kind of node
    """Return the source text of *node*, with brackets around operators and quantifiers.

    Amounts are written in the base unit of their dimension: ``24 hours`` becomes ``86400 s``.
    """
    match node:
        case Constant(value=value, kind=kind):
            return _constant(value, kind)
        case Name(name=name):
            return name
        case Field(of=of, name=name):
            return f"{show(of)}.{name}"
        case Index(of=of, keys=keys):
            return f"{show(of)}[{_listed(keys)}]"
        case Not(of=of):
            return f"(not {show(of)})"
        case Junction(op=op, parts=parts):
            return f"({f' {op} '.join(map(show, parts))})"
        case Compare(op=op, left=left, right=right) | Sum(op=op, left=left, right=right):
            return f"({show(left)} {op} {show(right)})"
        case In(item=item, among=among):
            return f"({show(item)} in {show(among)})"
        case Quantified(op=op, names=names, source=source, body=body):
            return f"({op} {', '.join(names)} in {show(source)}: {show(body)})"
        case Listed(items=items):
            return f"[{_listed(items)}]"
        case Apply(function=function, arguments=arguments):
            return f"{function}({_listed(arguments)})"
        case If(condition=condition, then=then, otherwise=otherwise):
            return f"(if {show(condition)} then {show(then)} else {show(otherwise)})"
        case _:
            assert_never(node)


def _listed(nodes: tuple[Node, ...]) -> str:
    return ", ".join(map(show, nodes))


_FIRST_UNITS = {"time": "s", "data": "byte", "length": "m", "mass": "g", "volume": "l", "angle": "degree"}


def _constant(value: Scalar, kind: Kind) -> str:
    if isinstance(value, str):
        return f"'{value}'" if '"' in value else f'"{value}"'
    number = plain_text(value)
    if isinstance(kind, Quantity):
        unit = _FIRST_UNITS.get(kind.dimension, kind.dimension)
        return f"${number}" if unit == "USD" and not number.startswith("-") else f"{number} {unit}"
    return number


def plain_text(value: Scalar) -> str:
    """Return *value* as text without quotes and units, such as ``true`` or ``1/3``.

    The keys of maps in data have this form.
    """
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


# The tokens of an expression.

WORDS = frozenset(("and", "or", "not", "in", "if", "then", "else", "any", "all", "count", "sum", "true", "false"))
_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]++)"
    r"|(?P<moment>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(?::[0-9]{2})?+)"
    r"|(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"|(?P<number>\$[0-9]++(?:\.[0-9]++)?+|[0-9]++(?:\.[0-9]++)?+%?)"
    r"""|(?P<text>"[^"\n]*+"|'[^'\n]*+')"""
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*+)"
    r"|(?P<sign><=|>=|!=|[-=<>+*.,:()\[\]])"
)
_UNIT = re.compile(r"[ \t]*+([A-Za-z]++)")


class ExpressionError(UsageError):
    """An expression cannot be parsed, exceeds a limit, or fails the type check.

    ``at`` is the offset of the error in the expression, and 0 if it is not known.
    """

    def __init__(self, message: str, at: int = 0) -> None:
        self.at = at
        super().__init__(message)


class Token(NamedTuple):
    """A word, an operator or a literal, with its offset *at* in the expression."""

    form: Literal["word", "name", "sign", "constant", "end"]
    """``word`` is a reserved word such as ``and``, ``name`` any other word, and ``end`` the end of the expression."""
    text: str
    """The characters of the token, without the unit of an amount; ``the end`` for the end token."""
    at: int
    constant: Constant | None = None
    """The value of a literal; ``None`` for other tokens."""


def tokens(text: str) -> list[Token]:
    """Split *text* into tokens, with an end token last.

    Raises :class:`ExpressionError` if *text* is too long, or has a character, unit, date or number that is not allowed.
    """
    if len(text) > _limits.EXPRESSION_CHARACTERS:
        raise ExpressionError(
            f"an expression must have at most {_limits.EXPRESSION_CHARACTERS:,} characters, got "
            f"{len(text):,}: shorten it"
        )
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ExpressionError(
                f"an expression must be made of names, values and operators, got {text[at]!r} at character "
                f"{at}: remove it",
                at,
            )
        form, start, at = match.lastgroup, at, match.end()
        if form == "word":
            found.append(Token("word" if match[0] in WORDS else "name", match[0], start))
        elif form == "sign":
            found.append(Token("sign", match[0], start))
        elif form == "number":
            constant, at = _number(text, match[0], start, at)
            found.append(Token("constant", match[0], start, constant))
        elif form != "space":
            found.append(Token("constant", match[0], start, _constant_token(match[0], form, start)))
    return [*found, Token("end", "the end", len(text))]


def _number(text: str, written: str, start: int, at: int) -> tuple[Constant, int]:
    digits = written.strip("$%")
    if max(map(len, digits.split("."))) > _limits.DIGITS:
        raise ExpressionError(
            f"a number must have at most {_limits.DIGITS} digits, got more at character {start}: shorten it", start
        )
    value, kind = Fraction(digits), Number(whole="." not in digits)
    if written[0] == "$":
        return Constant(value, Quantity("USD")), at
    if written[-1] == "%":
        return Constant(value / 100, Number()), at
    unit = _UNIT.match(text, at)
    if unit is None or unit[1] in WORDS:
        return Constant(value, kind), at
    measure = unit_named(unit[1])
    if measure is None:
        raise ExpressionError(
            f"a unit must be one that means one thing only, such as hours, kg or USD, got {unit[1]!r:.40} "
            f"at character {unit.start(1)}: choose another",
            at,
        )
    return Constant(value * measure.factor, Quantity(measure.dimension)), unit.end()


def _constant_token(written: str, form: str | None, start: int) -> Constant:
    if form == "text":
        return Constant(written[1:-1], Text(frozenset({written[1:-1]})))
    try:
        if form == "date":
            return Constant(dt.date.fromisoformat(written), Date())
        return Constant(dt.datetime.fromisoformat(written), Moment())
    except ValueError as error:
        raise ExpressionError(
            f"a date must be valid, got {written!r} at character {start} ({error}): write it such as 2024-05-15", start
        ) from error


# The parser: it builds the tree of an expression by this grammar, and evaluates nothing.
#
# ::
#
#     expression   any | all | count | sum  NAME[, NAME] in LIST : expression
#                  if expression then expression else expression
#                  disjunction
#     disjunction  conjunction (or conjunction)*
#     conjunction  negation (and negation)*
#     negation     not negation | comparison
#     comparison   sum [= | != | < | <= | > | >= sum]   |   sum [not] in sum
#     sum          product (+ | - product)*
#     product      unary (* unary)*
#     place        NAME | NAME(expression, ...) | place.NAME | place[expression, ...] | [expression, ...] | (expression)

__all__ = ["ExpressionError", "parse"]

_COMPARISONS = get_args(Comparison)
_COUNTING = get_args(Counting)


def parse(text: str) -> Node:
    """Parse *text* into a tree.

    Raises :class:`ExpressionError` if *text* is not an expression or exceeds a limit.
    """
    reader = _Reader(tokens(text))
    found = reader.expression()
    reader.expect("the end")
    return found


class _Reader:
    """A recursive-descent parser for one expression."""

    def __init__(self, listed: list[Token]) -> None:
        self._tokens = listed
        self._at = 0
        self._depth = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _is(self, *texts: str) -> bool:
        return self._next.form in ("word", "sign", "end") and self._next.text in texts

    def _take(self, *texts: str) -> Token | None:
        if not self._is(*texts):
            return None
        self._at += 1
        return self._tokens[self._at - 1]

    def expect(self, text: str) -> None:
        if self._take(text) is None:
            raise ExpressionError(
                f"the expression must have {text!r} at character {self._next.at}, got "
                f"{self._next.text!r:.60}: correct it",
                self._next.at,
            )

    def _name(self) -> str:
        if self._next.form != "name":
            raise ExpressionError(
                f"the expression must have a name at character {self._next.at}, got "
                f"{self._next.text!r:.60}: correct it",
                self._next.at,
            )
        self._at += 1
        return self._tokens[self._at - 1].text

    def _limit(self, number: int, says: str) -> None:
        if number > _limits.DEPTH:
            raise ExpressionError(
                f"an expression must be {says}, got more at character {self._next.at}: divide it by definitions",
                self._next.at,
            )

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        self._depth += 1
        self._limit(self._depth, f"nested at most {_limits.DEPTH} levels deep")
        yield
        self._depth -= 1

    def expression(self) -> Node:
        with self._deeper():
            if not self._take("if"):
                return self._junction("or")
            condition = self.expression()
            self.expect("then")
            then = self.expression()
            self.expect("else")
            return If(condition, then, self.expression())

    def _junction(self, op: str) -> Node:
        part = self._negation if op == "and" else (lambda: self._junction("and"))
        parts = [part()]
        while self._take(op):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Junction("and" if op == "and" else "or", tuple(parts))

    def _negation(self) -> Node:
        times = 0
        while self._take("not"):
            times += 1
        self._limit(times, f"negated at most {_limits.DEPTH} times")
        found = self._comparison()
        for _ in range(times):
            found = Not(found)
        return found

    def _comparison(self) -> Node:
        left = self._sum()
        sign = self._take(*_COMPARISONS)
        if sign is not None:
            return Compare(cast("Comparison", sign.text), left, self._sum())
        if self._is("not") and self._tokens[self._at + 1].text == "in":
            self._at += 2
            return Not(In(left, self._sum()))
        return In(left, self._sum()) if self._take("in") else left

    def _sum(self) -> Node:
        return self._chain(self._product, ("+", "-"))

    def _product(self) -> Node:
        return self._chain(self._unary, ("*",))

    def _chain(self, part: Callable[[], Node], signs: tuple[str, ...]) -> Node:
        found, terms = part(), 0
        while (sign := self._take(*signs)) is not None:
            terms += 1
            self._few(terms)
            found = Sum(cast("Arithmetic", sign.text), found, part())
        return found

    def _few(self, number: int) -> None:
        self._limit(number, f"made of at most {_limits.DEPTH} terms in a row")

    def _unary(self) -> Node:
        if not self._take("-"):
            return self._place()
        at, found = self._next.at, self._place()
        if isinstance(found, Constant) and isinstance(found.kind, Number | Quantity):
            return Constant(-cast("Fraction", found.value), found.kind)
        raise ExpressionError(
            f"a minus sign must have a number or a left side, got one without at character {at - 1}: write "
            "a - b, or -1",
            at,
        )

    def _place(self) -> Node:
        found, steps = self._primary(), 0
        while self._is(".", "["):
            steps += 1
            self._few(steps)
            if self._take("."):
                found = Field(found, self._name())
            else:
                self._take("[")
                found = Index(found, self._list("]"))
        return found

    def _list(self, close: str) -> tuple[Node, ...]:
        items: list[Node] = []
        while not self._is(close):
            if items:
                self.expect(",")
            items.append(self.expression())
        self.expect(close)
        return tuple(items)

    def _primary(self) -> Node:
        token = self._next
        if token.constant is not None:
            self._at += 1
            return token.constant
        if found := self._take("true", "false"):
            return Constant(found.text == "true", Bool())
        if self._take("("):
            inner = self.expression()
            self.expect(")")
            return inner
        if self._take("["):
            return Listed(self._list("]"))
        if self._is("if"):
            return self.expression()
        quantifier = self._take(*_COUNTING)
        return self._named() if quantifier is None else self._quantified(cast("Counting", quantifier.text))

    def _quantified(self, op: Counting) -> Node:
        names = [self._name()]
        if self._take(","):
            names.append(self._name())
        self.expect("in")
        with self._deeper():
            source = self._place()
        self.expect(":")
        return Quantified(op, tuple(names), source, self.expression())

    def _named(self) -> Node:
        name = self._name()
        return Apply(name, self._list(")")) if self._take("(") else Name(name)


# The built-in functions of expressions: a closed list. Each takes time linear in the size of its arguments.


@dataclass(frozen=True, slots=True)
class Function:
    """The signature of a built-in function.

    ``says`` describes the function in messages, and ``arguments`` is the number of its arguments.
    """

    says: str
    arguments: int
    kind: Callable[..., Kind | None]
    """Maps the kinds of the arguments to the kind of the result; ``None`` if the arguments have wrong kinds."""
    problem: Callable[[tuple[Node, ...]], str] = lambda _arguments: ""
    """Checks the nodes of the arguments. Returns an error message, or an empty text."""


def _is_closed(of: Kind) -> TypeGuard[MapOf]:
    """Tell whether *of* is a map whose entries are all known."""
    return isinstance(of, MapOf) and not of.open


def _item(of: Kind) -> Kind | None:
    return of.item if isinstance(of, ListOf) else None


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


def _all_of(wanted: type[Kind]) -> Callable[..., Kind | None]:
    """Return a function for :attr:`Function.kind` that gives ``Bool`` if all arguments have the kind *wanted*."""
    return lambda *kinds: Bool() if all(isinstance(kind, wanted) for kind in kinds) else None


def _mentions(of: Kind, words: Kind) -> Kind | None:
    fits = isinstance(of, Text) and isinstance(words, ListOf) and isinstance(words.item, Text)
    return Bool() if fits else None


def _written(arguments: tuple[Node, ...]) -> str:
    last = arguments[-1]
    parts = last.items if isinstance(last, Listed) else (last,)
    fits = all(isinstance(part, Constant) and str(part.value).strip(" *") for part in parts)
    return "" if fits else "the last argument must be written out as texts"


def _of_arguments(arguments: tuple[Node, ...]) -> str:
    is_argument = isinstance(arguments[0], Field) and arguments[0].of == Name("args")
    return "" if is_argument else "the argument of given must be args.NAME"


FUNCTIONS: Mapping[str, Function] = {
    "length": Function(
        "length(LIST or MAP): how many there are",
        1,
        lambda of: Number(whole=True) if isinstance(of, ListOf) or _is_closed(of) else None,
    ),
    "first": Function("first(LIST): its first item", 1, _item),
    "last": Function("last(LIST): its last item", 1, _item),
    "values": Function("values(MAP): a list", 1, lambda of: ListOf(of.value) if _is_closed(of) else None),
    "keys": Function(
        "keys(MAP): a list", 1, lambda of: ListOf(of.keys[0]) if _is_closed(of) and len(of.keys) == 1 else None
    ),
    "flat": Function(
        "flat(LIST of LISTS): one list", 1, lambda of: _item(of) if isinstance(_item(of), ListOf) else None
    ),
    "consecutive": Function("consecutive(LIST): each item with the next one", 1, lambda of: _zip(of, of)),
    "zip": Function("zip(LIST, LIST): the items at the same places", 2, _zip),
    "max": Function("max(A, B): the larger of two numbers or amounts", 2, _larger),
    "min": Function("min(A, B): the smaller of two numbers or amounts", 2, _larger),
    "day": Function("day(MOMENT): its date", 1, lambda of: Date() if isinstance(of, Moment) else None),
    "starts_with": Function('starts_with(TEXT, "text")', 2, _all_of(Text), _written),
    "contains": Function('contains(TEXT, "text")', 2, _all_of(Text), _written),
    "mentions": Function(
        'mentions(TEXT, ["yes", "go ahead", "confirm*"]): whether it has one of these words or phrases, in any case; '
        "texts in other scripts are not understood",
        2,
        _mentions,
        _written,
    ),
    "given": Function("given(args.NAME): whether the call has this argument", 1, lambda _kind: Bool(), _of_arguments),
    "unjudged": Function('unjudged("what"): it cannot be decided here, so it is not known', 1, _all_of(Text), _written),
    "assume": Function("assume(A, B): A; where A is not known, B", 2, _all_of(Bool)),
}
"""The built-in functions by name. ``calls("tool")``, the earlier calls of a tool, is handled separately, because its
kind depends on the schema."""
