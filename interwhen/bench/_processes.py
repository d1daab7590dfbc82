"""Starts helper processes, pins processes to cores, and measures memory and CPU time."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from interwhen import UsageError
from interwhen.models._transport import Transport

TransportName = Literal["httpx2", "fast"]


_CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
"""The cores that this process may use, before it is pinned to one of them."""


class Memory(NamedTuple):
    """The memory of a process in MB (a million bytes); ``None`` if the system does not report it."""

    resident: float | None
    peak: float | None


class Helper(NamedTuple):
    process: subprocess.Popen[str]
    url: str


@contextmanager
def child(command: Sequence[str], address: str, **environment: str) -> Iterator[Helper]:
    # The first line of its output must have the URL, as the first group of the regex `address`.
    process = subprocess.Popen(  # noqa: S603  (a command of this package)
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.search(address, line)
        if match is None:
            raise UsageError(
                f"{' '.join(command[1:4])} must print its address first, got {line.strip()!r}; run it by "
                "hand to see why"
            )
        yield Helper(process, match[1])
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def pinned(*, last: bool = False) -> Iterator[None]:
    # Run this thread on one core, with the threads and processes that it starts in the block, where the system can.
    if not _CORES:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(_CORES) if last else min(_CORES)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def open_transport(name: TransportName) -> Transport:
    # `fast` needs the extra `fast`.
    if name == "fast":
        from interwhen.models._fast_transport import FastTransport

        return FastTransport()
    from interwhen.models._httpx2_transport import Httpx2Transport

    return Httpx2Transport()


def memory_of(pid: int | None = None) -> Memory:
    try:
        lines = Path(f"/proc/{pid or 'self'}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return Memory(None, None)
    sizes = {name: int(size) * 1024 / 1e6 for name, size in re.findall(r"(\w+):\s+(\d+) kB", lines)}
    return Memory(sizes.get("VmRSS"), sizes.get("VmHWM"))


def cpu_seconds_of(pid: int) -> float | None:
    # Fields 14 and 15 of proc(5) `stat`: the user and system time, in clock ticks.
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
