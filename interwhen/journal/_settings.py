"""What a caller may choose about a journal."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from interwhen._types.errors import UsageError
from interwhen.journal._files import Clerk, JournalStore


class ModelReference(msgspec.Struct, frozen=True):
    """How the model can be opened again: what :func:`interwhen.load_model` takes. Never a key."""

    spec: str
    name: str | None = None
    api: str | None = None


@dataclass(frozen=True, slots=True)
class Journal:
    """Where a run keeps its record, and how carefully.

    Records are handed to the operating system within ``flush_seconds``, and at once at each request, remedy and end: a
    killed process loses no more than that. A machine that loses its power may lose more, unless ``fsync`` is set.
    Raises :class:`~interwhen.UsageError` on values that cannot work.
    """

    path: str | os.PathLike[str]
    fsync: bool = False
    """Wait for the disk at each of these points (in the journal's own thread; the stream never waits)."""
    flush_seconds: float = 0.05
    buffer_bytes: int = 8 << 20
    """How much may wait for a slow disk before the rest of the record is given up."""
    close_seconds: float = 1.0
    """How long the end of the run waits for what is not written yet."""
    model: ModelReference | None = None
    """For ``resume`` without a model; a run whose model is given by name fills it in."""
    monitors: tuple[object, ...] = ()
    """For ``resume`` without monitors: what each was asked for by, in their order; filled in likewise."""
    store: JournalStore | None = None
    """Where the journal lies, if that is no file of the operating system."""
    clerk: Callable[[], Clerk] | None = None
    """Makes the one who writes, if that is no thread."""

    def __post_init__(self) -> None:
        for name in ("flush_seconds", "buffer_bytes", "close_seconds"):
            value = getattr(self, name)
            if not value >= 0:
                raise UsageError(f"journal {name}={value!r} is negative")

    @property
    def name(self) -> str:
        """The path as text."""
        return os.fspath(self.path)
