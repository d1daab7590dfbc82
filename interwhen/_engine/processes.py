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
_BOOT_SECONDS = 60.0
"""How long a check may wait for a worker that is free, has started and has imported the verifier's module."""


class WorkerDied(Exception):
    """The worker process ended in the middle of a check."""


def _serve(connection: Connection) -> None:
    """Answer calls until the pipe closes (runs in the child)."""
    checks: dict[bytes, Callable[[Any], Any]] = {}
    while True:
        try:
            message = connection.recv_bytes()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        # A pair: what the check returned, and why there is nothing of the kind.
        answer: tuple[Any, str | None]
        try:
            target, argument = pickle.loads(message)  # noqa: S301  (our own parent wrote it)
            if target not in checks:
                checks[target] = pickle.loads(target).check  # noqa: S301  (the same)
            answer = (None, None) if argument is None else (checks[target](pickle.loads(argument)), None)  # noqa: S301
        except Exception as error:  # noqa: BLE001  (whatever the verifier raises is the outcome)
            answer = (None, _name(error))
        try:
            reply = pickle.dumps(answer)
        except Exception as error:  # noqa: BLE001  (pickling runs code of the user's classes)
            reply = pickle.dumps((None, f"the result cannot be pickled: {_name(error)}"))
        connection.send_bytes(reply)


def _name(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  (an exception of user code may not even be printable)
        return type(error).__name__


class WorkerProcess:
    """One child process that runs one check at a time."""

    def __init__(self) -> None:
        import multiprocessing  # 15 ms that most runs need not pay

        context = multiprocessing.get_context("spawn")
        self._connection, self._theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._theirs,), name="interwhen-worker", daemon=True)
        self.loaded: set[bytes] = set()
        """The verifiers whose module this worker has imported."""

    async def start(self) -> None:
        """Start the child; it takes some tens of milliseconds, in a thread."""
        await anyio.to_thread.run_sync(self._process.start)
        self._theirs.close()

    async def call(self, target: bytes, argument: bytes | None) -> tuple[Any, str | None]:
        """Run one check (without *argument*: only load it); return ``(value, None)`` or ``(None, error)``.

        Raises :class:`WorkerDied`.
        """
        try:
            self._connection.send_bytes(pickle.dumps((target, argument)))
            while not self._connection.poll():
                await anyio.wait_readable(self._connection.fileno())
            reply = self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            await self.stop(grace=_STOP_SECONDS)
            raise WorkerDied(f"the worker process died (exit code {self._process.exitcode})") from error
        answer: tuple[Any, str | None] = pickle.loads(reply)  # noqa: S301  (our own child wrote it)
        self.loaded.add(target)
        return answer

    async def stop(self, *, grace: float = 0.0) -> None:
        """End the child, without holding up the event loop; one that is ending by itself may do so for *grace* s."""
        with anyio.CancelScope(shield=True):
            if self._process.pid is not None:
                await anyio.to_thread.run_sync(self._end, grace)
            self._connection.close()
            self._theirs.close()

    def _end(self, grace: float) -> None:
        self._process.join(grace)
        self._process.kill()
        self._process.join(_STOP_SECONDS)


class ProcessPool:
    """A few worker processes, started when first needed and replaced when they die."""

    def __init__(self, size: int = 2) -> None:
        self._limiter = anyio.CapacityLimiter(size)
        self._idle: list[WorkerProcess] = []
        self._targets: dict[int, bytes] = {}

    async def check(self, verifier: object, claim: object, scope: anyio.CancelScope) -> tuple[Any, str | None]:
        """Run ``verifier.check(claim)`` in a worker; return ``(value, None)`` or ``(None, error)``.

        Cancelling kills that worker. The deadline of *scope* counts from when a worker is ready: otherwise a
        short one could never be kept, because the worker that it kills would have to be started again.
        """
        try:
            target = self._target(verifier)
            argument = pickle.dumps(claim)
        except Exception as error:  # noqa: BLE001  (pickling runs code of the user's classes)
            hint = "(worker='process' needs a verifier and claims that can be pickled)"
            return None, f"{_name(error)} {hint}"
        begun = anyio.current_time()
        left, scope.deadline = scope.deadline - begun, begun + _BOOT_SECONDS
        async with self._limiter:
            worker = self._idle.pop() if self._idle else WorkerProcess()
            try:
                failure = await self._ready(worker, target)
                scope.deadline = anyio.current_time() + left
                answer = await worker.call(target, argument) if failure is None else (None, failure)
            except WorkerDied as error:
                return None, str(error)
            except BaseException:
                # In the middle of a check that nobody waits for: of no more use.
                await worker.stop()
                raise
            self._idle.append(worker)
            return answer

    async def close(self) -> None:
        """End all idle workers; busy ones end with their checks."""
        while self._idle:
            await self._idle.pop().stop()

    async def _ready(self, worker: WorkerProcess, target: bytes) -> str | None:
        """Start *worker* and let it import the verifier, where that is to be done yet; return what failed."""
        if target in worker.loaded:
            return None
        if not worker.loaded:
            await worker.start()
        _, failure = await worker.call(target, None)
        return failure

    def _target(self, verifier: object) -> bytes:
        target = self._targets.get(id(verifier))
        if target is None:
            target = self._targets[id(verifier)] = pickle.dumps(verifier)
        return target
