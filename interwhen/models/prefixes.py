"""How much two texts share from their beginning."""

from __future__ import annotations


def shared(one: str, other: str) -> int:
    """Return how many characters *one* and *other* have in common before they differ."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
