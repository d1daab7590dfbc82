"""The code that starts the launcher, the request to it, and its answer: plain values, encoded with ``marshal``."""

from __future__ import annotations

from typing import TypedDict


def boot(folder: str) -> str:
    """Return the Python code that starts the launcher, whose modules are in *folder*."""
    # The launcher's modules keep their names, but no other module of the package is imported in its process.
    return (
        "import sys\n"
        f"for name, path in (('interwhen', ''), ('interwhen.sandbox', {folder!r})):\n"
        "    module = sys.modules[name] = type(sys)(name)\n"
        "    module.__path__ = [path]\n"
        "from interwhen.sandbox._inside.launcher import main\n"
        "main()\n"
    )


class RunPlan(TypedDict):
    """The request for one run of the sandbox: the program and its tasks, what it may read, and its limits."""

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
    """The program's directory on the host, used on a machine without mount namespaces."""
    seconds: float
    total_seconds: float
    """The time limit for all tasks together; ``seconds`` is the limit for each task."""
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
    """With bubblewrap: the inode of each of our namespaces, by kind. The namespaces inside must differ. Otherwise
    empty."""
    user: int
    """With bubblewrap, if our process is root: the user id that the program gets. Otherwise 0."""


class KeeperAnswer(TypedDict):
    """How a run ended.

    ``kind`` is ``exit``, ``signal``, ``deny`` (a forbidden call), ``limit``, ``start`` (the program could not be
    started) or ``unavailable`` (a required guarantee is missing). ``code`` is the exit code or the number of the
    signal; ``what`` names the limit, the forbidden call or the failure.
    """

    kind: str
    code: int
    what: str
    findings: list[tuple[str, list[str], str]]
    refused: list[str]
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    full: str
    """``disk`` or ``files`` if the private directory has no more room; else empty."""
    value: bytes
    more: list[KeeperAnswer]
    """The answers for the further tasks. Tasks that did not start are left out."""
