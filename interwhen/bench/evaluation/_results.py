"""Keeps the results of an evaluation in a folder: a manifest, and append-only files of rows, a file for each shard.

A row is written once, with one ``write``, when its run has ended. A kill leaves at most one incomplete line in a file,
which the next start removes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec

from interwhen import UsageError
from interwhen._types.errors import DECODE_ERRORS

_MANIFEST = "manifest.json"
_SPENDING = "spending{}.jsonl"
_FORMAT = 1
_TAKES_NO_ROWS = (
    "--out must be a folder that can be written, got {!r} ({}); make room, and run the same command again to continue"
)
_Line = TypeVar("_Line")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of an evaluation, stored in its folder."""

    # An evaluation can continue in a folder only with the same settings.

    task: str
    digest: str
    """See :attr:`Prompts.digest`."""
    model: str
    api: str
    monitors: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    """The version of each verifier, by name."""
    sampling: dict[str, Any] = {}
    budgets: dict[str, Any] = {}
    shard_size: int = 1000
    """Rows in one file."""
    interwhen: str = ""
    """The version of interwhen."""
    format: int = _FORMAT
    """The version of the format of the folder."""


class ResultRow(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one prompt. Each field has one type, and no field is null."""

    # So the files load as one table: readers such as ``datasets`` infer the type of a column from the first file.

    row: int
    name: str
    status: str
    """``verified``, ``unverified``, ``abstained`` or ``failed``."""
    scope: str = ""
    """``answer`` or ``steps`` for a verified row."""
    why: str = ""
    """The reasons against ``verified``, or the error; empty for a verified row."""
    grade: str = ""
    """``right`` or ``wrong``, compared with the answer that the source gives; empty: the source gives none."""
    answer: str = ""
    """The text after the reasoning."""
    text: str = ""
    """The whole text, with the reasoning."""
    violations: int = 0
    remedies: int = 0
    checks: int = 0
    """Checks on the returned text."""
    worker_checks: int = 0
    """Checks whose verifiers run in worker threads or processes."""
    worker_seconds: float = 0.0
    """How long these took, with the time that they waited for a worker."""
    forks: int = 0
    fork_tokens: int = 0
    fork_prompt_tokens: int = 0
    tokens: int = 0
    """Generated tokens: kept, discarded and those of forks."""
    prompt_tokens: int = 0
    """Of all requests, with those of forks; estimated where the server counts none."""
    cached_tokens: int = 0
    """Prompt tokens that the server had in its cache."""
    requests: int = 0
    """The first one, resumes, reconnects and forks."""
    seconds: float = 0.0
    first_token_seconds: float = 0.0
    """The time to the first text of the model, also if a monitor held it back; 0 if no text came."""
    endpoint: str = ""
    """The URL of the server."""
    attempt: str = ""
    """The id of the attempt that ended. Earlier attempts of the row are in the file of spending."""


class _Spent(msgspec.Struct, frozen=True):
    """What one attempt has used so far. The numbers are lower bounds."""

    attempt: str
    row: int
    tokens: int
    requests: int = 1


class EvaluationSummary(msgspec.Struct, kw_only=True):
    """Counts over all rows of a folder of results."""

    rows: int = 0
    statuses: dict[str, int] = msgspec.field(default_factory=dict)
    graded: int = 0
    right: int = 0
    verified_right: int = 0
    verified_wrong: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    requests: int = 0
    violations: int = 0
    tokens_again: int = 0
    """Tokens of attempts that ended without a row, because of a kill or an error: a lower bound."""
    attempts_again: int = 0
    by_endpoint: dict[str, int] = msgspec.field(default_factory=dict)

    def add(self, row: ResultRow) -> None:
        self.rows += 1
        self.statuses[row.status] = self.statuses.get(row.status, 0) + 1
        self.by_endpoint[row.endpoint] = self.by_endpoint.get(row.endpoint, 0) + 1
        self.tokens += row.tokens
        self.prompt_tokens += row.prompt_tokens
        self.cached_tokens += row.cached_tokens
        self.requests += row.requests
        self.violations += row.violations
        if row.grade:
            is_right = row.grade == "right"
            self.graded += 1
            self.right += is_right
            if row.status == "verified":
                self.verified_right += is_right
                self.verified_wrong += not is_right


class Results:
    """The folder *place* with the results of one evaluation. A ``with`` block creates it, and closes its files.

    Processes that work on different shards at the same time give different names as *part*. Entering raises
    :class:`~interwhen.UsageError` if the folder holds other files or the results of an evaluation with another
    *manifest*, or if it cannot be written.
    """

    def __init__(self, place: str | os.PathLike[str], manifest: Manifest, part: str = "") -> None:
        self.place = Path(place)
        self._part = part
        self.manifest = manifest
        self._open: dict[int, _Shard] = {}
        self._left: list[_Shard] = []
        """Shards whose rows are all written. The next :meth:`flush` closes them: it may run in another thread."""
        self._spending: int | None = None
        self._dirty: set[int] = set()

    def __enter__(self) -> Self:
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            self._vet_manifest()
            self._spending = os.open(
                self.place / _SPENDING.format(self._part), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644
            )
            _mend(self._spending)
        except OSError as error:
            raise UsageError(
                f"--out must be a folder that can be written, got {str(self.place)!r} ({error}): name "
                "another, or correct its permissions"
            ) from error
        return self

    def __exit__(self, *_error: object) -> None:
        with ExitStack() as stack:  # an error of one file leaves none of the others open
            if self._spending is not None:
                stack.callback(os.close, self._spending)
                self._spending = None
            for shard in (*self._open.values(), *self._left):
                stack.callback(shard.close)
            self._open.clear()
            self._left.clear()

    def _vet_manifest(self) -> None:
        path = self.place / _MANIFEST
        if not path.exists():
            if any(self.place.iterdir()):
                raise UsageError(
                    f"--out must be an empty folder or one with results, got {str(self.place)!r}, which holds other "
                    "files; name a new folder"
                )
            # Written whole under another name first, so that a kill never leaves half a manifest.
            draft = path.with_suffix(f".new{self._part}")
            draft.write_bytes(msgspec.json.format(msgspec.json.encode(self.manifest)))
            draft.replace(path)
            return
        stored = read_manifest(self.place)
        # As JSON, which knows no difference between tuples and lists.
        ours, theirs = (msgspec.json.decode(msgspec.json.encode(one)) for one in (self.manifest, stored))
        if differing := [name for name in ours if ours[name] != theirs[name]]:
            shown = "; ".join(
                "the prompts were others"
                if name == "digest"
                else f"{name} was {theirs[name]!r:.120} and is {ours[name]!r:.120}"
                for name in differing
            )
            raise UsageError(
                f"--out must hold results of the same evaluation, and in {str(self.place)!r} {shown}: give the same "
                "options to continue it, or another folder"
            )

    def done(self, shard: int) -> frozenset[int]:
        # Open and lock the file of the shard. Raises `UsageError` if another process has locked the file, or if one of
        # its rows cannot be read.
        return frozenset(self._shard(shard).done)

    def commit(self, row: ResultRow) -> bool:
        # False: the row has a result already. Raises `UsageError` if the disk is full, or if another process has locked
        # the file.
        number = row.row // self.manifest.shard_size
        shard = self._shard(number)
        if row.row in shard.done:
            return False
        shard.append(row)
        self._dirty.add(number)
        return True

    def leave(self, shard: int) -> None:
        # The next flush closes its file.
        if (shard_file := self._open.pop(shard, None)) is not None:
            self._left.append(shard_file)

    def flush(self) -> None:
        # Waits for the disk, which may take long, so call it in a thread. Raises `UsageError` if the disk does not take
        # the rows.
        dirty, self._dirty = self._dirty, set()
        left, self._left = self._left, []
        for number in dirty:
            if (shard := self._open.get(number)) is not None:
                shard.flush()
        for shard in left:
            shard.close()

    def spend(self, attempts: Mapping[str, tuple[int, int, int]]) -> None:
        if self._spending is not None and attempts:
            lines = [_Spent(name, *spent) for name, spent in attempts.items()]
            _append(self._spending, b"".join(msgspec.json.encode(line) + b"\n" for line in lines), self.place)

    def _shard(self, number: int) -> _Shard:
        # Opens and locks the file if it is not open: `UsageError` as `_Shard` raises it.
        shard = self._open.get(number)
        if shard is None:
            shard = self._open[number] = _Shard(self.place / shard_name(number))
        return shard


class _Shard:
    """One file of result rows, with a lock. Raises :class:`UsageError` if another process has the lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise UsageError(
                f"{str(path)!r} must be written by one process at a time, and another one has it open: wait for it, or "
                "end it"
            ) from error
        _mend(self._file)
        self.done: set[int] = {row.row for row, _ in rows_after(path)}

    def append(self, row: ResultRow) -> None:
        _append(self._file, msgspec.json.encode(row) + b"\n", self._path)
        self.done.add(row.row)

    def flush(self) -> None:
        try:
            os.fsync(self._file)
        except OSError as error:
            raise UsageError(_TAKES_NO_ROWS.format(str(self._path), error)) from error

    def close(self) -> None:
        try:
            self.flush()
        finally:
            os.close(self._file)


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.jsonl"


def read_manifest(place: str | os.PathLike[str]) -> Manifest:
    path = Path(place) / _MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (OSError, *DECODE_ERRORS) as error:
        raise UsageError(
            f"{str(path)!r} must be the manifest of an evaluation, got an error: {error}; name another folder"
        ) from error


def read_rows(place: str | os.PathLike[str]) -> Iterator[ResultRow]:
    # A file's incomplete last line is left out. Raises `UsageError` if another line cannot be read.
    for path in sorted(Path(place).glob("shard-*.jsonl")):
        yield from (row for row, _ in rows_after(path))


def summarize(place: str | os.PathLike[str]) -> EvaluationSummary:
    summary, committed = EvaluationSummary(), set[str]()
    for row in read_rows(place):
        summary.add(row)
        committed.add(row.attempt)
    spent: dict[str, _Spent] = {}
    for path in sorted(Path(place).glob(_SPENDING.format("*"))):
        for line, _ in _lines(path, msgspec.json.Decoder(_Spent).decode):
            if line.attempt not in committed:
                spent[line.attempt] = line
    summary.tokens_again = sum(line.tokens for line in spent.values())
    summary.attempts_again = len(spent)
    return summary


def rows_after(path: Path, start: int = 0) -> Iterator[tuple[ResultRow, int]]:
    # Each row comes with the offset of its end, from which a later call can continue.
    return _lines(path, msgspec.json.Decoder(ResultRow).decode, start)


def _lines(path: Path, decode: Callable[[bytes], _Line], start: int = 0) -> Iterator[tuple[_Line, int]]:
    try:
        with path.open("rb") as file:
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                try:
                    row = decode(line)
                except DECODE_ERRORS as error:
                    raise UsageError(
                        f"{str(path)!r}, the line at byte {start} must be a row of results, got an error: {error}; "
                        "remove the line, and the row is made again"
                    ) from error
                start += len(line)
                yield row, start
    except FileNotFoundError:
        return


def _append(file: int, data: bytes, path: Path) -> None:
    size, trouble = os.fstat(file).st_size, "no space left on the disk"
    try:
        written = os.write(file, data)
    except OSError as error:
        written, trouble = 0, str(error)
    if written < len(data):  # a full disk takes a part of the data
        os.ftruncate(file, size)
        raise UsageError(_TAKES_NO_ROWS.format(str(path), trouble))


def _mend(file: int) -> None:
    size = os.fstat(file).st_size
    at, block = size, b""
    while at:
        start = max(0, at - (1 << 16))
        block = os.pread(file, at - start, start)
        newline = block.rfind(b"\n")
        if newline >= 0:
            if start + newline + 1 < size:
                os.ftruncate(file, start + newline + 1)
            return
        at = start
    if size:
        os.ftruncate(file, 0)
