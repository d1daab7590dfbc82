"""Differences within pairs of measurements, with intervals."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence

import msgspec

from interwhen.bench.stats import Estimate, estimate

_RESAMPLES = 2000


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
    means = sorted(statistics.fmean(rng.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    low, high = means[int(0.025 * _RESAMPLES)], means[int(0.975 * _RESAMPLES) - 1]
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
