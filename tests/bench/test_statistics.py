from __future__ import annotations

import random
import statistics

import pytest
from interwhen.bench._statistics import estimate, growth_exponent, mcnemar, mean_of, paired


def test_interval_contains_median_and_narrows_with_samples() -> None:
    rng = random.Random(1)
    few, many = ([rng.gauss(10, 1) for _ in range(n)] for n in (8, 200))
    small, large = estimate(few), estimate(many)
    assert small.low is not None
    assert small.high is not None
    assert large.low is not None
    assert large.high is not None
    assert small.value == statistics.median(few)
    assert small.low <= small.value <= small.high
    assert large.high - large.low < small.high - small.low
    assert large.low < 10 < large.high


def test_mean_lies_within_its_interval() -> None:
    mean = mean_of([1.0, 2.0, 3.0, 10.0])
    assert mean.low is not None
    assert mean.high is not None
    assert mean.low < mean.value == 4.0 < mean.high
    assert mean_of([5.0]).low == mean_of([5.0]).high == 5.0


def test_any_statistic_of_pairs_has_an_interval() -> None:
    def ratio(pairs: object) -> float:
        assert isinstance(pairs, list)
        return float(max(b for _, b in pairs) / max(a for a, _ in pairs))

    estimated = estimate([(1.0, 2.0), (2.0, 3.0), (4.0, 9.0)], of=ratio, limit=2.5)
    assert (estimated.value, estimated.n, estimated.met) == (2.25, 3, True)


def test_differences_are_computed_within_pairs() -> None:
    added, percent = paired([1.0, 2.0, 0.0], [1.5, 2.5, 0.5], "s")
    assert (added.value, added.low, added.high, added.unit) == (0.5, 0.5, 0.5, "s")
    assert percent.value == pytest.approx(25.0)  # a share of nothing counts as none


def test_exponent_separates_linear_from_quadratic() -> None:
    sizes = [1000, 4000, 16000]
    assert abs(growth_exponent(sizes, [2e-6 * n for n in sizes]) - 1) < 1e-9
    assert abs(growth_exponent(sizes, [3e-9 * n * n for n in sizes]) - 2) < 1e-9


@pytest.mark.parametrize(
    ("fixed", "broken", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (2, 8, 0.109375), (8, 2, 0.109375), (3, 3, 1.0)],
)
def test_mcnemar_p_value_is_exact(fixed: int, broken: int, p: float) -> None:
    assert mcnemar(fixed, broken) == p
