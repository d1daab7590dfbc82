"""Where checks run that must not run on the event loop: the border between a run and its workers."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, runtime_checkable

import anyio

from interwhen.verifier import Verifier

WorkDone: TypeAlias = tuple[Any, str | None]
"""What the check returned (or an awaitable of it), and ``None``; or anything, and why the check did not end."""


@runtime_checkable
class WorkerPool(Protocol):
    """Runs the checks of verifiers whose ``worker`` is ``thread`` or ``process``, for one run or for many.

    :class:`interwhen.Workers` has threads and processes; :class:`interwhen.testing.VirtualWorkers` needs neither.
    """

    @property
    def held_after(self) -> float | None:
        """For how many seconds the event loop may be held before whoever holds it is named; ``None``: nobody looks."""
        ...

    def bind(self) -> None:
        """Make sure that the running event loop is the one that the pool belongs to."""
        ...

    async def check(self, verifier: Verifier, claim: Any, scope: anyio.CancelScope) -> WorkDone:
        """Run ``verifier.check(claim)`` beside the event loop. What it raises may come through.

        *scope* surrounds this call and is cancelled when nobody waits for the verdict any more. Its deadline is
        that of the check; a check that had to wait for a worker first may be given the whole of it anew.
        """
        ...

    async def aclose(self) -> None:
        """Give back every worker. A run does so with a pool of its own only. It must not take long."""
        ...
