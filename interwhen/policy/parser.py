"""From the text of an expression to its tree. Nothing is evaluated, and nothing but this grammar is understood.

::

    expression   any | all | count | sum  NAME[, NAME] in LIST : expression
                 if expression then expression else expression
                 disjunction
    disjunction  conjunction (or conjunction)*
    conjunction  negation (and negation)*
    negation     not negation | comparison
    comparison   sum [= | != | < | <= | > | >= sum]   |   sum [not] in sum
    sum          product (+ | - product)*
    product      unary (* unary)*
    place        NAME | NAME(expression, ...) | place.NAME | place[expression, ...] | [expression, ...] | (expression)
"""

from __future__ import annotations

from fractions import Fraction
from typing import cast, get_args

from interwhen.policy import limits
from interwhen.policy.kinds import Bool, Number, Quantity
from interwhen.policy.lexer import ExpressionError, Token, tokens
from interwhen.policy.nodes import (
    Apply,
    Compare,
    Comparison,
    Constant,
    Counting,
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
    Sum,
)

__all__ = ["ExpressionError", "parse"]

_COMPARISONS = get_args(Comparison)
_COUNTING = get_args(Counting)


def parse(text: str) -> Node:
    """Return the tree of *text*. Raises :class:`ExpressionError`, with the place."""
    reader = _Reader(tokens(text))
    found = reader.expression()
    reader.expect("the end")
    return found


class _Reader:
    """Reads one expression from left to right."""

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
        if self._is(text):
            self._at += 1
            return
        raise ExpressionError(f"expected {text!r} at character {self._next.at}, found {self._next.text!r:.60}",
                              self._next.at)  # fmt: skip

    def _name(self) -> str:
        if self._next.form != "name":
            raise ExpressionError(f"expected a name at character {self._next.at}, found {self._next.text!r:.60}",
                                  self._next.at)  # fmt: skip
        self._at += 1
        return self._tokens[self._at - 1].text

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > limits.DEPTH:
            raise ExpressionError(f"nested more than {limits.DEPTH} levels deep at character {self._next.at}",
                                  self._next.at)  # fmt: skip

    def expression(self) -> Node:
        self._deeper()
        found = self._expression()
        self._depth -= 1
        return found

    def _expression(self) -> Node:
        if self._take("if"):
            condition = self.expression()
            self.expect("then")
            then = self.expression()
            self.expect("else")
            return If(condition, then, self.expression())
        return self._junction("or")

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
        if times > limits.DEPTH:
            raise ExpressionError(f"negated more than {limits.DEPTH} times at character {self._next.at}", self._next.at)
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
        found, terms = self._product(), 0
        while (sign := self._take("+", "-")) is not None:
            terms += 1
            self._few(terms)
            found = Sum("+" if sign.text == "+" else "-", found, self._product())
        return found

    def _product(self) -> Node:
        found, factors = self._unary(), 0
        while self._take("*"):
            factors += 1
            self._few(factors)
            found = Sum("*", found, self._unary())
        return found

    def _few(self, number: int) -> None:
        if number > limits.DEPTH:
            raise ExpressionError(f"more than {limits.DEPTH} terms at character {self._next.at}", self._next.at)

    def _unary(self) -> Node:
        if not self._take("-"):
            return self._place()
        at, found = self._next.at, self._place()
        if isinstance(found, Constant) and isinstance(found.kind, Number | Quantity):
            return Constant(-cast("Fraction", found.value), found.kind)
        raise ExpressionError(f"a minus at character {at - 1} stands before no number", at)

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
        self._deeper()
        source = self._place()
        self._depth -= 1
        self.expect(":")
        return Quantified(op, tuple(names), source, self.expression())

    def _named(self) -> Node:
        name = self._name()
        return Apply(name, self._list(")")) if self._take("(") else Name(name)
