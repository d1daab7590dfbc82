"""The inside of a worker process: it answers calls, within limits, and does not outlive its parent."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from interwhen._engine.framing import MOST, receive_blocking, send_blocking
from interwhen._engine.naming import name_error
from interwhen._tickets import Ticket, hold

EXTRA_SECONDS = 1.0
"""What a check may use beyond its deadline, in seconds of each processor: its parent is to kill it before."""

KEPT = 128
"""How many verifiers a worker keeps at hand."""


def serve(sock: socket.socket, memory: int | None) -> None:
    """Answer calls until the socket closes."""
    _alone()
    _limited(memory)
    sock.setblocking(True)
    checks: dict[bytes, Callable[[Any], Any]] = {}
    while True:
        try:
            message = receive_blocking(sock)
        except (EOFError, OSError, KeyboardInterrupt):
            return
        reply, fit = _answered(checks, message)
        try:
            send_blocking(sock, reply)
        except OSError:
            return
        if not fit:
            return


def _answered(checks: dict[bytes, Callable[[Any], Any]], message: bytes) -> tuple[bytes, bool]:
    """Return the reply to *message*, and whether this process is fit to go on.

    The reply holds what the check returned, why there is nothing of the kind, and that fitness.
    """
    value: Any = None
    failure: str | None = None
    fit = True
    try:
        target, argument, seconds = pickle.loads(message)  # noqa: S301  (our own parent wrote it)
        if target not in checks:
            if len(checks) >= KEPT:
                checks.clear()
            checks[target] = pickle.loads(target).check  # noqa: S301  (the same)
        if argument is not None:
            _spend_at_most(seconds)
            with hold(Ticket(seconds)):
                value = checks[target](pickle.loads(argument))  # noqa: S301  (the same)
    except MemoryError as error:
        failure, fit = name_error(error), False
    except Exception as error:  # noqa: BLE001  (whatever the verifier raises is the outcome)
        failure = name_error(error)
    try:
        reply = pickle.dumps((value, failure, fit))
        if len(reply) > MOST:
            reply = pickle.dumps((None, f"the result is larger than {MOST} bytes", fit))
    except MemoryError:
        reply, fit = pickle.dumps((None, "the result cannot be pickled: MemoryError", False)), False
    except Exception as error:  # noqa: BLE001  (pickling runs code of the user's classes)
        reply = pickle.dumps((None, f"the result cannot be pickled: {name_error(error)}", fit))
    return reply, fit


def _alone() -> None:
    """Be a group of our own, which is killed as one; end with the parent; write to nobody's standard output."""
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


def _limited(memory: int | None) -> None:
    if sys.platform == "win32":
        return
    import resource

    _lower(resource.RLIMIT_CORE, 0)
    if memory is not None:
        _lower(resource.RLIMIT_AS, memory)


def _spend_at_most(seconds: float) -> None:
    """Let the system end this process if a check uses more processor time than it could within its deadline."""
    if sys.platform == "win32" or seconds == float("inf"):
        return
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    each = (seconds + EXTRA_SECONDS) * (os.cpu_count() or 1)
    _lower(resource.RLIMIT_CPU, int(usage.ru_utime + usage.ru_stime + each) + 1)


if sys.platform != "win32":

    def _lower(kind: int, wanted: int) -> None:
        import resource

        hard = resource.getrlimit(kind)[1]
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):  # where the system has no such limit, the deadline still holds
            resource.setrlimit(kind, (limit, hard))
