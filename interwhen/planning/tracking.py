"""Follows the five rates from what requests took: a Kalman filter for rates that wander (Kalman 1960).

The error of a rate is relative: it starts as a part of the rate itself, and grows a little with every request.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from interwhen.planning.rates import LEAST, Rates, Work

TRUST = 0.5
"""Standard deviation of a rate that was calibrated, as a part of it."""
DRIFT = 0.02
"""By how much a rate may wander from one request to the next, as a part of it."""
NOISE = 0.15
"""Standard deviation of what a request takes around what its work explains, as a part of it."""
SURPRISE = 2.0
"""A request that takes so many times as much, or as little, as was thought is a surprise."""
SURPRISES = 2
"""So many surprises on end, to the same side, and what was known is believed no more."""

_Matrix = list[list[float]]


@dataclass(slots=True)
class Tracking:
    """The rates as they are thought to be now, with the covariance of their errors."""

    rates: Rates
    surprises: int = 0
    """Surprises on end: above 0 where requests took longer than was thought, below 0 where they were shorter."""
    _errors: _Matrix = field(default_factory=list)

    def __post_init__(self) -> None:
        self._errors = self._spread(TRUST)

    def learn(self, work: Work, seconds: float) -> bool:
        """Take in that *work* took so many *seconds*. Return whether what was known has been given up."""
        expected = max(work.seconds(self.rates), LEAST)
        doubted = self._doubt(seconds / expected)
        for index, rate in enumerate(self.rates):
            self._errors[index][index] += (DRIFT * rate) ** 2
        noise = (NOISE * expected) ** 2
        if self.surprises and not doubted:
            noise *= 25.0  # One request may have waited for somebody else.
        self._update(work, seconds - expected, noise)
        return doubted

    def _doubt(self, ratio: float) -> bool:
        if 1.0 / SURPRISE < ratio < SURPRISE:
            self.surprises = 0
            return False
        step = 1 if ratio >= SURPRISE else -1
        self.surprises = self.surprises + step if self.surprises * step >= 0 else step
        if abs(self.surprises) < SURPRISES:
            return False
        self.surprises = 0
        self._errors = self._spread(1.0)
        return True

    def _spread(self, share: float) -> _Matrix:
        size = range(len(self.rates))
        return [[(share * self.rates[row]) ** 2 if row == column else 0.0 for column in size] for row in size]

    def _update(self, work: Work, off: float, noise: float) -> None:
        errors = self._errors
        size = range(len(work))
        spread = [sum(errors[row][column] * work[column] for column in size) for row in size]
        variance = sum(work[row] * spread[row] for row in size) + noise
        gain = [value / variance for value in spread]
        self.rates = Rates(*(max(rate + gain[row] * off, rate / 10.0, LEAST) for row, rate in enumerate(self.rates)))
        self._errors = [[errors[row][column] - gain[row] * spread[column] for column in size] for row in size]
