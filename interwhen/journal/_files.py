"""The file of a journal: created once, locked while it is written, never overwritten."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol
from zlib import crc32

from interwhen._types.errors import JournalError


class Files:
    """The file system: a journal's name is its path."""

    def read(self, name: str, /) -> bytes:
        """Return the whole file."""
        return Path(name).read_bytes()

    def open(self, name: str, /, *, keep: int, found: int) -> LockedFile:
        """Open a new file, or an existing one to append to."""
        return LockedFile(name, keep=keep, found=found)


class LockedFile:
    """An append-only file. Only its owner can read it, because it holds the prompt and the text."""

    def __init__(self, path: str, *, keep: int = 0, found: int = 0) -> None:
        """Open *path* for a new journal, or to append: of the *found* bytes that were read, the first *keep* stay.

        Raises :class:`~interwhen.JournalError`.
        """
        flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._fd = os.open(path, flags if keep else flags | os.O_CREAT, 0o600)
        except OSError as error:
            raise JournalError(path, f"it cannot be written ({error.strerror}): choose another path") from error
        try:
            self._take(path, keep, found)
        except BaseException:
            os.close(self._fd)
            raise

    def _take(self, path: str, keep: int, found: int) -> None:
        if not _lock(self._fd):
            raise JournalError(path, "another run is writing to it: wait for its end, or choose another path")
        state = os.fstat(self._fd)
        if keep:
            if state.st_size != found:
                raise JournalError(path, "it changed after it was read; read it again")
            os.ftruncate(self._fd, keep)
        elif stat.S_ISREG(state.st_mode) and state.st_size:
            raise JournalError(path, "the file exists; resume it (interwhen resume), or choose another path")

    def write(self, data: bytes, /) -> int:
        """Hand *data* to the operating system; return how many bytes it took."""
        return os.write(self._fd, data)

    def sync(self) -> None:
        """Wait until everything is on the disk."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the file, which releases its lock."""
        os.close(self._fd)


def _lock(fd: int) -> bool:
    """Lock the file against other runs, where the system can; return False if another run holds the lock."""
    try:
        import fcntl
    except ImportError:  # no POSIX
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
# The checksum continues the one of the previous record. So a whole record in the wrong place (left by an older file, or
# after a lost record) is rejected like a torn one.

MAGIC = b"\x89IWJ\r\n\x1a\n"
"""As in PNG: not text, and damaged by a transfer that treats it as text."""
SCHEMA = 1

_HEAD = struct.Struct("<8sI")
_U32 = struct.Struct("<I")
START = _HEAD.size + _U32.size
"""The offset of the first record."""


class Frame(NamedTuple):
    """One whole record."""

    payload: bytes
    end: int
    """The offset of its end."""
    chain: int
    """The checksum that the next record continues."""


def preamble() -> tuple[bytes, int]:
    """Return the beginning of a file, and the checksum that its first record continues."""
    head = _HEAD.pack(MAGIC, SCHEMA)
    chain = crc32(head)
    return head + _U32.pack(chain), chain


def frame(payload: bytes, chain: int) -> tuple[bytes, int]:
    """Return *payload* framed to follow a record with the checksum *chain*, and the new checksum."""
    size = _U32.pack(len(payload))
    chain = crc32(payload, crc32(size, chain))
    return size + _U32.pack(chain) + payload, chain


def frames(data: bytes, path: str) -> Iterator[Frame]:
    """Yield the records of a file up to the first torn or damaged one.

    Raises :class:`~interwhen.JournalError` if *data* is not a journal, or has another schema.
    """
    if len(data) < START or not data.startswith(MAGIC):
        raise JournalError(path, "this is not a journal, or it was cut before its first record")
    (chain,) = _U32.unpack_from(data, _HEAD.size)
    if crc32(data[: _HEAD.size]) != chain:
        raise JournalError(path, "its first bytes are damaged: restore it from a copy")
    _, schema = _HEAD.unpack_from(data)
    if schema != SCHEMA:
        raise JournalError(
            path,
            f"it has schema {schema}, and this version of interwhen reads schema {SCHEMA}"
            + (": a newer version wrote it; update interwhen" if schema > SCHEMA else ""),
        )
    at = START
    while at + 2 * _U32.size <= len(data):
        (size,) = _U32.unpack_from(data, at)
        (said,) = _U32.unpack_from(data, at + _U32.size)
        begin = at + 2 * _U32.size
        end = begin + size
        if end > len(data):
            return
        payload = data[begin:end]
        found = crc32(payload, crc32(data[at : at + _U32.size], chain))
        if found != said:
            return
        yield Frame(payload, end, found)
        at, chain = end, found


# Protocols for a journal that is not a file, or is not written by a thread.


class JournalFile(Protocol):
    """A file that a journal is written to."""

    def write(self, data: bytes, /) -> int:
        """Hand *data* to the operating system; return how many bytes it took. May raise :class:`OSError`."""
        ...

    def sync(self) -> None:
        """Wait until everything is on the disk."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class JournalStore(Protocol):
    """Keeps journals by name."""

    def read(self, name: str, /) -> bytes:
        """Return the bytes of the journal *name*. May raise :class:`OSError`."""
        ...

    def open(self, name: str, /, *, keep: int, found: int) -> JournalFile:
        """Return the file of a new journal (*keep* is 0), or of one to append to.

        Of the *found* bytes that were read, keep the first *keep* and drop the others. May raise
        :class:`~interwhen.JournalError`.
        """
        ...


class Writing(Protocol):
    """The work of a clerk."""

    def write(self) -> bool:
        """Write everything that is queued; return False if nothing more will be written. Raises nothing."""
        ...

    def shut(self) -> None:
        """Close the file. This is the last call. Raises nothing."""
        ...


class Clerk(Protocol):
    """Writes one journal in the background, so that a run never waits for a disk."""

    def start(self, writing: Writing, seconds: float) -> None:
        """Begin with what is queued already. *seconds* is the longest time until something queued is written."""
        ...

    def wake(self) -> None:
        """Something was queued: write it within the time that :meth:`start` got."""
        ...

    def hurry(self) -> None:
        """Write what is queued at once."""
        ...

    def end(self) -> None:
        """Write what is queued, and close the file. May be called again."""
        ...

    async def ended(self, seconds: float) -> bool:
        """Wait for the end, for at most *seconds*; return whether it was reached."""
        ...
