"""The productivity gate: a precomputed item keeps its place only while it is shown to save more than it costs."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from interwhen.errors import UsageError
from interwhen.precompute.sequences import ConfidenceSequence, Interval

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


class Rule(msgspec.Struct, frozen=True):
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


class Choice(NamedTuple):
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


class Record(msgspec.Struct):
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

    def __init__(self, record: Record | None = None, rule: Rule = Rule()) -> None:  # noqa: B008  (frozen)
        self.record = Record() if record is None else record
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

    def choose(self, chance: float) -> Choice:
        """Say what to do on the next query; *chance* is a random number from [0, 1)."""
        pair = self._may_pair(chance)
        match self.record.stage:
            case "trial":
                return Choice(use=len(self._sequence) > 0 and self._sequence.mean > 0, pair=pair)
            case "kept":
                return Choice(use=True, pair=pair)
            case "demoted":
                return Choice(use=False, pair=pair)
            case "evicted":
                return Choice(use=False, pair=False)

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
