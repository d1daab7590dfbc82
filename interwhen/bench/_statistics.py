"""Medians and intervals for measurements."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence

import msgspec

_RESAMPLES = 2000


class Estimate(msgspec.Struct, frozen=True):
    """A median with a 95 % percentile-bootstrap interval (Efron 1979), and the number of measurements."""

    median: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.median:.3g} [{self.low:.3g}, {self.high:.3g}]"


def estimate(values: Sequence[float], seed: int = 0) -> Estimate:
    """Return the median of *values* with its bootstrap interval."""
    rng = random.Random(seed)  # noqa: S311  (resampling, not secrets)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    low, high = medians[int(0.025 * _RESAMPLES)], medians[int(0.975 * _RESAMPLES) - 1]
    return Estimate(statistics.median(values), low, high, len(values))


def percentile(values: Sequence[float], q: float) -> float:
    """Return the smallest value that at least the fraction *q* of *values* does not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(q * len(ordered)) - 1, 0)]


def growth_exponent(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """Return the least-squares slope of log cost over log size: 1 is linear, 2 quadratic."""
    xs, ys = [math.log(size) for size in sizes], [math.log(max(cost, 1e-12)) for cost in costs]
    return statistics.linear_regression(xs, ys).slope


def mcnemar(fixed: int, broken: int) -> float:
    """Return the two-sided exact p-value of McNemar's test (1947) on the pairs in which two arms differ."""
    count, fewer = fixed + broken, min(fixed, broken)
    return min(1.0, 2 * sum(math.comb(count, i) for i in range(fewer + 1)) / 2**count) if count else 1.0


# Differences within pairs of measurements, with intervals.

_PAIRED_RESAMPLES = 2000


class Mean(msgspec.Struct, frozen=True):
    """A mean with a 95 % percentile-bootstrap interval (Efron 1979), and the number of measurements.

    A mean is what a user pays over many runs: a median would hide that one run in twenty is slow.
    """

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}]"


def mean_of(values: Sequence[float], seed: int = 0) -> Mean:
    """Return the mean of *values*, of which there must be one at least, with its bootstrap interval."""
    if len(set(values)) == 1:  # nothing to resample
        return Mean(values[0], values[0], values[0], len(values))
    rng = random.Random(seed)  # noqa: S311  (resampling, not secrets)
    means = sorted(statistics.fmean(rng.choices(values, k=len(values))) for _ in range(_PAIRED_RESAMPLES))
    low, high = means[int(0.025 * _PAIRED_RESAMPLES)], means[int(0.975 * _PAIRED_RESAMPLES) - 1]
    return Mean(statistics.fmean(values), low, high, len(values))


def _median_of(values: Sequence[float]) -> Estimate:
    if len(set(values)) == 1:
        return Estimate(values[0], values[0], values[0], len(values))
    return estimate(values)


class Paired(msgspec.Struct, frozen=True, kw_only=True):
    """One quantity in two arms, and what the second adds to the first, pair by pair."""

    name: str
    unit: str
    before: Estimate
    after: Estimate
    median_added: Estimate
    added: Mean
    """``after`` less ``before``, in the unit."""
    percent: Mean
    """The same, of ``before``; 0 where that is 0."""


def paired(name: str, unit: str, before: Sequence[float], after: Sequence[float]) -> Paired:
    """Return what *after* adds to *before*, of which each pair has one value."""
    added = [late - early for early, late in zip(before, after, strict=True)]
    shares = [more / early * 100 if early else 0.0 for more, early in zip(added, before, strict=True)]
    return Paired(
        name=name,
        unit=unit,
        before=_median_of(before),
        after=_median_of(after),
        median_added=_median_of(added),
        added=mean_of(added),
        percent=mean_of(shares),
    )
