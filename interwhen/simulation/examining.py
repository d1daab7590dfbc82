"""Plays a world and says what is wrong, if anything."""

from __future__ import annotations

from dataclasses import dataclass

from interwhen.simulation.cases import Broken
from interwhen.simulation.invariants import judge
from interwhen.simulation.lives import Played
from interwhen.simulation.playing import play
from interwhen.simulation.variations import differences
from interwhen.simulation.world import World


@dataclass(frozen=True, slots=True)
class Examined:
    """A play, and every invariant that it breaks."""

    played: Played
    broken: tuple[Broken, ...]


def examine(world: World) -> Examined:
    """Play *world*, and its variation where it has one."""
    played = play(world)
    broken = judge(played)
    if not broken:
        broken.extend(differences(played))
    return Examined(played, tuple(broken))
