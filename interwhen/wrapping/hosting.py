"""A run that is kept open by a task of its own, for readers who have no `async with`.

An SDK's stream begins in one call and ends in another, perhaps in another task, perhaps by being forgotten. A task
group must be left by the task that entered it, so each such run has a task that does just that.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import anyio

from interwhen._log import log_warning
from interwhen.results import Result
from interwhen.running import Run

if TYPE_CHECKING:
    import asyncio

_CLOSE_SECONDS = 10.0
"""How long closing may take: more than all that it waits for, which is bounded itself."""

_tasks: set[asyncio.Task[None]] = set()
"""Tasks that are running, so that none is collected as garbage meanwhile."""


class Host:
    """Keeps *run* open until it is told to leave."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._entered = anyio.Event()
        self._leaving = anyio.Event()
        self._left = anyio.Event()
        self._error: BaseException | None = None
        self._soon: Callable[[Callable[[], object]], object] | None = None

    def begin(self) -> None:
        """Have the run entered as soon as whoever calls this waits for anything."""
        self._soon = _start_task(self._hold)

    async def entered(self) -> None:
        """Wait until the run is entered. Raises what entering it raises."""
        await self._entered.wait()
        if self._error is not None:
            raise self._error

    @property
    def result(self) -> Result | None:
        """How the run ended, once it has."""
        return self._run.result if self._left.is_set() and self._error is None else None

    def leave(self) -> None:
        """Leave the run soon; may be called by any thread, and where no event loop runs any more."""
        if self._soon is not None and not self._left.is_set():
            try:
                self._soon(self._leaving.set)
            except RuntimeError:  # the loop is closed, and everything with it
                self._soon = None

    async def aclose(self) -> None:
        """Leave the run and wait until that is done, whatever becomes of who waits."""
        if self._soon is None:
            return
        self._leaving.set()
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await self._left.wait()

    async def _hold(self) -> None:
        try:
            async with self._run:
                self._entered.set()
                await self._leaving.wait()
        except Exception as error:  # noqa: BLE001  (this task has nobody above it: its starter or reader is told)
            if self._entered.is_set():
                log_warning("run.failed", error=type(error).__name__)
            self._error = error
        finally:
            self._left.set()
            self._entered.set()


def _start_task(main: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[Callable[[], object]], object]:
    """Run *main* in a task without a parent; return what calls a function on its event loop, from any thread."""
    import asyncio  # much of the cost of importing interwhen

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio

        trio.lowlevel.spawn_system_task(main, name="interwhen call")
        return trio.lowlevel.current_trio_token().run_sync_soon
    task = loop.create_task(main(), name="interwhen call")
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return loop.call_soon_threadsafe
