"""How chances fall with the failures before: a curve of two numbers, fitted to all that was seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_STEPS = 12
_PRIOR = 2.0


class Fading(NamedTuple):
    """The chances of tasks whose own chance is Beta distributed: each failure tells that a task is a hard one.

    After *n* failures the chance is ``mean * size / (size + n)`` (the beta-geometric model: Weinberg & Gladen 1986);
    ``size`` is the sum of the two parameters of the Beta distribution, ``mean`` its mean.
    """

    mean: float = 0.5
    size: float = 2.0

    def chance(self, failures: int) -> float:
        """Return the chance of the next try after so many *failures*."""
        return self.mean * self.size / (self.size + failures)


def fit(counts: Sequence[tuple[float, float]], start: Fading = Fading()) -> Fading:  # noqa: B008  (a frozen value)
    """Return the curve that makes *counts* likeliest: pairs of successes and tries, by the number of failures before.

    A pattern search from *start*; two tries of the curve one half, one third, one fourth … weigh against few counts.
    """
    used = [(n, worked, tries) for n, (worked, tries) in enumerate(counts) if tries]

    def likelihood(at: tuple[float, float]) -> float:
        curve = _curve(at)
        total = _PRIOR * (0.5 * math.log(curve.mean) + 0.5 * math.log(1.0 - curve.mean))
        total -= 0.5 * (at[1] - math.log(2.0)) ** 2 / 4.0
        for n, worked, tries in used:
            chance = curve.chance(n)
            total += worked * math.log(chance) + (tries - worked) * math.log(1.0 - chance)
        return total

    at = (math.log(start.mean / (1.0 - start.mean)), math.log(start.size))
    best, stride = likelihood(at), 0.5
    for _ in range(_STEPS):
        near = [(at[0] + dx * stride, at[1] + dy * stride) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy]
        value, place = max((likelihood(place), place) for place in near)
        if value > best:
            best, at = value, place
        else:
            stride /= 2.0
    return _curve(at)


def _curve(at: tuple[float, float]) -> Fading:
    logit, log_size = min(max(at[0], -12.0), 12.0), min(max(at[1], -3.0), 9.0)
    return Fading(1.0 / (1.0 + math.exp(-logit)), math.exp(log_size))
