"""What a run has spent so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """Counters of the core; tokens of forks are counted by the engine, which sees the server's numbers."""

    requests: int = 0
    remedies: int = 0
    reconnects: int = 0
    forks: int = 0
    discarded: int = 0
    late: int = 0
