"""The file of a journal: its format, and how it is opened and locked so that no other run overwrites it."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from typing import NamedTuple, Protocol
from zlib import crc32

from interwhen._types.errors import JournalError


class Files:
    """A :class:`JournalStore` on the file system: the name of a journal is its path."""

    def read(self, name: str, /) -> bytes:
        from pathlib import Path

        return Path(name).read_bytes()

    def open(self, name: str, /, *, keep: int, size: int) -> LockedFile:
        # See `LockedFile` for `keep`, `size` and the errors.
        return LockedFile(name, keep=keep, size=size)


class LockedFile:
    """An append-only file, locked while it is open if the system supports locks."""

    # On POSIX systems, only its owner can read a file that this class creates.

    def __init__(self, path: str, *, keep: int = 0, size: int = 0) -> None:
        # Of an old journal, the first `keep` bytes stay, and `size` is its size when it was read. A new one has 0, 0.
        flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._fd = os.open(path, flags if keep else flags | os.O_CREAT, 0o600)
        except (OSError, ValueError) as error:  # ValueError: the path has a NUL character
            why = error.strerror if isinstance(error, OSError) else error
            raise JournalError(path, f"it must be a writable file, and is not ({why}): choose another path") from error
        try:
            self._take(path, keep, size)
        except BaseException:
            os.close(self._fd)
            raise

    def _take(self, path: str, keep: int, size: int) -> None:
        if not _lock(self._fd):
            raise JournalError(
                path,
                "only one run may write to it, and another run does: wait for the end of that run, or "
                "choose another path",
            )
        state = os.fstat(self._fd)
        if keep:
            if state.st_size != size:
                raise JournalError(
                    path, "it must stay the same between reading and resuming, and it changed: read it again"
                )
            try:
                os.ftruncate(self._fd, keep)
            except OSError as error:
                raise JournalError(
                    path, f"its damaged end must be cut off, and cannot be ({error.strerror}): resume a copy of it"
                ) from error
        elif stat.S_ISREG(state.st_mode) and state.st_size:
            raise JournalError(
                path,
                "a new journal must not replace a file, and this file exists: resume it (interwhen resume), "
                "or choose another path",
            )

    def write(self, data: bytes, /) -> int:
        return os.write(self._fd, data)

    def sync(self) -> None:
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


def _lock(fd: int) -> bool:
    # False: another run has locked the file.
    try:
        import fcntl
    except ImportError:  # Windows has no such lock: two runs on one journal are not kept apart
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a device, or a file system without locks
        return True
    return True


# The format of the file: each record has a length, and a checksum that also covers all records before it.
#
# ::
#
#     magic (8 bytes) | schema (u32) | CRC-32 of both (u32)
#     length (u32) | CRC-32 (u32) | payload            for each record, all little-endian
#
# Each checksum is computed from the checksum of the previous record. So a complete record at the wrong offset (left by
# an older file, or after a lost record) is rejected like an incomplete one.

MAGIC = b"\x89IWJ\r\n\x1a\n"
"""Built like the signature of PNG: its line ends and non-ASCII byte reveal a transfer that treated the file as text."""
SCHEMA = 6
"""The version of the journals that this code writes, and the only one that it reads. Raise it when the form of a record
changes, or what the core makes of the same facts."""

_HEAD = struct.Struct("<8sI")
_U32 = struct.Struct("<I")
START = _HEAD.size + _U32.size
"""The offset of the first record."""


class Frame(NamedTuple):
    """One complete record of a journal file."""

    payload: bytes
    end: int
    """The offset after the record."""
    chain: int
    """The checksum of the record."""


def preamble() -> tuple[bytes, int]:
    head = _HEAD.pack(MAGIC, SCHEMA)
    chain = crc32(head)
    return head + _U32.pack(chain), chain


def frame(payload: bytes, chain: int) -> tuple[bytes, int]:
    """Return *payload* with its length and checksum in front, and the checksum.

    *chain* is the checksum of the previous record.
    """
    parts: list[bytes] = []
    chain = add_frame(parts, payload, chain)
    return b"".join(parts), chain


def add_frame(parts: list[bytes], payload: bytes, chain: int) -> int:
    """Append *payload*, with its length and checksum in front, to *parts*; return the checksum."""
    size = _U32.pack(len(payload))
    chain = crc32(payload, crc32(size, chain))
    parts += (size, _U32.pack(chain), payload)
    return chain


def frames(data: bytes, path: str) -> Iterator[Frame]:
    return frames_after(data, START, read_preamble(data, path))


def read_preamble(data: bytes, path: str) -> int:
    if len(data) < START or not data.startswith(MAGIC):
        raise JournalError(
            path,
            f"it must begin with {MAGIC!r} and a whole head, got {data[: len(MAGIC)]!r}: give a journal, or "
            "a copy that was not cut",
        )
    chain = crc32(data[: _HEAD.size])
    if _U32.unpack_from(data, _HEAD.size) != (chain,):
        raise JournalError(
            path,
            "the checksum of its head must be right, and it is wrong, so its first bytes are damaged: "
            "restore it from a copy",
        )
    _, schema = _HEAD.unpack_from(data)
    if schema != SCHEMA:
        raise JournalError(
            path,
            f"it must have schema {SCHEMA} for this version of interwhen, got schema {schema}: use the version that "
            "wrote it",
        )
    return chain


def frames_after(data: bytes, at: int, chain: int) -> Iterator[Frame]:
    """Yield the records in *data* from offset *at* on, up to the first incomplete or damaged record.

    *chain* is the checksum of the record before *at*.
    """
    while at + 2 * _U32.size <= len(data):
        (size,) = _U32.unpack_from(data, at)
        (said,) = _U32.unpack_from(data, at + _U32.size)
        begin = at + 2 * _U32.size
        end = begin + size
        if end > len(data):
            return
        payload = data[begin:end]
        checksum = crc32(payload, crc32(data[at : at + _U32.size], chain))
        if checksum != said:
            return
        yield Frame(payload, end, checksum)
        at, chain = end, checksum


# Protocols for a journal that is not a file, or is not written by a thread.


class JournalFile(Protocol):
    """The file to which a journal is written."""

    def write(self, data: bytes, /) -> int:
        """Accept *data*, or a first part of it that is not empty; return its length. May raise :class:`OSError`."""
        ...

    def sync(self) -> None:
        """Wait until the written data is stored safely; called only with ``fsync``. May raise :class:`OSError`."""
        ...

    def close(self) -> None:
        """Close the file. May raise :class:`OSError`."""
        ...


class JournalStore(Protocol):
    """Stores journals by name; the default is the file system."""

    def read(self, name: str, /) -> bytes:
        """Return all bytes of the journal *name*. May raise :class:`OSError`."""
        ...

    def open(self, name: str, /, *, keep: int, size: int) -> JournalFile:
        """Return the file of the journal *name*: a new one (*keep* is 0), or an existing one to append to.

        For an existing one, keep its first *keep* bytes, and cut off the rest; *size* is its size when it was read.
        May raise :class:`~interwhen.journal.JournalError`.
        """
        ...


class Writing(Protocol):
    """The queue of one journal. A :class:`Clerk` calls :meth:`write` to empty it into the file."""

    def write(self) -> bool:
        """Write the queued records. Return false after a failure: then the clerk must stop. Raises nothing."""
        ...

    def shut(self) -> None:
        """Drop the queued records and close the file. The clerk calls this last. Raises nothing."""
        ...


class Clerk(Protocol):
    """Writes one journal in the background, so that the stream of a run does not wait for a disk."""

    def start(self, writing: Writing, seconds: float) -> None:
        """Start to write the records of *writing*: each should be written within *seconds* after it was queued."""
        ...

    def wake(self) -> None:
        """Tell the clerk that a record was queued. It should be written within the *seconds* of :meth:`start`."""
        ...

    def hurry(self) -> None:
        """Ask the clerk to write the queued records without the delay. Does not wait."""
        ...

    def end(self) -> None:
        """Ask the clerk to write the queued records and then close the file. May be called more than once."""
        ...

    async def ended(self, seconds: float) -> bool:
        """Wait at most *seconds* for the file to be closed. If the result is false, the run gives the journal up."""
        ...
