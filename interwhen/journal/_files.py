"""The file of a journal: made once, locked while it is written, never overwritten."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from interwhen.errors import JournalError


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

        Raises :class:`~interwhen.errors.JournalError`.
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
