"""What our side asks the launcher for, and what it answers: plain values, written and read with ``marshal``."""

from __future__ import annotations

from typing import TypedDict


class Plan(TypedDict):
    """One run."""

    argv: list[str]
    environment: dict[str, str]
    stdin: bytes
    task: bytes | None
    """What the runner of Python code reads from descriptor 3; without it there are no descriptors 3 and 4."""
    more: list[bytes]
    """Further tasks. Each runs after the one before has ended, with nothing left of it, in a process of its own."""
    files: list[tuple[str, bytes]]
    readable: list[tuple[str, str]]
    folder: str
    """A directory of the host to use where no file system of our own can be made."""
    seconds: float
    total_seconds: float
    """For all tasks together."""
    cpu_seconds: float
    memory_bytes: int
    output_bytes: int
    disk_bytes: int
    inodes: int
    open_files: int
    processes: int
    required: list[str]
    without: list[str]
    outer: dict[str, int]
    """With bubblewrap: the namespaces of our side by kind. Those inside must differ. Otherwise empty."""
    user: int
    """With bubblewrap, where we are root: the user id that the program gets. Otherwise 0."""


class Answer(TypedDict):
    """How it went. ``kind`` is exit, signal, deny, limit, start (could not be started) or unavailable."""

    kind: str
    code: int
    what: str
    findings: list[tuple[str, list[str], str]]
    refused: list[str]
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    full: str
    """``disk`` or ``files`` where the private directory has no more room."""
    value: bytes
    more: list[Answer]
    """How the further tasks went; those that there was no time for are not in it."""
