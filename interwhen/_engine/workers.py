"""Threads and processes for checks that do not run on the event loop, for one run or for many.

Why: docs/decisions/workers.md.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import anyio
import anyio.to_thread
from msgspec import Meta

from interwhen._engine.loop_blocking import current_loop
from interwhen._engine.worker_child import KEPT, GarbledMessage, children_seconds, receive, send, serve
from interwhen._types.errors import UsageError, name_error
from interwhen._types.extensions import WorkDone
from interwhen._types.log import log_warning
from interwhen._types.verifiers import Ticket, Verifier, hold, note_work
from interwhen._types.vetting import Positive, Seconds, vetted

# Worker processes for checks. Each process has its own socket, so if it dies, only one check fails.
#
# ``multiprocessing`` starts the processes, because it knows how to import the user's main module. The event loop reads
# the answers itself, because the extra thread of an executor would take several times as long as the round trip.

_STOP_SECONDS = 0.5
BOOT_SECONDS = 60.0
"""The longest time, in seconds, that a check may wait until a worker is free and has loaded the verifier."""


class WorkerDied(Exception):
    """The worker process ended during a check, or was killed for an invalid answer or too large a message."""


class WorkerAnswer(NamedTuple):
    # `failure` is the error text if the check failed. `fit` says whether the worker can run another check. `spent` is
    # the CPU time of the check, in seconds.

    value: Any
    failure: str | None
    fit: bool
    spent: float = 0.0


class WorkerProcess:
    """One child process that runs one check at a time.

    *memory* limits its address space, in bytes (``None``, and on Windows: no limit).
    """

    refusal: ClassVar[str | None] = ""
    """Why no worker process of this program can start: each one imports the main script, and the first one ended in it.
    Empty: not known yet. ``None``: one has answered."""

    def __init__(self, memory: int | None = None) -> None:
        import multiprocessing  # 15 ms that most runs need not pay

        context = multiprocessing.get_context("spawn")
        self._socket, self._theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._process = context.Process(target=serve, args=(self._theirs, memory), name="interwhen-worker", daemon=True)
        self.loaded: set[bytes] = set()

    async def start(self) -> None:
        # In a thread, because the start of a process blocks.
        await anyio.to_thread.run_sync(self._process.start)
        self._theirs.close()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def is_well(self) -> bool:
        # An idle worker has nothing to send: if data can be read, it has ended or sent garbage.
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    async def call(self, target: bytes, argument: bytes | None, seconds: float) -> WorkerAnswer:
        """Run one check in the worker process, and return its answer. Raises :class:`WorkerDied`.

        *target* is the pickled verifier and *argument* the pickled claim; with ``None``, the worker only loads the
        verifier. *seconds* is the deadline of the check; the caller must cancel this call when it has passed.
        """
        try:
            await send(self._socket, pickle.dumps((target, argument, seconds)))
            reply = await receive(self._socket)
        except (EOFError, OSError) as error:
            raise await self._death() from error
        except GarbledMessage as error:
            raise await self._end_with(str(error)) from error
        try:
            answer = WorkerAnswer(*pickle.loads(reply))  # noqa: S301  (our own child wrote it)
        except Exception as error:
            # The verifier's code could write garbage to the socket, and unpickling runs code of the user's classes.
            why = f"its answer must be a verdict that can be pickled, got {name_error(error)}; correct the verifier"
            raise await self._end_with(why) from error
        WorkerProcess.refusal = None
        if target not in self.loaded and len(self.loaded) >= KEPT:
            self.loaded.clear()  # as the child does
        self.loaded.add(target)
        return answer

    async def _end_with(self, why: str) -> WorkerDied:
        await self.stop()
        return WorkerDied(f"the worker process was ended: {why}")

    async def _death(self) -> WorkerDied:
        await self.stop(grace=_STOP_SECONDS)
        died = f"the worker process died during the check (exit code {self._process.exitcode})"
        if WorkerProcess.refusal is None or self._process.exitcode != 1:
            return WorkerDied(f"{died}; look for a crash, an exit or too much memory in the verifier")
        why = "it could not import the main script; put what the script does under  if __name__ == '__main__':"
        if not WorkerProcess.refusal:
            log_warning("workers.refused", why=why)
        WorkerProcess.refusal = f"{died}: {why}"
        return WorkerDied(WorkerProcess.refusal)

    async def stop(self, *, grace: float = 0.0) -> None:
        # A child that is ending gets `grace` seconds first.
        with anyio.CancelScope(shield=True):
            if self._process.pid is not None:
                await anyio.to_thread.run_sync(self._end, grace)
            self._socket.close()
            self._theirs.close()

    def _end(self, grace: float) -> None:
        from multiprocessing.connection import wait

        # After join() the system may reuse the process id for another process, so the group must be killed before it.
        # Waiting for the sentinel does not join the process.
        wait([self._process.sentinel], grace)
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):  # it has ended, or has not created its group yet
                os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.kill()
        self._process.join(_STOP_SECONDS)


class ProcessPool:
    # A process starts when it is first needed; if it dies, another replaces it. `memory` limits the address space of
    # each process in bytes (`None`, and on Windows: no limit). `when_measured` is called with the verifier and the CPU
    # seconds of each check that returned a value.

    def __init__(
        self,
        size: int = 2,
        memory: int | None = None,
        *,
        when_measured: Callable[[Any, float], object] | None = None,
    ) -> None:
        self._when_measured = when_measured
        self._limiter = anyio.CapacityLimiter(size)
        self._memory = memory
        self._idle: list[WorkerProcess] = []
        self._targets: dict[int, tuple[object, bytes]] = {}
        """The verifiers and their pickles, by the verifier's id. The verifier is stored to keep its id."""
        self._closed = False

    async def check(self, verifier: object, claim: object, scope: anyio.CancelScope) -> tuple[Any, str | None]:
        # Returns the value, or the text of an error. The deadline of `scope` is moved, so that it counts from the
        # moment at which a worker is ready.
        try:
            target = self._target(verifier)
            argument = pickle.dumps(claim)
        except Exception as error:  # noqa: BLE001  (pickling runs code of the user's classes)
            hint = "(worker='process' needs a verifier and claims that can be pickled)"
            return None, f"{name_error(error)} {hint}"
        begun = anyio.current_time()
        left, scope.deadline = scope.deadline - begun, begun + BOOT_SECONDS
        async with self._limiter:
            if WorkerProcess.refusal:
                return None, WorkerProcess.refusal
            worker = await self._take()
            try:
                answer = await self._ready(worker, target)
                if answer.failure is None:
                    now = anyio.current_time()
                    scope.deadline = now + left
                    note_work(f"process {worker.pid}", now - begun)
                    answer = await worker.call(target, argument, left)
            except WorkerDied as error:
                return None, str(error)
            except BaseException:
                # The check was cancelled while it ran. A running check ends only if its process is killed.
                await worker.stop()
                raise
            if answer.fit and not self._closed:
                self._idle.append(worker)
            else:
                await worker.stop()
            if self._when_measured is not None and answer.failure is None:
                self._when_measured(verifier, answer.spent)
            return answer.value, answer.failure

    async def close(self) -> None:
        # Workers that run a check stop at its end.
        self._closed = True
        while self._idle:
            await self._idle.pop().stop()

    async def _take(self) -> WorkerProcess:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_well:
                return worker
            await worker.stop()
        return WorkerProcess(self._memory)

    async def _ready(self, worker: WorkerProcess, target: bytes) -> WorkerAnswer:
        # The caller limits the time. Without a claim, the process only loads the verifier; `failure` then says why it
        # cannot.
        if target in worker.loaded:
            return WorkerAnswer(None, None, fit=True)
        if not worker.loaded:
            await worker.start()
        return await worker.call(target, None, 0.0)

    def _target(self, verifier: object) -> bytes:
        entry = self._targets.get(id(verifier))
        if entry is None:
            if len(self._targets) >= KEPT:
                self._targets.clear()
            entry = self._targets[id(verifier)] = verifier, pickle.dumps(verifier)
        return entry[1]


class _ThreadMeter:
    """Measures the CPU time of checks in threads, with the programs that they start."""

    def __init__(self) -> None:
        self._running = 0
        self._begun = 0

    @contextmanager
    def measuring(self) -> Iterator[list[float]]:
        # The list gets the CPU seconds at the end. It stays empty if programs ended while several checks ran, since it
        # is unknown which check had started them.
        cpu_seconds: list[float] = []
        self._running += 1
        self._begun += 1
        alone, begun = self._running == 1, self._begun
        own, children = time.thread_time(), children_seconds()
        try:
            yield cpu_seconds
        finally:
            self._running -= 1
            apart = children_seconds() - children
            if apart == 0.0 or (alone and begun == self._begun):
                cpu_seconds.append(time.thread_time() - own + apart)


_threads: set[tuple[str, Ticket]] = set()
"""The checks that run in threads of this process, in all runs: the name of the verifier, and the ticket."""


def hanging_threads(verifier: str | None = None) -> int:
    # Return how many threads of this process hang in `verifier` (`None`: in any verifier). Such a thread still runs a
    # check whose deadline has passed and whose result is not wanted any more.
    now = time.monotonic()
    return sum(
        ticket.cancelled and ticket.deadline <= now and verifier in (None, name) for name, ticket in tuple(_threads)
    )


_Memory = Annotated[int, Meta(ge=64 << 20)]


class Workers:
    """Threads and worker processes for checks. Several runs on one event loop can share one object.

    Leaving the ``async with`` block, or :meth:`aclose`, ends the idle processes; a busy process ends after its check.
    *threads* and *processes* are the largest numbers of each. A verifier in which *threads* threads hang, in this or in
    earlier runs, gets no further one: its checks fail. *memory* limits the address space of each process, in
    bytes (``None``, and on Windows: no limit). Code that blocks the event loop for longer than *blocked_loop_after*
    seconds is reported in the log and in ``result.timing.blocked_loop`` (``None``: no reports). *when_measured* is
    called, in any thread, with the verifier and the CPU seconds of each check that returned a value, if the seconds are
    known. Raises :class:`~interwhen.UsageError` on wrong values.
    """

    @vetted("Workers: ")
    def __init__(
        self,
        *,
        threads: Positive = 8,
        processes: Positive = 2,
        memory: _Memory | None = 2 << 30,
        blocked_loop_after: Seconds | None = 0.02,
        when_measured: Callable[[Any, float], object] | None = None,
    ) -> None:
        self.blocked_loop_after = blocked_loop_after
        self._when_measured = when_measured
        self._meter = _ThreadMeter()
        self._sizes = threads, processes
        self._memory = memory
        self._threads: anyio.CapacityLimiter | None = None
        self._processes: ProcessPool | None = None
        self._loop: object = None
        self._closed = False

    def bind(self) -> None:
        """Bind these workers to the running event loop.

        Raises :class:`UsageError` if they are closed or belong to another event loop.
        """
        loop = current_loop()
        if self._closed:
            raise UsageError(
                "Workers must be open while they are used, and these are closed; use them inside the "
                "block  async with Workers(...) as workers:"
            )
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise UsageError(
                "Workers must be used in the event loop in which they were opened, got another loop; "
                "make Workers(...) for each loop"
            )

    async def check(self, verifier: Verifier, claim: Any, scope: anyio.CancelScope) -> WorkDone:
        """Run ``verifier.check(claim)`` in a thread or a process, as ``verifier.worker`` says.

        Return its value and ``None``, or ``None`` and the text of an error. *scope* is the cancel scope around this
        call, with the deadline of the check. An exception of a check in a thread is raised; that of a check in a
        process, and the death of that process, are returned as a text.
        """
        if verifier.worker == "process":
            if self._processes is None:
                self._processes = ProcessPool(self._sizes[1], self._memory, when_measured=self._when_measured)
                if self._closed:  # a closed pool keeps no idle process
                    await self._processes.close()
            return await self._processes.check(verifier, claim, scope)
        # Waiting for a place does not help: a thread that was abandoned gives its place back, and continues.
        if (hanging := hanging_threads(verifier.name)) >= self._sizes[0]:
            log_warning("verifier.refused", verifier=verifier.name, hanging_threads=hanging)
            return None, (
                f"{hanging} threads hang in verifier {verifier.name!r}, and a thread cannot be ended; use "
                "worker='process' for it, and start the program again"
            )
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(self._sizes[0])
        # A thread cannot be cancelled. The check can ask the ticket how much time is left and whether it was cancelled.
        ticket = Ticket(scope.deadline - anyio.current_time())
        asked = time.monotonic()

        def check() -> tuple[Any]:
            # In a tuple, because trio refuses a function that returns a coroutine.
            note_work(f"thread {threading.get_native_id()}", time.monotonic() - asked)
            _threads.add((verifier.name, ticket))
            try:
                if self._when_measured is None:
                    return (verifier.check(claim),)
                with self._meter.measuring() as measured:
                    value = verifier.check(claim)
                if measured:
                    self._when_measured(verifier, measured[0])
                return (value,)
            finally:
                _threads.discard((verifier.name, ticket))

        try:
            with hold(ticket):
                (value,) = await anyio.to_thread.run_sync(check, abandon_on_cancel=True, limiter=self._threads)
        except anyio.get_cancelled_exc_class():
            ticket.cancel()
            raise
        return value, None

    async def aclose(self) -> None:
        """Stop the idle worker processes; a busy one stops at the end of its check. :meth:`bind` now raises."""
        self._closed = True
        if self._processes is not None:
            await self._processes.close()

    async def __aenter__(self) -> Self:
        self.bind()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
