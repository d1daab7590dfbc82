"""Expressions are read by a grammar of their own: what it does not know is an error with a place, within limits."""

from __future__ import annotations

import datetime as dt
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen.policy import _limits
from interwhen.policy._kind_check import read_definitions, write_out
from interwhen.policy._kinds import Bool, Date, Moment, Number, Quantity, Text
from interwhen.policy._syntax import (
    Apply,
    Constant,
    ExpressionError,
    Field,
    Index,
    Listed,
    Name,
    Node,
    Quantified,
    parse,
    show,
)

_names = st.sampled_from(["args", "state", "item", "x"])
_constants = st.one_of(
    st.integers(0, 10**6).map(lambda number: Constant(Fraction(number), Number(whole=True))),
    st.integers(0, 10**6).map(lambda cents: Constant(Fraction(cents, 100), Quantity("USD"))),
    st.integers(0, 10**6).map(lambda seconds: Constant(Fraction(seconds), Quantity("time"))),
    st.text("abc xyz'", max_size=8).map(lambda text: Constant(text, Text(frozenset({text})))),
    st.dates(dt.date(1900, 1, 1)).map(lambda date: Constant(date, Date())),
    st.datetimes(dt.datetime(1900, 1, 1)).map(lambda time: Constant(time.replace(microsecond=0), Moment())),  # noqa: DTZ001
    st.booleans().map(lambda value: Constant(value, Bool())),
    _names.map(Name),
)


def _larger(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    two = st.tuples(inner, inner)
    return st.one_of(
        st.builds(Apply, st.sampled_from(["not", "length", "mine"]), st.tuples(inner)),
        st.builds(Apply, st.sampled_from(["and", "or", "=", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*"]), two),
        st.builds(Apply, st.just("if"), st.tuples(inner, inner, inner)),
        st.builds(
            Quantified, st.sampled_from(["any", "all", "count", "sum"]), st.just(("v",)), _names.map(Name), inner
        ),
        st.builds(Listed, two),
        st.builds(Field, _names.map(Name), st.just("field")),
        st.builds(Index, _names.map(Name), st.tuples(inner)),
    )


@given(st.recursive(_constants, _larger, max_leaves=12))
def test_shown_expression_parses_to_itself(node: Node) -> None:
    assert parse(show(node)) == node


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("not a and b or c", "(((not a) and b) or c)"),
        ("a or b and c", "(a or (b and c))"),
        ("1 + 2 * 3 - 4 = 3", "(((1 + (2 * 3)) - 4) = 3)"),
        ("a not in [1, 2]", "(not (a in [1, 2]))"),
        ("any x in a.b: x = 1 or x = 2", "(any x in a.b: ((x = 1) or (x = 2)))"),
        ("(any x in a: x) and b", "((any x in a: x) and b)"),
        ("if a then 1 else if b then 2 else 3", "(if a then 1 else (if b then 2 else 3))"),
        ("24 hours", "86400 s"),
        ("2.4 GB", "2400000000 byte"),
        ("1 GiB", "1073741824 byte"),
        ("50 EUR", "50 EUR"),
        ("12.5%", "0.125"),
        ("-$5", "-5 USD"),
    ],
)
def test_operators_have_precedence(text: str, tree: str) -> None:
    assert show(parse(text)) == tree


HOSTILE = {
    "a call of Python": "__import__('os').system('id')",
    "an attribute of Python": "args.__class__.__mro__[",
    "a lambda": "(lambda: 1)()",
    "an assignment": "a := 1",
    "a statement": "import os",
    "a power": "9 ** 9",
    "a format": "f'{args}'",
    "a comment": "true # false",
    "nothing": "",
    "no end": "any x in a",
    "a brace": "{}",
    "an open text": "'abc",
    "a unit of two meanings": "5 oz",
    "a month without a length": "2 months",
    "a date that is none": "2024-02-31",
    "two things": "a b",
    "a null character": "a\x00b",
    "digits of another script": "١ = ١",
    "an amount of money in percent": "$5% = $5",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_invalid_expression_is_an_error(what: str) -> None:
    with pytest.raises(ExpressionError):
        parse(HOSTILE[what])


LARGE = {
    "brackets": "(" * 5000 + "1" + ")" * 900,
    "open brackets": "(" * 6000,
    "lists": "[" * 5000,
    "negations": "not " * 1400 + "a",
    "quantifiers": "any x in " * 600 + "a: b",
    "nested bodies": "any x in a: " * 400 + "b",
    "conditions": "if a then 1 else " * 300 + "1",
    "fields": "a" + ".b" * 2500,
    "entries": "a" + "[1]" * 1900,
    "terms": "1" + "+1" * 2900,
    "factors": "2" + "*2" * 2900,
    "digits": "9" * 5000,
    "decimals": "0." + "9" * 5000,
    "characters": "a " * _limits.EXPRESSION_CHARACTERS,
    "indexes in indexes": "a[" * 2900,
    "calls in calls": "f(" * 2900,
}


@pytest.mark.parametrize("what", LARGE)
def test_oversized_expression_is_an_error(what: str) -> None:
    with pytest.raises(ExpressionError):
        parse(LARGE[what])


def test_long_list_parses() -> None:
    assert parse("a in [" + ", ".join(["1"] * 900) + "]").function == "in"  # type: ignore[union-attr]


def test_definitions_are_written_out() -> None:
    definitions = read_definitions({"order": "state.orders[args.id]", "same(f, g)": "f.n = g.n", "open": "order.ok"})
    assert show(write_out(parse("open and same(order, x)"), definitions)) == (
        "(state.orders[args.id].ok and (state.orders[args.id].n = x.n))"
    )


def test_definition_variable_captures_no_outer_variable() -> None:
    definitions = read_definitions({"has(f)": "any g in args.list: g = f"})
    assert show(write_out(parse("all g in state.list: has(g)"), definitions)) == (
        "(all g in state.list: (any g_1 in args.list: (g_1 = g)))"
    )


@pytest.mark.parametrize(
    ("definitions", "text", "said"),
    [
        ({"a": "a"}, "a", "must not use itself"),
        ({"a": "b", "b": "a"}, "a", "must not use itself"),
        ({f"a{n}": f"a{n + 1} + a{n + 1}" for n in range(18)}, "a0", "nodes"),
        ({"f(x)": "x"}, "f(1, 2)", "with 1 values, got 2"),
        ({"1": "x"}, "x", "the head of a definition must be"),
        ({"f(1)": "x"}, "x", "the head of a definition must be"),
        ({"f(x, x)": "x"}, "f(1, 2)", "its parameters must differ"),
        ({"length(x)": "1"}, "length(args.tags)", "must not be that of a function"),
        ({"d0": "true", **{f"d{n}": "not " * 58 + f"d{n - 1}" for n in range(1, 20)}}, "d19", "120 levels deep"),
        ({"f(x)": "not " * 58 + "x"}, "f(f(f(true)))", "120 levels deep"),
    ],
    ids=[
        "itself",
        "in a ring",
        "doubling",
        "too many values",
        "a number",
        "a number in it",
        "a parameter twice",
        "a function",
        "deep",
        "deep arguments",
    ],
)
def test_recursive_definitions_are_an_error(definitions: dict[str, str], text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=said):
        write_out(parse(text), read_definitions(definitions))
