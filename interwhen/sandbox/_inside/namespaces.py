"""Enters new namespaces: with the rights of root, or inside a user namespace."""

from __future__ import annotations

import os

from interwhen.sandbox._inside import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = {
    "mount": syscalls.CLONE_NEWNS,
    "pid": syscalls.CLONE_NEWPID,
    "net": syscalls.CLONE_NEWNET,
    "ipc": syscalls.CLONE_NEWIPC,
    "uts": syscalls.CLONE_NEWUTS,
}
NOBODY = 65534
_UIDS_OF_OUR_OWN = 0x60000000
"""Systems usually do not assign user ids from here on to accounts."""


class Entered:
    """The new namespaces that this process has entered (``names``, their kinds), and the user of the program."""

    __slots__ = ("by", "drop", "failures", "gid", "names", "uid")

    def __init__(
        self, names: frozenset[str], uid: int, gid: int, *, drop: bool, failures: dict[str, str], by: str = ""
    ) -> None:
        self.names = names
        self.uid = uid
        self.gid = gid
        self.drop = drop
        """Whether the program must still change to the user id ``uid``. In a user namespace, it has this id already."""
        self.failures = failures
        """The reasons why wanted namespaces are missing, by kind."""
        self.by = by
        """``bubblewrap``, or empty if this code made the namespaces."""


def enter(without: frozenset[str], folder: str) -> Entered:
    # With `root` in `without`, root's rights are not used to make namespaces; with `user`, no user namespace is made.
    # Root makes the user of the program the owner of `folder`. Raises OSError if that fails.
    wanted = {name: flag for name, flag in KINDS.items() if name not in without}
    outer = (os.geteuid(), os.getegid())
    if outer[0] == 0:
        uid = unused_uid(os.getpid())
        if uid is None:
            failures = dict.fromkeys(wanted, "runs as root, and no other user id is available")
            return Entered(frozenset(), *outer, drop=False, failures=failures)
        os.chown(folder, uid, uid)
        entered, failures = (set[str](), dict[str, str]()) if "root" in without else _unshare(wanted)
        if entered or "user" in without or not _in_child(lambda: _enter_user_namespace(uid)):
            failures = failures or dict.fromkeys(wanted.keys() - entered, "needs root or user namespaces")
            return Entered(frozenset(entered), uid, uid, drop=True, failures=failures)
        # Root's processes are exempt from limits on their number, in every namespace.
        _enter_user_namespace(uid)
    elif "user" in without or not _in_child(lambda: _enter_user_namespace(None)):
        failures = dict.fromkeys(wanted, "needs root or user namespaces")
        return Entered(frozenset(), *outer, drop=False, failures=failures)
    else:
        _enter_user_namespace(None)
    entered, failures = _unshare(wanted)
    return Entered(frozenset({*entered, "user"}), NOBODY, NOBODY, drop=False, failures=failures)


def made_by_bubblewrap(outer: dict[str, int], uid: int) -> Entered:
    # A `uid` that is not 0 is the user id to which the program must still change.
    names = frozenset(kind for kind, inode in outer.items() if namespace_inode(kind) != inode)
    failures = dict.fromkeys(outer.keys() - names, "bubblewrap did not make this namespace")
    return Entered(names, uid or NOBODY, uid or NOBODY, drop=bool(uid), failures=failures, by="bubblewrap")


def namespace_inode(kind: str) -> int:
    return os.stat(f"/proc/self/ns/{'mnt' if kind == 'mount' else kind}").st_ino


def _enter_user_namespace(uid: int | None) -> None:
    # In the user namespace, this process gets all capabilities. Raises OSError if the kernel refuses it.
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        # A change of user makes the files of this process in /proc unreadable.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
    outer = (os.geteuid(), os.getegid())
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    _map_ids(*outer)


def _in_child(work: Callable[[], None]) -> bool:
    # Return whether `work`, whose effects cannot be undone, succeeds in a child process.
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def _unshare(wanted: dict[str, int]) -> tuple[set[str], dict[str, str]]:
    # Enter the `wanted` namespaces one by one, because a machine may allow only some of them. Return the kinds that
    # were entered, and for each other kind the reason why it was not.
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


def unused_uid(number: int) -> int | None:
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            rows = [tuple(map(int, line.split())) for line in file]
    except OSError:
        return None
    most = max((inside + count for inside, _, count in rows), default=0)
    if most <= NOBODY:
        return None
    spread = 1 << 22  # the largest process id
    if most > _UIDS_OF_OUR_OWN + spread:
        return _UIDS_OF_OUR_OWN + number % spread
    return most - 1 - number % 1000
