"""Plays one world: the real engine and core in virtual time, and a log of all that a reader could see."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import NamedTuple, assert_never

import anyio

from interwhen.budgets import Budgets
from interwhen.errors import UsageError
from interwhen.events import Event, Finished
from interwhen.models.base import Sampling
from interwhen.results import Result
from interwhen.running import Run, run
from interwhen.simulation.model import SEED, SimulatedModel
from interwhen.simulation.watching import build_monitors, shift
from interwhen.simulation.world import Reader, World
from interwhen.testing.virtual_time import VirtualLoop, VirtualTimeError
from interwhen.testing.workers import VirtualWorkers

PROMPT = "Add up."
LONGEST = 20_000.0
"""Virtual seconds after which a world counts as endless."""
TURNS = 400_000


class Seen(NamedTuple):
    """An event, when it reached the reader, and how many checks had ended by then."""

    at: float
    judged: int
    event: Event


class ReaderError(Exception):
    """What a reader raises of its own."""


@dataclass(slots=True)
class Played:
    """Everything that is known about one play: what the judge of the simulator judges."""

    world: World
    model: SimulatedModel
    workers: VirtualWorkers
    book: list[tuple[int, str]] = field(default_factory=list)
    """Each check that ended, as number of the judge and text of the claim, in order."""
    seen: list[Seen] = field(default_factory=list)
    result: Result | None = None
    raised: BaseException | None = None
    stuck: VirtualTimeError | None = None
    entered: bool = False
    was_cancelled: bool = False
    cancel_swallowed: bool = False
    """Whether the reader was cancelled while it read, and nothing came of it."""
    left_tasks: tuple[str, ...] = ()
    seconds: float = 0.0
    turns: int = 0

    @property
    def saw_all(self) -> bool:
        """Whether the reader read to the end and looked at every event."""
        return self.raised is None and not self.was_cancelled and self.world.reader.kind in ("steady", "slow", "batch")


def play(world: World) -> Played:
    """Play *world* to its end. Never raises for what the code under test does: that is for the judge."""
    model = SimulatedModel(world)
    limits = world.limits
    played = Played(world, model, VirtualWorkers(shift, threads=limits.threads, processes=limits.processes))  # type: ignore[arg-type]  # its verifiers are ours
    loop = VirtualLoop(seconds=LONGEST, turns=TURNS)
    logger = logging.getLogger("interwhen")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # a warning for each fault of a hundred thousand worlds helps nobody
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(_live(played, loop))
    except VirtualTimeError as error:
        played.stuck = error
    finally:
        logger.setLevel(level)
    played.seconds, played.turns = loop.time(), loop.turns
    return played


async def _live(played: Played, loop: VirtualLoop) -> None:
    """Live the life of one process. One that is killed and resumed would have several, one after another."""
    world, limits = played.world, played.world.limits
    supervised = run(
        played.model,
        PROMPT,
        monitors=build_monitors(world, played.book),
        sampling=Sampling(max_tokens=limits.max_tokens, seed=SEED),
        budgets=Budgets(
            remedies=limits.remedies,
            repeats=limits.repeats,
            discarded_tokens=limits.discarded,
            forks=limits.forks,
            reconnects=limits.reconnects,
            failures=limits.failures,
            seconds=limits.seconds,
        ),
        starts_in="reasoning" if world.thinking in ("opened", "field") else "answer",
        workers=played.workers,
    )
    played.model.is_over = lambda: _result_of(supervised) is not None
    with anyio.CancelScope() as scope:
        _arm(world.reader, scope, loop)
        try:
            async with supervised:
                played.entered = True
                await _read(supervised, world.reader, played, loop)
        except Exception as error:  # noqa: BLE001  (what came out of the run is what is judged)
            played.raised = error
    loop.on_turn = None
    played.was_cancelled = scope.cancelled_caught
    finished = bool(played.seen) and isinstance(played.seen[-1].event, Finished)
    played.cancel_swallowed = scope.cancel_called and not (scope.cancelled_caught or finished or played.raised)
    played.result = _result_of(supervised)
    played.left_tasks = tuple(sorted(task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()}))


def _result_of(supervised: Run) -> Result | None:
    try:
        return supervised.result
    except UsageError:
        return None


def _arm(reader: Reader, scope: anyio.CancelScope, loop: VirtualLoop) -> None:
    """See to it that the reader is cancelled when the world says."""
    if reader.kind == "late_cancelled":
        scope.deadline = reader.at / 10
    elif reader.kind == "cancelled":
        last = loop.turns + reader.at

        def on_turn(turn: int) -> bool:
            if turn == last:
                scope.cancel()
            return turn == last

        loop.on_turn = on_turn


async def _read(supervised: Run, reader: Reader, played: Played, loop: VirtualLoop) -> None:
    seen, book = played.seen, played.book
    match reader.kind:
        case "drain":
            await supervised.drain()
        case "batch":
            while events := await supervised.batch():
                seen.extend(Seen(loop.time(), len(book), event) for event in events)
        case "steady" | "slow" | "leaves" | "raises" | "cancelled" | "late_cancelled":
            async for event in supervised:
                seen.append(Seen(loop.time(), len(book), event))
                if reader.seconds:
                    await anyio.sleep(reader.seconds)
                if len(seen) > reader.at and reader.kind in ("leaves", "raises"):
                    if reader.kind == "raises":
                        raise ReaderError
                    return
        case _:
            assert_never(reader.kind)
