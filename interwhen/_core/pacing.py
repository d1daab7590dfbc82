"""How long to wait before the model is asked again: a storm of remedies must not become one of requests."""

from __future__ import annotations

from dataclasses import dataclass

FREE = 1
"""Remedies that bring no progress and are followed up at once, all the same."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0


@dataclass(slots=True)
class Pace:
    """Counts the remedies in a row that brought no progress: none of them cut further on than any before."""

    _farthest: int = -1
    _in_vain: int = 0

    def after(self, cut: int) -> float:
        """Take a remedy that cuts at *cut*; return the seconds to wait before the next request."""
        if cut > self._farthest:
            self._farthest, self._in_vain = cut, 0
            return 0.0
        self._in_vain += 1
        if self._in_vain <= FREE:
            return 0.0
        return min(FIRST_PAUSE * 2.0 ** (self._in_vain - FREE - 1), LONGEST_PAUSE)
