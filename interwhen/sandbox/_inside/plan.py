"""The request to the launcher and its answer: plain values, encoded with ``marshal``."""

from __future__ import annotations

from typing import TypedDict


class RunPlan(TypedDict):
    """One run."""

    argv: list[str]
    environment: dict[str, str]
    stdin: bytes
    task: bytes | None
    """The input of the runner of Python code, on descriptor 3; without it there are no descriptors 3 and 4."""
    more: list[bytes]
    """Further tasks. Each runs in a process of its own, after the one before has ended and was cleaned up."""
    files: list[tuple[str, bytes]]
    readable: list[tuple[str, str]]
    folder: str
    """A directory of the host, for a machine without mount namespaces."""
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


class KeeperAnswer(TypedDict):
    """The end of a run. ``kind`` is exit, signal, deny, limit, start (could not be started) or unavailable."""

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
    more: list[KeeperAnswer]
    """The ends of the further tasks; those for which no time was left are missing."""
