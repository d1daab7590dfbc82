"""Namespaces of our own: with the rights of root where we have them, else inside a user namespace."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from interwhen.sandbox._inside import syscalls

KINDS = {
    "mount": syscalls.CLONE_NEWNS,
    "pid": syscalls.CLONE_NEWPID,
    "net": syscalls.CLONE_NEWNET,
    "ipc": syscalls.CLONE_NEWIPC,
    "uts": syscalls.CLONE_NEWUTS,
}
NOBODY = 65534
_UIDS_OF_OUR_OWN = 0x60000000
"""From here on no system gives user ids to anybody."""


@dataclass(frozen=True, slots=True)
class Entered:
    """The namespaces that we are in, and who the program will be there."""

    names: frozenset[str]
    uid: int
    gid: int
    drop: bool
    """Whether the program still has to be given that user id; in a user namespace it has it already."""
    failures: dict[str, str] = field(default_factory=dict)
    """Why a kind of namespace is not there."""


def enter(without: frozenset[str]) -> Entered:
    """Enter as many namespaces as there are to be had, without those in *without*."""
    wanted = {name: flag for name, flag in KINDS.items() if name not in without}
    uid = _unused_uid()
    if os.geteuid() == 0 and uid is not None and "root" not in without:
        entered, failures = _unshare(wanted)
        if entered or "user" in without:
            return Entered(frozenset(entered), uid, uid, drop=True, failures=failures)
    if "user" in without:
        reason = dict.fromkeys(wanted, "needs root or user namespaces")
        return Entered(frozenset(), *_who(uid), failures=reason)
    outer = (os.geteuid(), os.getegid())
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        _map_ids(*outer)
    except OSError as error:
        failures = dict.fromkeys(wanted, f"no user namespace ({error.strerror}), and not root")
        return Entered(frozenset(), *_who(uid), failures=failures)
    entered, failures = _unshare(wanted)
    return Entered(frozenset({*entered, "user"}), NOBODY, NOBODY, drop=False, failures=failures)


def _who(uid: int | None) -> tuple[int, int, bool]:
    """Return who the program is where there are no namespaces: somebody else where we are root."""
    if os.geteuid() == 0 and uid is not None:
        return uid, uid, True
    return os.geteuid(), os.getegid(), False


def _unshare(wanted: dict[str, int]) -> tuple[set[str], dict[str, str]]:
    """Enter the *wanted* namespaces, one by one: a machine may give some of them only."""
    entered: set[str] = set()
    failures: dict[str, str] = {}
    for name, flag in wanted.items():
        try:
            syscalls.unshare(flag)
            entered.add(name)
        except OSError as error:
            failures[name] = f"no {name} namespace ({error.strerror})"
    return entered, failures


def _map_ids(uid: int, gid: int) -> None:
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{NOBODY} {uid} 1")
    _write("/proc/self/gid_map", f"{NOBODY} {gid} 1")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _unused_uid() -> int | None:
    """Return a user id that is nobody's, another for each run; None where we have no ids to give away."""
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            rows = [tuple(map(int, line.split())) for line in file]
    except OSError:
        return None
    most = max((inside + count for inside, _, count in rows), default=0)
    if most <= NOBODY:
        return None
    spread = 1 << 22  # the most that process ids go to
    if most > _UIDS_OF_OUR_OWN + spread:
        return _UIDS_OF_OUR_OWN + os.getpid()
    return most - 1 - os.getpid() % 1000
