from __future__ import annotations

from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from interwhen.strategies import Odds, expected_chance, expected_tokens, find_price, mean_tokens, schedule

ODDS = st.builds(
    Odds, st.sampled_from(["sample", "correct"]), st.floats(0.0, 0.99), st.floats(1.0, 1000.0, allow_subnormal=False)
)
LADDERS = st.lists(st.lists(ODDS, min_size=1, max_size=2), min_size=1, max_size=4)
PRICES = st.floats(1e-5, 0.1)


def worth(steps: tuple[Odds, ...], price: float) -> float:
    return expected_chance(steps) - price * expected_tokens(steps)


@given(LADDERS, PRICES)
def test_no_other_plan_is_worth_more(ladder, price):
    best = worth(schedule(ladder, price, least=0), price)
    for length in range(len(ladder) + 1):
        for choice in product(*ladder[:length]):
            assert worth(choice, price) <= best + 1e-9


@given(LADDERS, PRICES, PRICES)
def test_a_higher_price_never_spends_more(ladder, one, other):
    low, high = sorted((one, other))
    spent_low, spent_high = (expected_tokens(schedule(ladder, price)) for price in (low, high))
    assert spent_high <= spent_low + 1e-6


@given(st.dictionaries(st.sampled_from("abc"), LADDERS, min_size=1), st.floats(1.0, 5000.0))
@example({"a": [[Odds("sample", 0.0, 5.0), Odds("sample", 0.5, 6.0)]]}, 1.0)
def test_the_price_meets_the_budget_as_far_as_anything_can_be_bought(ladders, budget):
    weights = dict.fromkeys(ladders, 1.0)
    price = find_price(ladders, weights, budget)
    lean, rich, most, least = (
        mean_tokens({key: schedule(ladder, each) for key, ladder in ladders.items()}, weights)
        for each in (price.lean, price.rich, 0.0, 1e9)
    )
    mixed = price.share * rich + (1.0 - price.share) * lean
    assert mixed == pytest.approx(min(max(budget, least), most), rel=1e-6)


def test_the_price_leaves_no_try_unbought_that_the_budget_would_buy():
    ladders = {"a": [[Odds("sample", 0.5, 100.0)]] * 10}
    price = find_price(ladders, {"a": 1.0}, 1000.0)
    assert price.lean == 0.0
    assert len(schedule(ladders["a"], price.lean)) == 10


def test_a_bad_buy_is_made_where_it_opens_the_way_to_a_good_one():
    ladder = [[Odds("sample", 0.0, 10.0)], [Odds("sample", 0.9, 10.0)]]
    assert len(schedule(ladder, 0.01, least=0)) == 2
    assert schedule(ladder[:1], 0.01, least=0) == ()


def test_the_first_tries_are_made_at_any_price():
    ladder = [[Odds("sample", 0.01, 100.0)]] * 5
    assert [len(schedule(ladder, 1.0, least=least)) for least in (0, 1, 3)] == [0, 1, 3]


def test_expectations_count_a_later_try_only_where_all_before_it_failed():
    steps = (Odds("sample", 0.5, 100.0), Odds("correct", 0.5, 40.0))
    assert expected_tokens(steps) == pytest.approx(120.0)
    assert expected_chance(steps) == pytest.approx(0.75)


def test_hopeless_tries_are_not_made_at_any_price():
    ladder = [[Odds("sample", 0.5, 10.0)], [Odds("sample", 0.02, 10.0)], [Odds("sample", 0.005, 10.0)]]
    assert [len(schedule(ladder, 0.0, hopeless=bar)) for bar in (0.0, 0.01, 0.1)] == [3, 2, 1]
