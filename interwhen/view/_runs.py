"""The journals of a folder or of some files, as runs with ids: rows for a list, and timelines."""

from __future__ import annotations

import os
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from interwhen._types.errors import JournalError, UsageError
from interwhen._types.results import Result, Verified
from interwhen.journal import TimelineReader, timeline
from interwhen.journal._files import MAGIC, Frame, frames
from interwhen.journal._records import EndRecord, Header, decode
from interwhen.registry import MonitorSpec

T = TypeVar("T")
_ROWS_KEPT = 20_000
_FORMS_KEPT = 8
_FOUND = 3
"""How many refuted claims a row names."""
_FOUND_CHARACTERS = 120


class RunRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One run in the list, with data from the first and the last record of its journal."""

    id: str
    path: str
    written: float = 0.0
    model: str = ""
    monitors: tuple[str, ...] = ()
    status: str | None = None
    """``None`` if the run has not ended."""
    label: str | None = None
    scope: str | None = None
    tokens: int | None = None
    """All generated tokens: kept, discarded, of forks and offline."""
    discarded: int = 0
    remedies: int = 0
    violations: int = 0
    found: tuple[str, ...] = ()
    """The first three refuted claims: the readable beginnings of their keys."""
    seconds: float | None = None
    size: int = 0
    error: str = ""
    """Why the journal cannot be read; empty if it can."""


class JournalStat(NamedTuple):
    """The size and modification time of a file. They show whether a cached row or form is still valid."""

    size: int
    changed: int


def state_of(path: Path) -> JournalStat:
    """Return the size and the modification time of the file at *path*. Raises :class:`OSError` if there is no file."""
    found = path.stat()
    return JournalStat(found.st_size, found.st_mtime_ns)


class RunFolder:
    """The journals in a folder, or the given files. Rows and timelines are cached until their file changes."""

    def __init__(self, places: Iterable[str | os.PathLike[str]]) -> None:
        """Use the journals at *places*. A place is a file, or a folder whose journals are all used.

        Raises :class:`~interwhen.UsageError` if a place does not exist.
        """
        self._places = [Path(place) for place in places]
        for place in self._places:
            if not place.exists():
                raise UsageError(
                    f"a journal or a folder of journals must exist, got {str(place)!r}, which does not: correct it"
                )
        self._ids: dict[str, Path] = {}
        self._rows: OrderedDict[Path, tuple[JournalStat, RunRow]] = OrderedDict()
        self._forms: OrderedDict[Path, tuple[JournalStat, bytes]] = OrderedDict()
        self._specs: dict[str, MonitorSpec] = {}

    def paths(self) -> list[Path]:
        """Return the paths of all journals, the most recently changed file first."""
        found: dict[Path, int] = {}
        for path in self._files():
            try:
                found[path] = state_of(path).changed
            except OSError:  # removed since the folder was read
                continue
        paths = sorted(found, key=lambda path: (-found[path], str(path)))
        self._ids = {run_id(path): path for path in paths}
        return paths

    def _files(self) -> Iterator[Path]:
        for place in self._places:
            if not place.is_dir():
                yield place
                continue
            for folder, _, names in os.walk(place):
                yield from (path for name in names if _is_journal(path := Path(folder, name)))

    def path(self, name: str) -> Path | None:
        """Return the path of the run with the id *name*; ``None`` if there is none."""
        if name not in self._ids:
            self.paths()
        return self._ids.get(name)

    def row(self, path: Path) -> RunRow:
        """Return the row of the journal at *path*. If the journal cannot be read, the row contains the reason."""
        try:
            state = state_of(path)
            kept = self._rows.get(path)
            if kept is not None and kept[0] == state:
                return kept[1]
            header, row = _row(path, path.read_bytes())
        except (JournalError, OSError) as error:
            return RunRow(run_id(path), str(path), error=str(error))
        for one in header.monitors:
            if one.spec is not None:
                self._specs.setdefault(str(one.fields["name"]), one.spec)
        _keep(self._rows, path, (state, row), _ROWS_KEPT)
        return row

    def form(self, path: Path) -> bytes:
        """Return the compact form of the timeline of the journal at *path*: the JSON that the page reads.

        Raises :class:`~interwhen.JournalError` if the journal cannot be read, and :class:`OSError` if there is no file.
        """
        state = state_of(path)
        kept = self._forms.get(path)
        if kept is not None and kept[0] == state:
            return kept[1]
        found = timeline(path).compact
        _keep(self._forms, path, (state, found), _FORMS_KEPT)
        return found

    def spec(self, monitor: str) -> MonitorSpec | None:
        """Return how to make the monitor with the name *monitor*, as a journal of this folder records it.

        Returns ``None`` if no journal does.
        """
        for path in self.paths():
            self.row(path)
        return self._specs.get(monitor)


def _keep(kept: OrderedDict[Path, T], path: Path, value: T, most: int) -> None:
    kept[path] = value
    kept.move_to_end(path)
    while len(kept) > most:
        kept.popitem(last=False)


def run_id(path: Path) -> str:
    """Return the id of the run at *path*. It is a hash, so that an id in a request cannot name any other file."""
    return sha256(os.fsencode(path.absolute())).hexdigest()[:16]


def _is_journal(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _row(path: Path, data: bytes) -> tuple[Header, RunRow]:
    first = None
    last: deque[Frame] = deque(maxlen=2)  # the record of the call may follow the end
    for found in frames(data, str(path)):
        first = found if first is None else first
        last.append(found)
    if first is None:
        raise JournalError(str(path), "it must have a whole header, and was cut within it: start the run again")
    try:
        header = decode(first.payload)
        ends = [record for found in last if isinstance(record := decode(found.payload), EndRecord)]
    except (msgspec.MsgspecError, ValueError) as error:
        raise JournalError(str(path), f"its records must be known to this version, and one is not: {error}") from error
    if not isinstance(header, Header):
        raise JournalError(str(path), "its first record must be the header, and is another: restore it from a copy")
    begun = RunRow(
        id=run_id(path),
        path=str(path),
        written=header.written,
        model=header.model,
        monitors=tuple(str(one.fields["name"]) for one in header.monitors),
        size=len(data),
    )
    if header.redacted:
        return header, _outlined(begun, timeline(path).compact)
    return header, _ended(begun, ends[-1].result) if ends else begun


def _ended(row: RunRow, result: Result) -> RunRow:
    ledger = result.ledger
    return msgspec.structs.replace(
        row,
        status=result.status,
        label=result.label,
        scope=result.certificate.scope if isinstance(result, Verified) else None,
        tokens=ledger.total_tokens,
        discarded=ledger.discarded,
        remedies=ledger.remedies,
        violations=len(result.violations),
        found=tuple(_claim(each.key) for each in result.violations[:_FOUND]),
        seconds=result.timing.total,
    )


def _claim(key: str) -> str:
    """Return the readable part of a claim's *key*, without the other data that may follow a separator."""
    return key.partition("\x1f")[0][:_FOUND_CHARACTERS]


class _OutlinedLedger(msgspec.Struct):
    kept: int = 0
    discarded: int = 0
    fork_tokens: int = 0
    offline_tokens: int = 0
    remedies: int = 0


class _OutlinedTiming(msgspec.Struct):
    total: float | None = None


class _OutlinedResult(msgspec.Struct):
    scope: str | None = None
    ledger: _OutlinedLedger = msgspec.field(default_factory=_OutlinedLedger)
    timing: _OutlinedTiming = msgspec.field(default_factory=_OutlinedTiming)


class _OutlinedCheck(msgspec.Struct):
    outcome: str = ""


class _Outline(msgspec.Struct):
    status: str | None = None
    label: str | None = None
    checks: tuple[_OutlinedCheck, ...] = ()
    result: _OutlinedResult | None = None


def _outlined(row: RunRow, form: bytes) -> RunRow:
    """Return *row* completed by the data about the end of the run in *form*, the compact form of a redacted journal."""
    outline = msgspec.json.decode(form, type=_Outline)
    if outline.status is None or outline.result is None:
        return row
    result = outline.result
    ledger = result.ledger
    return msgspec.structs.replace(
        row,
        status=outline.status,
        label=outline.label,
        scope=result.scope,
        tokens=ledger.kept + ledger.discarded + ledger.fork_tokens + ledger.offline_tokens,
        discarded=ledger.discarded,
        remedies=ledger.remedies,
        violations=sum(check.outcome == "violation" for check in outline.checks),
        seconds=result.timing.total,
    )


# A journal that grows.


class GrowingRun:
    """Reads a journal that may still be growing, and returns what is new in it as parts in the compact form."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader = TimelineReader(str(path))
        self._fed = 0

    @property
    def offset(self) -> int:
        """The offset at the end of the last complete record that was read."""
        return self._reader.offset

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, according to the part of the file that was read."""
        return self._reader.is_over

    def skip(self, to: int) -> bool:
        """Read the first *to* bytes, and leave their data out of the next part.

        Return whether a record ends at *to*; true for 0. Raises the same errors as :meth:`part`.
        """
        if not to:
            return True
        self._feed(to)
        self._reader.part()
        return self._reader.offset == to

    def part(self) -> bytes | None:
        """Return the new data of the file, as a part in the compact form; ``None`` if there are none.

        Before the first bytes of the journal were read, a part is returned even if it is empty. Raises
        :class:`~interwhen.JournalError` if this version cannot read the journal, and :class:`OSError` if the file
        cannot be read.
        """
        before = self._reader.offset
        self._feed(None)
        return self._reader.part() if self._reader.offset > before or not before else None

    def _feed(self, to: int | None) -> None:
        with self._path.open("rb") as file:
            file.seek(self._fed)
            data = file.read() if to is None else file.read(max(0, to - self._fed))
        self._fed += len(data)
        if data:
            self._reader.feed(data)
