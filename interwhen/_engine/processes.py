"""Worker processes for checks: one socket each, and a death costs one check.

``multiprocessing`` starts them (it knows how to import the user's main module); the waiting is done on the
event loop, because an executor's hand-over thread costs several times the round trip.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
from contextlib import suppress
from typing import Any, NamedTuple

import anyio
import anyio.to_thread

from interwhen._engine.framing import Garbled, receive, send
from interwhen._engine.naming import name_error
from interwhen._engine.worker_child import KEPT, serve

_STOP_SECONDS = 0.5
_BOOT_SECONDS = 60.0
"""How long a check may wait for a worker that is free, has started and has imported the verifier's module."""


class WorkerDied(Exception):
    """The worker process ended in the middle of a check, or is of no more use."""


class Answer(NamedTuple):
    """What a check returned, why there is nothing of the kind, and whether its worker can go on."""

    value: Any
    failure: str | None
    fit: bool


class WorkerProcess:
    """One child process that runs one check at a time."""

    def __init__(self, memory: int | None = None) -> None:
        import multiprocessing  # 15 ms that most runs need not pay

        context = multiprocessing.get_context("spawn")
        self._socket, self._theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._process = context.Process(target=serve, args=(self._theirs, memory), name="interwhen-worker", daemon=True)
        self.loaded: set[bytes] = set()
        """The verifiers whose module this worker has imported."""

    async def start(self) -> None:
        """Start the child; it takes some tens of milliseconds, in a thread."""
        await anyio.to_thread.run_sync(self._process.start)
        self._theirs.close()

    @property
    def is_well(self) -> bool:
        """Whether an idle worker lives and has kept silent, as it should."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    async def call(self, target: bytes, argument: bytes | None, seconds: float) -> Answer:
        """Run one check (without *argument*: only load it), which may take *seconds*.

        Raises :class:`WorkerDied`.
        """
        try:
            await send(self._socket, pickle.dumps((target, argument, seconds)))
            reply = await receive(self._socket)
        except (EOFError, OSError) as error:
            await self.stop(grace=_STOP_SECONDS)
            raise WorkerDied(f"the worker process died (exit code {self._process.exitcode}){self._hint()}") from error
        except Garbled as error:
            await self.stop()
            raise WorkerDied(f"the worker process was ended: {error}") from error
        try:
            answer = Answer(*pickle.loads(reply))  # noqa: S301  (our own child wrote it)
        except Exception as error:
            # The verifier's code can reach the socket, and unpickling runs code of its classes.
            await self.stop()
            raise WorkerDied(f"the worker process was ended: its answer does not load: {name_error(error)}") from error
        self.loaded.add(target)
        return answer

    def _hint(self) -> str:
        """Say what most often keeps a worker from starting: it imports the main script, and so runs it."""
        if self.loaded or self._process.exitcode != 1:
            return ""
        return ": it could not import the main script; what that does belongs under  if __name__ == '__main__':"

    async def stop(self, *, grace: float = 0.0) -> None:
        """End the child and what it has started; one that is ending by itself may do so for *grace* s.

        Does not hold up the event loop.
        """
        with anyio.CancelScope(shield=True):
            if self._process.pid is not None:
                await anyio.to_thread.run_sync(self._end, grace)
            self._socket.close()
            self._theirs.close()

    def _end(self, grace: float) -> None:
        from multiprocessing.connection import wait

        # Its number is its own until it is joined, so the group is killed first; waiting for it does not join it.
        wait([self._process.sentinel], grace)
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):  # it has ended, or is not yet a group of its own
                os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.kill()
        self._process.join(_STOP_SECONDS)


class ProcessPool:
    """A few worker processes, started when first needed and replaced when they die."""

    def __init__(self, size: int = 2, memory: int | None = None) -> None:
        self._limiter = anyio.CapacityLimiter(size)
        self._memory = memory
        self._idle: list[WorkerProcess] = []
        self._targets: dict[int, tuple[object, bytes]] = {}
        """How to find each verifier, by its id, which is another's only once nobody has it any more."""
        self._closed = False

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
            return None, f"{name_error(error)} {hint}"
        begun = anyio.current_time()
        left, scope.deadline = scope.deadline - begun, begun + _BOOT_SECONDS
        async with self._limiter:
            worker = await self._take()
            try:
                answer = await self._ready(worker, target, left)
                if answer.failure is None:
                    scope.deadline = anyio.current_time() + left
                    answer = await worker.call(target, argument, left)
            except WorkerDied as error:
                return None, str(error)
            except BaseException:
                # In the middle of a check that nobody waits for: of no more use.
                await worker.stop()
                raise
            if answer.fit and not self._closed:
                self._idle.append(worker)
            else:
                await worker.stop()
            return answer.value, answer.failure

    async def close(self) -> None:
        """End all idle workers; busy ones end with their checks."""
        self._closed = True
        while self._idle:
            await self._idle.pop().stop()

    async def _take(self) -> WorkerProcess:
        """Return an idle worker that is well, or a new one."""
        while self._idle:
            worker = self._idle.pop()
            if worker.is_well:
                return worker
            await worker.stop()
        return WorkerProcess(self._memory)

    async def _ready(self, worker: WorkerProcess, target: bytes, seconds: float) -> Answer:
        """Start *worker* and let it import the verifier, where that is to be done yet; return what came of it."""
        if target in worker.loaded:
            return Answer(None, None, fit=True)
        if not worker.loaded:
            await worker.start()
        return await worker.call(target, None, seconds)

    def _target(self, verifier: object) -> bytes:
        found = self._targets.get(id(verifier))
        if found is None:
            if len(self._targets) >= KEPT:
                self._targets.clear()
            found = self._targets[id(verifier)] = verifier, pickle.dumps(verifier)
        return found[1]
