"""The workers of this machine: threads of this process, and processes of its own."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.to_thread

from interwhen._engine.processes import ProcessPool
from interwhen.verifier import Verifier
from interwhen.workers import WorkDone


class LocalWorkers:
    """At most *threads* threads and *processes* processes at a time."""

    def __init__(self, threads: int, processes: int) -> None:
        self._threads = anyio.CapacityLimiter(threads)
        self._processes = ProcessPool(processes)

    async def check(self, verifier: Verifier, claim: Any, scope: anyio.CancelScope) -> WorkDone:
        """Run a check in the place that *verifier* asks for."""
        if verifier.worker == "process":
            return await self._processes.check(verifier, claim, scope)
        value = await anyio.to_thread.run_sync(verifier.check, claim, abandon_on_cancel=True, limiter=self._threads)
        return value, None

    async def aclose(self) -> None:
        """End the worker processes; a thread whose check was abandoned ends when that check does."""
        await self._processes.close()
