"""The gate, SIMULATED: items of stated worth before readers, and what the gate makes of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, get_args

import msgspec

from interwhen.precompute.gate import Arm, Gate, Pair, Rule, Stage, Weights

RATIOS = (0.1, 0.3, 0.5, 0.8, 0.95, 1.0, 1.05, 1.2, 2.0)
"""How long a run with the item is, beside one without."""
LIMIT = 1200
_SIZE = 300
_SPREAD = 0.3
_MEAN = -_SPREAD * _SPREAD / 2
"""So that the mean is 1."""


class GateRow(msgspec.Struct, frozen=True):
    """Items that make a run *ratio* times as long in the mean, and are read, at one weight of a reader's token."""

    ratio: float
    weight: float
    queries: int
    items: int
    cost: float
    """The gate's, over the better of always and never using the item."""
    kept: float
    """The share of items that ended so."""
    dropped: float


Worthless = Literal["steady", "noisy", "rare gain", "rare loss"]
"""Items that make no difference in the mean: runs that differ by little or by much, or hardly ever, and then by all."""
WORTHLESS: tuple[Worthless, ...] = get_args(Worthless)


class ErrorRow(msgspec.Struct, frozen=True):
    """Items that make no difference in the mean, looked at after each pair: every move is a false one."""

    item: Worthless
    items: int
    pairs: int
    kept: float
    dropped: float


def cost_row(ratio: float, weight: float, *, queries: int = 1000, items: int = 20, seed: int = 0) -> GateRow:
    """Return what *items* cost under the gate, and what became of them."""
    lives = [life(ratio, weight, queries, seed + number) for number in range(items)]
    gated, always, never = (sum(life[1][at] for life in lives) for at in range(3))
    kept, dropped = _shares([gate.stage for gate, _ in lives])
    return GateRow(ratio, weight, queries, items, gated / min(always, never), kept, dropped)


def error_row(item: Worthless, *, pairs: int = 400, items: int = 400, seed: int = 0) -> ErrorRow:
    """Return how many items are ever moved that make no difference."""
    first: list[Stage] = []
    for number in range(items):
        rng, gate = random.Random(f"{item} {seed} {number}"), Gate()  # noqa: S311  (a simulation)
        for _ in range(pairs):
            gate.observe(_pair(item, rng))
        first.append(gate.record.moves[0].to if gate.record.moves else "trial")
    kept, dropped = _shares(first)
    return ErrorRow(item, items, pairs, kept, dropped)


def _pair(item: Worthless, rng: random.Random) -> Pair:
    if item in ("steady", "noisy"):
        spread = 0.1 if item == "steady" else 0.4
        one, other = (min(LIMIT, int(_SIZE * rng.lognormvariate(0, spread))) for _ in range(2))
        return Pair(Arm(one), Arm(other), LIMIT)
    # Once in forty times the item saves (or costs) 390 tokens, else it costs (or saves) ten.
    more, less = (Arm(_SIZE + 390), Arm(_SIZE)) if rng.random() < 1 / 40 else (Arm(_SIZE), Arm(_SIZE + 10))
    return Pair(more, less, LIMIT) if item == "rare gain" else Pair(less, more, LIMIT)


def life(ratio: float, weight: float, queries: int, seed: int) -> tuple[Gate, tuple[float, float, float]]:
    """Return the gate of one item after so many queries, and what these cost: gated, always and never with the item."""
    weights = Weights(test=weight)
    rng, gate = random.Random(f"{ratio} {seed}"), Gate(rule=Rule(weights=weights))  # noqa: S311  (a simulation)
    gated = always = never = 0.0
    for _ in range(queries):
        size = _SIZE * rng.lognormvariate(_MEAN, _SPREAD)
        without = Arm(min(LIMIT, int(size)), 200)
        used = Arm(min(LIMIT, int(size * ratio * rng.lognormvariate(_MEAN, _SPREAD))), 240)
        always, never = always + used.cost(weights), never + without.cost(weights)
        choice = gate.choose(rng.random())
        arm = used if choice.use else without
        gate.charge(arm, used=choice.use)
        gated += arm.cost(weights)
        if choice.pair:
            gate.observe(Pair(without, used, LIMIT, "without" if choice.use else "used"))
    return gate, (gated + gate.record.beside, always, never)


def _shares(stages: Sequence[Stage]) -> tuple[float, float]:
    return stages.count("kept") / len(stages), (stages.count("demoted") + stages.count("evicted")) / len(stages)
