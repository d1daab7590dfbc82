"""The options of a journal."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from interwhen._types.errors import UsageError
from interwhen.journal._files import Clerk, JournalStore


class ModelReference(msgspec.Struct, frozen=True):
    """The arguments with which :func:`interwhen.load_model` opens the model again. Never a key."""

    spec: str
    name: str | None = None
    api: str | None = None


@dataclass(frozen=True, slots=True)
class Journal:
    """Where a run writes its journal, and how durable each write is.

    Records go to the operating system within ``flush_seconds``, and at once at each request, remedy and end. A killed
    process loses only later records. A power failure may lose more, unless ``fsync`` is set. Raises
    :class:`~interwhen.UsageError` on a negative value.
    """

    path: str | os.PathLike[str]
    fsync: bool = False
    """Wait for the disk after each write, in the journal's own thread. The stream never waits."""
    flush_seconds: float = 0.05
    buffer_bytes: int = 8 << 20
    """How many bytes may be queued for a slow disk. Beyond that the journal ends, marked incomplete."""
    close_seconds: float = 1.0
    """How long the end of the run waits for the last writes."""
    model: ModelReference | None = None
    """Lets ``resume`` open the model. Filled in for a run whose model was given by name."""
    monitors: tuple[object, ...] = ()
    """Lets ``resume`` make the monitors: their specifications, in order. Filled in by the run."""
    store: JournalStore | None = None
    """Keeps the journal, if it is not a file of the operating system."""
    clerk: Callable[[], Clerk] | None = None
    """Makes the clerk that writes, if it is not a thread."""

    def __post_init__(self) -> None:
        for name in ("flush_seconds", "buffer_bytes", "close_seconds"):
            value = getattr(self, name)
            if not value >= 0:
                raise UsageError(f"journal {name}={value!r} must be at least 0")

    @property
    def name(self) -> str:
        """The path as text."""
        return os.fspath(self.path)
