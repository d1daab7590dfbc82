"""How much of the machine a program may use."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

from interwhen.errors import UsageError

LimitName: TypeAlias = Literal[
    "seconds", "cpu_seconds", "memory", "output", "disk", "files", "open_files", "processes", "recursion"
]
"""The limit that a program ran into."""

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run may use; reaching any of them ends it."""

    seconds: float = 5.0
    """Time on the clock, from when the program itself starts."""
    cpu_seconds: float = 5.0
    """Processor time of each process, rounded up to whole seconds."""
    memory_bytes: int = 256 * MIB
    """Address space of each process, and the memory of all of them together."""
    output_bytes: int = 64 * 1024
    """The most of stdout, of stderr and of a returned value that is kept; more ends the program."""
    disk_bytes: int = 16 * MIB
    """The private temporary directory, and any single file."""
    files: int = 512
    """How many files and directories may lie in the private temporary directory."""
    open_files: int = 64
    """How many files each process may have open."""
    processes: int = 16
    """How many processes and threads there may be at a time."""
    recursion: int = 1000
    """How deep calls may go, where the interpreter is ours to set (:class:`MontySandbox`)."""

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if not 0 < value < 1 << 60:
                raise UsageError(f"{limit.name}={value!r} must be a positive number")
        if self.open_files < 8:
            raise UsageError(f"open_files={self.open_files!r}: an interpreter does not start with less than 8")
