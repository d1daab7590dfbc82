"""A shelf: where the entries of a store lie. It knows names and bytes, and nothing of what they mean."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Protocol

DIGITS = 12


def numbered(folder: str, number: int) -> str:
    """Return the name of generation *number* in *folder*: such names sort as their numbers do."""
    return f"{folder}/{number:0{DIGITS}d}"


def number_of(name: str) -> int:
    """Return the generation that *name* ends in; 0 for any other name."""
    last = name.rpartition("/")[2]
    return int(last) if len(last) == DIGITS and last.isascii() and last.isdigit() else 0


def latest_of(names: Sequence[str]) -> int:
    """Return the highest generation among *names*; 0: there is none."""
    return max(map(number_of, names), default=0)


class Shelf(Protocol):
    """A flat medium with one hard promise: of two who create the same name, one succeeds.

    Names are ``folder/rest``. The folder may have slashes; all of it is ASCII letters, digits and ``/.-_``.
    Every method may be called by any thread, and raises :class:`~interwhen.precompute.StoreError` where the medium
    fails.
    """

    place: str
    """Where it is, for messages."""
    blocks: bool
    """Whether a call may take long enough that it must not be made on an event loop."""

    def read(self, name: str, /) -> bytes | None:
        """Return what lies under *name*; ``None``: nothing does."""
        ...

    def create(self, name: str, data: bytes, /) -> bool:
        """Put *data* under *name*, whole or not at all, unless something lies there: then return False."""
        ...

    def follow(self, folder: str, number: int, data: bytes, /) -> bool:
        """Put *data* into *folder* as generation *number*, if the latest is the one before; else change nothing.

        Returns whether it did. Older generations may be taken away.
        """
        ...

    def delete(self, name: str, /) -> None:
        """Take away what lies under *name*, if anything does."""
        ...

    def names(self, folder: str, /) -> list[str]:
        """Return the names in *folder* and below it, sorted."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


class MemoryShelf:
    """A shelf in memory: for tests, and for what need not outlive the process."""

    place = "memory"
    blocks = False

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        self._names: list[str] = []
        self._lock = threading.Lock()

    def read(self, name: str, /) -> bytes | None:
        """Look it up."""
        return self.entries.get(name)

    def create(self, name: str, data: bytes, /) -> bool:
        """Put it there."""
        with self._lock:
            return self._add(name, data)

    def follow(self, folder: str, number: int, data: bytes, /) -> bool:
        """Put it there, in place of the others."""
        with self._lock:
            old = self._in(folder)
            if latest_of(old) != number - 1 or not self._add(numbered(folder, number), data):
                return False
            for name in old:
                self._remove(name)
            return True

    def delete(self, name: str, /) -> None:
        """Forget it."""
        with self._lock:
            self._remove(name)

    def names(self, folder: str, /) -> list[str]:
        """Look where they are in the sorted list of names."""
        with self._lock:
            return self._in(folder)

    def close(self) -> None:
        """Do nothing."""

    def _in(self, folder: str) -> list[str]:
        # "0" follows "/" in ASCII.
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
