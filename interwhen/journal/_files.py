"""The file of a journal: made once, locked while it is written, never overwritten."""

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
        """Open a new file, or one to go on with."""
        return LockedFile(name, keep=keep, found=found)


class LockedFile:
    """A file that is only appended to. It is private to its user: it holds the prompt and the text."""

    def __init__(self, path: str, *, keep: int = 0, found: int = 0) -> None:
        """Open *path* for a new journal, or one to go on with: of the *found* bytes that were read, *keep* stay.

        Raises :class:`~interwhen.JournalError`.
        """
        flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._fd = os.open(path, flags if keep else flags | os.O_CREAT, 0o600)
        except OSError as error:
            raise JournalError(path, f"it cannot be written ({error.strerror})") from error
        try:
            self._take(path, keep, found)
        except BaseException:
            os.close(self._fd)
            raise

    def _take(self, path: str, keep: int, found: int) -> None:
        if not _lock(self._fd):
            raise JournalError(path, "another run is writing it")
        state = os.fstat(self._fd)
        if keep:
            if state.st_size != found:
                raise JournalError(path, "it has changed since it was read; read it again")
            os.ftruncate(self._fd, keep)
        elif stat.S_ISREG(state.st_mode) and state.st_size:
            raise JournalError(path, "the file exists; go on with it (interwhen resume), or choose another path")

    def write(self, data: bytes, /) -> int:
        """Hand *data* to the operating system; return how many bytes it took."""
        return os.write(self._fd, data)

    def sync(self) -> None:
        """Wait until all is on the disk."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Give the file and its lock back."""
        os.close(self._fd)


def _lock(fd: int) -> bool:
    """Lock the file against other runs, where the system can; false: another one has it."""
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


# How records lie in a file: each with its length, and a checksum that chains it to all before it.
#
# ::
#
#     magic (8 bytes) | schema (u32) | CRC-32 of both (u32)
#     length (u32) | CRC-32 (u32) | payload            for each record, all little-endian
#
# The checksum goes on from that of the record before, so a record that is whole but out of its place (left by an older
# file, or behind one that was lost) is as bad as a torn one.

MAGIC = b"\x89IWJ\r\n\x1a\n"
"""Not text, and changed by whatever takes it for text: the idea is PNG's."""
SCHEMA = 1

_HEAD = struct.Struct("<8sI")
_U32 = struct.Struct("<I")
START = _HEAD.size + _U32.size
"""Where the first record lies."""


class Frame(NamedTuple):
    """One record that is whole."""

    payload: bytes
    end: int
    """The offset behind it."""
    chain: int
    """The checksum that the next record goes on from."""


def preamble() -> tuple[bytes, int]:
    """Return the beginning of a file, and the checksum that its first record goes on from."""
    head = _HEAD.pack(MAGIC, SCHEMA)
    chain = crc32(head)
    return head + _U32.pack(chain), chain


def frame(payload: bytes, chain: int) -> tuple[bytes, int]:
    """Return *payload* as it is written behind a record whose checksum is *chain*, and its own checksum."""
    size = _U32.pack(len(payload))
    chain = crc32(payload, crc32(size, chain))
    return size + _U32.pack(chain) + payload, chain


def frames(data: bytes, path: str) -> Iterator[Frame]:
    """Yield the records of a whole file up to the first that is torn or damaged.

    Raises :class:`~interwhen.JournalError` where *data* is no journal, or one of another schema.
    """
    if len(data) < START or not data.startswith(MAGIC):
        raise JournalError(path, "this is no journal, or one that was cut before its first record")
    (chain,) = _U32.unpack_from(data, _HEAD.size)
    if crc32(data[: _HEAD.size]) != chain:
        raise JournalError(path, "its first bytes are damaged")
    _, schema = _HEAD.unpack_from(data)
    if schema != SCHEMA:
        raise JournalError(
            path,
            f"it has schema {schema}, and this version of interwhen reads schema {SCHEMA}"
            + (": a newer one wrote it, so update interwhen" if schema > SCHEMA else ""),
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


# Where a journal lies, and who writes it: small protocols, for whoever has no file or no thread for that.


class JournalFile(Protocol):
    """What a journal is written to."""

    def write(self, data: bytes, /) -> int:
        """Hand *data* to the operating system; return how many bytes it took. May raise :class:`OSError`."""
        ...

    def sync(self) -> None:
        """Wait until all is on the disk."""
        ...

    def close(self) -> None:
        """Give the file back."""
        ...


class JournalStore(Protocol):
    """Where journals lie, each under its name."""

    def read(self, name: str, /) -> bytes:
        """Return all of the journal *name*. May raise :class:`OSError`."""
        ...

    def open(self, name: str, /, *, keep: int, found: int) -> JournalFile:
        """Return the file of a new journal (*keep* is 0), or of one to go on with.

        Of the *found* bytes that were read, the first *keep* stay and the others go. May raise
        :class:`~interwhen.JournalError`.
        """
        ...


class Writing(Protocol):
    """The work of a clerk."""

    def write(self) -> bool:
        """Hand over all that is there; false: nothing more will ever be written. Raises nothing."""
        ...

    def shut(self) -> None:
        """Close the file; the last thing that is done. Raises nothing."""
        ...


class Clerk(Protocol):
    """Does the writing of one journal, so that whoever tells it something never waits for a disk."""

    def start(self, writing: Writing, seconds: float) -> None:
        """Begin, with what is there already; *seconds* is how long anything may wait to be written."""
        ...

    def wake(self) -> None:
        """Take note that something is there."""
        ...

    def hurry(self) -> None:
        """Have what is there written at once."""
        ...

    def end(self) -> None:
        """Have what is there written, and the file closed. May be called again."""
        ...

    async def ended(self, seconds: float) -> bool:
        """Wait for the end, for at most *seconds*; tell whether it came."""
        ...
