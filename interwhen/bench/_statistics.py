"""Estimates with intervals, and the tests and fits that reports use."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

T = TypeVar("T")
_RESAMPLES = 2000


class Estimate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A number, with a 95 % interval from *low* to *high* if one was computed."""

    value: float
    unit: str = ""
    """Such as ``ms``; empty for a plain number."""
    low: float | None = None
    high: float | None = None
    n: int = 1
    limit: float | None = None
    """The bar: a maximum for *value*, or a minimum if *at_least*."""
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        if self.limit is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def bar(self) -> str:
        return "" if self.limit is None else f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.unit}".rstrip()

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{_text(self.value, 4)} {self.unit}".rstrip()
        return f"{_text(self.value)} [{_text(self.low)}, {_text(self.high)}] {self.unit}".rstrip()


def _text(value: float, digits: int = 3) -> str:
    text = f"{value:.{digits}g}"
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1000 or "e+" in text else text


def estimate(
    values: Sequence[T],
    unit: str = "",
    *,
    of: Callable[[Sequence[T]], float] = statistics.median,  # type: ignore[assignment]  # numbers, by default
    limit: float | None = None,
    seed: int = 0,
) -> Estimate:
    """Compute the statistic *of* (by default the median) of *values*, with its 95 % bootstrap interval.

    The interval is Efron's (1979) percentile interval. *values* must not be empty. *limit* is a maximum for the result.
    """
    middle = of(values)
    if all(value == values[0] for value in values):  # resampling would give the same value again
        return Estimate(middle, unit, middle, middle, len(values), limit)
    rng = random.Random(seed)  # noqa: S311  (resampling, not secrets)
    resampled = sorted(of(rng.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    low, high = resampled[int(0.025 * _RESAMPLES)], resampled[int(0.975 * _RESAMPLES) - 1]
    return Estimate(middle, unit, low, high, len(values), limit)


def mean_of(values: Sequence[float], unit: str = "") -> Estimate:
    # `values` must not be empty. Unlike a median, the mean includes the cost of slow runs.
    return estimate(values, unit, of=statistics.fmean)


def paired(before: Sequence[float], after: Sequence[float], unit: str = "") -> tuple[Estimate, Estimate]:
    # Returns what is added, as the mean over the pairs: in `unit`, and in percent of `before`.
    added = [late - early for early, late in zip(before, after, strict=True)]
    shares = [more / early * 100 if early else 0.0 for more, early in zip(added, before, strict=True)]
    return mean_of(added, unit), mean_of(shares, "%")


def growth_exponent(sizes: Sequence[int], costs: Sequence[float]) -> float:
    # 1 is linear, 2 quadratic.
    xs, ys = [math.log(size) for size in sizes], [math.log(max(cost, 1e-12)) for cost in costs]
    return statistics.linear_regression(xs, ys).slope


def mcnemar(fixed: int, broken: int) -> float:
    """Return the two-sided exact p-value of McNemar's test (1947) on paired results of two arms.

    *fixed* counts the pairs in which only the second arm is right, *broken* those in which only the first one is.
    """
    count, fewer = fixed + broken, min(fixed, broken)
    return min(1.0, 2 * sum(math.comb(count, i) for i in range(fewer + 1)) / 2**count) if count else 1.0
