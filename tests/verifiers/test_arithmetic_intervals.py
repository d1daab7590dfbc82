"""Intervals around decimals: rounding explains a difference, and nothing else does."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interwhen_verifiers._arithmetic.intervals import could_be, could_be_equal
from interwhen_verifiers._arithmetic.nodes import Binary, Negative, Node, Number, Operator, apply


def number(value: Fraction, places: int = 0, *, percent: bool = False) -> Number:
    return Number(value, "", places, percent, 0, 0)


def decimal(text: str) -> Number:
    return number(Fraction(text.rstrip("%")), len(text.rstrip("%").partition(".")[2]), percent=text.endswith("%"))


def binary(operator: Operator, left: Node, right: Node) -> Binary:
    return Binary(operator, operator, left, right)


def cut(value: Fraction, places: int) -> Fraction:
    return Fraction(int(value * 10**places), 10**places)


@given(
    st.fractions(min_value=1, max_value=500, max_denominator=12),
    st.fractions(min_value=1, max_value=500, max_denominator=12),
    st.sampled_from("+-*/"),
    st.integers(3, 5),
)
def test_a_right_value_of_rounded_numbers_is_possible(left, right, operator, places):
    shown = binary(operator, number(cut(left, places), places), number(cut(right, places), places))
    exact = apply(operator, left, right)
    assert could_be(shown, cut(exact, places), places)
    assert could_be_equal(shown, number(cut(exact, places), places))


@given(st.integers(-500, 500), st.integers(-500, 500), st.sampled_from("+-*"), st.integers(-50, 50))
def test_whole_numbers_are_exact(left, right, operator, error):
    node = binary(operator, number(Fraction(left), 0), number(Fraction(right), 0))
    value = apply(operator, left, right)
    # A result without decimals may have been rounded or cut, by less than one.
    assert could_be(node, value + error, 0) == (error == 0)
    assert could_be_equal(node, number(Fraction(value + error), 0)) == (error == 0)
    assert could_be(Negative(node, 0), -value, 0)


@pytest.mark.parametrize(
    ("left", "operator", "right", "shown", "possible"),
    [
        ("0.33", "*", "300", 100, True),  # a third
        ("0.35", "*", "300", 100, False),
        ("0.667", "*", "300", 200, True),
        ("0.667", "*", "300", 202, False),
        ("33%", "*", "300", 100, True),
        ("35%", "*", "300", 100, False),
    ],
)
def test_decimals_stand_for_the_fractions_near_them(left, operator, right, shown, possible):
    assert could_be(binary(operator, decimal(left), decimal(right)), Fraction(shown), 0) is possible


def test_an_expression_without_a_value_refutes_nothing():
    nothing = binary("/", decimal("1"), binary("-", decimal("0.333"), decimal("0.333")))
    assert could_be(nothing, Fraction(7), 0)
    assert could_be_equal(nothing, decimal("7"))
