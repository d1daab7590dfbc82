"""Confidence sequences: intervals for a mean that hold at every moment at once, however often one looks."""

from __future__ import annotations

import math
from typing import NamedTuple

from interwhen.errors import UsageError

_STAKE = 0.9
"""The most of its capital that a bet may lose."""
_STEPS = 40
"""Halvings when the end of an interval is looked for: far below any width that matters."""


class Interval(NamedTuple):
    """A mean with its interval."""

    mean: float
    low: float
    high: float


class ConfidenceSequence:
    """The mean of values in [-1, 1] that come one by one, with an interval valid at all times together.

    With probability at least ``1 - alpha`` the mean lies in *every* interval, so one may look after each value and stop
    when one likes. No distribution is assumed: only that the expectation of each value, given those before, is the
    mean. The method bets against each candidate mean, and drops those against which it has grown rich: hedged capital
    with predictable plug-in bets (Waudby-Smith and Ramdas, 2024, JRSS-B 86(1), section 4; Ville's inequality).
    """

    __slots__ = ("_against_high", "_against_low", "_bets", "_squares", "_sum", "_values", "alpha")

    def __init__(self, alpha: float = 0.05) -> None:
        if not 0 < alpha < 1:
            raise UsageError(f"alpha={alpha!r} is no probability of error: choose one between 0 and 1, such as 0.05")
        self.alpha = alpha
        self._values: list[float] = []
        self._bets: list[float] = []
        self._sum = 0.0
        self._squares = 0.0
        self._against_low = 0.0
        self._against_high = 0.0

    def __len__(self) -> int:
        return len(self._values)

    @property
    def mean(self) -> float:
        """The mean of the values so far; 0 before the first."""
        return 2 * self._sum / len(self._values) - 1 if self._values else 0.0

    @property
    def is_positive(self) -> bool:
        """Whether the whole interval is above 0."""
        return self._against_low >= self._threshold

    @property
    def is_negative(self) -> bool:
        """Whether the whole interval is below 0."""
        return self._against_high >= self._threshold

    def observe(self, value: float) -> None:
        """Take the next *value*. Raises :class:`UsageError` outside [-1, 1]."""
        if not -1 <= value <= 1:
            raise UsageError(f"the value {value!r} is outside [-1, 1]: scale it by the largest that there can be")
        scaled = (value + 1) / 2
        bet = self._next_bet()
        self._values.append(scaled)
        self._bets.append(bet)
        self._against_low += _log_gain(bet, scaled, 0.5)
        self._against_high += _log_gain(bet, 1 - scaled, 0.5)
        self._sum += scaled
        self._squares += (scaled - (0.5 + self._sum) / (len(self._values) + 1)) ** 2

    def interval(self) -> Interval:
        """Return the mean and the interval now. Linear in the number of values."""
        low = _reject_below(self._values, self._bets, self._threshold)
        high = 1 - _reject_below([1 - value for value in self._values], self._bets, self._threshold)
        return Interval(self.mean, 2 * low - 1, 2 * high - 1)

    @property
    def _threshold(self) -> float:
        """Half of the capital bets that the mean is higher, half that it is lower: twice ``1 / alpha`` each."""
        return math.log(2 / self.alpha)

    def _next_bet(self) -> float:
        """Return how much to bet on the next value, from those before it alone."""
        count = len(self._values) + 1
        variance = (0.25 + self._squares) / count
        return math.sqrt(2 * self._threshold / (max(variance, 1e-9) * count * math.log(1 + count)))


def _log_gain(bet: float, value: float, candidate: float) -> float:
    """Return the logarithm of what a bet on "the mean is above *candidate*" is worth after *value*."""
    if candidate <= 0:
        return math.log1p(bet * value)
    return math.log1p(min(bet, _STAKE / candidate) * (value - candidate))


def _reject_below(values: list[float], bets: list[float], threshold: float) -> float:
    """Return the largest candidate in [0, 1] below which all are rejected: the capital falls as candidates rise."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if sum(_log_gain(bet, value, middle) for bet, value in zip(bets, values, strict=True)) >= threshold:
            low = middle
        else:
            high = middle
    return low
