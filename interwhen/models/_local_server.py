"""Starts, watches and stops a llama.cpp server in a child process."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import anyio
import anyio.abc
import msgspec

from interwhen._types.errors import DECODE_ERRORS, ConnectError, MissingExtraError, UpstreamError
from interwhen._types.vetting import Positive, Seconds, vet
from interwhen.models import _local_child

STOP_SECONDS = 0.3
"""After this time, the child process is killed."""

_TAIL = 4096


@dataclass(frozen=True, slots=True)
class ServerOptions:
    # `context` is the context length in tokens *per slot*. A slot serves one stream or fork at a time; further ones
    # wait. `batch` is how many prompt tokens the model reads in one step; other streams wait until the step ends.
    # `threads=None` means the number of cores minus one, and at least one. `start_seconds` is the longest time for
    # loading the weights.

    context: Positive = 4096
    slots: Positive = 2
    threads: Positive | None = None
    batch: Positive = 64
    start_seconds: Seconds = 120.0
    shelf: str = ""
    """The folder for saved states of slots. If empty, no states are saved."""

    def __post_init__(self) -> None:
        vet(self, "a local model: ")


class _ChildReport(msgspec.Struct, frozen=True):
    url: str = ""
    error: str = ""


@dataclass(slots=True)
class LocalServer:
    """Create it with :meth:`start`, and call :meth:`stop` at the end."""

    api_key: str
    _process: anyio.abc.Process
    _lifeline: int | None
    """The parent's end of the pipe to the child, which ends when the pipe closes; ``None`` after :meth:`stop`."""
    _log: IO[bytes]
    url: str = field(default="", init=False)
    """Empty until the server answers."""

    @classmethod
    async def start(cls, weights: Path, options: ServerOptions) -> LocalServer:
        if find_spec("xllamacpp") is None:
            raise MissingExtraError("the local model", "local")
        key = secrets.token_urlsafe(24)
        # One core stays free. With all cores, a busy process on one of them (such as a verifier) would cost two thirds
        # of the speed, because the threads wait for each other in busy loops.
        threads = options.threads or max(1, _cores() - 1)
        # The child reads the settings from its lifeline, a pipe from the parent.
        settings = {"model": str(weights), "api_key": key, **asdict(options), "threads": threads}
        server = await cls._spawn(key, msgspec.json.encode(settings) + b"\n")
        try:
            await server.wait_ready(options.start_seconds)
        except BaseException:
            await server.stop()
            raise
        return server

    @classmethod
    async def _spawn(cls, key: str, settings: bytes) -> LocalServer:
        log = _open_log()
        with _open_lifeline(settings) as (lifeline, child_end):
            try:
                process = await _open_child(child_end, log)
            except BaseException as error:
                os.close(lifeline)  # If a child started nevertheless, this ends it.
                log.close()
                if isinstance(error, OSError):
                    raise ConnectError(
                        f"could not start a process for the local server ({error}): free memory or "
                        "processes, then try again"
                    ) from error
                raise
        return cls(key, process, lifeline, log)

    async def wait_ready(self, seconds: float) -> None:
        line = b""
        assert self._process.stdout is not None
        with anyio.move_on_after(seconds) as scope:
            while not line.endswith(b"\n"):
                try:
                    line += await self._process.stdout.receive()
                except anyio.EndOfStream:
                    break
        if scope.cancelled_caught:
            raise ConnectError(
                f"the local server must start within {seconds:g} s, and did not: increase start_seconds{self._tail()}"
            )
        report = _read_report(line)
        if not report.url:
            # If the child ended without a report, a signal killed it: out of memory, or an unsupported instruction.
            await self._wait_ended()
            reason = report.error or f"it ended with code {self._process.returncode}"
            raise UpstreamError(
                f"the local server could not start: {reason}; try other weights, or less context{self._tail()}",
                code="start_failed",
                body=self.log_tail(),
            )
        self.url = report.url

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        code = self._process.returncode
        if code is not None:
            raise UpstreamError(
                f"the local server ended with code {code}: open the model again{self._tail()}",
                code="server_died",
                body=self.log_tail(),
            )

    async def diagnose(self) -> None:
        await self._wait_ended()
        self.check()

    def log_tail(self) -> str:
        # The log is that of the native code.
        if self._log.closed:
            return ""
        # The child writes with O_APPEND, so moving the shared file position has no effect on it.
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _TAIL))
        return self._log.read().decode(errors="replace").strip()

    async def stop(self) -> None:
        # Closing the lifeline ends the child.
        if self._lifeline is None:
            return
        os.close(self._lifeline)
        self._lifeline = None
        with anyio.CancelScope(shield=True):
            await self._wait_ended()
            if self._process.returncode is None:
                self._process.kill()
            await self._process.aclose()
        self._log.close()

    async def _wait_ended(self) -> None:
        with anyio.move_on_after(STOP_SECONDS):
            await self._process.wait()

    def _tail(self) -> str:
        tail = self.log_tail()
        return f"; its log ends with:\n{tail}" if tail else ""


def _cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read_report(line: bytes) -> _ChildReport:
    try:
        return msgspec.json.decode(line, type=_ChildReport) if line else _ChildReport()
    except DECODE_ERRORS:
        return _ChildReport(error=f"unexpected output {line[:200]!r}")  # something printed to stdout at its start


def _open_log() -> IO[bytes]:
    # The file is deleted when both processes close it.
    log = tempfile.TemporaryFile(prefix="interwhen-local-")  # noqa: SIM115  # the server closes it
    if sys.platform != "win32":
        import fcntl

        fcntl.fcntl(log, fcntl.F_SETFL, fcntl.fcntl(log, fcntl.F_GETFL) | os.O_APPEND)
    return log


@contextmanager
def _open_lifeline(first: bytes) -> Iterator[tuple[int, int]]:
    child_end, ours = os.pipe()
    try:
        os.write(ours, first)  # Less than the capacity of a pipe, so it does not block.
        yield ours, child_end
    finally:
        os.close(child_end)


async def _open_child(stdin: int, log: IO[bytes]) -> anyio.abc.Process:
    # Without -P, the folder of the script, with modules of this package, would come first in the child's sys.path.
    command = [sys.executable, "-P", str(Path(_local_child.__file__))]
    # In a new session, so that Ctrl-C in the terminal does not reach the child. `stdin` is the lifeline; the child
    # reports in stdout.
    return await anyio.open_process(command, stdin=stdin, stderr=log, start_new_session=True)
