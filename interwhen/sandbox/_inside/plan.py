"""The code that starts the launcher, the request to it, and its answer, as values for ``marshal``."""

from __future__ import annotations

from typing import TypedDict


def boot(folder: str) -> str:
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
    """The request for one run of the sandbox."""

    argv: list[str]
    """For Python code, this is the interpreter with the runner."""
    environment: dict[str, str]
    """``HOME`` and ``TMPDIR`` are added, unless they are in it."""
    stdin: bytes
    task: bytes | None
    """The input of the runner of Python code (descriptor 3); ``None`` for a command."""
    more: list[bytes]
    """Further tasks. Each runs in a process of its own, after the one before has ended and was cleaned up."""
    files: list[tuple[str, bytes]]
    """Names and contents of the files in the program's directory."""
    readable: list[tuple[str, str]]
    """Each path in the sandbox, and the real path on this machine that it shows."""
    folder: str
    """A directory on the host: the program's directory if there is no mount namespace, else not used."""
    seconds: float
    total_seconds: float
    """For all tasks together; ``seconds`` is the limit for each task."""
    cpu_seconds: float
    """The CPU time of each process. This and the following limits are those of ``Limits``."""
    memory_bytes: int
    output_bytes: int
    disk_bytes: int
    inodes: int
    """The most files and directories in the program's directory."""
    open_files: int
    processes: int
    required: list[str]
    """The guarantees without which no task is started."""
    without: list[str]
    """Mechanisms not to use, to test a machine that lacks them."""
    outer: dict[str, int]
    """With bubblewrap: the inode of each of our namespaces, by kind. The namespaces inside must differ. Else empty."""
    user: int
    """The user id that the program gets, with bubblewrap and without a user namespace; else 0."""


class KeeperAnswer(TypedDict):
    """How a task ended. Times, memory and refused calls are those of the sandbox's ``Record``."""

    # `kind` is `exit`, `signal`, `deny` (a forbidden call), `limit`, `start` (the program could not be started) or
    # `unavailable` (a required guarantee is missing). `code` is the exit code or the number of the signal, else 0.
    # `what` names the limit (`aborted`: our process ended the run), the forbidden call or the failure to start.

    kind: str
    code: int
    what: str
    findings: list[tuple[str, list[str], str]]
    """For each guarantee: its name, the mechanisms that enforce it, and why it is missing if there are none."""
    refused: list[str]
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    full: str
    """``disk`` or ``files`` if the program's directory has no more room, as far as it is known; else empty."""
    value: bytes
    """A returned value or an exception from the runner, cut one byte after the limit of the output."""
    more: list[KeeperAnswer]
    """Tasks that were not tried are left out."""
