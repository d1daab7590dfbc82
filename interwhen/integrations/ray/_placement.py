"""Decides where a check runs: on this machine or on the cluster, and there on which actor. No I/O, no clock.

Why: docs/decisions/0064-checks-on-a-cluster.md.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Generic, TypeVar

import msgspec

LEAST_SECONDS = 0.005
"""A verifier comes back if a check needs fewer CPU seconds: a call to an actor would cost more than it saves."""
LEAVING_SECONDS = 0.0075
"""The CPU seconds that the checks of a verifier must need before they leave."""
# Higher than LEAST_SECONDS, so that a verifier near the limit does not go back and forth.
PROOFS = 8
"""How many checks in a row must need ``LEAVING_SECONDS`` before the verifier leaves for the first time."""
MOST_PROOFS = 4096


@dataclass(slots=True)
class _VerifierCost:
    needed: int = PROOFS
    """How many expensive checks in a row let the verifier leave this machine."""
    streak: int = 0
    """How many expensive checks in a row there were so far."""
    leaves: bool = False
    """Whether its checks may leave this machine now."""
    seconds: float = 0.0
    """The average CPU seconds of a check, with the newer ones counting more."""


class CostHistory:
    """Learns what the checks of each verifier cost, and so which of them may leave this machine for the cluster.

    Seconds are CPU seconds. A verifier leaves when ``PROOFS`` checks in a row each needed at least ``LEAVING_SECONDS``.
    It comes back as soon as a check needed less than ``LEAST_SECONDS``; the number of checks before it leaves again is
    then multiplied by four, up to ``MOST_PROOFS``.
    """

    def __init__(self) -> None:
        self._known: dict[str, _VerifierCost] = {}

    def leaves(self, key: str) -> bool:
        """Return whether the checks of the verifier with the key *key* may leave this machine."""
        found = self._known.get(key)
        return found is not None and found.leaves

    def seconds(self, key: str) -> float:
        """Return the usual CPU seconds of a check of the verifier with the key *key*; 0 if none was measured."""
        found = self._known.get(key)
        return 0.0 if found is None else found.seconds

    def learn(self, key: str, spent: float) -> None:
        """Record that a check of the verifier with the key *key* needed *spent* CPU seconds, wherever it ran."""
        known = self._known.setdefault(key, _VerifierCost())
        known.seconds = spent if known.seconds == 0.0 else 0.8 * known.seconds + 0.2 * spent
        if known.leaves and spent < LEAST_SECONDS:
            known.leaves = False
            known.needed = min(known.needed * 4, MOST_PROOFS)
            known.streak = 0
        elif not known.leaves:
            known.streak = known.streak + 1 if spent >= LEAVING_SECONDS else 0
            known.leaves = known.streak >= known.needed


SHORT_SECONDS = 0.25
"""A check that usually takes longer shares an actor with no other check."""
# The time of a call is small against it, and the check would be stuck if the other one hangs.
WINDOW_SECONDS = 0.05
"""How much work, in seconds, an actor gets ahead, beyond the two checks that keep it busy."""
WINDOW = 32
"""The largest number of checks that an actor has at once."""


class PlacedCheck(msgspec.Struct, eq=False):
    """A check that an actor runs, or that waits for an actor."""

    id: int
    verifier: str
    """What identifies the verifier, for :class:`CostHistory`."""
    key: str
    """The key of the claim, by which its place is chosen."""
    seconds: float
    """How long the check usually takes; 0 if this is not known."""
    tries: int = 0
    """How many actors got it."""
    place: str = ""
    """The name of the actor that has it."""
    begun: bool = False
    """Whether it is the check that its actor is running."""


C = TypeVar("C", bound=PlacedCheck)


@dataclass(slots=True)
class Lane(Generic[C]):
    """What the pool knows of one actor: the checks that were given to it, in their order."""

    name: str
    checks: dict[int, C] = field(default_factory=dict)
    work: float = 0.0
    """The sum of their usual times."""
    hashed: blake2b = field(init=False)
    """The hash of the name, which the hash of a key continues."""

    def __post_init__(self) -> None:
        """Hash the name."""
        self.hashed = blake2b(self.name.encode(), digest_size=8)

    def add(self, check: C) -> None:
        """Record that the actor gets *check*, after its other checks. If there are none, *check* has begun."""
        check.place = self.name
        check.tries += 1
        check.begun = not self.checks
        self.checks[check.id] = check
        self.work += check.seconds

    def remove(self, number: int) -> C | None:
        """Record that the actor no longer has the check with the id *number*. Return the check; ``None`` without it."""
        check = self.checks.pop(number, None)
        if check is not None:
            self.work = self.work - check.seconds if self.checks else 0.0
        return check

    def has_room(self, check: PlacedCheck) -> bool:
        """Return whether the actor may get *check* now: it has no check, or few and short ones."""
        count = len(self.checks)
        if count == 0:
            return True
        if count >= WINDOW or self.work > SHORT_SECONDS or check.seconds > SHORT_SECONDS:
            return False
        return count < 2 or self.work + check.seconds <= WINDOW_SECONDS


def best(key: str, lanes: Collection[Lane[C]]) -> Lane[C]:
    """Return the best of *lanes*, which must not be empty, for *key* (rendezvous hashing).

    If an actor leaves, only the keys whose best place it was move.
    """
    if len(lanes) == 1:
        return next(iter(lanes))
    data = key.encode("utf-8", "surrogatepass")

    def weight(lane: Lane[C]) -> bytes:
        found = lane.hashed.copy()
        found.update(data)
        return found.digest()

    return max(lanes, key=weight)


class Waiting(Generic[C]):
    """The checks that wait for an actor, oldest first, and the lanes of the actors.

    With *most* waiting checks, :attr:`is_full` is true.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.lanes: dict[str, Lane[C]] = {}
        self._checks: dict[int, C] = {}

    def __len__(self) -> int:
        return len(self._checks)

    @property
    def is_full(self) -> bool:
        """Whether no new check should be added. Checks of a lost actor may still come back."""
        return len(self._checks) >= self.most

    def add(self, check: C, *, first: bool = False) -> None:
        """Add *check* to the waiting ones, at the end; with *first*, at the front."""
        if first:
            self._checks = {check.id: check, **self._checks}
        else:
            self._checks[check.id] = check

    def remove(self, number: int) -> C | None:
        """Remove the waiting check with the id *number*, and return it; ``None`` if it does not wait."""
        return self._checks.pop(number, None)

    def take_all(self) -> list[C]:
        """Remove all waiting checks, and return them."""
        found = list(self._checks.values())
        self._checks.clear()
        return found

    def assign(self) -> list[C]:
        """Give waiting checks to actors that have room. Remove them from the waiting ones, and return them."""
        given: list[C] = []
        if not self.lanes:
            return given
        refused = math.inf
        for check in self._checks.values():
            if check.seconds >= refused:
                continue  # there was no room for a shorter one
            if self.place(check) is not None:
                given.append(check)
                continue
            refused = check.seconds
            if not any(len(each.checks) < WINDOW and each.work <= SHORT_SECONDS for each in self.lanes.values()):
                break
        for check in given:
            del self._checks[check.id]
        return given

    def place(self, check: C) -> str | None:
        """Give *check* to an actor and return the name of this actor; ``None`` if none has room."""
        if not self.lanes:
            return None
        lane = best(check.key, self.lanes.values())
        if lane.checks and (len(lane.checks) >= WINDOW or lane.work + check.seconds > WINDOW_SECONDS / 2):
            fitting = [each for each in self.lanes.values() if each.has_room(check)]
            if not fitting:
                return None
            lane = best(check.key, [each for each in fitting if not each.checks] or fitting)
        lane.add(check)
        return lane.name
