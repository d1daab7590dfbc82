"""What follows from relations between places, exactly, and without a solver.

"A is to the northeast of B" says two things: A lies further east, and A lies further north. So the statements about
each axis are strict comparisons of pairs, and the axes have nothing to do with each other. From strict comparisons that
hold together, exactly those of their transitive closure follow: any other pair can be arranged in either way, for
everything that is not forced to lie beyond a place can be moved before it. For the same reason the number of places in
a quadrant can take each value from those that must be there to those that may be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

Axis = Literal[0, 1]
"""0: from west to east; 1: from south to north."""
Sign = Literal[-1, 0, 1]
Status = Literal["follows", "contradicts", "open"]


class Relation(NamedTuple):
    """How a place lies, as seen from another: east (1) or west (-1), north (1) or south (-1); 0: that is not said."""

    east: Sign
    north: Sign

    @property
    def signs(self) -> tuple[tuple[Axis, Sign], ...]:
        """What it says, by axis."""
        both: tuple[tuple[Axis, Sign], ...] = ((0, self.east), (1, self.north))
        return tuple(part for part in both if part[1])

    @property
    def is_diagonal(self) -> bool:
        """Whether it says something of both axes."""
        return bool(self.east and self.north)


class Premise(NamedTuple):
    """One sentence of the map: place *one* lies so, as seen from *other*."""

    one: int
    relation: Relation
    other: int
    text: str


@dataclass(frozen=True, slots=True)
class Order:
    """The places beyond each place, on both axes, and the sentences that say so."""

    beyond: tuple[tuple[int, ...], tuple[int, ...]]
    """For each axis and place: the set of the places beyond it, as bits."""
    premises: tuple[Premise, ...]

    @property
    def is_consistent(self) -> bool:
        """Whether no place lies beyond itself."""
        return not any(bits >> place & 1 for axis in self.beyond for place, bits in enumerate(axis))

    def sign(self, axis: Axis, one: int, other: int) -> Sign:
        """Return where *one* must lie, as seen from *other*; 0: that is left open."""
        if self.beyond[axis][other] >> one & 1:
            return 1
        return -1 if self.beyond[axis][one] >> other & 1 else 0

    def status(self, one: int, relation: Relation, other: int) -> Status:
        """Tell whether the relation follows, whether its contrary does, or neither."""
        if one == other:
            return "contradicts"
        found = [self.sign(axis, one, other) * sign for axis, sign in relation.signs]
        if -1 in found:
            return "contradicts"
        return "follows" if found and 0 not in found else "open"

    def reasons(self, one: int, relation: Relation, other: int) -> tuple[str, ...]:
        """Return sentences from which the status follows: a shortest chain of them for each axis that decides."""
        status = self.status(one, relation, other)
        chains = [
            self._chain(axis, one, other) if self.sign(axis, one, other) > 0 else self._chain(axis, other, one)
            for axis, sign in relation.signs
            if self.sign(axis, one, other) * sign == (1 if status == "follows" else -1)
        ]
        shown = chains if status == "follows" else chains[:1]
        return tuple(dict.fromkeys(text for chain in shown for text in chain))

    def _chain(self, axis: Axis, high: int, low: int) -> list[str]:
        came: dict[int, tuple[int, str]] = {}
        waiting = deque([low])
        while waiting:
            here = waiting.popleft()
            if here == high and came:
                break
            for premise in self.premises:
                ends = _ends(premise, axis)
                if ends is not None and ends[0] == here and ends[1] not in came:
                    came[ends[1]] = here, premise.text
                    waiting.append(ends[1])
        chain: list[str] = []
        at = high
        while at in came and (at != low or not chain):
            at, text = came[at]
            chain.append(text)
        return chain[::-1]


def _ends(premise: Premise, axis: Axis) -> tuple[int, int] | None:
    """Return the lower and the higher place on *axis*."""
    sign = premise.relation[axis]
    if not sign:
        return None
    return (premise.other, premise.one) if sign > 0 else (premise.one, premise.other)


def make_order(count: int, premises: Iterable[Premise]) -> Order:
    """Return what follows from *premises* on *count* places."""
    listed = tuple(premises)
    return Order((_closed(count, listed, 0), _closed(count, listed, 1)), listed)


def _closed(count: int, premises: Iterable[Premise], axis: Axis) -> tuple[int, ...]:
    beyond = [0] * count
    for premise in premises:
        if (ends := _ends(premise, axis)) is not None:
            beyond[ends[0]] |= 1 << ends[1]
    for through in range(count):
        for place in range(count):
            if beyond[place] >> through & 1:
                beyond[place] |= beyond[through]
    return tuple(beyond)
