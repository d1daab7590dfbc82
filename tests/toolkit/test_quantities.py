"""Exact numbers from text, and units that mean one thing only."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen.testing.complexity import assert_linear, assert_quick
from interwhen.toolkit.quantities import convert, read_number, read_unit, write_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("17", 17),
        (" 0 ", 0),
        ("-1,234.50", Fraction(-2469, 2)),
        ("−3", -3),
        ("+3", 3),
        (".5", Fraction(1, 2)),
        ("3/4", Fraction(3, 4)),
        ("12.5%", Fraction(1, 8)),
        ("1,234,567", 1_234_567),
        ("9" * 40, 10**40 - 1),
    ],
)
def test_number_spellings_are_read(text, value):
    assert read_number(text) == value


_LONG = "9" * 41


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "-", "%", "1e5", "007", "1,23", "12,34.5", "1.2.3", "3/0", "1.5/2", "/2", "0x10", "½", "٣", "1 000"),
        *("nan", "--1", "1 2", _LONG, f"1/{_LONG}", f".{_LONG}", _LONG * 2000),
    ],
    ids=lambda text: text[:9],
)
def test_ambiguous_number_is_not_read(text):
    assert read_number(text) is None


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9))
def test_decimals_agree_with_another_implementation(number):
    text = f"{number:f}"
    assert read_number(text) == Fraction(Decimal(text))
    assert Fraction(Decimal(write_number(Fraction(number)))) == Fraction(number)


@given(st.fractions())
def test_written_number_is_read_back(value):
    shown = write_number(value)
    assert shown is None or read_number(shown) == value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Fraction(1, 3), "1/3"),
        (Fraction(-5, 2), "-2.5"),
        (Fraction(1, 1000), "0.001"),
        (3, "3"),
        (0, "0"),
        (100, "100"),
        (10**41, None),
        (Fraction(1, 3**100), None),
        (10**1000, None),
    ],
)
def test_numbers_are_written_readably(value, shown):
    assert write_number(value) == shown


def test_units_convert_exactly():
    assert convert(Fraction(90), read_unit("minutes"), read_unit("hours")) == Fraction(3, 2)
    assert convert(Fraction(1), read_unit("Mile"), read_unit("km")) == Fraction(1_609_344, 1_000_000)
    assert convert(Fraction(1), read_unit("kg"), read_unit("km")) is None


@pytest.mark.parametrize("text", ["", "gallon", "oz", "pound", "month", "year", "M", "MS", "G", "apples", "in"])
def test_invalid_or_ambiguous_unit_is_not_read(text):
    assert read_unit(text) is None


def test_number_reading_is_linear():
    assert_linear(read_number)
    assert_quick(read_number, seconds=0.5)
