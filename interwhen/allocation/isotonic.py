"""Chances that never rise with the failures before: each failure is a sign that the task is hard."""

from __future__ import annotations

from collections.abc import Iterable


def falling(values: Iterable[tuple[float, float]]) -> list[float]:
    """Return the closest falling sequence to *values*, which are pairs of a value and its weight (above 0).

    Closest by weighted squares, found by pooling adjacent violators (Ayer et al. 1955), in linear time.
    """
    blocks: list[tuple[float, float, int]] = []
    for value, weight in values:
        block = (value, weight, 1)
        while blocks and blocks[-1][0] < block[0]:
            mean, mass, size = blocks.pop()
            both = mass + block[1]
            block = ((mean * mass + block[0] * block[1]) / both, both, size + block[2])
        blocks.append(block)
    return [mean for mean, _, size in blocks for _ in range(size)]
