"""Defines the shelf: the storage medium of a store, which keeps bytes by name."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Protocol

DIGITS = 12


def numbered(folder: str, number: int) -> str:
    # With leading zeros, sorted names are in the order of their numbers.
    return f"{folder}/{number:0{DIGITS}d}"


def number_of(name: str) -> int:
    last = name.rpartition("/")[2]
    return int(last) if len(last) == DIGITS and last.isascii() and last.isdigit() else 0


def latest_of(names: Sequence[str]) -> int:
    return max(map(number_of, names), default=0)


class Shelf(Protocol):
    """A key-value storage with one guarantee: if two writers create the same name, exactly one succeeds.

    Names are ``folder/rest`` of ASCII letters, digits and ``/.-_``; the folder may contain slashes. Each method may be
    called in any thread, and raises :class:`~interwhen.precompute.StoreError` if the medium fails. A shelf that waits
    for locks may also have a method ``names_now``: as ``names``, but it raises ``StoreError`` at once instead of
    waiting. An attribute ``is_exposed`` may tell whether other users can write to the medium, or be ``None`` if that is
    not known.
    """

    place: str
    """Its path or URL, for messages."""
    blocks: bool
    """Whether a call usually takes so long, as over a network, that it must not run on an event loop.

    If false, a call may still wait for a lock, except ``names_now``.
    """

    def read(self, name: str, /) -> bytes | None:
        """Return the bytes under *name*; ``None`` if there are none."""
        ...

    def create(self, name: str, data: bytes, /) -> bool:
        """Write *data* under *name*, completely or not at all. Return False if the name is taken."""
        ...

    def follow(self, folder: str, number: int, data: bytes, /) -> bool:
        """Write *data* as generation *number* of *folder* and return true, if the latest generation is ``number - 1``.

        If not, return false and change nothing. Older generations may be deleted.
        """
        ...

    def delete(self, name: str, /) -> None:
        """Delete *name*, if it exists."""
        ...

    def names(self, folder: str, /) -> list[str]:
        """Return the names in *folder* and below it, sorted."""
        ...

    def close(self) -> None:
        """Release what the shelf holds open, such as files and connections."""
        ...


class MemoryShelf:
    """A shelf (the storage medium of a store) in memory, for tests and for contexts that only this process needs."""

    place = "memory"
    blocks = False

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        self._names: list[str] = []
        self._lock = threading.Lock()

    def read(self, name: str, /) -> bytes | None:
        """Return the bytes under *name*; ``None`` if there are none."""
        return self.entries.get(name)

    def create(self, name: str, data: bytes, /) -> bool:
        """Add the entry *name* with *data*. Return false if the name is taken."""
        with self._lock:
            return self._add(name, data)

    def follow(self, folder: str, number: int, data: bytes, /) -> bool:
        """Add generation *number* of *folder*, and remove the older ones; false if the latest is not ``number - 1``."""
        with self._lock:
            old = self._in(folder)
            if latest_of(old) != number - 1 or not self._add(numbered(folder, number), data):
                return False
            for name in old:
                self._remove(name)
            return True

    def delete(self, name: str, /) -> None:
        """Remove the entry *name*, if it exists."""
        with self._lock:
            self._remove(name)

    def names(self, folder: str, /) -> list[str]:
        """Return the names in *folder* and below it, sorted."""
        with self._lock:
            return self._in(folder)

    def close(self) -> None:
        """Do nothing: a shelf in memory holds no files or connections."""

    def _in(self, folder: str) -> list[str]:
        # "0" follows "/" in ASCII, so this range has all names that begin with "folder/".
        return self._names[bisect_left(self._names, f"{folder}/") : bisect_left(self._names, f"{folder}0")]

    def _add(self, name: str, data: bytes) -> bool:
        if name in self.entries:
            return False
        self.entries[name] = data
        insort(self._names, name)
        return True

    def _remove(self, name: str) -> None:
        if self.entries.pop(name, None) is not None:
            del self._names[bisect_left(self._names, name)]
