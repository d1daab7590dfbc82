"""A program that runs one command, and kills every process that the command leaves.

Orphans of the command become children of this process, also those that moved to a session of their own. The command
ends early if the input ends, as it does if the process that started this one is killed. After the last output of the
command, :data:`REPORT` bytes are printed: how it ended. They are missing if it ended early, or left a process that
could not be killed.
"""

from __future__ import annotations

import os
import select
import sys
import time

REPORT = 16
"""The size of the report: the exit code (negative: the signal), or ``errno`` and a number if it did not start."""
_PR_SET_CHILD_SUBREAPER = 36
# Each import adds to the time of every check: ``signal``, ``contextlib`` and ``pathlib`` would double it.
_SIGKILL = 9
_IGNORED = (13, 25)
"""SIGPIPE and SIGXFSZ, which Python ignores, and a command must not."""
_SECONDS = 1.0


def is_possible() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def main(argv: list[str]) -> None:
    import ctypes  # only this process needs it

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    no_input = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    try:
        command = os.posix_spawnp(argv[0], argv, os.environ, file_actions=[no_input], setsid=True, setsigdef=_IGNORED)
    except OSError as error:
        report = f"errno {error.errno}"
    else:
        report = _outcome(command)
    if _end_descendants() and report:
        os.write(1, f"{report:>{REPORT}}".encode())


def _outcome(command: int) -> str:
    poll = select.poll()
    for descriptor in (0, os.pidfd_open(command)):
        poll.register(descriptor, select.POLLIN)
    if any(descriptor == 0 for descriptor, _ in poll.poll()):
        return ""
    return str(os.waitstatus_to_exitcode(os.waitpid(command, 0)[1]))


def _end_descendants() -> bool:
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return True
        for pid in _children():
            try:  # noqa: SIM105  (no import)
                os.kill(pid, _SIGKILL)
            except OSError:
                pass  # it has ended, or belongs to another user
        time.sleep(0.001)
    return False


def _children() -> list[int]:
    ours = os.getpid()
    try:
        return [int(pid) for pid in _read(f"/proc/self/task/{ours}/children").split()]
    except OSError:  # not every kernel has this file
        pids = [entry.name for entry in os.scandir("/proc") if entry.name.isdigit()]
        return [int(pid) for pid in pids if _parent_of(pid) == ours]


def _parent_of(pid: str) -> int:
    try:
        return int(_read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1])
    except OSError:
        return 0  # it has ended


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123  (no import)
        return file.read()


if __name__ == "__main__":
    main(sys.argv[1:])
