"""The journals in folders or files, as rows for a list, and as timelines."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec

from interwhen._core.release import refuted
from interwhen._types.errors import JournalError, UsageError
from interwhen._types.results import Result, Verified
from interwhen.journal import TimelineReader, timeline
from interwhen.journal._files import MAGIC
from interwhen.journal._rebuilt_run import read_sealed, refusing_contradictions
from interwhen.journal._records import Header, MonitorRecord
from interwhen.journal._timeline import PartMark
from interwhen.journal._timeline_reader import retold

_ROWS_KEPT = 20_000
_FORMS_KEPT = 8
_GROWING_KEPT = 4
"""Each journal that stays read takes about a kilobyte of memory for each token."""
_MARKS_KEPT = 256
"""Ends of parts at which a follower can connect again without a second reading."""
_FOUND = 3
"""How many refuted claims a row names at most."""
_FOUND_CHARACTERS = 120


class RunRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One run in the list, from its journal."""

    id: str
    """The id of the run in addresses, as :func:`run_id` makes it."""
    path: str
    written: float = 0.0
    """When the journal was begun, in seconds since 1970; 0 if it cannot be read."""
    model: str = ""
    monitors: tuple[str, ...] = ()
    status: str | None = None
    """``None`` if the run has not ended, or if the journal cannot be read."""
    label: str | None = None
    """Such as ``steps verified``; ``None`` as for ``status``."""
    scope: str | None = None
    """The scope of the certificate; ``None`` if the run is not verified."""
    tokens: int | None = None
    """All generated tokens: kept, discarded, of forks and offline; ``None`` as for ``status``."""
    discarded: int = 0
    """Tokens that were cut, or came too late; 0 before the run has ended, as the next counts."""
    remedies: int = 0
    """The number of remedies after which the run continued."""
    violations: int = 0
    """Violations, also in text that was cut; for a redacted journal, checks that refuted a claim."""
    found: tuple[str, ...] = ()
    """The readable beginnings of the keys of the first violations, at most three; empty for a redacted journal."""
    seconds: float | None = None
    """In seconds; ``None`` as for ``status``."""
    size: int = 0
    """In bytes; 0 if the journal cannot be read."""
    error: str = ""
    """Why the journal cannot be read; empty if it can."""


class JournalStat(NamedTuple):
    """Tells whether a cached row or form can be used."""

    size: int
    """In bytes."""
    changed: int
    """In nanoseconds since 1970."""


def state_of(path: Path) -> JournalStat:
    file_stat = path.stat()
    return JournalStat(file_stat.st_size, file_stat.st_mtime_ns)


class RunFolder:
    """The journals in folders, and given files. Some rows and timelines are cached."""

    def __init__(self, places: Iterable[str | os.PathLike[str]]) -> None:
        # A place is a file, or a folder, which is searched with its subfolders.
        self._places = [Path(place) for place in places]
        for place in self._places:
            if not place.exists():
                raise UsageError(
                    f"a journal or a folder of journals must exist, got {str(place)!r}, which does not: correct it"
                )
        self._ids: dict[str, Path] = {}
        self._row = lru_cache(_ROWS_KEPT)(self._read_row)
        self._form = lru_cache(_FORMS_KEPT)(lambda path, _state: timeline(path).compact)
        self._growing = lru_cache(_GROWING_KEPT)(GrowingRun)
        self._monitors: dict[str, MonitorRecord] = {}
        self._lock = threading.Lock()

    def paths(self) -> list[Path]:
        # A given file is returned even if it is not a journal.
        changes: dict[Path, int] = {}
        for path in self._files():
            try:
                changes[path] = state_of(path).changed
            except OSError:  # removed since the folder was read
                continue
        paths = sorted(changes, key=lambda path: (-changes[path], str(path)))
        ids: dict[str, Path] = {}
        for path in paths:
            ids.setdefault(run_id(path), path)  # two places may name the same file
        self._ids = ids
        return list(ids.values())

    def _files(self) -> Iterator[Path]:
        for place in self._places:
            if not place.is_dir():
                yield place
                continue
            for folder, _, names in os.walk(place):
                yield from (path for name in names if _is_journal(path := Path(folder, name)))

    def path(self, name: str) -> Path | None:
        # The file may have been removed.
        if name not in self._ids:
            self.paths()
        return self._ids.get(name)

    def row(self, path: Path) -> RunRow:
        try:
            return self._row(path, state_of(path))
        except (JournalError, OSError) as error:
            return RunRow(run_id(path), str(path), error=str(error))

    def _read_row(self, path: Path, _state: JournalStat) -> RunRow:
        with refusing_contradictions(str(path)):
            header, row = _row(path)
        for one in header.monitors:
            self._monitors.setdefault(one.title, one)
        return row

    def form(self, path: Path) -> bytes:
        # Raises `JournalError` or `OSError` if the journal cannot be read.
        return self._form(path, state_of(path))

    def growing(self, path: Path) -> GrowingRun:
        # Requests for one journal share its reader as long as it is kept.
        with self._lock:
            return self._growing(path)

    def monitor(self, title: str) -> MonitorRecord | None:
        # The journals whose rows are not cached are read for this.
        for path in self.paths():
            self.row(path)
        return self._monitors.get(title)


def run_id(path: Path) -> str:
    # A hash instead of the path, so that a request cannot name another file.
    return sha256(os.fsencode(path.absolute())).hexdigest()[:16]


def _is_journal(path: Path) -> bool:
    try:
        if not path.is_file():  # to open a named pipe waits for a writer
            return False
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _row(path: Path) -> tuple[Header, RunRow]:
    journal = read_sealed(path)
    header, result = journal.header, journal.result
    row = RunRow(
        id=run_id(path),
        path=str(path),
        written=header.written,
        model=header.model,
        monitors=tuple(one.title for one in header.monitors),
        size=journal.size + journal.left_out,
    )
    violations = 0 if result is None else len(result.violations)
    if header.redacted:
        notes = retold(journal).recording.notes
        result, violations = notes.result, sum(refuted(one.outcome) for one in notes.checks.values())
    return header, row if result is None else _ended(row, result, violations)


def _ended(row: RunRow, result: Result, violations: int) -> RunRow:
    ledger = result.ledger
    return msgspec.structs.replace(
        row,
        status=result.status,
        label=result.label,
        scope=result.certificate.scope if isinstance(result, Verified) else None,
        tokens=ledger.total_tokens,
        discarded=ledger.discarded,
        remedies=ledger.remedies,
        violations=violations,
        found=tuple(_claim(each.key) for each in result.violations[:_FOUND]),
        seconds=result.timing.total,
    )


def _claim(key: str) -> str:
    return key.partition("\x1f")[0][:_FOUND_CHARACTERS]


class GrowingRun:
    """Reads a journal that may still be growing, for all its followers together. Each has a mark of its own."""

    # Its methods may be called in any thread.

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._reader = TimelineReader(str(path))
        self._inode = 0
        self._replaced = 0
        """How often the timeline had begun again when the reading of this file began."""
        self._marks: OrderedDict[int, PartMark] = OrderedDict()
        """The marks of recent parts, by the offsets of their ends."""

    def mark(self, begin: int) -> PartMark | None:
        # Return a mark whose next part begins at the offset `begin`; `None` unless that is 0 or the end of a record
        # that is still valid. Raises `JournalError` or `OSError` if the journal cannot be read.
        with self._lock:
            self._read()
            if begin > self._reader.offset:
                return None
            known = self._marks.get(begin) if begin else PartMark(restarts=self._reader.restarts)
            if known is not None:
                return replace(known)
            # A reader that stops at this offset is in the state that ours had there, and so is its mark.
            reader, mark = TimelineReader(str(self._path)), PartMark()
            with self._path.open("rb") as file:
                reader.feed(file.read(begin))
            reader.part_after(mark)
            mark.restarts += self._replaced
            return mark if reader.offset == begin else None

    def part(self, mark: PartMark) -> bytes | None:
        # If the data up to `mark` are void, because the file was replaced or a resumed run voided its end, the part has
        # all data so far. The result is `None` if nothing is new. Raises the same errors as `mark`.
        with self._lock:
            self._read()
            if mark.restarts != self._reader.restarts:
                mark.begin_again(self._reader.restarts)
            if mark.offset == self._reader.offset:
                return None
            part = self._reader.part_after(mark)
            self._marks[mark.offset] = replace(mark)
            self._marks.move_to_end(mark.offset)
            if len(self._marks) > _MARKS_KEPT:
                self._marks.popitem(last=False)
            return part

    def is_over(self, mark: PartMark) -> bool:
        with self._lock:
            return self._reader.is_over and mark.offset == self._reader.offset

    def _read(self) -> None:
        # After a replacement of the file or a cut of its end (a resumed run), the known offsets are of other data.
        with self._path.open("rb") as file:
            file_stat = os.fstat(file.fileno())
            if file_stat.st_ino != self._inode or file_stat.st_size < self._reader.offset:
                self._begin(file_stat.st_ino)
            # A run that is resumed overwrites an incomplete record at the end, so such a record is read again.
            self._reader.forget_tail()
            file.seek(self._reader.offset)
            try:
                self._reader.feed(file.read())
            except JournalError:
                self._begin(0)  # the reader stopped within these bytes
                raise

    def _begin(self, inode: int) -> None:
        self._inode = inode
        self._replaced = self._reader.restarts + 1
        self._reader = TimelineReader(str(self._path))
        self._reader.restarts = self._replaced
        self._marks.clear()
