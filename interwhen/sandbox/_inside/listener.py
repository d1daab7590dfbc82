"""Answers the kernel's questions about forbidden system calls."""

from __future__ import annotations

import errno
import fcntl
import struct

from interwhen.sandbox._inside import seccomp

_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_QUESTION = struct.Struct("=QIIiIQ6Q")
_REPLY = struct.Struct("=QqiI")


def answer(descriptor: int) -> seccomp.Rule | None:
    """Answer one question with EACCES, unless the program is to be ended; return what was tried.

    None says that whoever asked is gone.
    """
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
