"""Virtual time: an asyncio event loop on which waiting takes no real time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import anyio

from interwhen._types.errors import InterwhenError
from interwhen._types.extensions import WorkDone
from interwhen._types.verifiers import Verifier, note_work

T = TypeVar("T")


class VirtualTimeError(InterwhenError):
    """Base class for errors of code that runs in virtual time."""


class DeadlockError(VirtualTimeError):
    """All tasks wait, and no timer is set that could wake one of them.

    ``waiting`` has the name of each task, with the file and the line at which it waits, if these are known.
    """

    def __init__(self, waiting: tuple[str, ...]) -> None:
        self.waiting = waiting
        super().__init__(f"deadlock; these tasks wait: {'; '.join(waiting) or '(none)'}")


class OutOfVirtualTimeError(VirtualTimeError):
    """Code in virtual time exceeded its limit of virtual seconds or of loop iterations."""


class RealIOError(VirtualTimeError):
    """Code used a virtual event loop for a file, socket, pipe, thread, process or signal. Use a fake instead."""


class _Turn:
    """Replaces the selector of the event loop. It advances the virtual clock instead of waiting for files."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> Sequence[Any]:
        self._loop.turn(timeout)
        return ()


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop with a virtual clock, which jumps to the next timer when no callback is ready.

    ``turns`` counts loop iterations. ``on_turn`` is called before each one with its number (from 1); if it returns
    true, the clock does not move. Raises :class:`DeadlockError` from the running call if nothing is ready and no timer
    is set, :class:`OutOfVirtualTimeError` beyond *seconds* or *turns*, and :class:`RealIOError` if the loop is asked
    for real I/O.
    """

    is_virtual = True
    """Tells the watchdog for blocked loops to ignore this loop."""
    _scheduled: list[asyncio.TimerHandle]  # of BaseEventLoop; in an iteration the first one is next and not cancelled

    def __init__(self, *, seconds: float = 1e6, turns: int = 10_000_000) -> None:
        super().__init__()
        self.turns = 0
        self.on_turn: Callable[[int], bool] | None = None
        self._now = 0.0
        self._seconds = seconds
        self._max_turns = turns
        self._selector = _Turn(self)  # BaseEventLoop calls it once per iteration

    def time(self) -> float:
        """Return the virtual time in seconds since the creation of the loop."""
        return self._now

    def turn(self, timeout: float | None) -> None:
        """Begin a loop iteration: call ``on_turn``, and set the clock to the next timer if no callback is ready.

        *timeout* is the time in seconds to the next timer: 0 if a callback is ready, and ``None`` if there is no timer.
        """
        self.turns += 1
        if self.on_turn is not None and self.on_turn(self.turns):
            return
        if timeout is None:
            raise DeadlockError(self._waiting())
        if timeout:
            # Set, not added: with a rounding error the clock might never reach the time of the timer.
            self._now = self._scheduled[0].when()
        if self._now > self._seconds:
            raise self._out_of(f"{self._seconds:g} virtual seconds")
        if self.turns > self._max_turns:
            raise self._out_of(f"{self._max_turns} loop iterations")

    def _out_of(self, limit: str) -> OutOfVirtualTimeError:
        return OutOfVirtualTimeError(
            f"the function must finish within {limit}, and did not; it waits in: "
            f"{'; '.join(self._waiting())}; look there for a wait without an end"
        )

    def _waiting(self) -> tuple[str, ...]:
        return tuple(sorted(_where(task) for task in asyncio.all_tasks(self)))

    # Abstract methods of BaseEventLoop, and methods that would do real I/O.

    def _process_events(self, event_list: Sequence[Any]) -> None:
        """Do nothing: without sockets there are no socket events."""

    def _write_to_self(self) -> NoReturn:
        raise RealIOError(
            "only its own thread may use an event loop in virtual time, and another thread did: use a fake, "
            "such as interwhen.testing.VirtualWorkers"
        )


def _refuse(what: str) -> Callable[..., NoReturn]:
    def method(*_: Any, **__: Any) -> NoReturn:
        raise RealIOError(
            f"code in virtual time must not do real I/O, and {what}: use a fake, such as "
            "interwhen.testing.VirtualWorkers for workers"
        )

    return method


for _name, _what in (
    ("run_in_executor", "a thread was used"),
    ("add_reader", "a file or socket was read"),
    ("add_writer", "a file or socket was written"),
    ("add_signal_handler", "a signal handler was set"),
    ("create_connection", "a network connection was opened"),
    ("create_unix_connection", "a socket was opened"),
    ("create_datagram_endpoint", "a socket was opened"),
    ("connect_accepted_socket", "a socket was used"),
    ("connect_read_pipe", "a pipe was read"),
    ("connect_write_pipe", "a pipe was written"),
    ("start_tls", "a connection was encrypted"),
    ("sendfile", "a file was sent"),
    ("sock_accept", "a socket was used"),
    ("sock_connect", "a socket was used"),
    ("sock_recv", "a socket was read"),
    ("sock_recv_into", "a socket was read"),
    ("sock_recvfrom", "a socket was read"),
    ("sock_recvfrom_into", "a socket was read"),
    ("sock_sendall", "a socket was written"),
    ("sock_sendfile", "a socket was written"),
    ("sock_sendto", "a socket was written"),
    ("create_server", "a server was started"),
    ("create_unix_server", "a server was started"),
    ("subprocess_exec", "a process was started"),
    ("subprocess_shell", "a process was started"),
):
    setattr(VirtualLoop, _name, _refuse(_what))


def run_virtual(function: Callable[[], Awaitable[T]], *, seconds: float = 1e6, turns: int = 10_000_000) -> T:
    """Run the async *function* in virtual time and return its result.

    Waiting takes no real time. *function* may take at most *seconds* of virtual time and *turns* iterations of the
    loop. Checks in threads and processes need :class:`~interwhen.testing.VirtualWorkers`. Raises the exceptions of
    *function*, :class:`DeadlockError`, :class:`OutOfVirtualTimeError` and :class:`RealIOError`.
    """

    async def main() -> T:
        return await function()

    return _run(VirtualLoop(seconds=seconds, turns=turns), main())


def _run(loop: VirtualLoop, main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main)


def _where(task: asyncio.Task[Any]) -> str:
    # The place is the innermost line outside of asyncio and anyio. The chain of awaits ends at an asynchronous
    # generator, whose frame cannot be read.
    place = ""
    waiting: Any = task.get_coro()
    # ``Task.get_stack`` has only the outermost coroutine of a task that waits.
    while (frame := getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)) is not None:
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if not place or package not in ("asyncio", "anyio"):
            place = f" at {frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
    return f"{task.get_name()!r}{place}"


# Workers in virtual time: no threads and no processes, and they can die.


@dataclass(frozen=True, slots=True)
class Shift:
    """How long a worker needs for one check, and whether it dies. With infinite *seconds*, the check hangs."""

    seconds: float = 0.0
    dies: bool = False
    """Whether the worker dies after that time, without a result."""


class VirtualWorkers:
    """Replaces the threads and processes of a run: ``interwhen.run(..., workers=VirtualWorkers(...))``.

    *shift* returns how long each check takes and whether its worker dies. At most *threads* checks in threads and
    *processes* checks in processes run at once; others wait. The deadline of a check in a process begins when a process
    is free.
    """

    blocked_loop_after: float | None = None
    """Always ``None``: blocked loops are not reported, because code takes no virtual time."""

    def __init__(
        self, shift: Callable[[Verifier, Any], Shift] | None = None, *, threads: int = 8, processes: int = 2
    ) -> None:
        self._shift = shift or (lambda _verifier, _claim: Shift())
        self._free = {"thread": anyio.CapacityLimiter(threads), "process": anyio.CapacityLimiter(processes)}
        self.closed = False

    def bind(self) -> None:
        """Do nothing: these workers serve any loop."""

    async def check(self, verifier: Verifier, claim: Any, scope: anyio.CancelScope) -> WorkDone:
        """Wait for a free worker and for the time that *shift* returns, then check *claim* with *verifier*.

        Return what the verifier returned, and ``None``; if the worker dies, ``None`` and the reason. Raises the
        exceptions of the verifier.
        """
        begun = anyio.current_time()
        left = scope.deadline - begun
        if verifier.worker == "process":
            scope.deadline = math.inf
        # In older versions of anyio, a task can take a place that was just left from one that waits for it.
        await anyio.lowlevel.checkpoint()
        async with self._free[verifier.worker]:
            note_work(verifier.worker, anyio.current_time() - begun)
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
        """Record that the workers were closed."""
        self.closed = True
