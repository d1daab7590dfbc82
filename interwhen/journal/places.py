"""Where a journal lies, and who writes it: small protocols, for whoever has no file or no thread for that."""

from __future__ import annotations

from typing import Protocol


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
        :class:`~interwhen.errors.JournalError`.
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
