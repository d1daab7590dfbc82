"""What a sandbox is: anything that runs a program and keeps its promises."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from interwhen.sandbox.guarantees import Guarantees
from interwhen.sandbox.limits import Limits
from interwhen.sandbox.outcomes import Outcome
from interwhen.sandbox.programs import Program


class Sandbox(Protocol):
    """Runs untrusted programs; entered with ``async with`` or, in threads and worker processes, with ``with``.

    Entering raises :class:`~interwhen.errors.SandboxUnavailable` where a promise cannot be kept on this machine.
    A run never raises for what the program did. When it returns, or is cancelled, nothing of the program is left.
    """

    @property
    def name(self) -> str:
        """A short word for logs and reports."""
        ...

    def probe(self) -> Guarantees:
        """Find out what this sandbox can promise here. May take some 100 ms the first time."""
        ...

    def run_sync(self, program: Program, limits: Limits = ...) -> Outcome:
        """Run *program*, blocking this thread until it has ended."""
        ...

    async def run(self, program: Program, limits: Limits = ...) -> Outcome:
        """Run *program*; cancelling kills it."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
