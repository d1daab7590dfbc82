"""The keeper: the process in the sandbox that starts and watches the program, and ends the processes that it leaves.

It makes the file system, the slowest part, once for several tasks.
"""

from __future__ import annotations

import _socket
import array
import contextlib
import errno
import fcntl
import marshal
import os
import resource
import select
import struct
import time

from interwhen.sandbox._inside import confinement, mounts, seccomp, syscalls
from interwhen.sandbox._inside.confinement import Enforced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from interwhen.sandbox._inside.namespaces import Entered
    from interwhen.sandbox._inside.plan import KeeperAnswer, RunPlan


_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_QUESTION = struct.Struct("=QIIiIQ6Q")
_REPLY = struct.Struct("=QqiI")


def answer(descriptor: int) -> seccomp.SyscallRule | None:
    # A call with the rule `deny` gets no reply: the caller must end the program. The result is None if the kernel
    # reports an error, usually because the process has ended.
    buffer = bytearray(_QUESTION.size)
    try:
        fcntl.ioctl(descriptor, _RECEIVE, buffer)
    except OSError:
        return None
    identity, _, _, number, _, _, first, *_ = _QUESTION.unpack(buffer)
    rule = seccomp.judge(number, first)
    if rule.answer != "deny":
        try:
            fcntl.ioctl(descriptor, _SEND, bytearray(_REPLY.pack(identity, 0, -errno.EACCES, 0)))
        except OSError:
            return None
    return rule


# Ending the orphans of a program on a machine without pid namespaces, which would end them.

_SECONDS = 1.0


def end_descendants(proc: int) -> None:
    """Kill the children of this process until none is left, for about one second at most.

    *proc* is a descriptor of /proc. A program that forks faster than it is killed may survive.
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


_PAGE = os.sysconf("SC_PAGE_SIZE")


def memory_used(proc: int) -> int:
    # The rough count has each shared page once for every process, so it is never too low: below 64 MiB, it is enough.
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
        return b""  # the process has ended
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


_FIRST_LOOK, _LOOK_AGAIN = 0.01, 0.1
"""In seconds: the first and the longest time between two measurements of memory."""
_MOST_REFUSED = 100
_FINAL = ("unavailable", "start")
_ABORTED = ("limit", "aborted")


class Keeper:
    """Starts the tasks of *plan* in the namespaces *entered*, and reports how each one ended.

    When the other end of the pipe *control* closes while a task runs, the keeper ends the task and starts no other.
    """

    def __init__(self, plan: RunPlan, entered: Entered, control: int) -> None:
        self._plan = plan
        self._entered = entered
        self._made = f" made by {entered.by}" if entered.by else ""
        self._control = control
        self._enforced = Enforced()
        self._refused: list[str] = []
        self._folder = plan["folder"]
        self._processes = -1
        self._value = -1
        self._notifications = -1
        self._child = 0
        self._ended: tuple[int, resource.struct_rusage] | None = None
        self._begun = 0.0
        self._failure = ""

    def keep(self) -> KeeperAnswer:
        # Raises RuntimeError if the file system cannot be made, and OSError if the files of the plan cannot be written,
        # or those of a task cannot be deleted.
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, syscalls.SIGKILL)
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        syscalls.ignore(syscalls.SIGINT)
        os.umask(0o022)
        self._furnish()
        until = time.monotonic() + self._plan["total_seconds"]
        more = self._plan["more"]
        first = self._run(self._plan["task"], until, last=not more)
        answer = first
        for number, task in enumerate(more, 1):
            if answer["kind"] in _FINAL or time.monotonic() >= until or (answer["kind"], answer["what"]) == _ABORTED:
                break
            self._clear()
            answer = self._run(task, until, last=number == len(more))
            first["more"].append(answer)
        return first

    def _run(self, task: bytes | None, until: float, *, last: bool) -> KeeperAnswer:
        word, findings, notifications = self._start(task, last=last)
        if word != confinement.READY:
            return self._report(
                "unavailable" if word == confinement.UNAVAILABLE else "start", 0, self._failure, findings
            )
        self._notifications = notifications
        kind, code, what = self._watch(notifications, until)
        return self._report(kind, code, what, findings)

    def _clear(self) -> None:
        if "pid" in self._entered.names:
            # This process is the first of the namespace: -1 means all others of it, and no process outside.
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, syscalls.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                while True:
                    os.wait4(-1, 0)
        if self._notifications >= 0:
            # Close the listener only when the processes have been ended: without it, a forbidden call would fail with
            # ENOSYS and the program would continue.
            os.close(self._notifications)
            self._notifications = -1
        _empty(self._folder)
        self._write_files()
        if self._value >= 0:
            os.close(self._value)
        self._refused, self._failure, self._ended, self._child, self._value = [], "", None, 0, -1

    def _furnish(self) -> None:
        entered, enforced = self._entered, self._enforced
        own_processes = "pid" in entered.names
        if own_processes:
            enforced.keep("processes", f"pid namespace{self._made}")
        else:
            enforced.fail("processes", entered.failures.get("pid", "no pid namespace (left out)"))
            syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
            self._processes = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        if "net" in entered.names:
            enforced.keep("network", f"network namespace{self._made}")
        else:
            enforced.fail("network", entered.failures.get("net", "no network namespace (left out)"))
        if "mount" in entered.names:
            self._build(own_processes=own_processes)
        else:
            enforced.fail("files", entered.failures.get("mount", "no mount namespace (left out)"))
        self._write_files()

    def _build(self, *, own_processes: bool) -> None:
        plan, entered = self._plan, self._entered
        try:
            if entered.by:
                no_proc = mounts.complete(plan, entered)
            else:
                no_proc = mounts.build(plan, entered, own_processes=own_processes)
        except OSError as error:
            # The root of this process may be any directory after a failure, so the program must not run.
            raise RuntimeError(f"the file system could not be made: {error}") from error
        self._folder = mounts.HOME
        if entered.by and no_proc is not None:
            # The /proc of bubblewrap shows data about the kernel, such as its command line.
            self._enforced.fail("files", f"/proc cannot be limited to processes ({no_proc})")
        else:
            self._enforced.keep("files", f"mount namespace{self._made}")
        if no_proc is None:
            self._processes = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
            self._enforced.keep("memory", "sampling")

    def _write_files(self) -> None:
        for name, content in self._plan["files"]:
            path = os.path.join(self._folder, name)
            parent = os.path.dirname(path)
            while not os.path.isdir(parent):
                self._make_directories(parent)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o700)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            self._give(path)

    def _make_directories(self, path: str) -> None:
        if not os.path.isdir(os.path.dirname(path)):
            self._make_directories(os.path.dirname(path))
        os.mkdir(path, 0o700)
        self._give(path)

    def _give(self, path: str) -> None:
        if self._entered.drop:
            os.chown(path, self._entered.uid, self._entered.gid)

    def _start(self, task: bytes | None, *, last: bool) -> tuple[bytes, list[tuple[str, list[str], str]], int]:
        # `last`: no task follows, so this process closes its own pipes. Returns whether the program started (`READY`,
        # `FAILED` or `UNAVAILABLE`), the findings, and the listener of the filter (-1: none).
        plan = self._plan
        fds = [_file_of(plan["stdin"])]
        if task is not None:
            self._value = os.memfd_create("value")
            fds += [_file_of(task), self._value]
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._begun = time.monotonic()
        self._child = os.fork()
        if self._child == 0:
            _never_return(plan, self._entered, self._enforced, self._folder, theirs, tuple(fds))
        theirs.close()
        for fd in fds:
            if fd != self._value:
                os.close(fd)
        if last:
            for fd in (0, 1, 2):
                # The pipes must end with the program.
                os.close(fd)
        return self._hear(ours)

    def _hear(self, ours: _socket.socket) -> tuple[bytes, list[tuple[str, list[str], str]], int]:
        space = _socket.CMSG_SPACE(4)
        word, ancillary, *_ = ours.recvmsg(65536, space, _socket.MSG_CMSG_CLOEXEC)
        notifications = -1
        for _, _, data in ancillary:
            notifications = array.array("i", data)[0]
        # When the program starts, its end of the channel closes, and the next read returns nothing.
        failure, *_ = ours.recvmsg(65536)
        ours.close()
        last = failure or word
        if not last:
            self._failure = "it died"
            return confinement.FAILED, self._enforced.findings(), -1
        content = marshal.loads(last[1:])  # noqa: S302  (our own child wrote it)
        if last[:1] == confinement.FAILED:
            self._failure, findings = content
            return confinement.FAILED, findings, -1
        return last[:1], content, notifications

    def _watch(self, notifications: int, until: float) -> tuple[str, int, str]:
        # The result is `kind`, `code` and `what` of the answer.
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        pidfd = os.pidfd_open(self._child)
        poll.register(pidfd, select.POLLIN)
        if notifications >= 0:
            poll.register(notifications, select.POLLIN)
        deadline = min(self._begun + self._plan["seconds"], until)
        look = _FIRST_LOOK
        try:
            return self._look(poll, notifications, deadline, look)
        finally:
            os.close(pidfd)

    def _look(self, poll: select.poll, notifications: int, deadline: float, look: float) -> tuple[str, int, str]:
        while (left := deadline - time.monotonic()) > 0:
            ready = {fd for fd, _ in poll.poll(1000 * min(left, look) + 1)}
            if self._control in ready:
                return "limit", 0, "aborted"
            if notifications in ready:
                forbidden = self._answer_kernel(notifications)
                if forbidden is not None:
                    return "deny", 0, forbidden
            self._reap()
            if self._ended is not None:
                return self._end_of_child()
            if self._too_much_memory():
                return "limit", 0, "memory"
            look = min(2 * look, _LOOK_AGAIN)
        return "limit", 0, "seconds"

    def _answer_kernel(self, notifications: int) -> str | None:
        # The result is the name of a call for which the program must be ended.
        tried = answer(notifications)
        if tried is None:
            return None  # the process that asked has ended
        if tried.answer == "deny":
            return tried.name
        if len(self._refused) < _MOST_REFUSED and tried.name not in self._refused:
            self._refused.append(tried.name)
        return None

    def _too_much_memory(self) -> bool:
        # Without a pid namespace, these would be the processes of the host.
        if "pid" not in self._entered.names or self._processes < 0:
            return False
        return memory_used(self._processes) > self._plan["memory_bytes"]

    def _reap(self) -> None:
        # Other children are orphans that this process adopted; their usage is not counted.
        while self._ended is None:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._child:
                self._ended = (status, usage)

    def _end_of_child(self) -> tuple[str, int, str]:
        assert self._ended is not None
        status, usage = self._ended
        if not os.WIFSIGNALED(status):
            return "exit", os.waitstatus_to_exitcode(status), ""
        number = os.WTERMSIG(status)
        late = usage.ru_utime + usage.ru_stime >= self._plan["cpu_seconds"]
        if number == syscalls.SIGXCPU or (number == syscalls.SIGKILL and late):
            return "limit", 0, "cpu_seconds"
        if number == syscalls.SIGXFSZ:
            return "limit", 0, "disk"
        if number == syscalls.SIGSYS:
            return "deny", 0, "a forbidden system call"
        return "signal", number, ""

    def _report(self, kind: str, code: int, what: str, findings: list[tuple[str, list[str], str]]) -> KeeperAnswer:
        seconds = time.monotonic() - self._begun
        if self._ended is None:
            os.kill(self._child, syscalls.SIGKILL)
            _, status, usage = os.wait4(self._child, 0)
            self._ended = (status, usage)
        usage = self._ended[1]
        if "pid" not in self._entered.names:
            end_descendants(self._processes)
        return {
            "kind": kind,
            "code": code,
            "what": what,
            "findings": findings,
            "refused": self._refused,
            "seconds": seconds,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "peak_memory_bytes": usage.ru_maxrss * 1024,
            "full": self._full(),
            "value": self._read_value(),
            "more": [],
        }

    def _full(self) -> str:
        if self._folder != mounts.HOME:
            return ""
        room = os.statvfs(self._folder)
        return "disk" if room.f_bavail == 0 else "files" if room.f_favail == 0 else ""

    def _read_value(self) -> bytes:
        return b"" if self._value < 0 else os.pread(self._value, self._plan["output_bytes"] + 1, 0)


def _empty(folder: str) -> None:
    # Links are deleted, not followed: the program may have made one to a folder that is not its own.
    waiting, folders = [folder], []
    while waiting:
        folders.append(waiting.pop())
        with contextlib.suppress(OSError):
            os.chmod(folders[-1], 0o700)
        with os.scandir(folders[-1]) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    os.unlink(entry.path)
    for path in reversed(folders[1:]):
        os.rmdir(path)


def _file_of(content: bytes) -> int:
    # The caller must close the descriptor.
    if not content:
        return os.open("/dev/null", os.O_RDONLY)
    writing = os.memfd_create("input")
    with os.fdopen(os.dup(writing), "wb") as file:
        file.write(content)
    os.lseek(writing, 0, os.SEEK_SET)
    return writing


def _never_return(
    plan: RunPlan, entered: Entered, enforced: Enforced, folder: str, channel: _socket.socket, fds: tuple[int, ...]
) -> None:
    try:
        confinement.become(plan, entered, enforced, folder, channel, fds)
    except BaseException as error:  # noqa: BLE001  (it must be reported, and this process must end)
        channel.send(confinement.FAILED + marshal.dumps((str(error), enforced.findings())))
    finally:
        os._exit(127)
