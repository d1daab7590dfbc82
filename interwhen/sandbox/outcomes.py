"""How a run in a sandbox ends: a closed union, none of whose members means that the program was right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from interwhen.sandbox.guarantees import Guarantee
from interwhen.sandbox.limits import LimitName
from interwhen.sandbox.programs import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of every run, however it ended."""

    stdout: str = ""
    """What it wrote, up to the limit; bytes that are no UTF-8 are replaced."""
    stderr: str = ""
    seconds: float = 0.0
    """From when the program itself started."""
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    """Of its largest process, where the system tells."""
    refused: tuple[str, ...] = ()
    """What it tried and was refused, and went on without."""
    missing: frozenset[Guarantee] = frozenset()
    """The guarantees that were not enforced in this run, because the caller allowed it."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The program came to its own end. An ``exit_code`` of 0 says only that."""

    value: Json
    """What the function of a :class:`Call` returned; None for anything else."""
    exit_code: int
    record: Record


@dataclass(frozen=True, slots=True)
class Denied:
    """The program tried something forbidden, and was ended or gave up."""

    what: str
    record: Record


@dataclass(frozen=True, slots=True)
class Limited:
    """The program ran into a limit."""

    which: LimitName
    record: Record


@dataclass(frozen=True, slots=True)
class Crashed:
    """The program failed: an exception, a signal, or a value that is no JSON."""

    reason: str
    record: Record


Outcome: TypeAlias = Returned | Denied | Limited | Crashed
