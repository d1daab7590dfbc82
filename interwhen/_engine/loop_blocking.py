"""The event loop of a run: its clock, its callbacks, and the code that blocks it."""

from __future__ import annotations

import operator
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from types import FrameType
from typing import Any

import anyio

from interwhen._types.ledger import BlockedLoop
from interwhen._types.log import log_warning

# Find out, from its stack frames, what a loop is running. This part uses no clock and no thread, so it is easy to test.

_FRAMES = 3
"""The number of innermost frames that a report shows."""
_WAITS_IN = frozenset(
    [
        *("selectors.py", "windows_events.py", "base_events.py", "runners.py"),
        *("_io_epoll.py", "_io_kqueue.py", "_io_windows.py", "_run.py"),
    ]
)
"""The files in which an event loop waits for work or starts it. If its innermost frame is there, it is not blocked."""
_TIMED = frozenset(("check_inline", "parse"))
"""The engine's functions that call user code and whose callers measure and report the time of this call."""
_CHECKS = frozenset(("check_aside", "_check"))
"""The engine's functions that run a check as a task, each with the local variable ``verifier``. Before Python 3.12,
only the coroutine of the task is visible."""
_CALLERS = tuple(f"interwhen{os.sep}_engine{os.sep}{name}" for name in ("monitors.py", "jobs.py"))
"""The ends of the paths of the files that define these functions."""


def blocked_by(frames: Iterable[FrameType]) -> tuple[str, str] | None:
    # `None`: the engine measures and reports this call itself.
    what = "other code"
    trail: list[str] = []
    for frame in frames:
        code = frame.f_code
        if len(trail) < _FRAMES:
            trail.append(f"{code.co_qualname} ({code.co_filename}:{frame.f_lineno})")
        if code.co_filename.endswith(_CALLERS):
            if code.co_name in _TIMED:
                return None
            if code.co_name in _CHECKS:
                what = _name(frame.f_locals.get("verifier"))
                break
    return what, " < ".join(trail)[:600]


def _name(verifier: Any) -> str:
    try:
        return f"verifier {verifier.name!r}"
    except Exception:  # noqa: BLE001  (it may be a property in user code)
        return "verifier"


def _is_of_loop(frame: FrameType) -> bool:
    name = frame.f_code.co_filename.rpartition(os.sep)[2]
    return name in _WAITS_IN or (name == "events.py" and frame.f_code.co_name == "_run")  # asyncio's Handle


# Before 3.12, CPython clears a frame while it is still the current frame. If another thread reads the current frame at
# that moment, it gets an invalid frame object: reading it returns garbage or crashes the process.
SEES_FUNCTIONS = sys.version_info >= (3, 12)
"""Whether the frames of all functions can be read. If not, only the coroutine of the current task can be read."""


def frames_of(loop: object, thread: int) -> list[FrameType]:
    # Return the frames of `loop`, which runs in `thread`, innermost first; empty if they cannot be read.
    if not SEES_FUNCTIONS:
        return _coroutine(loop)
    frame, frames = sys._current_frames().get(thread), list[FrameType]()  # noqa: SLF001
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def _coroutine(loop: object) -> list[FrameType]:
    import asyncio

    if not isinstance(loop, asyncio.AbstractEventLoop):
        return []  # trio does not say which of its tasks is running
    task = asyncio.current_task(loop)
    # `cr_await` is None while a coroutine runs, so look into anyio's wrapper of a task for the coroutine that it wraps.
    coroutine: Any = task.get_coro() if task is not None else None
    frame = getattr(coroutine, "cr_frame", None)
    if isinstance(frame, FrameType) and frame.f_code.co_name in ("_run_coro", "_run_wrapped_task"):
        wrapped: Any = frame.f_locals.get("coro") or getattr(frame.f_locals.get("self"), "_coro", None)
        frame = getattr(wrapped, "cr_frame", None) or frame
    return [frame] if isinstance(frame, FrameType) else []


# A thread watches the loops. If a loop does not answer in time, the thread reads its frames.
#
# With the usual limit of 20 ms, the thread looks 200 times a second at each loop that has a run. It asks a loop that
# runs code to call back, and leaves a loop alone that waits for work: waking it would cost more than the tokens of a
# slow stream. Neither adds cost per token. A loop without a run, or in virtual time, is not asked. After the last run,
# the thread keeps running for a few seconds, because starting a thread takes longer than starting a run, and would
# delay the first token.
#
# Many short calls in one turn can delay a loop too, although none of them blocks it. So the thread reads the frames of
# a late loop more often, and a call must be seen several times to count.

_LINGER_SECONDS, _LINGER_STEP = 5.0, 0.01
"""How long the thread keeps running without a run, and the pause between two looks for a new one, in seconds."""


_JITTER = 0.001
"""A thread that sleeps wakes up to this many seconds late on an idle machine."""


class Heartbeat:
    """Measures how long the machine did not run this process, from a thread that sleeps most of the time."""

    # What a sleep takes beyond its time, and beyond the CPU time that all threads of the process used meanwhile, is
    # time in which the thread waited for a CPU: for other processes, or because of a CPU quota. A wait for the GIL or
    # for code of this process is not part of it. `clock` and `spent` are the wall clock and the CPU time, in seconds.

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, spent: Callable[[], float] = time.process_time
    ) -> None:
        self._clock, self._spent = clock, spent
        self._last = clock(), spent()

    def beat(self, asked: float) -> float:
        # Return for how many seconds the process was not run since the last beat, after a sleep of `asked` seconds.
        (before, used), self._last = self._last, (self._clock(), self._spent())
        late = self._last[0] - before - asked - (self._last[1] - used)
        return late if late > _JITTER else 0.0


class WatchedLoop:
    """One watched event loop, with its listeners, and the calls that it runs while it does not answer the thread.

    *post* schedules a callback on the loop from another thread.
    """

    def __init__(self, post: Callable[[Callable[[], object]], object], loop: object, thread: int) -> None:
        self.loop, self.thread, self._post = loop, thread, post
        self.listeners: dict[LoopBlocking, None] = {}
        """Changed and called on the loop only."""
        self.limit = float("inf")
        """The shortest limit that a listener of this loop has had, in seconds."""
        self.asked: float | None = None
        """When the loop was asked to run a callback; ``None`` if it has done so."""
        self._blocking: list[BlockedLoop] = []
        """The calls that blocked the loop since then, each with the longest time that it can have taken here."""
        self._call: FrameType | None = None
        self._seen: tuple[str, str] | None = None
        self._since = self._first = self._looked = 0.0
        self._starved = 0.0

    def add(self, listener: LoopBlocking) -> None:
        self.listeners[listener] = None
        self.limit = min(self.limit, listener.limit)

    def look(self, now: float, frames: Sequence[FrameType], clock: Callable[[], float]) -> None:
        # The first look asks the loop to call back. Later ones see what it runs before it does so.
        if self.asked is None:
            self.asked = self._looked = now
            self._post(lambda: self.answered(clock()))
        elif now - self.asked >= self.limit / 2:
            # The function that the event loop called: the outermost frame outside the loop.
            outside = takewhile(lambda frame: not _is_of_loop(frame), frames)
            call = next(iter(deque(outside, maxlen=1)), None)
            if call is None or call is not self._call:
                self._end_call(now)
                self._call, self._since, self._first = call, self._looked, now
                self._seen = blocked_by(frames) if call is not None else None
            self._looked = now

    def _end_call(self, now: float) -> None:
        # Seeing a call once is not enough. The thread must have seen it for a quarter of the limit, or the call must
        # have held the GIL for so long that the thread could not look.
        is_found = self._looked - self._first >= self.limit / 4 or self._first - self._since > 2 * self.limit
        if self._seen is not None and is_found:
            self._blocking.append(BlockedLoop(self._seen[0], now - self._since, self._seen[1]))
        self._call = self._seen = None

    def answered(self, now: float) -> None:
        # Report the code that blocked the loop. The loop runs this method as its callback.
        self._end_call(now)
        blocking, self._blocking, self.asked = self._blocking, [], None
        for blocked in blocking:
            for listener in self.listeners:
                if blocked.seconds > listener.limit:
                    listener.record(blocked)

    def starve(self, seconds: float) -> None:
        # The watching thread calls this. The loop is only woken for a listener that has something to call.
        self._starved += seconds
        if self._starved >= self.limit:
            total, self._starved = self._starved, 0.0
            for listener in list(self.listeners):
                call = listener.starve(total)
                if call is not None:
                    self._post(call)

    @property
    def pause(self) -> float:
        return self.limit / (4 if self.asked is None else 8)


class LoopWatcher:
    """The thread that watches the event loops of the process that have a run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.loops: dict[object, WatchedLoop] = {}
        self.thread: threading.Thread | None = None

    def enter(self, listener: LoopBlocking) -> WatchedLoop | None:
        loop = current_loop()
        if _is_virtual(loop):
            return None
        with self._lock:
            watched = self.loops.get(loop)
            if watched is None:
                watched = self.loops[loop] = WatchedLoop(loop_caller(), loop, threading.get_ident())
            watched.add(listener)
            if self.thread is None or not self.thread.is_alive():  # after os.fork(), the child has no such thread
                self.thread = threading.Thread(target=self._watch, name="interwhen-loop-watch", daemon=True)
                self.thread.start()
        return watched

    def leave(self, watched: WatchedLoop, listener: LoopBlocking) -> None:
        with self._lock:
            watched.listeners.pop(listener, None)
            if not watched.listeners:
                self._forget(watched)

    def _forget(self, watched: WatchedLoop) -> None:
        self.loops = {loop: other for loop, other in self.loops.items() if other is not watched}

    def _watch(self) -> None:
        last = time.monotonic()
        heartbeat = Heartbeat()
        while True:
            with self._lock:
                loops = list(self.loops.values())
                if loops:
                    last = time.monotonic()
                elif time.monotonic() - last > _LINGER_SECONDS:
                    self.thread = None
                    return
            pause = min((watched.pause for watched in loops), default=_LINGER_STEP)
            time.sleep(pause)
            starved = heartbeat.beat(pause)
            for watched in loops:
                self.look(watched, starved)

    def look(self, watched: WatchedLoop, starved: float = 0.0) -> None:
        try:
            if starved:
                watched.starve(starved)
            frames = frames_of(watched.loop, watched.thread)
            waits = not frames or _is_of_loop(frames[0])
            # Nothing blocks a loop that waits, and a callback would wake it. A closed one is asked, and thus forgotten.
            if watched.asked is not None or not waits or getattr(watched.loop, "is_closed", bool)():
                watched.look(time.monotonic(), frames, time.monotonic)
        except Exception as error:  # noqa: BLE001  (the other loops are still watched)
            if not isinstance(error, RuntimeError):  # a closed loop raises RuntimeError
                log_warning("loop.unwatched", error=f"{type(error).__name__}: {error}")
            with self._lock:
                self._forget(watched)


def _is_virtual(loop: object) -> bool:
    import asyncio

    if isinstance(loop, asyncio.AbstractEventLoop):
        return getattr(loop, "is_virtual", False)
    import trio

    return type(trio.lowlevel.current_clock()).__name__ != "SystemClock"


WATCHER = LoopWatcher()

MOST = 16
"""The largest number of records that a run keeps: those with the longest times."""


class LoopBlocking:
    """Collects the code that blocked the event loop of one run for longer than *limit* seconds (``None``: nothing).

    *when_starved* is called in the watching thread with the seconds for which the machine has not run this process
    since the last such call; see :class:`Heartbeat`. The loop then calls what it returns, if anything.
    """

    __slots__ = ("_logged", "_watch", "_when_starved", "blocked", "limit", "starved")

    def __init__(
        self, limit: float | None, when_starved: Callable[[float], Callable[[], object] | None] = lambda _seconds: None
    ) -> None:
        self.limit = limit if limit is not None else float("inf")
        self.blocked: tuple[BlockedLoop, ...] = ()
        self._logged: set[str] = set()
        self._watch: WatchedLoop | None = None
        self._when_starved = when_starved
        self.starved = 0.0
        """As in :class:`~interwhen._types.ledger.Timing`."""

    def start(self) -> None:
        if self.limit != float("inf"):
            self._watch = WATCHER.enter(self)

    def stop(self) -> None:
        if self._watch is not None:
            WATCHER.leave(self._watch, self)
            self._watch = None
            self._when_starved = lambda _seconds: None  # the callback refers to the run: free it at once

    def starve(self, seconds: float) -> Callable[[], object] | None:
        self.starved += seconds
        return self._when_starved(seconds)

    def record_call(self, what: str, seconds: float, function: Callable[..., object]) -> None:
        """Record a slow call of user code, which the engine has measured as longer than the limit."""
        code = getattr(function, "__code__", None)
        where = f"{code.co_qualname} ({code.co_filename}:{code.co_firstlineno})"[-300:] if code is not None else ""
        self.record(BlockedLoop(what, seconds, where))

    def record(self, blocked: BlockedLoop) -> None:
        if blocked.what not in self._logged and len(self._logged) < MOST:
            self._logged.add(blocked.what)
            log_warning("loop.blocked", what=blocked.what, seconds=round(blocked.seconds, 3), where=blocked.where)
        self.blocked = (*self.blocked, blocked)
        if len(self.blocked) > MOST:
            least = min(self.blocked, key=operator.attrgetter("seconds"))
            self.blocked = tuple(each for each in self.blocked if each is not least)


# The clock of the running event loop, which may be asyncio, uvloop, trio or a loop with virtual time.


def loop_clock() -> Callable[[], float]:
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return anyio.current_time
    # The time() of asyncio's loop only calls time.monotonic. Return that directly, since it is called twice per token.
    return time.monotonic if getattr(type(loop), "time", None) is asyncio.BaseEventLoop.time else loop.time


def loop_caller() -> Callable[[Callable[[], object]], object]:
    # Return a function that schedules a callback on the running loop. Any thread may call it.
    loop: Any = current_loop()
    return getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon  # type: ignore[no-any-return]


def current_loop() -> object:
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        import trio

        return trio.lowlevel.current_trio_token()


# Distinguish a cancellation of the current task from the same exception raised by an awaited future.


def is_own_cancellation() -> bool:
    # On asyncio, awaiting a cancelled future raises the same exception. If one of our tasks let it pass, its whole task
    # group would be cancelled without an error. On trio, the result is always true.
    import asyncio

    try:
        task = asyncio.current_task()
    except RuntimeError:  # trio: only a cancel scope raises it
        return True
    return task is None or task.cancelling() > 0
