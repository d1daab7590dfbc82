"""Landlock: the kernel's own rules for files, for where there is no mount namespace to be had."""

from __future__ import annotations

import ctypes
import os

from interwhen.sandbox._inside import syscalls

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE, _READ, _LIST = 1, 2, 4, 8
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_ALL_OF_FILES = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF}
_FILE_ONLY = _EXECUTE | _WRITE | _READ | _TRUNCATE | _IOCTL
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_MAKE_DEVICES = 1 << 6 | 1 << 11


def version() -> int:
    """Return the version of the kernel's landlock; raises OSError where there is none."""
    return syscalls.syscall(_CREATE, "landlock", None, 0, 1)


def restrict(readable: tuple[str, ...], folder: str) -> None:
    """Let this process read below *readable* and write below *folder*, and no more, for ever.

    From version 4 on it opens no TCP connection, from version 6 on it reaches no process and no abstract socket
    outside.
    """
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
