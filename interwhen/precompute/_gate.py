"""The serving gate: decides from measured costs with and without a precomputed item whether runs use the item."""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from interwhen._types.vetting import Above, Amount, Inside, Positive, Share, require, vet

# Confidence sequences: intervals for a mean that stay valid if they are examined after each value.

_STAKE = 0.9
"""The largest part of the capital that a bet may lose."""
_STEPS = 40
"""Bisection steps for the end of an interval: far more precise than needed."""


class Interval(NamedTuple):
    mean: float
    low: float
    high: float


class ConfidenceSequence:
    """Estimates the mean of values in [-1, 1], with a confidence interval after each value."""

    # With probability at least `1 - alpha` the mean lies in `all` these intervals, if the expectation of each value,
    # given the earlier ones, is the mean. So one may stop at any time. Method: hedged capital with predictable plug-in
    # bets (Waudby-Smith and Ramdas, 2024, JRSS-B 86(1), section 4).

    __slots__ = ("_against_high", "_against_low", "_bets", "_squares", "_sum", "_values", "alpha")

    def __init__(self, alpha: float = 0.05) -> None:
        require("alpha", alpha, Inside, "give for example 0.05")
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
        return 2 * self._sum / len(self._values) - 1 if self._values else 0.0

    @property
    def is_positive(self) -> bool:
        return self._against_low >= self._threshold

    @property
    def is_negative(self) -> bool:
        return self._against_high >= self._threshold

    def observe(self, value: float) -> None:
        require("a value", value, Annotated[float, Meta(ge=-1, le=1)], "divide it by the largest possible value")
        scaled = (value + 1) / 2
        bet = self._next_bet()
        self._values.append(scaled)
        self._bets.append(bet)
        self._against_low += _log_gain(bet, scaled, 0.5)
        self._against_high += _log_gain(bet, 1 - scaled, 0.5)
        self._sum += scaled
        self._squares += (scaled - (0.5 + self._sum) / (len(self._values) + 1)) ** 2

    def interval(self) -> Interval:
        # The time is linear in the number of values.
        low = _reject_below(self._values, self._bets, self._threshold)
        high = 1 - _reject_below([1 - value for value in self._values], self._bets, self._threshold)
        return Interval(self.mean, 2 * low - 1, 2 * high - 1)

    @property
    def _threshold(self) -> float:
        # The log of the factor by which bets against a possible mean must raise the capital to reject that mean.
        return math.log(2 / self.alpha)

    def _next_bet(self) -> float:
        # A bet that depends only on earlier values (a predictable plug-in bet) keeps the interval valid.
        count = len(self._values) + 1
        variance = (0.25 + self._squares) / count
        return math.sqrt(2 * self._threshold / (max(variance, 1e-9) * count * math.log(1 + count)))


def _log_gain(bet: float, value: float, candidate: float) -> float:
    if candidate <= 0:
        return math.log1p(bet * value)
    return math.log1p(min(bet, _STAKE / candidate) * (value - candidate))


def _reject_below(values: list[float], bets: list[float], threshold: float) -> float:
    # Bisection works because the capital falls as the candidate rises.
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if sum(_log_gain(bet, value, middle) for bet, value in zip(bets, values, strict=True)) >= threshold:
            low = middle
        else:
            high = middle
    return low


Stage = Literal["trial", "kept", "demoted", "evicted"]
"""``trial``: not decided yet. ``kept``: pairs showed that the item saves tokens. ``demoted``: pairs showed that it
costs more, and only shadow runs (see :class:`GateRule`) use it. ``evicted``: no run uses it any more."""


class TokenPrices(msgspec.Struct, frozen=True):
    """What tokens cost when the serving gate compares runs with and without a precomputed item.

    The unit is the price of a token that is generated while no reader waits. Raises :class:`UsageError` if *waiting* is
    not above 0 or *reading* is below 0.
    """

    waiting: Above = 10.0
    """The price of a token that is generated while a reader waits."""
    reading: Amount = 0.2
    """The price of a prompt token, relative to a token that is generated in the same run."""

    def __post_init__(self) -> None:
        vet(self)


EQUAL_PRICES = TokenPrices(waiting=1.0)
"""Every generated token costs the same, whenever it is generated."""


class Arm(msgspec.Struct, frozen=True):
    """The tokens of one run of a :class:`Pair`."""

    generated: int
    """The generated tokens: kept, discarded and of forks."""
    read: int = 0
    """The prompt tokens, including those of the item."""
    sound: bool = True
    """Whether the run has a usable result."""

    def cost(self, prices: TokenPrices) -> float:
        return prices.waiting * self.alone(prices)

    def alone(self, prices: TokenPrices) -> float:
        return self.generated + prices.reading * self.read


class Pair(msgspec.Struct, frozen=True):
    """One query that was run both without the item and with it: once for a reader, and once as a *shadow run*."""

    without: Arm
    used: Arm
    limit: int
    """The most tokens that a run may generate. A run without a usable result is charged at least so many."""
    shadow: Literal["without", "used"] = "without"
    """Which of the two runs was the shadow run."""

    @property
    def beside(self) -> Arm:
        return self.without if self.shadow == "without" else self.used

    def saving(self, prices: TokenPrices) -> float:
        return self._cost(self.without, prices) - self._cost(self.used, prices)

    def share(self, prices: TokenPrices) -> float:
        # The divisor is no bound such as `limit`: with it, each pair would count little where the limit is high, and a
        # decision would take in proportion more pairs.
        dearer = max(self._cost(self.without, prices), self._cost(self.used, prices))
        return self.saving(prices) / dearer if dearer else 0.0

    def _cost(self, arm: Arm, prices: TokenPrices) -> float:
        return arm.cost(prices) if arm.sound else max(arm.cost(prices), prices.waiting * self.limit)


class GateRule(msgspec.Struct, frozen=True):
    """The settings of the serving gate, which decides from measured costs whether runs use a precomputed item.

    A new item is *on trial*: some of the queries run twice, with the item and without it. The second run, for which no
    reader waits, is a *shadow run*; the two are a *pair*. Once the pairs show at the error level *alpha* whether the
    item lowers or raises the cost, it is kept or demoted. Later pairs may move it again, or evict a demoted item for
    good. Raises :class:`UsageError` for a value out of range.
    """

    alpha: Inside = 0.05
    """The error level: how probable a wrong move of an item may be."""
    trial: Share = 0.5
    """The share of queries that become pairs while the item is on trial, after the first pairs."""
    holdout: Share = 0.02
    """The same share after the trial."""
    share: Share = 0.03
    """No further shadow run is made while they have cost more than this share of the cost of the readers' runs, after
    the first pairs."""
    first: Positive = 3
    """The least number of pairs at the start that run whatever they cost."""
    early: Amount = 1.2
    """At the start, ``early * prices.waiting`` pairs (12 by default) run whatever they cost."""
    prices: TokenPrices = TokenPrices()
    """The prices of tokens, with which runs are compared."""

    def __post_init__(self) -> None:
        vet(self)

    @property
    def first_pairs(self) -> int:
        """The number of pairs at the start of an item that get their second run whatever it costs."""
        return max(self.first, round(self.early * self.prices.waiting))


class GateChoice(NamedTuple):
    """The gate's decision for one query."""

    use: bool
    """Whether the reader's run uses the item."""
    pair: bool
    """Whether a shadow run follows, without the item if the reader's run uses it, and with the item if not."""


class Moved(msgspec.Struct, frozen=True):
    """A move of an item to the stage *to*."""

    to: Stage
    pairs: int
    """The number of pairs before the move."""
    mean: float
    low: float
    high: float
    """``mean``, ``low`` and ``high``: the mean saving that caused the move, and its interval (see
    :meth:`Pair.share`)."""


class GateRecord(msgspec.Struct):
    """The stored measurements of one item."""

    stage: Stage = "trial"
    pairs: list[Pair] = []
    since: int = 0
    """The index of the first pair of the present sequence."""
    sequences: int = 1
    """The number of sequences, including the present one."""
    moves: list[Moved] = []
    queries: int = 0
    """The number of readers' runs that were charged (:meth:`Gate.charge`)."""
    served: int = 0
    """The number of these runs that used the item."""
    paid: float = 0.0
    """The cost of these runs in offline tokens."""
    beside: float = 0.0
    """The cost of the shadow runs in offline tokens."""
    offline_tokens: int = 0
    """The tokens that were generated to make and judge the item."""


class Gate:
    """Decides whether runs use one item, from pairs of runs without and with the item."""

    # An item is kept if the mean saving of its pairs (`Pair.share`) is shown to be above 0, and demoted, then evicted,
    # if it is shown to be below 0; the sum of the savings must have the same sign. After each such decision, a new
    # sequence of pairs begins. The `n`-th sequence has the error level `alpha / (n * (n + 1))`, so the sum of all
    # levels is at most `alpha`. `record` (default: a new one) is changed in place.

    def __init__(self, record: GateRecord | None = None, rule: GateRule = GateRule()) -> None:  # noqa: B008  (frozen)
        self.record = GateRecord() if record is None else record
        self.rule = rule
        self._sequence = self._begin()
        self._saved = 0.0
        """The saving in offline tokens, in the present sequence."""
        for pair in self.record.pairs[self.record.since :]:
            self._add(pair)

    @property
    def stage(self) -> Stage:
        return self.record.stage

    @property
    def interval(self) -> Interval:
        return self._sequence.interval()

    def choose(self, chance: float) -> GateChoice:
        # `chance` is a random number from [0, 1), which decides whether one of the later pairs gets a second run.
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
        self.record.queries += 1
        self.record.served += used
        self.record.paid += arm.cost(self.rule.prices)

    def observe(self, pair: Pair) -> Moved | None:
        # The cost of the shadow run is added to the record; call `charge` for the reader's run.
        if self.record.stage == "evicted":
            return None
        self.record.pairs.append(pair)
        self.record.beside += pair.beside.alone(self.rule.prices)
        self._add(pair)
        if self._sequence.is_positive and self._saved > 0:
            if self.record.stage != "kept":
                return self._move("kept")
            self._renew()
        elif self._sequence.is_negative and self._saved < 0:
            return self._move("evicted" if self.record.stage == "demoted" else "demoted")
        return None

    def _may_pair(self, chance: float) -> bool:
        if len(self.record.pairs) < self.rule.first_pairs:
            return True
        # This depends only on earlier queries, so the choice of pairs does not bias their outcome.
        affordable = self.record.beside <= self.rule.share * self.record.paid
        return affordable and chance < (self.rule.trial if self.record.stage == "trial" else self.rule.holdout)

    def _add(self, pair: Pair) -> None:
        self._sequence.observe(pair.share(self.rule.prices))
        self._saved += pair.saving(self.rule.prices)

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
        self._sequence, self._saved = self._begin(), 0.0
