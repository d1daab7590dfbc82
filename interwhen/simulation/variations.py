"""The same world told otherwise: other chunks, order of monitors and speed, or no death; the result is the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from interwhen.results import Result
from interwhen.simulation.cases import Broken
from interwhen.simulation.lives import Played
from interwhen.simulation.model import SILENCE
from interwhen.simulation.playing import play
from interwhen.simulation.truth import is_crowded
from interwhen.simulation.watching import concludes
from interwhen.simulation.world import Chunking, Judge, Limits, World
from interwhen.verdicts import Judged

NAME = "P3: chunks, the order of monitors and their speed change nothing of the result"
UNBROKEN = "P4: a run that is killed and gone on with comes to what an unbroken one comes to"


def is_timeless(world: World) -> bool:
    """Tell whether the result may not depend on time at all.

    It may where a fault or a budget strikes at a moment, and where acting monitors with different triggers see the
    text at different moments: how far the model had written when it was stopped is no promise. So it may where the
    model is silent for so long that what is not finished is looked at, and where a monitor may end the reasoning,
    which the model may have ended itself by then.
    """
    limits, usual = world.limits, Limits()
    moments = {(watch.trigger, watch.phase) for watch in world.watches}
    acting = [watch for watch in world.watches if watch.delivery != "observe"]
    return (
        not world.wires
        and world.reader.kind in ("steady", "slow", "batch", "drain")
        and limits == msgspec.structs.replace(usual, remedies=limits.remedies, repeats=limits.repeats)
        and not is_crowded(world)
        and max(world.chunking.gaps) < SILENCE
        and len({(watch.trigger, watch.phase) for watch in acting}) <= 1
        and all(watch.grounded for watch in acting)
        # A tracker may have read what was refuted before or after it was, where it reads at other moments.
        and not any(watch.tracks and (watch.prepares != "no" or len(moments) > 1) for watch in world.watches)
        and not any(map(concludes, world.watches))
        # The replies of a tracker's forks are read in order: how long one waits for another is a matter of time.
        and not (world.fork_fault == "hangs" and any(watch.tracks and watch.fork for watch in world.watches))
    )


def differences(played: Played) -> Iterator[Broken]:
    """Play a variation of the world that was *played*, if it has any, and say where the result is another."""
    world = played.world
    if not is_timeless(world) or played.result is None:
        return
    name = UNBROKEN if world.deaths else NAME
    again = play(unbroken(world) if world.deaths else varied(world))
    if again.result is None:
        yield Broken(name, f"there is no result at all: {again.stuck or again.life.raised!r}")
        return
    gated = any(watch.delivery in ("gate", "gate_tools", "final") for watch in world.watches)
    mine, theirs = _essence(played.result, gated=gated), _essence(again.result, gated=gated)
    if world.deaths and {mine["finish_reason"], theirs["finish_reason"]} == {"stop", "tool_calls"}:
        del mine["finish_reason"]  # an answer that only goes on behind the last tool call holds none itself
    for field, value in mine.items():
        if value != theirs[field]:
            yield Broken(name, f"{field}: {value!r:.250}, and otherwise {theirs[field]!r:.250}")
            return


def unbroken(world: World) -> World:
    """Return *world* without its deaths."""
    return msgspec.structs.replace(world, deaths=(), disk_seconds=0.0)


def varied(world: World) -> World:
    """Return *world* with everything changed that must not matter."""
    fine = Chunking(sizes=(1,), gaps=(0.0, 0.2))
    coarse = Chunking()
    return msgspec.structs.replace(
        world,
        chunking=fine if world.chunking.sizes[0] > 3 else coarse,
        watches=tuple(reversed(world.watches)),
        judges=tuple(_otherwise(judge) for judge in world.judges),
    )


def _otherwise(judge: Judge) -> Judge:
    """Return *judge* with its waits in another order, those that end in a timeout left where they are."""
    quick = [seconds for seconds in judge.seconds if seconds < judge.deadline]
    turned = iter([*quick[1:], 0.3 if quick[:1] == [0.0] else 0.0])
    seconds = tuple(next(turned) if wait < judge.deadline else wait for wait in judge.seconds)
    return msgspec.structs.replace(judge, seconds=seconds)


def _essence(result: Result, *, gated: bool) -> dict[str, Any]:
    """Return what may not depend on time: neither seconds, nor what was generated in vain, nor who had it cached."""
    checks = [
        (c.monitor, c.key, c.span, c.segment, type(c.outcome).__name__, _verdict(c.outcome)) for c in result.checks
    ]
    acts = [violation for violation in result.violations if violation.remedy is not None]
    if result.status == "abstained" or any(act.remedy == "stop" for act in acts):
        checks = []  # the run ended at once, and which checks were still open then is a matter of time
    # What a gate had not let through when a run gave up is no part of it: how far that was is a matter of time.
    is_whole = not gated or result.status != "abstained"
    return {
        "status": result.status,
        "text": result.text if is_whole else "",
        "answer": result.answer if is_whole else "",
        "finish_reason": result.finish_reason,
        "insertions": result.insertions,
        "acts": acts,
        "checks": checks,
        "doubts": sorted(getattr(result, "doubts", ()), key=msgspec.json.encode) if checks else [],
        "reason": getattr(result, "reason", ""),
        "remedies": result.ledger.remedies,
    }


def _verdict(outcome: object) -> object:
    return outcome.verdict if isinstance(outcome, Judged) else None
