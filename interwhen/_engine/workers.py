"""Where checks run that do not run on the event loop: threads and processes, for one run or for many."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread

from interwhen._engine.clock import current_loop
from interwhen._engine.processes import ProcessPool
from interwhen._tickets import Ticket, hold
from interwhen.errors import UsageError
from interwhen.verifier import Verifier
from interwhen.worker_pool import WorkDone

_LEAST_MEMORY = 64 << 20


class Workers:
    """Threads and worker processes for checks, bounded in number and shared by all runs that are given them.

    A run without ``workers=`` makes its own, and ends them with itself. Nothing is started before a check needs
    it. Leaving the ``async with`` block (or :meth:`aclose`) ends the processes. One object serves one event loop.

    *memory* bounds the address space of each process, in bytes (``None``: nothing does). Whoever holds the event
    loop for longer than *held_after* seconds is named in the log and in ``result.timing.held`` (``None``: nobody
    looks). Raises :class:`~interwhen.errors.UsageError` on values that cannot work.
    """

    def __init__(
        self,
        *,
        threads: int = 8,
        processes: int = 2,
        memory: int | None = 2 << 30,
        held_after: float | None = 0.02,
    ) -> None:
        for label, value in (("threads", threads), ("processes", processes)):
            if type(value) is not int or value < 1:
                raise UsageError(f"{label}={value!r}: a number of at least 1 is needed")
        if memory is not None and (type(memory) is not int or memory < _LEAST_MEMORY):
            raise UsageError(f"memory={memory!r}: at least {_LEAST_MEMORY} bytes are needed, or None for no limit")
        if held_after is not None and not (isinstance(held_after, int | float) and held_after > 0):
            raise UsageError(f"held_after={held_after!r}: positive seconds are needed, or None for no look at all")
        self.held_after = held_after
        self._sizes = threads, processes
        self._memory = memory
        self._threads: anyio.CapacityLimiter | None = None
        self._processes: ProcessPool | None = None
        self._loop: object = None
        self._closed = False

    def bind(self) -> None:
        """Make sure that the running event loop is the one these workers belong to; the first one is."""
        loop = current_loop()
        if self._closed:
            raise UsageError("these workers are closed; run inside the block only: async with Workers(...) as workers")
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise UsageError("these workers belong to another event loop; make Workers(...) for each loop")

    async def check(self, verifier: Verifier, claim: Any, scope: anyio.CancelScope) -> WorkDone:
        """Run a check in the place that *verifier* asks for; see :class:`~interwhen.worker_pool.WorkerPool`."""
        if verifier.worker == "process":
            if self._processes is None:
                self._processes = ProcessPool(self._sizes[1], self._memory)
                if self._closed:  # it keeps no process then
                    await self._processes.close()
            return await self._processes.check(verifier, claim, scope)
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(self._sizes[0])
        # A check in a thread learns how long it has, and when nobody waits for it any more.
        ticket = Ticket(scope.deadline - anyio.current_time())
        try:
            with hold(ticket):
                value = await anyio.to_thread.run_sync(
                    verifier.check, claim, abandon_on_cancel=True, limiter=self._threads
                )
        except anyio.get_cancelled_exc_class():
            ticket.call_off()
            raise
        return value, None

    async def aclose(self) -> None:
        """End the worker processes. A check that is running in one ends with its run."""
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
