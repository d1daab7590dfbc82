"""Reads timelines: of a whole journal, of one that still grows, and of one that is redacted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from interwhen._core.machine import Core
from interwhen._core.messages import Fact, Order, Resumed
from interwhen._types.errors import JournalError
from interwhen._types.results import Result
from interwhen.journal._compact_form import CompactForm, RunData, to_json
from interwhen.journal._files import START, read_preamble
from interwhen.journal._rebuilt_run import (
    Journaled,
    RebuiltRun,
    core_of,
    read_sealed,
    refusing_contradictions,
    sealed_records,
    standing,
)
from interwhen.journal._records import (
    CalledRecord,
    EndRecord,
    FactRecord,
    Header,
    OutlineRecord,
    Record,
    SealRecord,
    SpentRecord,
    recorded_monitors,
)
from interwhen.journal._scribe import Scribe
from interwhen.journal._settings import Journal
from interwhen.journal._timeline import GrowingNotes, PartMark, RunNotes, Timeline

T = TypeVar("T")


def timeline(journal: str | os.PathLike[str] | Journal) -> Timeline:
    """Return the timeline of the run in *journal* (a path or a :class:`Journal`).

    No model, verifier or extractor runs. Raises :class:`~interwhen.journal.JournalError` if the journal cannot be read,
    has no complete header, contradicts itself, or needs another version of interwhen.
    """
    journaled = read_sealed(journal)
    with refusing_contradictions(journaled.path):
        return retold(journaled).timeline(journaled.size, journaled.left_out)


def retold(journaled: Journaled) -> Telling:
    return _retold(journaled.path, journaled.header, journaled.records)


class _FollowedRun(RebuiltRun):
    __slots__ = ("scribe",)

    def __init__(self, journaled: Journaled, core: Core, scribe: Scribe) -> None:
        super().__init__(journaled, core)
        self.scribe = scribe

    def tell(self, at: float, fact: Fact) -> list[Order]:
        self.scribe.before()
        orders = super().tell(at, fact)
        self.scribe.after(at, fact, orders)
        self.core.events.clear()
        return orders

    def read(self, record: Record) -> None:
        if isinstance(record, SpentRecord):
            self.scribe.spent(record)
        super().read(record)
        if isinstance(record, EndRecord):
            self.scribe.ended(record.at, record.result)


class Telling:
    """Notes what the records of a journal say, one after the other. A redacted journal has the notes themselves."""

    def __init__(self, path: str, header: Header, *, in_characters: bool = False) -> None:
        self.path = path
        self.header = header
        self.records: list[Record] = []
        self._past: _FollowedRun | None = None
        self._result: Result | None = None
        self.recording = GrowingNotes()
        if not header.redacted:
            core = core_of(header, recorded_monitors(header, path))
            scribe = Scribe(core, header, in_characters=in_characters)
            self.recording = scribe.recording
            self._past = _FollowedRun(Journaled(path, header, (), 0, 0, 0), core, scribe)
            self._past.take(core.begin())
        self.form = CompactForm(self.recording, header)

    def take(self, record: Record) -> None:
        if isinstance(record, CalledRecord):
            self.recording.called = record.record
        elif self._past is not None:
            self._past.read(record)
            if isinstance(record, EndRecord):
                self._result = record.result
        elif isinstance(record, OutlineRecord):
            self.recording.add(msgspec.json.decode(record.part, type=RunNotes))
        self.records.append(record)

    def timeline(self, size: int, left_out: int) -> Timeline:
        # `size` and `left_out` are bytes of the journal.
        notes = self.recording.notes
        compact = to_json(self.form.whole(self.path, size, left_out))
        if self._past is not None and self._past.scribe.tape.was_wide:
            notes = _retold(self.path, self.header, self.records, in_characters=True).recording.notes
        return Timeline(
            path=self.path,
            header=self.header,
            result=self._result,
            texts=tuple(notes.written()),
            cuts=tuple(notes.cuts),
            shown=tuple(notes.shown),
            frontier=tuple(notes.frontier),
            requests=_in_order(notes.requests),
            checks=_in_order(notes.checks),
            forks=_in_order(notes.forks),
            remedies=_in_order(notes.remedies),
            incidents=tuple(notes.incidents),
            end=notes.end,
            size=size,
            left_out=left_out,
            compact=compact,
        )


def _in_order(entries: Mapping[int, T]) -> tuple[T, ...]:
    return tuple(entries[index] for index in sorted(entries))


def _retold(path: str, header: Header, records: Sequence[Record], *, in_characters: bool = False) -> Telling:
    telling = Telling(path, header, in_characters=in_characters)
    for record in standing(records):
        telling.take(record)
    return telling


class TimelineReader:
    """Reads a journal that is still being written, and returns what is new as parts of its timeline in JSON.

    This JSON is the compact form, which the trace page reads. *path* is only a name for errors and for the timeline.
    """

    def __init__(self, path: str = "") -> None:
        self.path = path
        self.offset = 0
        """How many bytes of the file are in the timeline: the end of the last complete record."""
        self._data = bytearray()
        """The bytes after ``offset``."""
        self._chain = 0
        self._digest = b""
        self._telling: Telling | None = None
        self._mark = PartMark()
        self.restarts = 0
        """How often the timeline began again, because a resumed run voided its end or the file was replaced."""
        self._failure = ""
        """Why a record could not be read; empty if there was no such record."""

    @property
    def is_over(self) -> bool:
        """Whether the last record is the end of the call or, without a call, the end of the run.

        The run may still be resumed later.
        """
        if self._telling is None:
            return False
        last = next((one for one in reversed(self._telling.records) if not isinstance(one, SealRecord)), None)
        has_call = self._telling.header.call is not None
        return isinstance(last, CalledRecord) or (isinstance(last, EndRecord) and not has_call)

    def feed(self, data: bytes) -> None:
        """Read *data*, the next bytes of the file. They may end anywhere, also inside a record.

        Raises :class:`~interwhen.journal.JournalError` if they are not those of a journal that this version knows. The
        timeline then ends at ``offset``, before the record that cannot be read, and later calls raise the same error.
        """
        if self._failure:
            raise JournalError(self.path, self._failure)
        self._data += data
        try:
            with refusing_contradictions(self.path):
                self._take_all()
        except JournalError as error:
            # A record that was taken in part must not be taken again, so this reader reads no further.
            self._failure = error.reason
            raise

    def _take_all(self) -> None:
        if not self.offset:
            if len(self._data) < START:
                return
            self._chain = read_preamble(bytes(self._data[:START]), self.path)
            del self._data[:START]
            self.offset = START
        begin = self.offset
        try:
            header = None if self._telling is None else self._telling.header
            standing_on = (0, self._chain, self._digest, header, self.path)
            for record, end, chain, digest in sealed_records(bytes(self._data), *standing_on):
                self._take(record)
                self.offset, self._chain, self._digest = begin + end, chain, digest
        finally:
            # Also after an error: the records before it are in the timeline, and must not be read a second time.
            del self._data[: self.offset - begin]

    def forget_tail(self) -> None:
        """Forget the bytes after ``offset``. The next bytes for :meth:`feed` are those at ``offset``."""
        self._data.clear()

    def part(self, *, everything: bool = False) -> bytes:
        """Return the data that are new since the last part, as JSON. With *everything*, return all data so far.

        The fields ``from`` and ``offset`` are the byte offsets in the file at which the part begins and ends. A part
        whose ``from`` is 0 contains the whole timeline so far.
        """
        if everything:
            self._mark = PartMark()
        return self.part_after(self._mark)

    def part_after(self, mark: PartMark) -> bytes:
        """Return the data that are new since *mark*, as :meth:`part` does, and move *mark* to the present.

        With a new mark, the result is the whole timeline; so is the first result after a resumed run has voided its
        recorded end.
        """
        if mark.restarts != self.restarts:
            mark.begin_again(self.restarts)
        begin, mark.offset = mark.offset, self.offset
        with refusing_contradictions(self.path):
            form = RunData() if self._telling is None else self._telling.form.part(self.path, mark)
            form.begin, form.offset = begin, self.offset
            return to_json(form)

    def timeline(self) -> Timeline:
        """Return the timeline so far. Raises :class:`JournalError` if the header has not been read yet."""
        if self._telling is None:
            raise JournalError(self.path, "its header must be read before its timeline, and is not: feed more bytes")
        with refusing_contradictions(self.path):
            return self._telling.timeline(self.offset, len(self._data))

    def _take(self, record: Record) -> None:
        telling = self._telling
        if telling is None:
            assert isinstance(record, Header)
            self._telling = Telling(self.path, record)
        elif isinstance(record, FactRecord) and isinstance(record.fact, Resumed) and record.fact.void:
            # The end of the run is void, and so is everything noted after it: begin again without this end.
            self._telling = _retold(self.path, telling.header, [*telling.records, record])
            self.restarts += 1
        else:
            telling.take(record)
