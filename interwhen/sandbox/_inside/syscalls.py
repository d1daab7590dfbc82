"""System calls that are made through the C library."""

from __future__ import annotations

import ctypes
import os

MACHINE = os.uname().machine

_libc = ctypes.CDLL(None, use_errno=True)

SIGINT, SIGKILL, SIGPIPE, SIGXCPU, SIGXFSZ, SIGSYS = 2, 9, 13, 24, 25, 31

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_CAPSET = {"x86_64": 126, "aarch64": 91}
_MOUNT_SETATTR = 442


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def syscall(number: int, what: str, *arguments: object) -> int:
    given = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *given), what)


def prctl(option: int, value: int) -> None:
    rest = ctypes.c_ulong(0)
    _checked(_libc.prctl(option, ctypes.c_ulong(value), rest, rest, rest), "prctl")


def ignore(signal: int) -> None:
    _libc.signal(signal, ctypes.c_void_p(1))


def listen_again(signal: int) -> None:
    _libc.signal(signal, ctypes.c_void_p(0))


def unshare(flags: int) -> None:
    # A new namespace of the type pid is only for the children of this process.
    _checked(_libc.unshare(flags), "unshare")


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    data = options.encode() or None
    _checked(_libc.mount(*encoded, ctypes.c_ulong(flags), data), f"mount {target}")


def unmount(target: str) -> None:
    # The flag 2 is MNT_DETACH: the mounts below `target` are detached, too.
    _checked(_libc.umount2(os.fsencode(target), 2), f"unmount {target}")


def mount_setattr(target: str, attributes: int) -> None:
    data = ctypes.create_string_buffer(attributes.to_bytes(8, "little") + bytes(24), 32)
    at_fdcwd, at_recursive = -100, 0x8000
    syscall(_MOUNT_SETATTR, f"mount_setattr {target}", at_fdcwd, os.fsencode(target), at_recursive, data, 32)


def pivot_root(new: str, old: str) -> None:
    syscall(_PIVOT_ROOT[MACHINE], "pivot_root", os.fsencode(new), os.fsencode(old))


def seccomp(operation: int, flags: int, argument: ctypes.Array[ctypes.c_char] | ctypes.Structure) -> int:
    return syscall(_SECCOMP[MACHINE], "seccomp", operation, flags, ctypes.byref(argument))


def drop_bounding_set() -> None:
    # With an empty bounding set, no program that is executed later gains capabilities.
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break  # this was the last one


def drop_capabilities() -> None:
    version_3 = (0x20080522).to_bytes(4, "little") + bytes(4)
    header = ctypes.create_string_buffer(version_3, 8)
    syscall(_CAPSET[MACHINE], "capset", header, ctypes.create_string_buffer(24))
