"""The productivity gate: a precomputed item keeps its place only while it is shown to save more than it costs."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import msgspec

from interwhen._types.errors import UsageError

# Confidence sequences: intervals for a mean that hold at every moment at once, however often one looks.

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


Stage = Literal["trial", "kept", "demoted", "evicted"]
"""On trial: not known yet. Kept: it pays. Demoted: it does not, and is only tried beside the reader. Evicted: gone."""


class Weights(msgspec.Struct, frozen=True):
    """What a token costs, in offline tokens: one that is generated while nobody waits costs 1."""

    test: float = 10.0
    """A token generated while a reader waits."""
    reading: float = 0.2
    """A prompt token, beside a generated one at the same time."""

    def __post_init__(self) -> None:
        if not (self.test > 0 and self.reading >= 0):
            raise UsageError(f"{self!r}: a token that a reader waits for must cost something, and reading at least 0")


PLAIN = Weights(test=1.0)
"""Every generated token is worth the same, whenever it is generated."""


class Arm(msgspec.Struct, frozen=True):
    """What one run cost, with or without an item."""

    generated: int
    """Tokens that were generated: kept, discarded and forks."""
    read: int = 0
    """Prompt tokens, those of the item among them."""
    sound: bool = True
    """Whether it came to a result that may be used. One that did not costs the whole limit."""

    def cost(self, weights: Weights) -> float:
        """Return its cost to a reader, in offline tokens."""
        return weights.test * self.alone(weights)

    def alone(self, weights: Weights) -> float:
        """Return its cost where nobody waits for it."""
        return self.generated + weights.reading * self.read


class Pair(msgspec.Struct, frozen=True):
    """One query, answered both without the item and with it."""

    without: Arm
    used: Arm
    limit: int
    """The most tokens that a run may generate."""
    shadow: Literal["without", "used"] = "without"
    """Which of the two ran while nobody waited."""

    @property
    def beside(self) -> Arm:
        """The run that nobody waited for."""
        return self.without if self.shadow == "without" else self.used

    def saving(self, weights: Weights) -> float:
        """Return what the item saved the reader, in offline tokens; negative: it cost that."""
        return self._cost(self.without, weights) - self._cost(self.used, weights)

    def share(self, weights: Weights) -> float:
        """Return the saving as a part of the limit, within [-1, 1] (a saving beyond the limit counts as the limit)."""
        return max(-1.0, min(1.0, self.saving(weights) / (weights.test * self.limit)))

    def _cost(self, arm: Arm, weights: Weights) -> float:
        return arm.cost(weights) if arm.sound else max(arm.cost(weights), weights.test * self.limit)


class GateRule(msgspec.Struct, frozen=True):
    """How the gate decides."""

    alpha: float = 0.05
    """The most probability that any move in the whole life of an item is wrong."""
    trial: float = 0.5
    """The part of the queries that are run both ways during a trial."""
    holdout: float = 0.02
    """The same after it."""
    share: float = 0.03
    """All that is run beside the reader costs at most this part of what readers pay, behind the first pairs."""
    first: int = 3
    """So many pairs come at once, whatever they cost."""
    weights: Weights = Weights()

    def __post_init__(self) -> None:
        parts = (self.trial, self.holdout, self.share)
        if not (0 < self.alpha < 1 and all(0 <= part <= 1 for part in parts) and self.first >= 1):
            raise UsageError(f"{self!r}: alpha and the parts lie between 0 and 1, and first is at least 1")


class GateChoice(NamedTuple):
    """What to do with an item on one query."""

    use: bool
    """Whether the reader's run uses it."""
    pair: bool
    """Whether the other way is run as well, once nobody waits."""


class Moved(msgspec.Struct, frozen=True):
    """An item came to another stage."""

    to: Stage
    pairs: int
    """After so many pairs in all."""
    mean: float
    low: float
    high: float
    """The mean saving that moved it and its interval, as parts of the limit."""


class GateRecord(msgspec.Struct):
    """What the gate knows of an item; this is what is stored."""

    stage: Stage = "trial"
    pairs: list[Pair] = []
    """All pairs, in their order."""
    since: int = 0
    """The pairs before this one have been used up: they moved it to its stage, or confirmed that it belongs there."""
    sequences: int = 1
    """So many sequences have been begun, the present one included."""
    moves: list[Moved] = []
    queries: int = 0
    """Queries of readers for which it was there."""
    served: int = 0
    """Of these, the ones that used it."""
    paid: float = 0.0
    """What all of them cost, by the weights of the rule."""
    beside: float = 0.0
    """What the runs cost that nobody waited for."""
    offline_tokens: int = 0
    """Tokens that making and judging it took."""


class Gate:
    """Decides on one item, from pairs that come one by one.

    A sequence ends with a move, or when it has shown once more that a kept item pays: so old merits do not hide for
    long that an item has stopped paying. The *n*-th sequence of a life runs at ``alpha / (n * (n + 1))``, and the
    errors of all of them add up to less than ``alpha``: the gate may look after each pair. Random numbers are given,
    not drawn.
    """

    def __init__(self, record: GateRecord | None = None, rule: GateRule = GateRule()) -> None:  # noqa: B008  (frozen)
        self.record = GateRecord() if record is None else record
        self.rule = rule
        self._sequence = self._begin()
        for pair in self.record.pairs[self.record.since :]:
            self._sequence.observe(pair.share(rule.weights))

    @property
    def stage(self) -> Stage:
        """Where the item stands."""
        return self.record.stage

    @property
    def interval(self) -> Interval:
        """The mean saving of the present stage and its interval, as parts of the limit of a run."""
        return self._sequence.interval()

    def choose(self, chance: float) -> GateChoice:
        """Say what to do on the next query; *chance* is a random number from [0, 1)."""
        pair = self._may_pair(chance)
        match self.record.stage:
            case "trial":
                return GateChoice(use=len(self._sequence) > 0 and self._sequence.mean > 0, pair=pair)
            case "kept":
                return GateChoice(use=True, pair=pair)
            case "demoted":
                return GateChoice(use=False, pair=pair)
            case "evicted":
                return GateChoice(use=False, pair=False)

    def charge(self, arm: Arm, *, used: bool) -> None:
        """Count a reader's run, and whether it used the item."""
        self.record.queries += 1
        self.record.served += used
        self.record.paid += arm.cost(self.rule.weights)

    def observe(self, pair: Pair) -> Moved | None:
        """Take a *pair*, whose reader's run was charged already; return the move that it brings about."""
        if self.record.stage == "evicted":
            return None
        self.record.pairs.append(pair)
        self.record.beside += pair.beside.alone(self.rule.weights)
        self._sequence.observe(pair.share(self.rule.weights))
        if self._sequence.is_positive:
            if self.record.stage != "kept":
                return self._move("kept")
            self._renew()
        if self._sequence.is_negative:
            return self._move("evicted" if self.record.stage == "demoted" else "demoted")
        return None

    def _may_pair(self, chance: float) -> bool:
        if len(self.record.pairs) < self.rule.first:
            return True
        # It rests on queries before this one alone: which are paired says nothing about what they will show.
        affordable = self.record.beside <= self.rule.share * self.record.paid
        return affordable and chance < (self.rule.trial if self.record.stage == "trial" else self.rule.holdout)

    def _begin(self) -> ConfidenceSequence:
        number = self.record.sequences
        return ConfidenceSequence(self.rule.alpha / (number * (number + 1)))

    def _move(self, to: Stage) -> Moved:
        moved = Moved(to, len(self.record.pairs), *self._sequence.interval())
        self.record.moves.append(moved)
        self.record.stage = to
        self._renew()
        return moved

    def _renew(self) -> None:
        self.record.since = len(self.record.pairs)
        self.record.sequences += 1
        self._sequence = self._begin()
