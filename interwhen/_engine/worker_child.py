"""The code of a worker process. It runs checks, within resource limits except on Windows.

It ends when its parent process ends.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio

from interwhen._types.errors import name_error
from interwhen._types.verifiers import Ticket, hold

# Messages on a socket. The parent reads without blocking, so an incomplete message does not block the event loop.

MOST = 64 * 1024 * 1024
"""The largest message, in bytes."""
_HEAD = struct.Struct("!4sI")
HEAD_SIZE = _HEAD.size
_MAGIC = b"iw1\n"
_BLOCK = 1 << 16


class GarbledMessage(Exception):
    """The bytes are no valid message of this protocol, or the message is too large."""


def framed(payload: bytes) -> bytes:
    if len(payload) > MOST:
        raise GarbledMessage(
            f"a message between processes must have at most {MOST} bytes, got {len(payload)}; make "
            "the claim or the verdict smaller"
        )
    return _HEAD.pack(_MAGIC, len(payload)) + payload


def length_of(head: bytes) -> int:
    magic, length = _HEAD.unpack(head)
    if magic != _MAGIC or length > MOST:
        raise GarbledMessage(
            f"its answer must begin with the head of a message, got {head!r}; do not write to file "
            "descriptors of the worker"
        )
    return int(length)


async def send(sock: socket.socket, payload: bytes) -> None:
    rest = memoryview(framed(payload))
    while rest:
        try:
            rest = rest[sock.send(rest) :]
        except BlockingIOError:
            await anyio.wait_writable(sock)


async def receive(sock: socket.socket) -> bytes:
    length = length_of(bytes(await _exactly(sock, HEAD_SIZE)))
    return bytes(await _exactly(sock, length))


async def _exactly(sock: socket.socket, count: int) -> bytearray:
    received = bytearray()
    while len(received) < count:
        try:
            part = sock.recv(min(count - len(received), _BLOCK))
        except BlockingIOError:
            await anyio.wait_readable(sock)
            continue
        if not part:
            raise EOFError
        received += part
    return received


def exactly_blocking(sock: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        part = sock.recv(min(count - len(received), _BLOCK))
        if not part:
            raise EOFError
        received += part
    return bytes(received)


EXTRA_SECONDS = 1.0
"""CPU seconds, per CPU, that a check may use beyond its deadline."""

_ENDLESS = 2.0**62
"""CPU seconds that are no limit."""

KEPT = 128
"""The largest number of verifiers that a worker keeps loaded."""


def serve(sock: socket.socket, memory: int | None) -> None:
    """Run the checks that arrive as messages on *sock*, and answer each, until *sock* is closed or memory runs out.

    *memory* limits the address space of this process, in bytes (``None``: no limit).
    """
    _isolate()
    _limit_resources(memory)
    sock.setblocking(True)
    checks: dict[bytes, Callable[[Any], Any]] = {}
    while True:
        try:
            message = exactly_blocking(sock, length_of(exactly_blocking(sock, HEAD_SIZE)))
        except (EOFError, OSError, KeyboardInterrupt):
            return
        reply, fit = _run_call(checks, message)
        try:
            sock.sendall(framed(reply))
        except OSError:
            return
        if not fit:
            return


def _run_call(checks: dict[bytes, Callable[[Any], Any]], message: bytes) -> tuple[bytes, bool]:
    # Run the check in `message`. Return the reply, and whether the process is fit for another one. The message is a
    # pickle of three values: the pickled verifier, the pickled claim (`None`: only load the verifier), and the deadline
    # in seconds. The reply is a pickle of four values: the return value of the check, its error text (or `None`),
    # whether this process can run another check, and the CPU seconds of the check (0 after an error). `checks` is the
    # cache of loaded verifiers.
    value: Any = None
    failure: str | None = None
    fit = True
    spent = 0.0
    try:
        target, argument, seconds = pickle.loads(message)  # noqa: S301  (our own parent wrote it)
        if target not in checks:
            if len(checks) >= KEPT:
                checks.clear()
            checks[target] = pickle.loads(target).check  # noqa: S301  (the same)
        if argument is not None:
            _limit_processor_time(seconds)
            before = cpu_seconds()
            with hold(Ticket(seconds)):
                value = checks[target](pickle.loads(argument))  # noqa: S301  (the same)
            spent = cpu_seconds() - before
    except MemoryError as error:
        failure, fit = name_error(error), False
    except Exception as error:  # noqa: BLE001  (whatever the verifier raises is the outcome)
        failure = name_error(error)
    try:
        reply = pickle.dumps((value, failure, fit, spent))
        if len(reply) > MOST:
            reply = pickle.dumps((None, f"the result is larger than {MOST} bytes", fit, spent))
    except MemoryError:
        reply, fit = pickle.dumps((None, "the result cannot be pickled: MemoryError", False, spent)), False
    except Exception as error:  # noqa: BLE001  (pickling runs code of the user's classes)
        reply = pickle.dumps((None, f"the result cannot be pickled: {name_error(error)}", fit, spent))
    return reply, fit


def cpu_seconds() -> float:
    return time.process_time() + children_seconds()


def children_seconds() -> float:
    if sys.platform == "win32":
        return 0.0
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _isolate() -> None:
    # In a session of its own, the parent can kill this process together with those that it starts (`os.killpg`).
    if hasattr(os, "setsid"):
        os.setsid()
    threading.Thread(target=_end_with_parent, name="interwhen-lifeline", daemon=True).start()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number)
    os.close(null)


def _end_with_parent() -> None:
    from multiprocessing import parent_process

    parent = parent_process()
    assert parent is not None
    parent.join()
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _limit_resources(memory: int | None) -> None:
    if sys.platform == "win32":
        return
    import resource

    _lower(resource.RLIMIT_CORE, 0)
    if memory is not None:
        _lower(resource.RLIMIT_AS, memory)


def _limit_processor_time(seconds: float) -> None:
    """Limit the CPU time of this process, so that the system ends it if a check runs too long after its deadline.

    *seconds* is the deadline (``inf``: no limit).
    """
    if sys.platform == "win32":
        return
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    each = (seconds + EXTRA_SECONDS) * (os.cpu_count() or 1)
    wanted = usage.ru_utime + usage.ru_stime + each + 1
    # The limit of an earlier check must not hold for a check without a deadline.
    _lower(resource.RLIMIT_CPU, int(wanted) if wanted < _ENDLESS else resource.RLIM_INFINITY)


if sys.platform != "win32":

    def _lower(kind: int, wanted: int) -> None:
        import resource

        hard = resource.getrlimit(kind)[1]
        if wanted == resource.RLIM_INFINITY:
            limit = hard
        else:
            limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError, OverflowError):  # without such a limit, the deadline still applies
            resource.setrlimit(kind, (limit, hard))
