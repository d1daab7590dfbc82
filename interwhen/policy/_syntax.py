"""The expression language of rules: syntax tree, tokens and parser. Operators and functions are in `_builtins.py`."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any, Literal, NamedTuple, TypeAlias, assert_never, cast, get_args

from interwhen._types.errors import UsageError
from interwhen.policy import _limits
from interwhen.policy._kinds import Bool, Date, Kind, Moment, Number, Quantity, Text, unit_named
from interwhen.toolkit.quantities import write_number

Scalar: TypeAlias = bool | Fraction | str | dt.date | dt.datetime
Counting = Literal["any", "all", "count", "sum"]


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal, such as ``5`` or ``"open"``, with its kind."""

    value: Scalar
    """An amount with a unit is in the base unit of its dimension, and 5 % is 1/20."""
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
class Quantified:
    """Evaluates *body* for each item of *source*. *names* are its variables: two if the items are pairs."""

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
    """An operator or a built-in function with its arguments, or a call of a definition that is not expanded yet."""

    function: str
    """The name of the row in `_builtins.py`, such as ``and``, ``=``, ``if`` or ``length``; or that of a definition."""
    arguments: tuple[Node, ...]


Node: TypeAlias = Constant | Name | Field | Index | Quantified | Listed | Apply


_NODES = get_args(Node)


def children(node: Node) -> tuple[Node, ...]:
    values = [getattr(node, field.name) for field in fields(node)]
    listed = (value if isinstance(value, tuple) else (value,) for value in values)
    return tuple(part for parts in listed for part in parts if isinstance(part, _NODES))


def rebuild(node: Node, new: tuple[Node, ...]) -> Node:
    """Copy *node* with *new* as its children, which must be as many as before, in the same order."""
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
    yield node
    for child in children(node):
        yield from walk(child)


_COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")
_INFIX = frozenset((*_COMPARISONS, "and", "or", "in", "+", "-", "*"))


def show(node: Node) -> str:  # noqa: C901  # one line for each kind of node
    # Amounts are written in the base unit of their dimension: `24 hours` becomes `86400 s`.
    match node:
        case Constant(value=value, kind=kind):
            return _constant(value, kind)
        case Name(name=name):
            return name
        case Field(of=of, name=name):
            return f"{show(of)}.{name}"
        case Index(of=of, keys=keys):
            return f"{show(of)}[{_listed(keys)}]"
        case Quantified(op=op, names=names, source=source, body=body):
            return f"({op} {', '.join(names)} in {show(source)}: {show(body)})"
        case Listed(items=items):
            return f"[{_listed(items)}]"
        case Apply(function="not", arguments=(of,)):
            return f"(not {show(of)})"
        case Apply(function="if", arguments=(condition, then, otherwise)):
            return f"(if {show(condition)} then {show(then)} else {show(otherwise)})"
        case Apply(function=function, arguments=arguments) if function in _INFIX:
            return f"({f' {function} '.join(map(show, arguments))})"
        case Apply(function=function, arguments=arguments):
            return f"{function}({_listed(arguments)})"
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
    # The keys of maps in data have this form.
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
    """An expression cannot be parsed, exceeds a limit, or fails the type check."""

    # `at` is the offset of the error in the expression, and 0 if it is not known.

    def __init__(self, message: str, at: int = 0) -> None:
        self.at = at
        super().__init__(message)


class Token(NamedTuple):
    """A word, an operator or a literal. *at* is its offset in the expression."""

    form: Literal["word", "name", "sign", "constant", "end"]
    """``word`` is a reserved word such as ``and``, ``name`` any other word, and ``end`` the end of the expression."""
    text: str
    """The characters of the token, without the unit of an amount; ``the end`` for the end token."""
    at: int
    constant: Constant | None = None
    """The value of a literal; ``None`` for other tokens."""


def tokens(text: str) -> list[Token]:
    if len(text) > _limits.EXPRESSION_CHARACTERS:
        raise ExpressionError(
            f"an expression must have at most {_limits.EXPRESSION_CHARACTERS:,} characters, got "
            f"{len(text):,}: shorten it"
        )
    all_tokens, at = [], 0
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
            all_tokens.append(Token("word" if match[0] in WORDS else "name", match[0], start))
        elif form == "sign":
            all_tokens.append(Token("sign", match[0], start))
        elif form == "number":
            constant, at = _number(text, match[0], start, at)
            all_tokens.append(Token("constant", match[0], start, constant))
        elif form != "space":
            all_tokens.append(Token("constant", match[0], start, _constant_token(match[0], form, start)))
    return [*all_tokens, Token("end", "the end", len(text))]


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


# The parser builds the tree of an expression by this grammar, and evaluates nothing:
#
#     expression   if expression then expression else expression | disjunction
#     disjunction  conjunction (or conjunction)*
#     conjunction  negation (and negation)*
#     negation     not negation | comparison
#     comparison   sum [= | != | < | <= | > | >= sum]   |   sum [not] in sum
#     sum          product (+ | - product)*
#     product      unary (* unary)*
#     unary        place | - LITERAL
#     place        primary | place.NAME | place[expression, ...]
#     primary      LITERAL | NAME | NAME(expression, ...) | [expression, ...] | (expression)
#                  any | all | count | sum  NAME[, NAME] in place : expression
#                  if expression then expression else expression

_COUNTING = get_args(Counting)


def parse(text: str) -> Node:
    reader = _Reader(tokens(text))
    node = reader.expression()
    reader.expect("the end")
    return node


class _Reader:
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
            return Apply("if", (condition, then, self.expression()))

    def _junction(self, op: str) -> Node:
        part = self._negation if op == "and" else (lambda: self._junction("and"))
        parts = [part()]
        while self._take(op):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Apply(op, tuple(parts))

    def _negation(self) -> Node:
        times = 0
        while self._take("not"):
            times += 1
        self._limit(times, f"negated at most {_limits.DEPTH} times")
        node = self._comparison()
        for _ in range(times):
            node = Apply("not", (node,))
        return node

    def _comparison(self) -> Node:
        left = self._sum()
        sign = self._take(*_COMPARISONS, "in")
        if sign is not None:
            return Apply(sign.text, (left, self._sum()))
        if self._is("not") and self._tokens[self._at + 1].text == "in":
            self._at += 2
            return Apply("not", (Apply("in", (left, self._sum())),))
        return left

    def _sum(self) -> Node:
        return self._chain(self._product, ("+", "-"))

    def _product(self) -> Node:
        return self._chain(self._unary, ("*",))

    def _chain(self, part: Callable[[], Node], signs: tuple[str, ...]) -> Node:
        node, terms = part(), 0
        while (sign := self._take(*signs)) is not None:
            terms += 1
            self._few(terms)
            node = Apply(sign.text, (node, part()))
        return node

    def _few(self, number: int) -> None:
        self._limit(number, f"made of at most {_limits.DEPTH} terms in a row")

    def _unary(self) -> Node:
        if not self._take("-"):
            return self._place()
        at, node = self._next.at, self._place()
        if isinstance(node, Constant) and isinstance(node.kind, Number | Quantity):
            return Constant(-cast("Fraction", node.value), node.kind)
        raise ExpressionError(
            f"a minus sign must have a number or a left side, got one without at character {at - 1}: write "
            "a - b, or -1",
            at,
        )

    def _place(self) -> Node:
        node, steps = self._primary(), 0
        while self._is(".", "["):
            steps += 1
            self._few(steps)
            if self._take("."):
                node = Field(node, self._name())
            else:
                self._take("[")
                node = Index(node, self._list("]"))
        return node

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
        if literal := self._take("true", "false"):
            return Constant(literal.text == "true", Bool())
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
