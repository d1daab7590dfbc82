"""Makes the file system of a program: read-only files, and a small writable directory in memory."""

from __future__ import annotations

import os

from interwhen.sandbox._inside import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from interwhen.sandbox._inside.namespaces import Entered
    from interwhen.sandbox._inside.plan import RunPlan

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18

HOME = "/box"
"""The program's directory. It is not /tmp, because readable files may be there."""
DEVICES = ("null", "zero", "full", "random", "urandom")
_BASES = ("/tmp", "/mnt", "/var", "/usr")  # noqa: S108  (a directory to mount on, out of sight of all others)


def build(plan: RunPlan, user: Entered, *, own_processes: bool) -> str | None:
    # Returns None, or the reason why the new root has no /proc. With `own_processes`, this process is the first of a
    # pid namespace. Raises OSError if the kernel refuses a mount other than /proc.
    syscalls.mount(None, "/", None, MS_REC | MS_PRIVATE)
    base = next(path for path in _BASES if os.path.isdir(path))
    syscalls.mount("tmpfs", base, "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=755")
    os.mkdir(f"{base}/old")
    os.mkdir(f"{base}/new")
    # Change to an empty root first, so that files below *base* can be mounted too.
    syscalls.pivot_root(base, f"{base}/old")
    os.chdir("/")
    syscalls.mount("tmpfs", "/new", "tmpfs", MS_NOSUID | MS_NODEV, "size=256k,nr_inodes=4k,mode=755")
    for target, source in plan["readable"]:
        _show(f"/old{source}", f"/new{target}")
    _accounts(user)
    _devices()
    no_proc = _processes("/new/proc") if own_processes else "no pid namespace"
    os.makedirs(f"/new{HOME}", exist_ok=True)
    if not os.path.lexists("/new/tmp"):
        os.symlink(HOME, "/new/tmp")
    _home(plan, user, f"/new{HOME}")
    os.chdir("/new")
    syscalls.pivot_root(".", ".")
    syscalls.unmount(".")
    os.chdir("/")
    syscalls.mount(None, "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
    return no_proc


def complete(plan: RunPlan, user: Entered) -> str | None:
    # Returns None, or the reason why /proc shows more than processes. Raises OSError if the directory cannot be
    # mounted.
    _home(plan, user, HOME)
    return _processes("/proc")


def _home(plan: RunPlan, user: Entered, target: str) -> None:
    # The directory itself takes one of the inodes.
    options = f"size={plan['disk_bytes']},nr_inodes={plan['inodes'] + 1},mode=700,uid={user.uid},gid={user.gid}"
    syscalls.mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, options)


def _show(source: str, target: str) -> None:
    # Raises OSError if the mount fails, or if a mount below it cannot become read-only.
    if not os.path.exists(source):
        return
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _touch(target)
    syscalls.mount(source, target, None, MS_BIND | MS_REC)
    try:
        syscalls.mount_setattr(target, MS_RDONLY | MS_NOSUID | MS_NODEV)
    except OSError:
        # Before Linux 5.12, only the mount itself becomes read-only. A writable mount below it would be a security
        # hole.
        _refuse_submounts(target)
        kept = os.statvfs(target).f_flag & (MS_NOEXEC | 1024 | 2048 | 4096)
        access_times = (kept & 4096) << 9  # ST_RELATIME and MS_RELATIME differ
        flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV
        syscalls.mount(None, target, None, flags | (kept & ~4096) | access_times)


def _refuse_submounts(target: str) -> None:
    with open("/old/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.split()[4].startswith(f"{target}/"):
                raise OSError(
                    95,
                    "a readable path must have no mounts below it before Linux 5.12, and has some: leave it "
                    "out of readable, or update Linux",
                    target,
                )


def _accounts(user: Entered) -> None:
    os.makedirs("/new/etc", exist_ok=True)
    for name, content in accounts(user.uid, user.gid).items():
        with open(f"/new{name}", "wb") as file:
            file.write(content)


def accounts(uid: int, gid: int) -> dict[str, bytes]:
    return {
        "/etc/passwd": f"sandbox:x:{uid}:{gid}::{HOME}:/bin/sh\n".encode(),
        "/etc/group": f"sandbox:x:{gid}:\n".encode(),
    }


def _devices() -> None:
    os.makedirs("/new/dev", exist_ok=True)
    for name in DEVICES:
        if os.path.exists(f"/old/dev/{name}"):
            _touch(f"/new/dev/{name}")
            syscalls.mount(f"/old/dev/{name}", f"/new/dev/{name}", None, MS_BIND)
    os.symlink(HOME, "/new/dev/shm")
    os.symlink("/proc/self/fd", "/new/dev/fd")


def _processes(target: str) -> str | None:
    os.makedirs(target, exist_ok=True)
    try:
        syscalls.mount("proc", target, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "subset=pid")
    except OSError as error:
        # An old kernel, or a container that hides parts of its own /proc. Most programs do not need /proc.
        return str(error.strerror)
    return None


def _touch(path: str) -> None:
    if not os.path.exists(path):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
