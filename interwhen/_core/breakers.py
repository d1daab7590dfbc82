"""A verifier that fails time after time is asked no more, but for a trial now and then."""

from __future__ import annotations

from dataclasses import dataclass

from interwhen.verdicts import Errored, Judged, Outcome, TimedOut

FIRST_TRIAL = 8
"""How many checks are skipped before one is tried; after each trial that fails, twice as many."""
LAST_TRIAL = 128


@dataclass(slots=True)
class Breaker:
    """Counts the failures in a row of one verifier in one run, whichever monitor asked. Time plays no part."""

    limit: int | None
    """How many it takes; ``None``: it never opens."""
    failures: int = 0
    is_open: bool = False
    _skipped: int = 0
    _wait: int = FIRST_TRIAL

    def admits(self) -> bool:
        """Tell whether a check that is due may run, and count it if not."""
        if not self.is_open:
            return True
        if self._skipped < self._wait:
            self._skipped += 1
            return False
        # Should the trial be called off, the next one comes by the same count: nothing waits for its end.
        self._skipped = 0
        self._wait = min(self._wait * 2, LAST_TRIAL)
        return True

    def takes(self, outcome: Outcome) -> bool:
        """Take the end of a check; tell whether that opened or closed the breaker."""
        was_open = self.is_open
        if isinstance(outcome, Judged):
            self.failures, self.is_open = 0, False
            self._skipped, self._wait = 0, FIRST_TRIAL
        elif isinstance(outcome, Errored | TimedOut):
            self.failures += 1
            self.is_open = self.limit is not None and self.failures >= self.limit
        return self.is_open is not was_open
