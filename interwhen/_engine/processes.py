"""Worker processes for checks: one pipe each, and a death costs one check.

``multiprocessing`` starts them (it knows how to import the user's main module); the waiting is done on the
event loop, because an executor's hand-over thread costs several times the round trip.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_STOP_SECONDS = 0.5


class WorkerDied(Exception):
    """The worker process ended in the middle of a check."""


def _serve(connection: Connection) -> None:
    """Answer calls until the pipe closes (runs in the child)."""
    functions: dict[bytes, Callable[[Any], Any]] = {}
    while True:
        try:
            target, argument = connection.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        try:
            if target not in functions:
                functions[target] = pickle.loads(target).check  # noqa: S301  (our own parent wrote it)
            answer = (True, functions[target](argument))
        except Exception as error:  # noqa: BLE001  (whatever the verifier raises is the outcome)
            answer = (False, f"{type(error).__name__}: {error}")
        try:
            connection.send(answer)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            connection.send((False, f"the result cannot be pickled: {error}"))


class WorkerProcess:
    """One child process that runs one check at a time."""

    def __init__(self) -> None:
        import multiprocessing  # 15 ms that most runs need not pay

        context = multiprocessing.get_context("spawn")
        self._connection, self._theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._theirs,), name="interwhen-worker", daemon=True)

    async def start(self) -> None:
        """Start the child; it takes some tens of milliseconds, in a thread."""
        await anyio.to_thread.run_sync(self._process.start)
        self._theirs.close()

    async def call(self, target: bytes, argument: object) -> tuple[bool, Any]:
        """Run one check; return ``(True, verdict)`` or ``(False, error)``. Raises :class:`WorkerDied`."""
        try:
            self._connection.send((target, argument))
            while not self._connection.poll():
                await anyio.wait_readable(self._connection.fileno())
            answer: tuple[bool, Any] = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join(_STOP_SECONDS)
            raise WorkerDied(f"the worker process died (exit code {self._process.exitcode})") from error
        return answer

    def kill(self) -> None:
        """End the child now."""
        if self._process.pid is not None:
            self._process.kill()
            self._process.join(_STOP_SECONDS)
        self._connection.close()
        self._theirs.close()


class ProcessPool:
    """A few worker processes, started when first needed and replaced when they die."""

    def __init__(self, size: int = 2) -> None:
        self._limiter = anyio.CapacityLimiter(size)
        self._idle: list[WorkerProcess] = []
        self._targets: dict[int, bytes] = {}

    async def check(self, verifier: object, claim: object) -> tuple[bool, Any]:
        """Run ``verifier.check(claim)`` in a worker. Cancelling kills that worker. Raises :class:`WorkerDied`."""
        async with self._limiter:
            worker = self._idle.pop() if self._idle else None
            if worker is None:
                worker = WorkerProcess()
                try:
                    await worker.start()
                except BaseException:
                    worker.kill()
                    raise
            try:
                answer = await worker.call(self._target(verifier), claim)
            except BaseException:
                # Dead, or in the middle of a check that nobody waits for: either way of no more use.
                worker.kill()
                raise
            self._idle.append(worker)
            return answer

    def close(self) -> None:
        """End all idle workers; busy ones end with their checks."""
        while self._idle:
            self._idle.pop().kill()

    def _target(self, verifier: object) -> bytes:
        target = self._targets.get(id(verifier))
        if target is None:
            target = self._targets[id(verifier)] = pickle.dumps(verifier)
        return target
