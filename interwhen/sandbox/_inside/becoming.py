"""The last steps of a process before it is the untrusted program: each takes rights away, and none gives any back."""

from __future__ import annotations

import _socket
import array
import fcntl
import marshal
import math
import os
import resource

from interwhen.sandbox._inside import landlock, seccomp, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from interwhen.sandbox._inside.enforced import Enforced
    from interwhen.sandbox._inside.namespaces import Entered
    from interwhen.sandbox._inside.plan import Plan

READY, FAILED, UNAVAILABLE = b"R", b"F", b"U"
_SPARE = 10  # descriptors from here on are out of the way of those that the program gets


def become(
    plan: Plan, entered: Entered, enforced: Enforced, folder: str, channel: _socket.socket, fds: tuple[int, ...]
) -> None:
    """Turn into the program; *fds* are its stdin, and then its task and its place for a value.

    What came of it is told over *channel*, which closes by itself when the program starts.
    """
    stdin, *extra = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _SPARE) for fd in fds]
    os.setsid()
    os.umask(0o077)
    os.chdir(folder)
    _restrict_files(plan, enforced, folder)
    _drop_privileges(entered, enforced)
    _limit(plan, entered, enforced)
    # The parent may end at any time, and without a pid namespace nothing else would end us.
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
    # Last, because the steps above need descriptors that the program does not get.
    _rlimit(resource.RLIMIT_NOFILE, plan["open_files"])
    environment = {"HOME": folder, "TMPDIR": folder, **plan["environment"]}
    os.execvpe(plan["argv"][0], plan["argv"], environment)  # noqa: S606  (what a sandbox is for)


def _restrict_files(plan: Plan, enforced: Enforced, folder: str) -> None:
    if enforced.kept("files"):
        return
    if "landlock" in plan["without"]:
        enforced.fail("files", "no landlock (left out)")
        return
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    try:
        landlock.restrict(tuple(source for _, source in plan["readable"]), folder)
    except OSError as error:
        enforced.fail("files", f"no landlock ({error.strerror})")
        return
    enforced.keep("files", "landlock")


def _drop_privileges(entered: Entered, enforced: Enforced) -> None:
    if entered.drop:
        os.setgroups([])
        # The bounding set goes first: it takes a capability that the change of user takes away.
        syscalls.drop_bounding_set()
        os.setresgid(entered.gid, entered.gid, entered.gid)
        os.setresuid(entered.uid, entered.uid, entered.uid)
        enforced.keep("privileges", "a user id of its own")
    elif "user" in entered.names:
        syscalls.drop_bounding_set()
        enforced.keep("privileges", "user namespace")
    syscalls.drop_capabilities()
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    if os.geteuid() == 0:
        enforced.fail("privileges", "runs as root, and there is no other user id to give it")
    else:
        enforced.keep("privileges", "no_new_privs")


def _limit(plan: Plan, entered: Entered, enforced: Enforced) -> None:
    cpu = math.ceil(plan["cpu_seconds"])
    # In a user namespace, the launcher and the keeper count as well.
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


def _filter(plan: Plan, enforced: Enforced) -> int | None:
    if "seccomp" in plan["without"] or not seccomp.supported():
        enforced.fail("syscalls", f"no filter for {syscalls.MACHINE}" if not seccomp.supported() else "left out")
        enforced.fail("network", "no seccomp")
        return None
    # Without a listener (an old kernel, or somebody else's above us) calls are still forbidden, but not told.
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
