"""How much memory all processes inside take together."""

from __future__ import annotations

import os

_PAGE = os.sysconf("SC_PAGE_SIZE")


def memory_used(proc: int) -> int:
    """Return the memory of all processes in *proc* (a descriptor of /proc) but the first, in bytes.

    Pages that several share are counted once for each, unless that comes to much: then each process is asked for its
    share of them, which takes longer.
    """
    pids = [name for name in os.listdir(proc) if name.isdigit() and name != "1"]
    limit_of_rough_count = 64 << 20
    rough = sum(_resident(proc, pid) for pid in pids)
    if len(pids) < 2 or rough < limit_of_rough_count:
        return rough
    return sum(_share(proc, pid) for pid in pids)


def _resident(proc: int, pid: str) -> int:
    fields = _read(proc, f"{pid}/statm").split()
    return int(fields[1]) * _PAGE if len(fields) > 1 else 0


def _share(proc: int, pid: str) -> int:
    for line in _read(proc, f"{pid}/smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return _resident(proc, pid)


def _read(proc: int, path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY, dir_fd=proc)
    except OSError:
        return b""  # it has ended in the meantime
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
