"""A shelf in one SQLite file, for all processes of one machine.

It uses the write-ahead log with ``synchronous=NORMAL``: a power failure may lose the last entries. If SQLite finds the
file damaged, it is moved aside and a new one is created.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from interwhen._types.errors import StoreError
from interwhen._types.log import log_warning
from interwhen.precompute._shelves import latest_of, numbered

T = TypeVar("T")

_BUSY_SECONDS, _PAUSE_SECONDS = 5.0, 0.01
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_APPLICATION = 0x49575043  # "IWPC": marks the file as ours
_DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""``UnicodeDecodeError``: SQLite quotes bytes that are no text."""
_MAGIC = b"SQLite format 3\0"
_TABLE = "CREATE TABLE IF NOT EXISTS entries (name TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID"


class SqliteShelf:
    """Keeps entries in the SQLite file at *path*. A missing file is created with the mode 0600."""

    # Do not use it on network file systems, where the locks of SQLite are not reliable. `page_size` is the page size of
    # new files in bytes. Raises `StoreError` if the file cannot be opened or seems to belong to another program;
    # methods raise it if the file stays locked or cannot be used. A damaged file is moved aside (to `path.damaged-1`
    # and so on) with a warning, and an empty one takes its place.

    blocks = False
    """A look-up by name usually takes tens of microseconds."""

    def __init__(self, path: str | os.PathLike[str], *, page_size: int = 4096) -> None:
        self.place = os.fspath(path)
        self._page_size = page_size
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._open()

    @property
    def is_exposed(self) -> bool:
        path = Path(self.place)
        file, folder = path.stat(), path.absolute().parent.stat()
        is_sticky = bool(folder.st_mode & stat.S_ISVTX)
        return os.name == "posix" and (
            file.st_uid not in (os.geteuid(), 0)
            or bool(file.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
            or (bool(folder.st_mode & stat.S_IWOTH) and not is_sticky)
        )

    def read(self, name: str, /) -> bytes | None:
        def look(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute("SELECT data FROM entries WHERE name = ?", (name,)).fetchone()
            return None if row is None else bytes(row[0]) if isinstance(row[0], bytes) else b""

        return self._do(look)

    def create(self, name: str, data: bytes, /) -> bool:
        insert = "INSERT OR IGNORE INTO entries VALUES (?, ?)"
        return bool(self._do(lambda connection: connection.execute(insert, (name, data)).rowcount == 1))

    def follow(self, folder: str, number: int, data: bytes, /) -> bool:
        def replace(connection: sqlite3.Connection) -> bool:
            # `BEGIN IMMEDIATE` locks the file before the names are read, so no other process can write this generation.
            connection.execute("BEGIN IMMEDIATE")
            try:
                old = _names(connection, folder)
                done = latest_of(old) == number - 1
                if done:
                    connection.executemany("DELETE FROM entries WHERE name = ?", [(each,) for each in old])
                    connection.execute("INSERT INTO entries VALUES (?, ?)", (numbered(folder, number), data))
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
            return done

        return bool(self._do(replace))

    def delete(self, name: str, /) -> None:
        self._do(lambda connection: connection.execute("DELETE FROM entries WHERE name = ?", (name,)))

    def names(self, folder: str, /) -> list[str]:
        return self._do(lambda connection: _names(connection, folder)) or []

    def names_now(self, folder: str, /) -> list[str]:
        return self._do(lambda connection: _names(connection, folder), seconds=0.0) or []

    def close(self) -> None:
        # Later calls of the other methods raise `StoreError`.
        with self._lock:
            self._close()

    def _do(self, work: Callable[[sqlite3.Connection], T], *, seconds: float = _BUSY_SECONDS) -> T | None:
        # Try for `seconds` while another process locks the file. Between tries, `self._lock` is free for other threads.
        deadline = time.monotonic() + seconds
        while True:
            try:
                with self._lock:
                    return self._try(work)
            except sqlite3.OperationalError as error:
                if time.monotonic() >= deadline:
                    raise StoreError(
                        self.place,
                        f"it must become unlocked within {seconds:g} s, and another process keeps it locked "
                        f"({error}); end that process, or try again",
                    ) from error
            time.sleep(_PAUSE_SECONDS)

    def _try(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        # The second try is for the empty file that has replaced a damaged one. `None` if the new file is damaged, too.
        for _ in range(2):
            if self._connection is None:
                raise StoreError(self.place, "a store must be open to be used, and this one was closed; open it again")
            try:
                return work(self._connection)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF in _BUSY:
                    raise
                if not (_is_damage(error) or _forbids_writing(self.place)):
                    raise StoreError(
                        self.place, f"it could not be used: {error}; check whether the disk is full or read-only"
                    ) from error
                self._replace(error)
            except _DAMAGE as error:
                self._replace(error)
        return None

    def _open(self) -> None:
        path = Path(self.place)
        try:
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            _refuse_others(path)
        except OSError as error:
            raise StoreError(
                self.place,
                (
                    f"it must be a file that can be read and written, got {error.strerror}; give a file in a "
                    "folder that can be written"
                ),
            ) from error
        try:
            self._connect()
        except sqlite3.OperationalError as error:
            self._close()
            if not _is_damage(error):
                raise StoreError(
                    self.place, f"it could not be opened: {error}; check that the file and its folder can be written"
                ) from error
            self._replace(error)
        except _DAMAGE as error:
            self._replace(error)

    def _connect(self) -> None:
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                return self._try_to_connect()
            except sqlite3.OperationalError as error:
                self._close()
                # Switching to the log needs an exclusive lock, for which SQLite does not wait.
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _try_to_connect(self) -> None:
        path = Path(self.place)
        self._connection = connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        # With a flipped bit in a name, only that row is lost, and the file can still be read.
        connection.text_factory = lambda data: data.decode("ascii", "replace")
        self._inode = path.stat().st_ino
        if not path.stat().st_size:
            connection.execute(f"PRAGMA page_size = {self._page_size:d}")
            connection.execute(f"PRAGMA application_id = {_APPLICATION:d}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(_TABLE)

    def _replace(self, error: Exception) -> None:
        self._close()
        path = Path(self.place)
        moved = ""
        try:
            if path.stat().st_ino == self._inode:
                moved = _free_name(path)
                # The log is moved first: SQLite ignores a log without its file, but applies an old log to a new file.
                for suffix in ("-wal", "-shm", ""):
                    old = Path(f"{path}{suffix}")
                    if old.exists():
                        old.rename(f"{moved}{suffix}")
        except OSError as failed:
            raise StoreError(
                self.place,
                (
                    f"it is damaged ({error}) and could not be moved aside ({failed.strerror}); move the file "
                    "yourself, or make its folder writable"
                ),
            ) from error
        log_warning("store.damaged", place=self.place, why=str(error), moved=moved)
        try:
            self._connect()
        except _DAMAGE as again:
            self._close()
            raise StoreError(
                self.place,
                (
                    f"it is damaged ({error}), and making a new one failed: {again}; check the disk, or "
                    "choose another path"
                ),
            ) from again

    def _close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()


def _names(connection: sqlite3.Connection, folder: str) -> list[str]:
    # "0" follows "/" in ASCII, so the range ends before the next folder.
    between = "SELECT name FROM entries WHERE name > ? AND name < ? ORDER BY name"
    return [str(name) for (name,) in connection.execute(between, (f"{folder}/", f"{folder}0"))]


def _refuse_others(path: Path) -> None:
    # A file of another program must not be moved aside as a damaged store. A few wrong bytes in the header are damage.
    with path.open("rb") as file:
        head = file.read(72)
    for at, ours in ((0, _MAGIC), (68, _APPLICATION.to_bytes(4, "big"))):
        there = head[at : at + len(ours)]
        if sum(a != b for a, b in zip(there, ours, strict=False)) > len(ours) // 4:
            raise StoreError(
                os.fspath(path),
                ("the file must be a store or not exist, got a file of another program; choose another path"),
            )


def _free_name(path: Path) -> str:
    number = 1
    while Path(f"{path}.damaged-{number}").exists():
        number += 1
    return f"{path}.damaged-{number}"


def _forbids_writing(path: str) -> bool:
    # Return whether the file header has a format version that SQLite must not write: our file is damaged then.
    with Path(path).open("rb") as file:
        head = file.read(20)
    return len(head) == 20 and head[18] > 2


def _is_damage(error: sqlite3.OperationalError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return False
    # Our fixed statements raise SQLITE_ERROR only if the schema is damaged.
    return code & 0xFF in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or (
        code == sqlite3.SQLITE_IOERR_SHORT_READ
    )
