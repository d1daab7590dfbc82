"""The last steps of a process before it executes the untrusted program: it drops its rights and sets its limits."""

from __future__ import annotations

import _socket
import array
import ctypes
import fcntl
import marshal
import math
import os
import resource

from interwhen.sandbox._inside import seccomp, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from interwhen.sandbox._inside.namespaces import Entered
    from interwhen.sandbox._inside.plan import RunPlan


# Landlock: the kernel's rules for files, for a machine without mount namespaces.

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE, _READ, _LIST = 1, 2, 4, 8
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_ALL_OF_FILES = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF}
_FILE_ONLY = _EXECUTE | _WRITE | _READ | _TRUNCATE | _IOCTL
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_MAKE_DEVICES = 1 << 6 | 1 << 11
_FORBIDS_TRUNCATION = 3
"""The first version of landlock that can forbid ``truncate``."""


def version() -> int:
    return syscalls.syscall(_CREATE, "landlock", None, 0, 1)


def restrict(readable: tuple[str, ...], folder: str) -> None:
    # The restriction cannot be removed. Newer versions of landlock also restrict TCP sockets, signals and abstract
    # sockets; before version 3, files can be truncated. Raises OSError if the kernel has no landlock or refuses a rule.
    abi = version()
    rights = _ALL_OF_FILES.get(abi, 0xFFFF)
    network, scopes = (3 if abi >= 4 else 0), (3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    rules = b"".join(part.to_bytes(8, "little") for part in (rights, network, scopes))
    ruleset = syscalls.syscall(_CREATE, "landlock", ctypes.create_string_buffer(rules, 24), size, 0)
    try:
        for path in readable:
            _allow(ruleset, path, (_EXECUTE | _READ | _LIST) & rights)
        for path in _DEVICES:
            _allow(ruleset, path, (_READ | _WRITE) & rights)
        _allow(ruleset, folder, rights & ~_MAKE_DEVICES)
        syscalls.syscall(_RESTRICT, "landlock", ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _FILE_ONLY
        rule = rights.to_bytes(8, "little") + descriptor.to_bytes(4, "little")
        syscalls.syscall(_ADD, f"landlock {path}", ruleset, 1, ctypes.create_string_buffer(rule, 12), 0)
    finally:
        os.close(descriptor)


# The guarantees and their mechanisms, collected while the sandbox is made.

GUARANTEES = ("network", "files", "processes", "memory", "syscalls", "privileges")


class Enforced:
    def __init__(self) -> None:
        self._by: dict[str, list[str]] = {name: [] for name in GUARANTEES}
        self._why: dict[str, list[str]] = {name: [] for name in GUARANTEES}

    def keep(self, guarantee: str, by: str) -> None:
        self._by[guarantee].append(by)

    def fail(self, guarantee: str, why: str) -> None:
        self._why[guarantee].append(why)

    def kept(self, guarantee: str) -> bool:
        return bool(self._by[guarantee])

    def findings(self) -> list[tuple[str, list[str], str]]:
        return [
            (name, by, "" if by else "; ".join(self._why[name]) or "not available") for name, by in self._by.items()
        ]


READY, FAILED, UNAVAILABLE = b"R", b"F", b"U"
_SPARE = 10  # descriptors from here on do not collide with those that the program gets


def become(
    plan: RunPlan, entered: Entered, enforced: Enforced, folder: str, channel: _socket.socket, fds: tuple[int, ...]
) -> None:
    """Drop rights, and execute the program in this process. Returns only if a required guarantee is missing.

    *fds* are the descriptors for stdin and, for Python code, for the task and the returned value. The findings and the
    listener of the filter are sent over *channel*, which closes when the program starts. Raises an error, usually
    OSError, if a step fails, or if the program cannot be executed.
    """
    stdin, *extra = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _SPARE) for fd in fds]
    os.setsid()
    os.umask(0o077)
    os.chdir(folder)
    _restrict_files(plan, enforced, folder)
    _drop_privileges(entered, enforced)
    _limit(plan, entered, enforced)
    # The parent may end at any time, and without a pid namespace no other mechanism ends this process.
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, syscalls.SIGKILL)
    for target, source in enumerate(extra, start=3):
        os.dup2(source, target, inheritable=True)
    os.dup2(stdin, 0, inheritable=True)
    for number in (syscalls.SIGPIPE, syscalls.SIGXFSZ, syscalls.SIGINT):
        syscalls.listen_again(number)
    listener = _filter(plan, enforced)
    missing = [name for name in plan["required"] if not enforced.kept(name)]
    _tell(channel, UNAVAILABLE if missing else READY, enforced, listener)
    if missing:
        return
    if listener is not None:
        os.close(listener)
    # Last, because the steps above need more descriptors than the program gets.
    _rlimit(resource.RLIMIT_NOFILE, plan["open_files"])
    environment = {"HOME": folder, "TMPDIR": folder, **plan["environment"]}
    os.execvpe(plan["argv"][0], plan["argv"], environment)  # noqa: S606  (what a sandbox is for)


def _restrict_files(plan: RunPlan, enforced: Enforced, folder: str) -> None:
    if enforced.kept("files"):
        return
    if "landlock" in plan["without"]:
        enforced.fail("files", "no landlock (left out)")
        return
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    try:
        restrict(tuple(source for _, source in plan["readable"]), folder)
    except OSError as error:
        enforced.fail("files", f"no landlock ({error.strerror})")
        return
    if version() < _FORBIDS_TRUNCATION:
        enforced.fail("files", "landlock cannot forbid to truncate files before Linux 6.2")
        return
    enforced.keep("files", "landlock")


def _drop_privileges(entered: Entered, enforced: Enforced) -> None:
    if entered.drop:
        os.setgroups([])
        # The bounding set first: dropping it needs a capability that the change of user removes.
        syscalls.drop_bounding_set()
        os.setresgid(entered.gid, entered.gid, entered.gid)
        os.setresuid(entered.uid, entered.uid, entered.uid)
        enforced.keep("privileges", "a user id of its own")
    elif "user" in entered.names:
        syscalls.drop_bounding_set()
        enforced.keep("privileges", f"user namespace made by {entered.by}" if entered.by else "user namespace")
    syscalls.drop_capabilities()
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    if os.geteuid() == 0:
        enforced.fail("privileges", "runs as root, and no other user id is available")
    else:
        enforced.keep("privileges", "no_new_privs")


def _limit(plan: RunPlan, entered: Entered, enforced: Enforced) -> None:
    cpu = math.ceil(plan["cpu_seconds"])
    # In a user namespace, the launcher and the keeper count too.
    processes = plan["processes"] + (2 if "user" in entered.names else 0)
    _rlimit(resource.RLIMIT_CPU, cpu, cpu + 1)
    _rlimit(resource.RLIMIT_FSIZE, plan["disk_bytes"])
    _rlimit(resource.RLIMIT_NPROC, processes)
    _rlimit(resource.RLIMIT_CORE, 0)
    _rlimit(resource.RLIMIT_MEMLOCK, 0)
    _rlimit(resource.RLIMIT_MSGQUEUE, 0)
    _rlimit(resource.RLIMIT_AS, plan["memory_bytes"])
    enforced.keep("memory", "RLIMIT_AS")


def _rlimit(which: int, soft: int, hard: int | None = None) -> None:
    _, ceiling = resource.getrlimit(which)
    hard = soft if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(which, (soft, hard))


def _filter(plan: RunPlan, enforced: Enforced) -> int | None:
    if "seccomp" in plan["without"] or not seccomp.supported():
        enforced.fail("syscalls", f"no filter for {syscalls.MACHINE}" if not seccomp.supported() else "left out")
        enforced.fail("network", "no seccomp")
        return None
    # Without a listener (an old kernel, or another listener above) calls are forbidden, but not reported.
    for notify in (False,) if "notify" in plan["without"] else (True, False):
        try:
            listener = seccomp.install(notify=notify)
        except OSError as error:
            enforced.fail("syscalls", f"no seccomp ({error.strerror})")
            continue
        enforced.keep("syscalls", "seccomp, with a listener" if notify else "seccomp")
        enforced.keep("network", "seccomp")
        return listener
    enforced.fail("network", "no seccomp")
    return None


def _tell(channel: _socket.socket, word: bytes, enforced: Enforced, listener: int | None) -> None:
    ancillary = []
    if listener is not None:
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [listener]).tobytes())]
    channel.sendmsg([word + marshal.dumps(enforced.findings())], ancillary)
