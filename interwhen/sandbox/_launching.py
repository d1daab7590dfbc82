"""Starts the launcher, reads what the program writes within its limits, and sees to it that everything ends."""

from __future__ import annotations

import contextlib
import marshal
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from interwhen.sandbox._aborting import Abort
from interwhen.sandbox._inside.plan import Answer, Plan

_SET_UP_SECONDS = 20.0
"""What the sandbox itself may take, on a machine that is very busy, before it is given up."""
_END_SECONDS = 2.0
_CHUNK = 65536

# The launcher's modules have the names that they have here, but nothing else of the package is imported there.
_HERE = Path(__file__).parent
_BOOT = (
    "import sys\n"
    f"for name, path in (('interwhen', {str(_HERE.parent)!r}), ('interwhen.sandbox', {str(_HERE)!r})):\n"
    "    module = sys.modules[name] = type(sys)(name)\n"
    "    module.__path__ = [path]\n"
    "from interwhen.sandbox._inside.launcher import main\n"
    "main()\n"
)


def interpreter() -> str:
    """Return the interpreter below any virtual environment: it starts faster, and needs fewer files."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


@dataclass(slots=True)
class Heard:
    """What came out of a run."""

    answer: Answer | str
    """The keeper's answer; where it gave none, why."""
    stdout: bytes
    stderr: bytes
    ended_for: Literal["", "output", "seconds", "aborted"] = ""
    """Why our side ended it."""


@dataclass(slots=True)
class _Stream:
    """One pipe and what came through it, up to a limit."""

    descriptor: int
    limit: int
    data: bytearray = field(default_factory=bytearray)
    open: bool = True

    @property
    def overfull(self) -> bool:
        return len(self.data) > self.limit

    def read(self) -> None:
        chunk = os.read(self.descriptor, _CHUNK)
        self.open = bool(chunk)
        self.data += chunk[: self.limit + 1 - len(self.data)]


def launch(plan: Plan, abort: Abort) -> Heard:
    """Carry out *plan*, blocking until nothing of it is left."""
    with contextlib.ExitStack() as stack:
        request = os.memfd_create("plan")
        stack.callback(os.close, request)
        data = marshal.dumps({**plan})
        while data:
            data = data[os.write(request, data) :]
        os.lseek(request, 0, os.SEEK_SET)
        status, status_theirs = os.pipe()
        stack.callback(os.close, status)
        control_theirs, control = os.pipe()
        closing = _Closing(control)
        stack.callback(closing)
        try:
            # Nothing of ours goes along: no environment, no directory, and no descriptor but these.
            process = subprocess.Popen(  # noqa: S603  (our own launcher)
                [interpreter(), "-I", "-S", "-c", _BOOT, str(status_theirs), str(control_theirs), str(os.getpid())],
                stdin=request,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(status_theirs, control_theirs),
                start_new_session=True,
                env={},
                cwd="/",
            )
        finally:
            os.close(status_theirs)
            os.close(control_theirs)
        stack.enter_context(process)
        stack.callback(_end, process, closing)
        abort.kill_with(closing)
        stack.callback(abort.kill_with, None)
        return _follow(plan, process, status, closing, abort)


class _Closing:
    """Closes our end of the control pipe, once: the sandbox ends with it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _follow(plan: Plan, process: subprocess.Popen[bytes], status: int, closing: _Closing, abort: Abort) -> Heard:
    assert process.stdout is not None
    assert process.stderr is not None
    limit = plan["output_bytes"]
    stdout, stderr = _Stream(process.stdout.fileno(), limit), _Stream(process.stderr.fileno(), limit)
    # The answer is the keeper's, whom we trust; its size is bounded by what it reads of the value.
    answer = _Stream(status, (8 * limit + (1 << 20)) * (1 + len(plan["more"])))
    ended_for = _listen((stdout, stderr, answer), plan["total_seconds"] + _SET_UP_SECONDS, closing)
    heard: Answer | str = marshal.loads(bytes(answer.data)) if answer.data else "the sandbox died"  # noqa: S302
    why = "aborted" if abort.aborted else ended_for
    return Heard(heard, bytes(stdout.data[:limit]), bytes(stderr.data[:limit]), why)


def _listen(streams: tuple[_Stream, ...], seconds: float, closing: _Closing) -> Literal["", "output", "seconds"]:
    """Read until all pipes have ended; end the sandbox, and say why, when that takes too long or brings too much."""
    ended_for: Literal["", "output", "seconds"] = ""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream.descriptor, selectors.EVENT_READ, stream)
        while selector.get_map():
            left = deadline - time.monotonic()
            for key, _ in selector.select(left) if left > 0 else ():
                key.data.read()
                if not key.data.open:
                    selector.unregister(key.fd)
            if ended_for and left <= 0:
                break  # not even the keeper ends: force is next
            if not ended_for and (left <= 0 or any(stream.overfull for stream in streams)):
                ended_for = "seconds" if left <= 0 else "output"
                closing()
                deadline = time.monotonic() + _END_SECONDS
    return ended_for


def _end(process: subprocess.Popen[bytes], closing: _Closing) -> None:
    """Wait for the launcher, which waits for the keeper, with whom all others end; use force where that fails."""
    closing()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
