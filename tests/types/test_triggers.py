"""Triggers: values that JSON carries, and polls whose length follows from what was seen."""

import math

import msgspec
import pytest
from interwhen import UsageError
from interwhen.triggers import Polls, Trigger

KINDS = Trigger.__args__


@pytest.mark.parametrize("kind", KINDS)
def test_a_trigger_survives_json(kind):
    assert msgspec.json.decode(msgspec.json.encode(kind()), type=Trigger) == kind()


@pytest.mark.parametrize("name", ["cost", "found", "seen"])
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, 10**400, 1e-200], ids=lambda value: f"{value!r:.9}")
def test_polls_whose_length_cannot_be_computed_are_refused(name, value):
    with pytest.raises(UsageError, match=r"Polls: (cost|found|seen) must be a number from 1e-100"):
        Polls(**{name: value})


def test_polls_with_extreme_values_have_a_length():
    assert Polls(cost=1e100, found=1e-100, seen=1e100).length(0, 0) == 4000
    assert Polls(cost=1e-100, found=1e100, seen=1e-100).length(0, 0) == 120


@pytest.mark.parametrize("options", [{"least": 0}, {"least": 9, "most": 8}])
def test_polls_with_impossible_lengths_are_refused(options):
    with pytest.raises(UsageError, match="least must be at least 1 and not above most"):
        Polls(**options)


def test_a_polls_length_is_the_cheapest_interval():
    polls = Polls(cost=200.0, found=1.0, seen=10_000.0, least=1, most=100_000)
    assert polls.length(0, 0) == round(math.sqrt(2 * 200.0 * 10_000.0))
    assert polls.length(0, 3) == round(math.sqrt(2 * 200.0 * 10_000.0 / 4))
    assert Polls(least=50, most=60).length(0, 10**9) == 50
