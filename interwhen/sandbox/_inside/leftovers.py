"""Ends what a program left behind, where there is no pid namespace that does."""

from __future__ import annotations

import os
import time

from interwhen.sandbox._inside import syscalls

_SECONDS = 1.0


def end_descendants(proc: int) -> None:
    """Kill our children until there are none: orphans become our children, because we are their reaper.

    *proc* is a descriptor of /proc. A program that forks faster than it is killed may get away with it: its number
    of processes is limited, but without a pid namespace nothing is promised.
    """
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        for pid in _children(proc):
            os.kill(pid, syscalls.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def _children(proc: int) -> list[int]:
    descriptor = os.open(f"self/task/{os.getpid()}/children", os.O_RDONLY, dir_fd=proc)
    try:
        return list(map(int, os.read(descriptor, 65536).split()))
    finally:
        os.close(descriptor)
