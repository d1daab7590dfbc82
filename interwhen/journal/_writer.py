"""Queues records and writes them to a journal in the background. The stream of a run does not wait for the writes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import msgspec

from interwhen._types.log import log_warning
from interwhen._types.segments import Phase
from interwhen.journal._files import Clerk, JournalFile, Writing, add_frame
from interwhen.journal._records import OutlineRecord, Record, SealRecord, TextColumns, encode, link
from interwhen.journal._settings import Journal

if TYPE_CHECKING:
    from interwhen.journal._signatures import Signer

_COST = 96
"""The approximate bytes of a queued chunk or record in memory, without its text."""
COMPLETE = TextColumns(None)
"""Stands for columns that take no more chunks: no chunk has their phase."""


class JournalWriter:
    """A clerk writes the queued records to the file, usually in its own thread."""

    # After the first failure it writes nothing more, because a reader cannot read the records after a gap.

    def __init__(
        self,
        settings: Journal,
        file: JournalFile,
        clerk: Clerk,
        *,
        size: int,
        chain: int,
        digest: bytes = b"",
        head: bytes = b"",
        first: Callable[[], Record] | None = None,
        signer: Signer | None = None,
        on_give_up: Callable[[str], None] | None = None,
    ) -> None:
        """Append records to *file*, which has *size* bytes. This starts *clerk*.

        *head* is written first: the first bytes of a new file. *chain* is the checksum of the record before, and
        *digest* the head of the hash chain. *signer* signs the seals. *on_give_up* gets the reason if the journal must
        be given up; by default, it is logged.
        """
        self.size = size
        """The bytes that the file has accepted, with those that it had before."""
        self.incomplete = ""
        """Why nothing more is written; empty if nothing has failed."""
        self._settings = settings
        self._file = file
        self._clerk = clerk
        self._chain = chain
        self._digest = digest
        self._signer = signer
        self._checks = ""
        """The head of the core's chain at the last seal."""
        self._head = head
        self._first = first
        self._on_give_up = on_give_up
        self._items: deque[Record | TextColumns] = deque()
        self._columns = COMPLETE
        """The last item of the queue, if it takes the run's next plain chunk; else ``COMPLETE``."""
        # Only the run's thread changes _put, only the clerk's changes _taken: their difference needs no lock.
        self._put = 0
        """The bytes that were queued."""
        self._taken = 0
        """The bytes that were written."""
        self._passed = 0
        """The bytes that the clerk has taken from the queue and not written yet."""
        self._most = settings.buffer_bytes
        """The limit for ``_put``; -1 if the journal was given up."""
        self._awake = False
        clerk.start(self, settings.flush_seconds)

    def put(self, record: Record) -> None:
        # The event loop calls it, so it must not wait: with a slow disk, the journal is given up.
        self._close_columns()
        self._put += _cost(record)
        if self._put > self._most:
            self.give_up(f"the disk is too slow: {self._settings.buffer_bytes} bytes were queued")
            return
        self._items.append(record)
        self.wake()

    def seal(self, checks: str | None = None) -> None:
        # `checks` is the head of the core's chain; `None`: as at the last seal.
        self._checks = self._checks if checks is None else checks
        self.put(SealRecord(self._checks))

    def open_columns(self, phase: Phase, began: float) -> TextColumns:
        """Queue a record that grows (columns) for plain chunks of *phase*, and return it.

        *began* is when the run began, on the clock of the columns' times. The next record or columns complete it. If
        more than ``buffer_bytes`` are waiting, the journal is given up, and the result is :data:`COMPLETE`.
        """
        self._close_columns()
        if self._put > self._most:
            self.give_up(f"the disk is too slow: {self._settings.buffer_bytes} bytes were queued")
            return COMPLETE
        columns = self._columns = TextColumns(phase, began)
        self._items.append(columns)
        return columns

    def _close_columns(self) -> None:
        columns = self._columns
        if columns is not COMPLETE:
            # Stored before the columns stop being the last item: until then, the clerk does not ask for it.
            texts = columns.items[::2]
            columns.cost = _COST * len(texts) + sum(map(len, texts))
            self._put += columns.cost
            self._columns = COMPLETE

    def wake(self) -> None:
        if not self._awake:
            self._awake = True
            self._clerk.wake()

    def urge(self) -> None:
        self._clerk.hurry()

    async def finish(self) -> None:
        # The journal of a call does not make it wait: its clerk has always ended.
        self.close()
        seconds = self._settings.close_seconds
        if not await self._clerk.ended(seconds):
            self.give_up(f"the disk did not accept the last records within {seconds:g} s")

    def close(self) -> None:
        self._clerk.end()

    def give_up(self, why: str) -> None:
        # A write that has begun may end.
        if self.incomplete:
            return
        self.incomplete, self._most = why, -1
        if self._on_give_up is not None:
            self._on_give_up(why)
        else:
            log_warning("journal.given_up", path=self._settings.name, reason=why)

    def write(self) -> bool:
        # False: the journal is given up, and the clerk must stop.
        self._awake = False  # the next item wakes the clerk again
        try:
            head, self._head = self._head, b""
            parts = [head] if head else []
            first, self._first = self._first, None
            if first is not None:
                self._add(parts, first())
            self._drain(parts)
        except OSError as error:
            self.give_up(f"it cannot be written: {error.strerror or error}")
        except Exception as error:  # noqa: BLE001  (a file of the caller, or the encoding of a value, may raise anything)
            self.give_up(f"it cannot be written: {type(error).__name__}: {error}")
        return not self.incomplete

    def shut(self) -> None:
        self._items.clear()
        try:
            self._file.close()
        except Exception as error:  # noqa: BLE001  (some file systems report a failed write only here)
            self.give_up(f"it could not be closed: {type(error).__name__}: {error}")

    def _drain(self, parts: list[bytes]) -> None:
        if self.incomplete:
            return
        items = self._items
        while items:
            item = items[0]
            # The run's thread may still add chunks to the last item. Look for a later item first: when that is queued,
            # these columns are complete.
            is_last = len(items) == 1
            record = item.take() if type(item) is TextColumns else item
            if record is not None:
                self._add(parts, record)  # type: ignore[arg-type]
            if is_last and type(item) is TextColumns:
                break
            items.popleft()
            self._passed += _cost(item)
        if parts:
            self._write(b"".join(parts))
        # Only now, because queued bytes count until the disk has them.
        self._taken += self._passed
        self._passed = 0
        self._most = -1 if self.incomplete else self._taken + self._settings.buffer_bytes

    def _add(self, parts: list[bytes], record: Record) -> None:
        if type(record) is SealRecord:
            record = msgspec.structs.replace(record, digest=self._digest)
            if self._signer is not None:
                record = msgspec.structs.replace(record, signature=self._signer.sign(record.signed_bytes()))
        payload = encode(record)
        # After a failure nothing more is written, so these need not be those of the last byte on the disk.
        self._chain = add_frame(parts, payload, self._chain)
        self._digest = link(self._digest, payload)

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            taken = self._file.write(bytes(left))
            left = left[taken:]
            self.size += taken
        if self._settings.fsync:
            self._file.sync()


def _cost(item: Record | TextColumns) -> int:
    if type(item) is TextColumns:
        return item.cost
    return _COST + len(item.part) if type(item) is OutlineRecord else _COST


class ThreadClerk:
    def __init__(self) -> None:
        self._ending = False
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._ended = threading.Event()

    def start(self, writing: Writing, seconds: float) -> None:
        # A daemon thread: a disk that does not answer must not keep the process alive.
        threading.Thread(target=self._run, args=(writing, seconds), name="interwhen journal", daemon=True).start()

    def wake(self) -> None:
        self._wake.set()

    def hurry(self) -> None:
        self._hurry.set()

    def end(self) -> None:
        self._ending = True
        self._hurry.set()
        self._wake.set()

    async def ended(self, seconds: float) -> bool:
        return await anyio.to_thread.run_sync(
            self._ended.wait,
            min(seconds, threading.TIMEOUT_MAX),
            abandon_on_cancel=True,
            limiter=anyio.CapacityLimiter(1),
        )

    def _run(self, writing: Writing, seconds: float) -> None:
        goes_on = writing.write()
        while goes_on and not self._ending:
            self._wake.wait()
            self._hurry.wait(min(seconds, threading.TIMEOUT_MAX))
            self._hurry.clear()
            self._wake.clear()
            goes_on = writing.write()
        if goes_on:
            writing.write()
        writing.shut()
        self._ended.set()
