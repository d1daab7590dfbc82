"""A llama.cpp server in a process of our own: started, watched over, and never left behind."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import anyio
import anyio.abc
import msgspec

from interwhen._types.errors import ConnectError, MissingExtraError, UpstreamError, UsageError
from interwhen.models import _local_child

STOP_SECONDS = 0.3
"""How long the child may take to end by itself before it is killed. It takes about 10 ms."""

_TAIL = 4096


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to run the server.

    ``context`` is in tokens *per slot*; a slot serves one stream or fork at a time, and further ones wait. ``batch`` is
    how many prompt tokens are read in one go: another stream, or a cancel, waits for at most that. ``threads``
    are one fewer than there are cores where it is ``None``: threads that wait for one another spin, so a busy neighbour
    on the last core (a verifier, say) would cost two thirds of the speed. ``start_seconds`` bounds loading the weights.
    """

    context: int = 4096
    slots: int = 2
    threads: int | None = None
    batch: int = 64
    start_seconds: float = 120.0
    shelf: str = ""
    """A folder for states of slots that are saved; empty: none is."""

    def __post_init__(self) -> None:
        for name in ("context", "slots", "threads", "batch"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise UsageError(f"{name} must be a whole number of at least 1, not {value!r}")
        if not self.start_seconds > 0:
            raise UsageError(f"start_seconds must be more than 0, not {self.start_seconds!r}")


class _Settings(msgspec.Struct, frozen=True):
    """What the child reads from its lifeline."""

    model: str
    api_key: str
    context: int
    slots: int
    threads: int
    batch: int
    shelf: str = ""


class _ChildReport(msgspec.Struct, frozen=True):
    """What the child says once: that it is up, or why not."""

    url: str = ""
    error: str = ""


@dataclass(slots=True)
class LocalServer:
    """One child process. Made by :meth:`start`; who starts it calls :meth:`stop`."""

    api_key: str
    _process: anyio.abc.Process
    _lifeline: int | None
    _log: IO[bytes]
    url: str = field(default="", init=False)

    @classmethod
    async def start(cls, weights: Path, options: ServerOptions) -> LocalServer:
        """Start a server for the GGUF file *weights* and wait until it answers.

        Raises :class:`~interwhen.models.UpstreamError` if it gives up, with the end of its log in the message, and
        :class:`~interwhen.models.ConnectError` if it is not up in time. Cancelled or failed, it leaves no process.
        """
        if find_spec("xllamacpp") is None:
            raise MissingExtraError("the local model", "local")
        key = secrets.token_urlsafe(24)
        threads = options.threads or max(1, _cores() - 1)
        settings = _Settings(str(weights), key, options.context, options.slots, threads, options.batch, options.shelf)
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
                os.close(lifeline)  # A child that is there all the same ends with it.
                log.close()
                if isinstance(error, OSError):
                    raise ConnectError(f"no process could be started for the local server: {error}") from error
                raise
        return cls(key, process, lifeline, log)

    async def wait_ready(self, seconds: float) -> None:
        """Wait at most *seconds* for the child to say where it listens; called by :meth:`start`."""
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
                f"the local server was not up within {seconds:g} s; give it longer (start_seconds){self._tail()}"
            )
        report = _read_report(line)
        if not report.url:
            # An end without a word is a signal: out of memory, or an instruction that this processor lacks.
            await self._wait_ended()
            reason = report.error or f"it ended with code {self._process.returncode}"
            raise UpstreamError(
                f"the local server could not start: {reason}{self._tail()}", code="start_failed", body=self.log_tail()
            )
        self.url = report.url

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self._process.pid

    def check(self) -> None:
        """Raise :class:`~interwhen.models.UpstreamError`, with the end of the log, if the child has died."""
        code = self._process.returncode
        if code is not None:
            raise UpstreamError(
                f"the local server ended by itself with code {code}; open the model again{self._tail()}",
                code="server_died",
                body=self.log_tail(),
            )

    async def diagnose(self) -> None:
        """After a broken connection: raise as :meth:`check` does, if the reason is that the child has just died."""
        await self._wait_ended()
        self.check()

    def log_tail(self) -> str:
        """Return the last lines that the native code logged; at most 4 KiB."""
        if self._log.closed:
            return ""
        # The child appends wherever the shared file position is, so moving it does no harm.
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _TAIL))
        return self._log.read().decode(errors="replace").strip()

    async def stop(self) -> None:
        """End the child and wait for it: by closing its lifeline, and by force after :data:`STOP_SECONDS`."""
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
        return f". Its log ends:\n{tail}" if tail else ""


def _cores() -> int:
    """Count the cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read_report(line: bytes) -> _ChildReport:
    try:
        return msgspec.json.decode(line, type=_ChildReport) if line else _ChildReport()
    except msgspec.DecodeError:
        return _ChildReport(error=f"it said {line[:200]!r}")  # Something in the child's Python printed at its start.


def _open_log() -> IO[bytes]:
    """Make an unnamed file: it needs no reader, survives a crash of the child, and is gone with the last of us."""
    log = tempfile.TemporaryFile(prefix="interwhen-local-")  # noqa: SIM115  # the server closes it
    if sys.platform != "win32":
        import fcntl

        fcntl.fcntl(log, fcntl.F_SETFL, fcntl.fcntl(log, fcntl.F_GETFL) | os.O_APPEND)
    return log


@contextmanager
def _open_lifeline(first: bytes) -> Iterator[tuple[int, int]]:
    """Make the pipe whose end ends the child, with *first* in it; the child's end is closed here on leaving."""
    child_end, ours = os.pipe()
    try:
        os.write(ours, first)  # Far below what a pipe holds, so it does not block.
        yield ours, child_end
    finally:
        os.close(child_end)


async def _open_child(stdin: int, log: IO[bytes]) -> anyio.abc.Process:
    # Without -P the folder of the script, with our own module names, would come first on the child's path.
    command = [sys.executable, "-P", str(Path(_local_child.__file__))]
    # A session of its own: Ctrl-C in the terminal is for us, and we stop the child in our own time.
    return await anyio.open_process(command, stdin=stdin, stderr=log, start_new_session=True)
