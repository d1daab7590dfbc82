"""Workers that exist in virtual time only: no thread, no process, and they can die."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio

from interwhen.verifier import Verifier
from interwhen.worker_pool import WorkDone


@dataclass(frozen=True, slots=True)
class Shift:
    """How long a worker takes over one check, in seconds of the loop's clock (infinity: it hangs), and how it ends."""

    seconds: float = 0.0
    dies: bool = False
    """Whether the worker is gone after that time, without an answer."""


class VirtualWorkers:
    """Stands in for the threads and processes of a run: ``interwhen.run(..., workers=VirtualWorkers(...))``.

    *shift* says how a worker fares with each check; the check itself then runs on the event loop, in no time. As with
    real workers, no more than *threads* and *processes* are busy at once, the others wait, and a check in a process
    gets its whole deadline from when a process is free.
    """

    def __init__(
        self, shift: Callable[[Verifier, Any], Shift] | None = None, *, threads: int = 8, processes: int = 2
    ) -> None:
        self._shift = shift or (lambda _verifier, _claim: Shift())
        self._free = {"thread": anyio.CapacityLimiter(threads), "process": anyio.CapacityLimiter(processes)}
        self.closed = False

    @property
    def held_after(self) -> float | None:
        """Nobody looks: in virtual time, nothing takes time."""
        return None

    def bind(self) -> None:
        """Belong to any loop."""

    async def check(self, verifier: Verifier, claim: Any, scope: anyio.CancelScope) -> WorkDone:
        """Let a worker take the time that *shift* says, then run the check."""
        left = scope.deadline - anyio.current_time()
        if verifier.worker == "process":
            scope.deadline = math.inf
        async with self._free[verifier.worker]:
            if verifier.worker == "process":
                scope.deadline = anyio.current_time() + left
            shift = self._shift(verifier, claim)
            if shift.seconds == math.inf:
                await anyio.sleep_forever()
            await anyio.sleep(shift.seconds)
            if shift.dies:
                return None, f"the {verifier.worker} worker died"
            return verifier.check(claim), None

    async def aclose(self) -> None:
        """Note that the workers were given back."""
        self.closed = True
