"""Data becomes values exactly, or it is missing: nothing is rounded, guessed or bent to fit."""

from __future__ import annotations

import datetime as dt
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen.policy._kinds import Bool, Date, Kind, ListOf, Moment, Number, Quantity, RecordOf, Text, read_amount
from interwhen.policy._values import Held, Missing, hold, raw_of, tell

GB = Quantity("data", Fraction(10**9))


@pytest.mark.parametrize(
    ("raw", "kind", "value"),
    [
        (2, Number(whole=True), Fraction(2)),
        (2.0, Number(whole=True), Fraction(2)),
        (2.4, Number(), Fraction(12, 5)),
        (0.1, Quantity("USD"), Fraction(1, 10)),
        (99.99, Quantity("USD"), Fraction(9999, 100)),
        ("$1,234.50", Quantity("USD"), Fraction(123450, 100)),
        (2.4, GB, Fraction(24 * 10**8)),
        ("2.4 GB", GB, Fraction(24 * 10**8)),
        ("1 GiB", GB, Fraction(2**30)),
        (True, Bool(), True),
        ("a", Text(), "a"),
        ("2024-05-15", Date(), dt.date(2024, 5, 15)),
        ("2024-05-15T10:00:00", Moment(), dt.datetime(2024, 5, 15, 10)),  # noqa: DTZ001
    ],
)
def test_well_formed_value_is_held(raw: Any, kind: Kind, value: Any) -> None:
    assert hold(raw, kind, "x") == value


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (2.4, Number(whole=True)),
        ("2", Number(whole=True)),
        (True, Number()),
        (float("nan"), Number()),
        (float("inf"), Quantity("USD")),
        pytest.param(10**400, Number(whole=True), id="a number beyond floats"),
        pytest.param(-(10**9000), Number(whole=True), id="a number beyond texts"),
        ("2.4 GB", Number()),
        ("2.4", GB),
        ("2.4 hours", GB),
        ("2.4 gb", GB),
        ("50 EUR", Quantity("USD")),
        (1, Bool()),
        ("true", Bool()),
        (5, Text()),
        ("other", Text(frozenset({"a"}))),
        ("2024-05-32", Date()),
        ("2024-05-15T10:00:00", Date()),
        ("2024-05-15", Moment()),
        ("2024-05-15T10:00:00+02:00", Moment()),
        ({}, ListOf(Text())),
        ([], RecordOf("r", ())),
        (None, Text()),
    ],
)
def test_malformed_value_is_missing(raw: Any, kind: Kind) -> None:
    assert isinstance(hold(raw, kind, "x"), Missing)


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text())))
def test_any_data_is_a_value_or_missing(raw: Any) -> None:
    for kind in (Bool(), Number(), Number(whole=True), GB, Text(), Date(), Moment(), ListOf(Text()), RecordOf("r", ())):
        held = hold(raw, kind, "x")
        if isinstance(held, Missing):
            assert held.why.startswith("x is ")
        elif not isinstance(held, Held) and not isinstance(kind, Quantity):
            assert hold(raw_of(held, kind), kind, "x") == held


@given(st.fractions(min_value=0, max_value=10**9, max_denominator=10**6))
def test_amount_is_read_exactly_or_missing(amount: Fraction) -> None:
    text = str(float(amount))
    parsed = read_amount(f"{text} GB", "data")
    assert parsed is None or parsed == Fraction(text) * 10**9


def test_displayed_value_is_short_and_on_one_line() -> None:
    told = tell(hold("a\x1b[31m\nb" + "x" * 500, Text(), "x"), Text())
    assert len(told) <= 80
    assert told.isprintable()
    assert tell(Fraction(1, 3), Quantity("USD")) == "$0.33"
    assert tell(Fraction(-5), Quantity("USD")) == "-$5"
    assert tell(Fraction(5400), Quantity("time")) == "1.5 h"
    assert tell(Missing("why"), Text()) == "?"
