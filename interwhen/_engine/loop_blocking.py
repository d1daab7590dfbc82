"""The event loop of a run: its clock, its callbacks, and the code that blocks it, which is recorded for each run."""

from __future__ import annotations

import functools
import operator
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from types import FrameType
from typing import Any, Protocol

import anyio

from interwhen._log import log_warning
from interwhen._types.ledger import BlockedLoop

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
_OURS: Mapping[str, str] = {
    "check_inline": "verifier",
    "check_aside": "verifier",
    "_check": "verifier",  # the task of a check: before Python 3.12 only its coroutine is visible
    "parse": "name",
}
"""The engine's functions that call user code, each with its local variable that holds the verifier or the name of the
monitor."""
_TIMED = frozenset(("check_inline", "parse"))
"""The functions in ``_OURS`` whose time is measured and reported by their callers."""


_CALLERS = tuple(f"interwhen{os.sep}_engine{os.sep}{name}" for name in ("monitors.py", "jobs.py"))
"""The ends of the paths of the files that define the engine's functions that call user code."""


class LoopSample:
    """The code that an event loop was running at one moment, taken from its stack *frames* (innermost first).

    ``is_timed`` is true if the engine measures and reports this call itself.
    """

    __slots__ = ("is_timed", "what", "where")

    def __init__(self, frames: Iterable[FrameType]) -> None:
        self.what = "other code"
        self.is_timed = False
        trail: list[str] = []
        for found in frames:
            code = found.f_code
            if len(trail) < _FRAMES:
                trail.append(f"{code.co_qualname} ({code.co_filename}:{found.f_lineno})")
            if code.co_name in _OURS and code.co_filename.endswith(_CALLERS):
                self.what = _owner(found) or self.what
                self.is_timed = code.co_name in _TIMED
                break
        self.where = " < ".join(trail)[:600]


def _call(frames: Sequence[FrameType]) -> FrameType:
    """Return the frame of the function that the event loop called: the outermost of *frames* outside the loop."""
    return deque(takewhile(lambda frame: not _is_of_loop(frame), frames), maxlen=1).pop()


def _is_of_loop(frame: FrameType) -> bool:
    return _is_loop_function(frame.f_code.co_filename, frame.f_code.co_name)


@functools.lru_cache(maxsize=4096)
def _is_loop_function(file: str, function: str) -> bool:
    """Return whether the function *function* in the source file *file* belongs to the event loop itself."""
    name = file.rpartition(os.sep)[2]
    return name in _WAITS_IN or (name == "events.py" and function == "_run")  # asyncio's Handle


def _owner(frame: FrameType) -> str | None:
    """Return a text that names the verifier or extractor that *frame*, a function of the engine, calls.

    ``None``: the verifier runs in a thread or process, and so does not block the loop.
    """
    local = _OURS[frame.f_code.co_name]
    role = "verifier" if local == "verifier" else "extractor of"
    owner: Any = frame.f_locals.get(local)
    try:
        if isinstance(owner, str):
            return f"{role} {owner!r:.100}"
        runs_elsewhere = owner.worker not in ("inline", "async")
        name = f"{role} {owner.name!r}"
    except Exception:  # noqa: BLE001  (both may be properties in user code)
        return role
    return None if runs_elsewhere else name


class LoopTurn:
    """Records which code a loop runs while it does not answer the watching thread.

    A turn begins when the watching thread asks the loop to run a callback, and ends with this callback.
    """

    __slots__ = ("_call", "_first", "_last", "_looked", "_since", "asked", "blocking", "sample")

    def __init__(self, asked: float) -> None:
        self.asked = asked
        self.blocking: list[tuple[LoopSample, float]] = []
        """The calls that blocked the loop, each with the longest time, in seconds, that it can have taken here."""
        self.sample: LoopSample | None = None
        """The call that the watching thread saw last."""
        self._call: FrameType | None = None
        self._looked = self._since = self._first = self._last = asked

    def see(self, now: float, frames: Sequence[FrameType], limit: float) -> None:
        """Record the *frames* that the loop was running at the time *now*. *frames* is empty if they cannot be read.

        If the loop runs another call than at the last look, the call before it has ended (:meth:`end_call`).
        """
        call = None if not frames or _is_of_loop(frames[0]) else _call(frames)
        if call is None or call is not self._call:
            self.end_call(now, limit)
            self._call, self._since, self._first = call, self._looked, now
            self.sample = None if call is None else LoopSample(frames)
        self._looked = self._last = now

    def end_call(self, now: float, limit: float) -> None:
        """Record that the call seen last has ended by *now*, and add it to ``blocking`` if it was seen long enough.

        *limit* is the time in seconds for which a call may block the loop. A call whose time the engine measures itself
        is not added.
        """
        sample, self.sample, self._call = self.sample, None, None
        # Seeing a call once is not enough. The thread must have seen it for a quarter of the limit, or the call must
        # have held the GIL for so long that the thread could not look.
        is_found = self._last - self._first >= limit / 4 or self._first - self._since > 2 * limit
        if sample is not None and is_found and not sample.is_timed:
            self.blocking.append((sample, now - self._since))


# Read the frames of a running loop from another thread.

# Before 3.12, CPython clears a frame while it is still the current frame. If another thread reads the current frame at
# that moment, it gets an invalid frame object: reading it returns garbage or crashes the process.
SEES_FUNCTIONS = sys.version_info >= (3, 12)
"""Whether the frames of all functions can be read. If not, only the coroutine of the current task can be read."""


def frames_of(loop: object, thread: int) -> list[FrameType]:
    """Return the frames of *loop*, which runs in *thread*, innermost first; empty if they cannot be read.

    Before Python 3.12, only the frame of the current asyncio task can be read.
    """
    if SEES_FUNCTIONS:
        return _functions(sys._current_frames().get(thread))  # noqa: SLF001
    return _coroutine(loop)


def is_waiting(loop: object, thread: int) -> bool:
    """Return whether *loop*, which runs in *thread*, waits for work, as far as this can be seen."""
    if SEES_FUNCTIONS:
        frame = sys._current_frames().get(thread)  # noqa: SLF001
        return frame is not None and _is_of_loop(frame)
    import asyncio

    # Before 3.12 only the current task is visible, so only a blocking task is ever reported.
    return isinstance(loop, asyncio.AbstractEventLoop) and not loop.is_closed() and asyncio.current_task(loop) is None


def _functions(frame: FrameType | None) -> list[FrameType]:
    found = list[FrameType]()
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


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
# the thread keeps running for a few seconds before it sleeps, because waking a thread takes longer than starting a run,
# and would delay the first token.
#
# Many short calls in one turn can delay a loop too, although none of them blocks it. So the thread reads the frames of
# a late loop more often, and a call must be seen several times to count.

_LINGER_SECONDS, _LINGER_STEP = 5.0, 0.01
"""How long the thread keeps running without a run, and the pause between two looks for a new one, in seconds."""


class BlockListener(Protocol):
    """Receives records of calls that blocked its event loop for longer than ``limit`` seconds."""

    limit: float
    """The longest time, in seconds, that is not recorded."""

    def record(self, blocked: BlockedLoop) -> None:
        """Receive the record of one call that blocked the loop."""

    def starve(self, seconds: float) -> Callable[[], object] | None:
        """Receive, in the watching thread, how long the machine has not run this process since the last such call.

        Return what is to be called on the loop for this, if anything. See :class:`Heartbeat`.
        """


_JITTER = 0.001
"""A thread that sleeps wakes up to this many seconds late on an idle machine."""


class Heartbeat:
    """Measures how long the machine did not run this process, from a thread that sleeps most of the time.

    What a sleep takes beyond its time, and beyond the CPU time that all threads of the process used meanwhile, is time
    in which the thread waited for a CPU: for other processes, or because of a CPU quota. A wait for the GIL or for code
    of this process is not part of it. *clock* and *spent* are the wall clock and the CPU time, in seconds.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, spent: Callable[[], float] = time.process_time
    ) -> None:
        self._clock, self._spent = clock, spent
        self._last = clock(), spent()

    def beat(self, asked: float) -> float:
        """Return for how many seconds the process was not run since the last beat, after a sleep of *asked* seconds."""
        (before, used), self._last = self._last, (self._clock(), self._spent())
        late = self._last[0] - before - asked - (self._last[1] - used)
        return late if late > _JITTER else 0.0


class WatchedLoop:
    """One watched event loop, with its listeners and its current turn.

    *post* schedules a callback on the loop from another thread. *thread* is the id of the thread that runs the loop.
    """

    def __init__(self, post: Callable[[Callable[[], object]], object], loop: object, thread: int) -> None:
        self.loop = loop
        self.thread = thread
        self.limit = float("inf")
        """The shortest limit of all listeners, in seconds."""
        self._listeners: dict[BlockListener, None] = {}
        self._limits: Counter[float] = Counter()
        self._post = post
        self._starved = 0.0
        self.turn: LoopTurn | None = None
        """The turn that the loop has not answered yet; ``None`` if the loop has answered."""

    def add(self, listener: BlockListener) -> None:
        """Begin to report to *listener*. Call this on the loop, like all methods that use the listeners."""
        self._listeners[listener] = None
        self._limits[listener.limit] += 1
        self.limit = min(self._limits)

    def remove(self, listener: BlockListener) -> bool:
        """Stop reporting to *listener*; return whether any listener is left."""
        if listener in self._listeners:
            del self._listeners[listener]
            self._limits[listener.limit] -= 1
            if not self._limits[listener.limit]:
                del self._limits[listener.limit]
            self.limit = min(self._limits, default=float("inf"))
        return bool(self._listeners)

    def look(self, now: float, frames: Callable[[], Sequence[FrameType]], clock: Callable[[], float]) -> None:
        """Ask the loop to run a callback. If it was asked before and half the limit has passed, record what it runs.

        *frames* returns this code as stack frames. *clock* returns the time, and *now* is the present time, in seconds.
        """
        turn = self.turn
        if turn is None:
            self.turn = LoopTurn(now)
            self._post(lambda: self.answered(clock()))
        elif now - turn.asked >= self.limit / 2:
            turn.see(now, frames(), self.limit)

    def answered(self, now: float) -> None:
        """End the turn, and report the code that blocked the loop. The loop runs this method as its callback."""
        turn, self.turn = self.turn, None
        if turn is None:
            return
        turn.end_call(now, self.limit)
        for sample, seconds in turn.blocking:
            for listener in self._listeners:
                if seconds > listener.limit:
                    listener.record(BlockedLoop(sample.what, seconds, sample.where))

    def starve(self, seconds: float) -> None:
        """Report to the listeners that the process was not run for *seconds*, once this is worth it.

        The watching thread calls this. The loop is only woken for a listener that has something to call.
        """
        self._starved += seconds
        if self._starved >= self.limit:
            total, self._starved = self._starved, 0.0
            for listener in list(self._listeners):
                call = listener.starve(total)
                if call is not None:
                    self._post(call)

    def place(self, what: str) -> str:
        """Return the code position at which the thread last saw *what* (a verifier or extractor) in this turn.

        It is empty if the thread did not see it. The thread does not report the call that it saw last.
        """
        sample = self.turn.sample if self.turn is not None else None
        if sample is None:
            return ""
        sample.is_timed = True
        return sample.where if sample.what == what else ""

    @property
    def pause(self) -> float:
        """The time in seconds until the thread looks at this loop again."""
        return self.limit / (4 if self.turn is None else 8)


class _LoopWatcher:
    """The thread that watches the event loops of the process that have a run."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._loops: dict[object, WatchedLoop] = {}
        self._thread: threading.Thread | None = None
        self._sleeps = False

    def enter(self, listener: BlockListener) -> WatchedLoop | None:
        way = _way_in()
        if way is None:
            return None
        loop, post = way
        with self._changed:
            watched = self._loops.get(loop)
            if watched is None:
                watched = self._loops[loop] = WatchedLoop(post, loop, threading.get_ident())
            watched.add(listener)
            if self._thread is None or not self._thread.is_alive():  # after os.fork(), the child has no such thread
                self._sleeps = False
                self._thread = threading.Thread(target=self._watch, name="interwhen-loop-watch", daemon=True)
                self._thread.start()
            elif self._sleeps:
                self._changed.notify()
        return watched

    def leave(self, watched: WatchedLoop, listener: BlockListener) -> None:
        with self._changed:
            if not watched.remove(listener):
                self._forget(watched)

    def _forget(self, watched: WatchedLoop) -> None:
        self._loops = {loop: other for loop, other in self._loops.items() if other is not watched}

    def _watch(self) -> None:
        last = time.monotonic()
        heartbeat = Heartbeat()
        while True:
            with self._changed:
                if not self._loops and time.monotonic() - last > _LINGER_SECONDS:
                    self._sleeps = True
                    self._changed.wait_for(lambda: self._loops)
                    self._sleeps = False
                    heartbeat = Heartbeat()
                loops = list(self._loops.values())
                pause = min((watched.pause for watched in loops), default=_LINGER_STEP)
            time.sleep(pause)
            starved = heartbeat.beat(pause)
            for watched in loops:
                self._look(watched, starved)
            if loops:
                last = time.monotonic()

    def _look(self, watched: WatchedLoop, starved: float = 0.0) -> None:
        try:
            if starved:
                watched.starve(starved)
            if watched.turn is None and is_waiting(watched.loop, watched.thread):
                return  # nothing blocks this loop, and a callback would wake it
            watched.look(time.monotonic(), lambda: frames_of(watched.loop, watched.thread), time.monotonic)
        except Exception as error:  # noqa: BLE001  (the other loops are still watched)
            if not isinstance(error, RuntimeError):  # a closed loop raises RuntimeError
                log_warning("loop.unwatched", error=f"{type(error).__name__}: {error}")
            with self._changed:
                self._forget(watched)


def _way_in() -> tuple[object, Callable[[Callable[[], object]], object]] | None:
    """Return the running loop, and the function that schedules a callback on it from another thread.

    Returns ``None`` if the loop runs in virtual time, as in tests.
    """
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio

        if type(trio.lowlevel.current_clock()).__name__ != "SystemClock":
            return None
        token = trio.lowlevel.current_trio_token()
        return token, token.run_sync_soon
    if getattr(loop, "is_virtual", False):
        return None
    return loop, loop.call_soon_threadsafe


_WATCHER = _LoopWatcher()


def enter(listener: BlockListener) -> WatchedLoop | None:
    """Start watching the running loop for *listener*; return the watched loop, or ``None`` in virtual time (tests)."""
    return _WATCHER.enter(listener)


def leave(watched: WatchedLoop, listener: BlockListener) -> None:
    """Stop watching the loop *watched* for *listener*."""
    _WATCHER.leave(watched, listener)


MOST = 16
"""The largest number of records that a run keeps: those with the longest times."""


class LoopBlocking:
    """Collects the code that blocked the event loop of one run for longer than *limit* seconds (``None``: nothing).

    *when_starved* is called as :meth:`BlockListener.starve`.
    """

    __slots__ = ("_found", "_least", "_logged", "_watch", "_when_starved", "limit", "starved")

    def __init__(
        self, limit: float | None, when_starved: Callable[[float], Callable[[], object] | None] = lambda _seconds: None
    ) -> None:
        self.limit = limit if limit is not None else float("inf")
        self._found: list[BlockedLoop] = []
        self._least = 0.0
        """The shortest time, in seconds, among the kept records when there are ``MOST`` of them; 0 before that."""
        self._logged: set[str] = set()
        self._watch: WatchedLoop | None = None
        self._when_starved = when_starved
        self.starved = 0.0
        """For how many seconds the machine did not run this process, while the loop was watched for this run."""

    def start(self) -> None:
        """Watch the running event loop, unless there is no limit or the loop runs in virtual time."""
        if self.limit != float("inf"):
            self._watch = enter(self)

    def stop(self) -> None:
        """Stop watching the event loop for this run."""
        if self._watch is not None:
            leave(self._watch, self)
            self._watch = None
            self._when_starved = lambda _seconds: None  # the other one refers to the run, which is thus freed at once

    def starve(self, seconds: float) -> Callable[[], object] | None:
        """Count *seconds* in which the machine did not run this process, as :meth:`BlockListener.starve` says."""
        self.starved += seconds
        return self._when_starved(seconds)

    def record_call(self, what: str, seconds: float, function: Callable[..., object]) -> None:
        """Record a slow call of user code, which the engine has measured as longer than the limit.

        *what* names the verifier or extractor, *seconds* is the duration, and *function* is the code that was called.
        """
        where = self._watch.place(what) if self._watch is not None else ""
        self.record(BlockedLoop(what, seconds, where or _place(function)))

    def record(self, blocked: BlockedLoop) -> None:
        """Store *blocked* if it is among the ``MOST`` longest. The first record of a ``what`` is usually logged."""
        if blocked.what not in self._logged and len(self._logged) < MOST:
            self._logged.add(blocked.what)
            log_warning("loop.blocked", what=blocked.what, seconds=round(blocked.seconds, 3), where=blocked.where)
        found = self._found
        if blocked.seconds <= self._least:
            return
        found.append(blocked)
        if len(found) > MOST:
            found.remove(min(found, key=_seconds))
            self._least = min(map(_seconds, found))

    @property
    def found(self) -> tuple[BlockedLoop, ...]:
        """The stored records of calls that blocked the loop, in the order in which they were reported."""
        return tuple(self._found)


_seconds = operator.attrgetter("seconds")


def _place(function: Callable[..., object]) -> str:
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    return f"{code.co_qualname} ({code.co_filename}:{code.co_firstlineno})"[-300:]


# The clock of the running event loop, which may be asyncio, uvloop, trio or a loop with virtual time.


def loop_clock() -> Callable[[], float]:
    """Return the clock of the running loop, in seconds."""
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return anyio.current_time
    # The time() of asyncio's loop only calls time.monotonic. Return that directly, since it is called twice per token.
    return time.monotonic if getattr(type(loop), "time", None) is asyncio.BaseEventLoop.time else loop.time


def loop_caller() -> Callable[[Callable[[], object]], object]:
    """Return a function that schedules a callback on the running loop. Any thread may call it."""
    loop: Any = current_loop()
    return getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon  # type: ignore[no-any-return]


def current_loop() -> object:
    """Return an object that identifies the running event loop: the asyncio loop or the trio token."""
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        import trio

        return trio.lowlevel.current_trio_token()


# Distinguish a cancellation of the current task from the same exception raised by an awaited future.


def is_own_cancellation() -> bool:
    """Return whether a cancellation exception means that the current task itself was cancelled.

    On asyncio, awaiting a cancelled future raises the same exception. On trio, the result is always true.
    """
    import asyncio

    # If that exception left one of our tasks, it would end the whole task group without an error.
    try:
        task = asyncio.current_task()
    except RuntimeError:  # trio: only a cancel scope raises it
        return True
    return task is None or task.cancelling() > 0
