"""A tracker: an extractor that remembers what the standing text has come to, segment after segment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from interwhen.claims import Claim

StateT = TypeVar("StateT")


@dataclass(frozen=True, slots=True)
class Tracker(Generic[StateT]):
    """Segments to claims, by a fold: each *step* gets the state behind the segment before, and returns the next.

    States are values: *step* never changes one, since a rewind goes back to an earlier one. A segment that was cut
    leaves no state, and neither does one that was refuted and stays in the trace with feedback behind it: the next
    step starts from the state before it. *start* gets what the monitor's ``prepare`` returned (``None`` without one).
    Like a parser, *step* runs on the event loop: it must be linear in the segment, and quick.
    """

    start: Callable[[Any], StateT]
    """What was prepared, to the state before the first segment."""
    step: Callable[..., tuple[StateT, Iterable[Claim]]]
    """State and segment, to the next state and the claims of the segment. (In a :class:`~interwhen.Fork`: state, reply
    and segment.)"""
