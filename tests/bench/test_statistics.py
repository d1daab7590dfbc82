from __future__ import annotations

import random

import pytest
from interwhen.bench import estimate, mcnemar
from interwhen.bench._statistics import growth_exponent, percentile


def test_an_interval_holds_the_median_and_narrows_with_more_measurements() -> None:
    rng = random.Random(1)
    few, many = ([rng.gauss(10, 1) for _ in range(n)] for n in (8, 200))
    small, large = estimate(few), estimate(many)
    assert small.low <= small.median <= small.high
    assert large.high - large.low < small.high - small.low
    assert large.low < 10 < large.high


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([5, 1, 4, 2, 3], 0.5) == 3
    assert percentile(list(range(1, 101)), 0.99) == 99
    assert percentile([7], 0.99) == 7


def test_the_exponent_tells_linear_from_quadratic() -> None:
    sizes = [1000, 4000, 16000]
    assert abs(growth_exponent(sizes, [2e-6 * n for n in sizes]) - 1) < 1e-9
    assert abs(growth_exponent(sizes, [3e-9 * n * n for n in sizes]) - 2) < 1e-9


@pytest.mark.parametrize(
    ("fixed", "broken", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (2, 8, 0.109375), (8, 2, 0.109375), (3, 3, 1.0)],
)
def test_mcnemars_exact_p_is_twice_the_tail_of_a_fair_coin(fixed: int, broken: int, p: float) -> None:
    assert mcnemar(fixed, broken) == p
