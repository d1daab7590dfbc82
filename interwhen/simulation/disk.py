"""The disk of a world, which outlives its processes, and who writes to it on the event loop of one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import anyio
import msgspec

from interwhen.errors import JournalError
from interwhen.journal import Journal, read_journal
from interwhen.journal._records import Came, Ending, Record, Spent, Text, Told
from interwhen.journal.places import Writing

NAME = "the journal"


class Disk:
    """A store with one journal: what the operating system was handed of it."""

    def __init__(self) -> None:
        self.data = b""
        self.has_header = False
        """Whether the first record was handed over whole."""
        self._room: int | None = None
        """How many bytes are still taken from a process that is dying."""

    def read(self, _name: str, /) -> bytes:
        """Return all there is."""
        return self.data

    def open(self, _name: str, /, *, keep: int, found: int) -> Disk:
        """Let the journal begin, or go on, behind *keep* bytes."""
        if found != len(self.data):
            raise JournalError(NAME, f"{found} bytes of it were read, and it has {len(self.data)}")
        self.data = self.data[:keep]
        self._room = None
        return self

    def write(self, data: bytes, /) -> int:
        """Take *data*; of a dying process, no more than there is room for."""
        taken = data if self._room is None else data[: self._room]
        if self._room is not None:
            self._room -= len(taken)
        self.data += taken
        return len(data)

    def tear(self, room: int) -> None:
        """Take no more than *room* bytes from now on."""
        self._room = room

    def clear(self) -> None:
        """Let the journal be removed."""
        self.data = b""

    def sync(self) -> None:
        """Do nothing: machines do not lose their power here."""

    def close(self) -> None:
        """Do nothing: nobody else wants the file."""


class LoopClerk:
    """Writes a journal on the event loop, and dies with its process."""

    def __init__(self, disk: Disk, seconds: float, on_written: Callable[[], None]) -> None:
        """Write to *disk*, which takes *seconds* for what is urgent; tell *on_written* when nothing is left."""
        self._disk = disk
        self._urgent = seconds
        self._on_written = on_written
        self._loop = asyncio.get_running_loop()
        self._done = anyio.Event()
        self._is_over = False
        self._writing: Writing | None = None
        self._seconds = 0.0

    def start(self, writing: Writing, seconds: float) -> None:
        """Write the header in a moment."""
        self._writing, self._seconds = writing, seconds
        self.hurry()

    def wake(self) -> None:
        """Write in a while."""
        self._later(max(self._seconds, self._urgent), self._write)

    def hurry(self) -> None:
        """Write in a moment."""
        self._later(self._urgent, self._write)

    def end(self) -> None:
        """Write in a moment, for the last time."""
        self._later(self._urgent, self._end)

    async def ended(self, seconds: float) -> bool:
        """Wait for the last time."""
        with anyio.move_on_after(seconds):
            await self._done.wait()
        return self._done.is_set()

    def die(self, torn: int) -> None:
        """Be killed when *torn* more bytes are written."""
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


class Filed(msgspec.Struct, frozen=True):
    """What the file of a journal says, as an onlooker reads it: nothing is concluded from it."""

    size: int = 0
    left_out: int = 0
    chunks: int = 0
    tokens: int = 0
    opened: int = 0
    """How many streams."""
    fork_tokens: int = 0
    unread: int = 0
    slow_seconds: float = 0.0
    """For how long the wire was slow."""
    at: float = 0.0
    """Up to which second of the run."""
    is_over: bool = False


def filed_in(journal: Journal) -> Filed:
    """Return what is in the file of *journal*. Raises :class:`~interwhen.errors.JournalError`."""
    found = read_journal(journal)
    records = found.records
    spent = next((record for record in reversed(records) if isinstance(record, Spent)), Spent())
    return Filed(
        size=found.size,
        left_out=found.left_out,
        chunks=sum(len(record.texts) for record in records if isinstance(record, Text))
        + sum(isinstance(record, Came) for record in records),
        tokens=sum(_tokens(record) for record in records),
        opened=sum(isinstance(record, Told) and type(record.fact).__name__ == "Opened" for record in records),
        fork_tokens=spent.fork_tokens,
        unread=spent.unread,
        slow_seconds=spent.wire.slow_seconds if spent.wire is not None else 0.0,
        at=_last_time(records),
        is_over=found.result is not None,
    )


def _tokens(record: Record) -> int:
    if isinstance(record, Text):
        return len(record.texts)
    return record.chunk.tokens if isinstance(record, Came) else 0


def _last_time(records: Sequence[Record]) -> float:
    return max((record.at for record in records if isinstance(record, Text | Came | Told | Ending)), default=0.0)
