"""Plays one world: the real engine and core in virtual time, one process after the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, assert_never

import anyio
import msgspec
from interwhen._run.run import Run, resume, run
from interwhen._types.budgets import Budgets
from interwhen._types.errors import JournalError, UsageError
from interwhen._types.events import Event, Finished
from interwhen._types.models import Sampling
from interwhen._types.results import Result
from interwhen.journal import Journal, read_journal
from interwhen.journal._files import Writing
from interwhen.journal._records import ChunkRecord, EndRecord, FactRecord, Record, SpentRecord, TextRecord
from interwhen.testing._virtual_time import VirtualLoop, VirtualTimeError, VirtualWorkers
from tests.simulation.model import SEED, SimulatedModel
from tests.simulation.monitors import PROMPT, build_monitors, shift
from tests.simulation.worlds import ProcessDeath, SimulatedReader, World

# The disk of a world, which outlives its processes, and the writer of the journal on the loop of one of them.

NAME = "the journal"


class Disk:
    """A simulated disk with one journal. Its ``data`` are the bytes that were handed to the operating system."""

    def __init__(self) -> None:
        self.data = b""
        self.has_header = False
        """Whether the first record was written completely."""
        self._room: int | None = None
        """Bytes that are still accepted from a dying process."""

    def read(self, _name: str, /) -> bytes:
        return self.data

    def open(self, _name: str, /, *, keep: int, size: int) -> Disk:
        if size != len(self.data):
            raise JournalError(
                NAME, f"the caller must have read all of its {len(self.data)} bytes, and read {size}: read it again"
            )
        self.data = self.data[:keep]
        self._room = None
        return self

    def write(self, data: bytes, /) -> int:
        # Of a dying process, a part of `data` or nothing may be written. No error is raised then.
        taken = data if self._room is None else data[: self._room]
        if self._room is not None:
            self._room -= len(taken)
        self.data += taken
        return len(data)

    def tear(self, room: int) -> None:
        # Accept only `room` more bytes: later writes are cut off without an error, because the process dies.
        self._room = room

    def clear(self) -> None:
        self.data = b""

    def sync(self) -> None:
        """Do nothing: simulated machines do not lose power."""

    def close(self) -> None:
        """Do nothing: the disk has one user."""


class LoopClerk:
    """Writes a journal on the event loop, without a thread. It stops when its process is killed."""

    def __init__(self, disk: Disk, seconds: float, on_written: Callable[[], None]) -> None:
        # `seconds` is the delay of urgent writes. `on_written` is called after each write.
        self._disk = disk
        self._urgent = seconds
        self._on_written = on_written
        self._loop = asyncio.get_running_loop()
        self._done = anyio.Event()
        self._is_over = False
        self._writing: Writing | None = None
        self._seconds = 0.0

    def start(self, writing: Writing, seconds: float) -> None:
        """Begin to write the records of *writing*: schedule the first write, of the header, after the urgent delay.

        *seconds* is the normal delay of later writes.
        """
        self._writing, self._seconds = writing, seconds
        self.hurry()

    def wake(self) -> None:
        self._later(max(self._seconds, self._urgent), self._write)

    def hurry(self) -> None:
        self._later(self._urgent, self._write)

    def end(self) -> None:
        self._later(self._urgent, self._end)

    async def ended(self, seconds: float) -> bool:
        with anyio.move_on_after(seconds):
            await self._done.wait()
        return self._done.is_set()

    def die(self, torn: int) -> None:
        self._disk.tear(torn)
        if self._writing is not None and not self._is_over:
            self._writing.write()
        self._is_over = True
        self._disk.tear(0)

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        if not self._is_over:
            self._loop.call_later(seconds, do)

    def _write(self) -> None:
        if self._is_over or self._writing is None:
            return
        self._writing.write()
        self._on_written()

    def _end(self) -> None:
        if self._is_over or self._writing is None:
            return
        self._write()
        self._writing.shut()
        self._is_over = True
        self._done.set()


class FileState(msgspec.Struct, frozen=True):
    """The numbers that the file of a journal shows, without a replay: its size, chunks, tokens and times."""

    size: int = 0
    """The size of the file in bytes."""
    left_out: int = 0
    """Bytes at the end that are no complete record."""
    chunks: int = 0
    tokens: int = 0
    """Tokens of these chunks."""
    opened: int = 0
    """Opened streams."""
    fork_tokens: int = 0
    unread: int = 0
    """Tokens that arrived after the end of the run, which counts them as discarded."""
    slow_seconds: float = 0.0
    """Seconds during which the model was slower than its minimum rate."""
    at: float = 0.0
    """The latest time with which a record begins, in seconds since the run began."""
    is_over: bool = False
    """Whether the file has the result of the run, with no later part of the run after it."""


def read_file_state(journal: Journal) -> FileState:
    # Read the file of `journal` and return its numbers. Raises `JournalError` if it cannot be read.
    journaled = read_journal(journal)
    records = journaled.records
    spent = next((record for record in reversed(records) if isinstance(record, SpentRecord)), SpentRecord())
    return FileState(
        size=journaled.size,
        left_out=journaled.left_out,
        chunks=sum(len(record.texts) for record in records if isinstance(record, TextRecord))
        + sum(isinstance(record, ChunkRecord) for record in records),
        tokens=sum(_tokens(record) for record in records),
        opened=sum(isinstance(record, FactRecord) and type(record.fact).__name__ == "Opened" for record in records),
        fork_tokens=spent.fork_tokens,
        unread=spent.unread,
        slow_seconds=spent.wire.slow_seconds if spent.wire is not None else 0.0,
        at=_last_time(records),
        is_over=journaled.result is not None,
    )


def _tokens(record: Record) -> int:
    if isinstance(record, TextRecord):
        return len(record.texts)
    return record.chunk.tokens if isinstance(record, ChunkRecord) else 0


def _last_time(records: Sequence[Record]) -> float:
    return max(
        (record.at for record in records if isinstance(record, TextRecord | ChunkRecord | FactRecord | EndRecord)),
        default=0.0,
    )


# The log of a play: of each process, and of the world.


class SeenEvent(NamedTuple):
    """The event ``event``, which the reader got at the time ``at`` (in seconds), when ``judged`` checks had ended."""

    at: float
    judged: int
    event: Event


class ReaderError(Exception):
    """The exception of a reader of kind ``raises``."""


@dataclass(slots=True)
class ProcessLog:
    """What happened in one process of a play: the events of its reader, the checks, the result and the journal file."""

    reader: SimulatedReader
    seen: list[SeenEvent] = field(default_factory=list)
    book: list[tuple[int, str]] = field(default_factory=list)
    """Finished checks in order, as number of the judge and text of the claim. Those of earlier processes that may be on
    file come first."""
    is_resumed: bool = False
    """Whether the process resumed the run from a journal."""
    result: Result | None = None
    raised: BaseException | None = None
    """The exception that left the run; ``None`` if there was none."""
    stuck: VirtualTimeError | None = None
    """The error of the virtual event loop if the process did not end."""
    entered: bool = False
    """Whether the ``async with`` block of the run was entered."""
    was_cancelled: bool = False
    """Whether the reader was cancelled, and the cancellation ended it."""
    cancel_swallowed: bool = False
    """Whether the reader was cancelled while it read, but the cancellation had no effect."""
    left_tasks: tuple[str, ...] = ()
    """The names of tasks that were left after the run."""
    seconds: float = 0.0
    """The virtual seconds of the process."""
    turns: int = 0
    """The iterations of its event loop."""
    asked_forks: int = 0
    """Forks that it sent to the model."""
    open_forks: int = 0
    """Forks that were open when the process was killed."""
    was_killed: bool = False
    """Whether the process was killed, as its *death* in the world demands."""
    seen_on_file: int = 0
    """Events that the reader had when everything was last on file."""
    judged_on_file: int = 0
    """Checks that had ended at that time."""
    taken_on_file: int = 0
    """Chunks that were received at that time."""
    taken_before_request: int = 0
    """Chunks that were received before the last request that is old enough to be on file."""
    before: FileState = field(default_factory=FileState)
    """The file when the process began."""
    filed: FileState | None = None
    """The file when the process ended; ``None`` without a journal, or if it cannot be read."""
    lost_chunks: int = 0
    """Chunks that the process received and that are not on file."""

    @property
    def saw_all(self) -> bool:
        return self.raised is None and not self.was_cancelled and self.reader.kind in ("steady", "slow", "batch")


@dataclass(slots=True)
class PlayedWorld:
    """The complete log of one play, which the invariants check."""

    world: World
    model: SimulatedModel
    processes: list[ProcessLog] = field(default_factory=list)
    """The logs of all processes, in order. A process that resumed the run has the events of the earlier part, too."""
    disk: Disk | None = None
    """The simulated disk with the journal; ``None`` if no process of the world dies."""

    @property
    def last(self) -> ProcessLog:
        return self.processes[-1]

    @property
    def seen(self) -> list[SeenEvent]:
        # A resume sends the recorded events again, so these are of the whole run.
        return self.last.seen

    @property
    def book(self) -> list[tuple[int, str]]:
        return self.last.book

    @property
    def result(self) -> Result | None:
        return self.last.result

    @property
    def stuck(self) -> VirtualTimeError | None:
        return self.last.stuck

    @property
    def saw_all(self) -> bool:
        return self.last.saw_all

    @property
    def turns(self) -> int:
        return sum(process.turns for process in self.processes)

    @property
    def seconds(self) -> float:
        return sum(process.seconds for process in self.processes)

    @property
    def journal(self) -> Journal | None:
        return None if self.disk is None else Journal(NAME, store=self.disk)


# One process of a world: an event loop, a run in it, its reader, and perhaps a death.

_TURNS_TO_DISK = 3
"""Iterations of the loop after which urgent data is written, with a disk that takes no time."""


class ProcessKilled(BaseException):
    """Raised inside the event loop to end a process as a kill would."""


class Process:
    """One process of a play: an event loop with a run and its reader."""

    # With `death`, it is killed after the iteration named there.

    def __init__(self, played: PlayedWorld, log: ProcessLog, death: ProcessDeath | None, loop: VirtualLoop) -> None:
        self._played = played
        self._log = log
        self._death = death
        self._clerk: LoopClerk | None = None
        self._task: asyncio.Task[None] | None = None
        self._turns: list[Callable[[int], bool]] = []
        self.loop = loop
        if death is not None:
            self._turns.append(self._die)
        self.loop.on_turn = self._turn if self._turns else None

    def _turn(self, turn: int) -> bool:
        made_ready = [on_turn(turn) for on_turn in self._turns]  # not any(): each one counts iterations
        return any(made_ready)

    def _die(self, turn: int) -> bool:
        assert self._death is not None
        if turn > self._death.turn:
            raise ProcessKilled
        return False

    def freeze(self) -> ProcessLog:
        # Cleaning up the tasks afterwards cannot change the copy.
        log, death, model = self._log, self._death, self._played.model
        assert death is not None
        self.loop.on_turn = None
        self.loop.set_exception_handler(lambda *_: None)
        model.cut_off()
        if self._clerk is not None:
            self._clerk.die(death.torn)
        sure = [sent.chunks_before for sent in model.sent_now if sent.turn < self.loop.turns - _TURNS_TO_DISK]
        buried = replace(
            log,
            seen=list(log.seen),
            # A later check may be on file, or not, if bytes were torn.
            book=log.book[: None if death.torn else log.judged_on_file],
            raised=None,
            was_killed=True,
            seconds=self.loop.time(),
            turns=self.loop.turns,
            open_forks=model.open_forks,
            taken_before_request=max(sure, default=0) if not self._played.world.disk_seconds else 0,
        )
        self._played.processes[-1] = buried
        return buried

    def clean_up(self) -> None:
        # Cancel the main task and wait for its end, so that Python does not warn about tasks that are left.
        if self._task is not None:
            self._task.cancel()
            self.loop.run_until_complete(asyncio.gather(self._task, return_exceptions=True))

    async def live(self) -> None:
        log, loop = self._log, self.loop
        self._task = asyncio.current_task()
        try:
            supervised = self._supervised()
        except JournalError as error:
            log.raised = error
            return
        self._played.model.is_over = lambda: supervised.is_over
        with anyio.CancelScope() as scope:
            self._arm(scope)
            try:
                async with supervised:
                    log.entered = True
                    await self._read(supervised)
            except Exception as error:  # noqa: BLE001  (an invariant checks what came out of the run)
                log.raised = error
        loop.on_turn = None
        log.was_cancelled = scope.cancelled_caught
        finished = bool(log.seen) and isinstance(log.seen[-1].event, Finished)
        log.cancel_swallowed = scope.cancel_called and not (scope.cancelled_caught or finished or log.raised)
        log.result = _result_of(supervised)
        log.left_tasks = tuple(sorted(task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()}))

    def _supervised(self) -> Run:
        world, limits, disk = self._played.world, self._played.world.limits, self._played.disk
        monitors = build_monitors(world, self._log.book)
        workers = VirtualWorkers(shift, threads=limits.threads, processes=limits.processes)
        journal = None if disk is None else Journal(NAME, store=disk, clerk=self._make_clerk)
        if journal is not None and self._log.before.size:
            self._log.is_resumed = True
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
        disk, log, model = self._played.disk, self._log, self._played.model
        assert disk is not None

        def on_written() -> None:
            disk.has_header = True
            log.seen_on_file, log.judged_on_file, log.taken_on_file = len(log.seen), len(log.book), model.taken

        self._clerk = LoopClerk(disk, self._played.world.disk_seconds, on_written)
        return self._clerk

    def _arm(self, scope: anyio.CancelScope) -> None:
        reader, loop = self._log.reader, self.loop
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
        log, reader, loop = self._log, self._log.reader, self.loop
        seen, book = log.seen, log.book
        match reader.kind:
            case "drain":
                await supervised.drain()
            case "batch":
                while events := await supervised.batch():
                    seen.extend(SeenEvent(loop.time(), len(book), event) for event in events)
            case "steady" | "slow" | "leaves" | "raises" | "cancelled" | "late_cancelled":
                async for event in supervised:
                    seen.append(SeenEvent(loop.time(), len(book), event))
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


LONGEST = 20_000.0
"""Virtual seconds of one process after which a run counts as endless."""
TURNS = 400_000
"""Iterations of the event loop of one process after which a run counts as endless."""


def play(world: World) -> PlayedWorld:
    # Errors of the code under test are in the log; they are not raised. The logger `interwhen` is silent meanwhile.
    played = PlayedWorld(world, SimulatedModel(world), disk=Disk() if world.deaths else None)
    logger = logging.getLogger("interwhen")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # faults are expected here
    try:
        for death in (*world.deaths, None):
            _live(played, death)
            if played.stuck is not None:
                break
    finally:
        logger.setLevel(level)
    return played


def _live(played: PlayedWorld, death: ProcessDeath | None) -> None:
    world, model, last = played.world, played.model, played.processes[-1] if played.processes else None
    log = ProcessLog(world.reader if death is None else death.reader, book=list(last.book) if last is not None else [])
    log.judged_on_file = len(log.book)
    if last is not None:
        log.before = last.filed or FileState()
    played.processes.append(log)
    asked = len(model.fork_prefixes)
    model.begin()
    loop = VirtualLoop(seconds=LONGEST, turns=TURNS)
    process = Process(played, log, death, loop)
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            try:
                runner.run(process.live())
            except ProcessKilled:
                log = process.freeze()
                process.clean_up()
    except VirtualTimeError as error:
        if not log.was_killed:
            log.stuck = error
    if not log.was_killed:
        log.seconds, log.turns = loop.time(), loop.turns
    log.asked_forks = len(model.fork_prefixes) - asked
    if played.journal is not None:
        _settle(played, log, played.journal)


def _settle(played: PlayedWorld, log: ProcessLog, journal: Journal) -> None:
    # If the process was killed, remove from the record of the model what the file lacks. Remove a file that cannot be
    # read.
    assert played.disk is not None
    try:
        log.filed = read_file_state(journal)
    except JournalError as error:
        if played.disk.has_header:
            log.raised = log.raised or error
    after, before = log.filed or FileState(), log.before
    if log.was_killed:
        log.lost_chunks = played.model.remember(
            after.opened - before.opened, after.chunks - before.chunks, after.unread
        )
    if log.filed is None:
        played.disk.clear()
        log.book.clear()
