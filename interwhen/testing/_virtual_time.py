"""Virtual time: an asyncio event loop on which hours take milliseconds, the same ones each time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import anyio

from interwhen._types.errors import InterwhenError
from interwhen._types.extensions import WorkDone
from interwhen._types.verifiers import Verifier

T = TypeVar("T")


class VirtualTimeError(InterwhenError):
    """What ran in virtual time did something that it cannot do there."""


class DeadlockError(VirtualTimeError):
    """Every task waits, no timer is set: on a real loop this would hang for ever. ``waiting`` says who waits where."""

    def __init__(self, waiting: tuple[str, ...]) -> None:
        self.waiting = waiting
        super().__init__(f"nothing can happen any more; these tasks wait: {'; '.join(waiting) or '(none)'}")


class OutOfVirtualTimeError(VirtualTimeError):
    """It did not end within the limit of virtual seconds, or of turns of the loop."""


class RealIOError(VirtualTimeError):
    """Sockets, files, threads, processes and signals know nothing of virtual time: a fake must stand in for them."""


class _Turn:
    """What stands in the place of the selector: no file can be ready, so it lets the time pass instead."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> Sequence[Any]:
        self._loop.turn(timeout)
        return ()


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose clock stands still while anything can run, and then jumps to the next timer.

    Callbacks run in the order in which they became ready, so the same program makes the same steps each time.
    ``turns`` counts them. ``on_turn`` is called before each: the place from which a test cancels, at any step. It
    returns whether it made something ready to run, and then no time passes.

    Raises :class:`DeadlockError` from the running call where nothing is ready and no timer is set,
    :class:`OutOfVirtualTimeError` beyond *seconds* or *turns*, and :class:`RealIOError` where real I/O is asked for.
    """

    is_virtual = True
    """Nothing that watches real time watches this loop."""
    _scheduled: list[asyncio.TimerHandle]  # of BaseEventLoop: the first one is the next, and not cancelled, in a turn

    def __init__(self, *, seconds: float = 1e6, turns: int = 10_000_000) -> None:
        super().__init__()
        self.turns = 0
        self.on_turn: Callable[[int], bool] | None = None
        self._now = 0.0
        self._seconds = seconds
        self._max_turns = turns
        self._selector = _Turn(self)  # what BaseEventLoop asks, once a turn

    def time(self) -> float:
        """Return the virtual time, in seconds since the loop was made."""
        return self._now

    def turn(self, timeout: float | None) -> None:
        """Begin a turn; *timeout* is how long the loop has nothing to do, ``None``: for ever."""
        self.turns += 1
        if self.on_turn is not None and self.on_turn(self.turns):
            return
        if timeout is None:
            raise DeadlockError(self._waiting())
        if timeout:
            # Not by adding: a clock that a rounding error leaves before the timer's time would never reach it.
            self._now = self._scheduled[0].when()
        if self._now > self._seconds:
            raise OutOfVirtualTimeError(f"not done after {self._seconds:g} virtual seconds: {self._in_words()}")
        if self.turns > self._max_turns:
            raise OutOfVirtualTimeError(f"not done after {self._max_turns} turns of the loop: {self._in_words()}")

    def _in_words(self) -> str:
        return "; ".join(self._waiting())

    def _waiting(self) -> tuple[str, ...]:
        return tuple(sorted(_where(task) for task in asyncio.all_tasks(self)))

    # What BaseEventLoop leaves to its subclasses, and what must not happen.

    def _process_events(self, event_list: Sequence[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> NoReturn:
        raise RealIOError("another thread spoke to an event loop in virtual time, which cannot wait for it")

    def run_in_executor(self, *_: Any) -> NoReturn:  # type: ignore[override]
        """Refuse: a thread takes real time."""
        raise RealIOError("a thread was asked for in virtual time: use interwhen.testing.VirtualWorkers for checks")

    def add_reader(self, *_: Any) -> NoReturn:  # type: ignore[override]
        """Refuse: a file is ready in real time only."""
        raise RealIOError("reading from a real file or socket was asked for in virtual time")

    def add_writer(self, *_: Any) -> NoReturn:  # type: ignore[override]
        """Refuse likewise."""
        raise RealIOError("writing to a real file or socket was asked for in virtual time")

    def add_signal_handler(self, *_: Any) -> NoReturn:  # type: ignore[override]
        """Refuse likewise."""
        raise RealIOError("signals come in real time only")

    async def create_connection(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse likewise."""
        raise RealIOError("a network connection was asked for in virtual time")

    async def create_server(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse likewise."""
        raise RealIOError("a server was asked for in virtual time")

    async def subprocess_exec(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse likewise."""
        raise RealIOError("a process was asked for in virtual time")

    async def subprocess_shell(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse likewise."""
        raise RealIOError("a process was asked for in virtual time")


def run_virtual(function: Callable[[], Awaitable[T]], *, seconds: float = 1e6, turns: int = 10_000_000) -> T:
    """Run the async *function* in virtual time and return what it returns.

    Waiting costs nothing, and every run makes the same steps. Checks in threads and processes need
    :class:`~interwhen.testing.VirtualWorkers`. Raises what *function* raises, and the errors of
    :class:`VirtualLoop`.
    """

    async def main() -> T:
        return await function()

    return _run(VirtualLoop(seconds=seconds, turns=turns), main())


def _run(loop: VirtualLoop, main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main)


def _where(task: asyncio.Task[Any]) -> str:
    """Return the task's name, and the innermost line of code in which it waits."""
    frames = task.get_stack(limit=None)
    if not frames:
        return task.get_name()
    frame = frames[-1]
    return f"{task.get_name()!r} at {frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"


# Workers that exist in virtual time only: no thread, no process, and they can die.


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
    def blocked_loop_after(self) -> float | None:
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
