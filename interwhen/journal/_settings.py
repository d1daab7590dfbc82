"""The options of a journal."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from interwhen._types.errors import UsageError
from interwhen.journal._files import Clerk, JournalStore


class ModelReference(msgspec.Struct, frozen=True):
    """The arguments with which :func:`interwhen.load_model` opens the model again. An API key is never stored."""

    spec: str
    name: str | None = None
    api: str | None = None


@dataclass(frozen=True, slots=True)
class Journal:
    """Sets where a run writes its journal, and how durable each write is.

    Records go to the operating system within ``flush_seconds``, and at once at each request, each remedy and the end of
    the run. If the process is killed, only records that were not written yet are lost. A power failure may lose more,
    unless ``fsync`` is set. Raises :class:`~interwhen.UsageError` on a negative value.
    """

    path: str | os.PathLike[str]
    fsync: bool = False
    """Whether to call ``fsync`` after each write. Only the thread of the journal waits for it, never the stream."""
    flush_seconds: float = 0.05
    buffer_bytes: int = 8 << 20
    """How many bytes may be queued when the disk is slow. With more, the journal ends and is marked incomplete."""
    close_seconds: float = 1.0
    """How many seconds the end of the run waits for the last writes."""
    model: ModelReference | None = None
    """How ``resume`` opens the model again. The run sets it if its model was given by name."""
    monitors: tuple[object, ...] = ()
    """The specifications from which ``resume`` makes the monitors, in order. The run sets them."""
    store: JournalStore | None = None
    """Where the journal is stored; ``None``: in a file."""
    clerk: Callable[[], Clerk] | None = None
    """Returns the :class:`Clerk` that writes the journal; ``None``: a thread."""

    def __post_init__(self) -> None:
        for name in ("flush_seconds", "buffer_bytes", "close_seconds"):
            value = getattr(self, name)
            if not value >= 0:
                raise UsageError(f"Journal({name}=...) must be at least 0, got {value!r:.80}")

    @property
    def name(self) -> str:
        """The path as text."""
        return os.fspath(self.path)
