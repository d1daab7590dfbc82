"""Decides which checks leave this machine, and how many of them one call to an actor carries. No I/O, no clock.

Why: docs/decisions/workers.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST_SECONDS = 0.005
"""A verifier comes back if a check needs fewer CPU seconds: a call to an actor would cost more than it saves."""
LEAVING_SECONDS = 0.0075
"""The CPU seconds that a check must need, so that its verifier may leave."""
# `LEAVING_SECONDS` is higher than `LEAST_SECONDS`, so that a verifier near the limit does not go back and forth.
PROOFS = 8
"""So many checks in a row must need ``LEAVING_SECONDS`` before the verifier leaves for the first time."""
CALL_SECONDS = 0.1
"""How much work, in seconds, one call carries if its checks are shorter: a result waits for the end of its call."""


@dataclass(slots=True)
class VerifierCost:
    """Learns what the checks of a verifier cost, and so whether they may leave this machine."""

    # Each time it has come back, it needs four times as many checks in a row before it leaves again.

    seconds: float = LEAVING_SECONDS
    """The average CPU seconds of a check; newer ones count more."""
    leaves: bool = False
    _needed: int = PROOFS
    _streak: int = 0

    def learn(self, spent: float) -> None:
        self.seconds = 0.8 * self.seconds + 0.2 * spent
        if self.leaves and spent < LEAST_SECONDS:
            self.leaves, self._streak, self._needed = False, 0, self._needed * 4
        elif not self.leaves:
            self._streak = self._streak + 1 if spent >= LEAVING_SECONDS else 0
            self.leaves = self._streak >= self._needed

    def size_of_call(self, waiting: int, idle: int) -> int:
        return max(1, min(math.ceil(waiting / idle), int(CALL_SECONDS / max(self.seconds, LEAST_SECONDS))))
