"""One process of a world: an event loop, a run in it, its reader, and perhaps a death."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

import anyio

from interwhen.budgets import Budgets
from interwhen.errors import JournalError, UsageError
from interwhen.events import Finished
from interwhen.journal import Journal
from interwhen.models.base import Sampling
from interwhen.results import Result
from interwhen.resuming import resume
from interwhen.running import Run, run
from interwhen.simulation.disk import NAME, LoopClerk
from interwhen.simulation.lives import Life, Played, ReaderError, Seen
from interwhen.simulation.model import SEED
from interwhen.simulation.watching import PROMPT, build_monitors, shift
from interwhen.simulation.world import Death
from interwhen.testing.virtual_time import VirtualLoop
from interwhen.testing.workers import VirtualWorkers

_TURNS_TO_DISK = 3
"""After how many turns of the loop what is urgent has been written, where the disk takes no time."""


class Killed(BaseException):
    """The process is no more."""


class Process:
    """One process."""

    def __init__(self, played: Played, life: Life, death: Death | None, loop: VirtualLoop) -> None:
        self._played = played
        self._life = life
        self._death = death
        self._clerk: LoopClerk | None = None
        self._task: asyncio.Task[None] | None = None
        self._turns: list[Callable[[int], bool]] = []
        self.loop = loop
        if death is not None:
            self._turns.append(self._die)
        self.loop.on_turn = self._turn if self._turns else None

    def _turn(self, turn: int) -> bool:
        made_ready = [on_turn(turn) for on_turn in self._turns]  # all of them: each counts turns
        return any(made_ready)

    def _die(self, turn: int) -> bool:
        assert self._death is not None
        if turn > self._death.turn:
            raise Killed
        return False

    def bury(self) -> Life:
        """Let no more come of what still moves: whatever is cleaned up from now on has never happened."""
        life, death, model = self._life, self._death, self._played.model
        assert death is not None
        self.loop.on_turn = None
        self.loop.set_exception_handler(lambda *_: None)
        model.cut_off()
        if self._clerk is not None:
            self._clerk.die(death.torn)
        sure = [sent.chunks_before for sent in model.sent_now if sent.turn < self.loop.turns - _TURNS_TO_DISK]
        buried = replace(
            life,
            seen=list(life.seen),
            # Of what ended after that, a torn piece may be on file, or not.
            book=life.book[: None if death.torn else life.judged_on_file],
            raised=None,
            was_killed=True,
            seconds=self.loop.time(),
            turns=self.loop.turns,
            open_forks=model.open_forks,
            taken_before_request=max(sure, default=0) if not self._played.world.disk_seconds else 0,
        )
        self._played.lives[-1] = buried
        return buried

    def clean_up(self) -> None:
        """Call everything off, so that Python has nothing to complain of."""
        if self._task is not None:
            self._task.cancel()
            self.loop.run_until_complete(asyncio.gather(self._task, return_exceptions=True))

    async def live(self) -> None:
        """Supervise the run from its beginning, or from where the journal left it, until it is over."""
        life, loop = self._life, self.loop
        self._task = asyncio.current_task()
        try:
            supervised = self._supervised()
        except JournalError as error:
            life.raised = error
            return
        self._played.model.is_over = lambda: supervised.is_over
        with anyio.CancelScope() as scope:
            self._arm(scope)
            try:
                async with supervised:
                    life.entered = True
                    await self._read(supervised)
            except Exception as error:  # noqa: BLE001  (what came out of the run is what is judged)
                life.raised = error
        loop.on_turn = None
        life.was_cancelled = scope.cancelled_caught
        finished = bool(life.seen) and isinstance(life.seen[-1].event, Finished)
        life.cancel_swallowed = scope.cancel_called and not (scope.cancelled_caught or finished or life.raised)
        life.result = _result_of(supervised)
        life.left_tasks = tuple(sorted(task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()}))

    def _supervised(self) -> Run:
        world, limits, disk = self._played.world, self._played.world.limits, self._played.disk
        monitors = build_monitors(world, self._life.book)
        workers = VirtualWorkers(shift, threads=limits.threads, processes=limits.processes)
        journal = None if disk is None else Journal(NAME, store=disk, clerk=self._make_clerk)
        if journal is not None and self._life.before.size:
            self._life.is_resumed = True
            return resume(journal, model=self._played.model, monitors=monitors, workers=workers)
        return run(
            self._played.model,
            PROMPT,
            monitors=monitors,
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
            workers=workers,
            journal=journal,
        )

    def _make_clerk(self) -> LoopClerk:
        disk, life, model = self._played.disk, self._life, self._played.model
        assert disk is not None

        def on_written() -> None:
            disk.has_header = True
            life.seen_on_file, life.judged_on_file, life.taken_on_file = len(life.seen), len(life.book), model.taken

        self._clerk = LoopClerk(disk, self._played.world.disk_seconds, on_written)
        return self._clerk

    def _arm(self, scope: anyio.CancelScope) -> None:
        """See to it that the reader is cancelled when the world says."""
        reader, loop = self._life.reader, self.loop
        if reader.kind == "late_cancelled":
            scope.deadline = reader.at / 10
        elif reader.kind == "cancelled":
            last = loop.turns + reader.at

            def on_turn(turn: int) -> bool:
                if turn == last:
                    scope.cancel()
                return turn == last

            self._turns.append(on_turn)
            loop.on_turn = self._turn

    async def _read(self, supervised: Run) -> None:
        life, reader, loop = self._life, self._life.reader, self.loop
        seen, book = life.seen, life.book
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


def _result_of(supervised: Run) -> Result | None:
    try:
        return supervised.result
    except UsageError:
        return None
