"""Finds the code that blocks the event loop, and records it for each run.

A call that the engine makes itself (an inline check, an extractor) is timed by its caller. Any other code is found by a
thread that watches the loops of the process.
"""

from __future__ import annotations

import functools
import operator
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import PurePath
from types import FrameType
from typing import Any, Protocol

from interwhen._log import log_warning
from interwhen._types.ledger import BlockedLoop

# What a loop does in one turn, read from frames: no clock and no thread here, so that it is tested without them.

_FRAMES = 3
"""How many of the innermost frames a report shows."""
_WAITS_IN = frozenset(
    [
        *("selectors.py", "windows_events.py", "base_events.py", "runners.py"),
        *("_io_epoll.py", "_io_kqueue.py", "_io_windows.py", "_run.py"),
    ]
)
"""Files in which a loop waits for work or starts it: a loop that is found there is not blocked."""
_OURS: Mapping[str, str] = {
    "check_inline": "verifier",
    "check_aside": "verifier",
    "_check": "verifier",  # the task of a check: before Python 3.12 only its coroutine is visible
    "parse": "name",
}
"""Functions of the engine that call foreign code, by the variable that names the verifier or the monitor."""
_TIMED = frozenset(("check_inline", "parse"))
"""Functions whose caller measures and reports the time."""


_CALLERS = tuple(str(PurePath("interwhen", "_engine", name)) for name in ("monitors.py", "jobs.py"))
"""The files of those functions."""


class LoopSample:
    """The code that a loop was running at one moment."""

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
    """Return the outermost of *frames* (innermost first) that is not the loop's own."""
    return deque(takewhile(lambda frame: not _is_of_loop(frame), frames), maxlen=1).pop()


def _is_of_loop(frame: FrameType) -> bool:
    return _is_loop_function(frame.f_code.co_filename, frame.f_code.co_name)


@functools.lru_cache(maxsize=4096)
def _is_loop_function(file: str, function: str) -> bool:
    """Tell whether *function* in *file* belongs to a loop, which waits or starts work in it."""
    name = PurePath(file).name
    return name in _WAITS_IN or (name == "events.py" and function == "_run")  # asyncio's Handle


def _owner(frame: FrameType) -> str | None:
    """Return the verifier or extractor that *frame* of the engine calls; ``None``: a worker runs it elsewhere."""
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
    """What a loop ran between a request to call back and its answer.

    Only the watching thread writes to it. The loop reports a turn once, when it answers; what the thread writes to it
    after that is lost.
    """

    __slots__ = ("_call", "_first", "_last", "_looked", "_since", "asked", "blocking", "sample")

    def __init__(self, asked: float) -> None:
        self.asked = asked
        self.blocking: list[tuple[LoopSample, float]] = []
        """The calls that blocked the loop, with their seconds at most."""
        self.sample: LoopSample | None = None
        """The call that was seen last."""
        self._call: FrameType | None = None
        self._looked = self._since = self._first = self._last = asked

    def see(self, now: float, frames: Sequence[FrameType], limit: float) -> None:
        """Record the *frames* of the loop at *now*; none: it waits for work, or its frames are not visible."""
        call = None if not frames or _is_of_loop(frames[0]) else _call(frames)
        if call is None or call is not self._call:
            self.end_call(now, limit)
            self._call, self._since, self._first = call, self._looked, now
            self.sample = None if call is None else LoopSample(frames)
        self._looked = self._last = now

    def end_call(self, now: float, limit: float) -> None:
        """End the call that was seen last, at *now* or earlier; record it if it blocked the loop."""
        sample, self.sample, self._call = self.sample, None, None
        # One look proves little: the call must have been seen for a quarter of the limit, or have held the GIL, so that
        # the watching thread could not look.
        is_found = self._last - self._first >= limit / 4 or self._first - self._since > 2 * limit
        if sample is not None and is_found and not sample.is_timed:
            self.blocking.append((sample, now - self._since))


# The frames of a running loop, read from another thread.

# Before 3.12, CPython clears a frame while it is still the current one. Another thread that asks for it at that moment
# gets a frame object without contents: reading it returns garbage or crashes the process.
SEES_FUNCTIONS = sys.version_info >= (3, 12)
"""Whether all functions are visible. If not, only the coroutine of the current task is: it keeps its frame."""


def frames_of(loop: object, thread: int) -> list[FrameType]:
    """Return the frames of *loop*, which runs in *thread*, innermost first; none where they are not visible."""
    if SEES_FUNCTIONS:
        return _functions(sys._current_frames().get(thread))  # noqa: SLF001
    return _coroutine(loop)


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
    # `cr_await` is empty while a coroutine runs. anyio's wrapper of a task keeps the coroutine that it wraps.
    coroutine: Any = task.get_coro() if task is not None else None
    frame = getattr(coroutine, "cr_frame", None)
    if isinstance(frame, FrameType) and frame.f_code.co_name in ("_run_coro", "_run_wrapped_task"):
        wrapped: Any = frame.f_locals.get("coro") or getattr(frame.f_locals.get("self"), "_coro", None)
        frame = getattr(wrapped, "cr_frame", None) or frame
    return [frame] if isinstance(frame, FrameType) else []


# A thread watches the loops, and reads the frames of one that does not answer in time.
#
# A hundred times a second the thread asks each loop that has a run to call back. That costs the loop about ten
# microseconds, and a token nothing. A loop without a run, or in virtual time, is not asked. After the last run the
# thread waits a few seconds for the next one before it sleeps: waking a thread takes longer than starting a run, and
# would delay the first token.
#
# Many short calls in one turn make a loop late as well, and none of them is to blame. So a loop that is late is looked
# at more often, and a call must be seen several times to count.

_LINGER_SECONDS, _LINGER_STEP = 5.0, 0.01
"""How long the thread waits for the next run, and how often it looks."""


class BlockListener(Protocol):
    """Receives what blocked a loop for longer than its limit."""

    limit: float

    def record(self, blocked: BlockedLoop) -> None:
        """Record what blocked the loop."""


class WatchedLoop:
    """One event loop, those who listen, and the turn that it has not answered yet."""

    def __init__(self, post: Callable[[Callable[[], object]], object], loop: object, thread: int) -> None:
        self.loop = loop
        self.thread = thread
        self.limit = float("inf")
        """The shortest limit of all listeners, in seconds."""
        self._listeners: dict[BlockListener, None] = {}
        self._limits: Counter[float] = Counter()
        self._post = post
        self.turn: LoopTurn | None = None
        """``None``: the loop has answered."""

    def add(self, listener: BlockListener) -> None:
        """Report to *listener* from now on. Called on the loop, like everything that reads the listeners."""
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
        """Ask the loop to call back. If it is late with the answer to an earlier request, record its *frames* instead.

        Called from the watching thread. An answer is late after half of :attr:`limit`.
        """
        turn = self.turn
        if turn is None:
            self.turn = LoopTurn(now)
            self._post(lambda: self.answered(clock()))
        elif now - turn.asked >= self.limit / 2:
            turn.see(now, frames(), self.limit)

    def answered(self, now: float) -> None:
        """End the turn, and report what blocked the loop. Called on the loop, when it answers."""
        turn, self.turn = self.turn, None
        if turn is None:
            return
        turn.end_call(now, self.limit)
        for sample, seconds in turn.blocking:
            for listener in self._listeners:
                if seconds > listener.limit:
                    listener.record(BlockedLoop(sample.what, seconds, sample.where))

    def place(self, what: str) -> str:
        """Return where in the code *what* blocked the loop, if it was seen; empty if not.

        Called while *what* still blocks the loop, by the caller that measured it.
        """
        sample = self.turn.sample if self.turn is not None else None
        if sample is None:
            return ""
        sample.is_timed = True
        return sample.where if sample.what == what else ""

    @property
    def pause(self) -> float:
        """How long to wait before the next look, in seconds."""
        return self.limit / (2 if self.turn is None else 8)


class _LoopWatcher:
    """The thread that watches, for all loops of the process."""

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
            if self._thread is None or not self._thread.is_alive():  # a fork has no threads of its parent
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
        while True:
            with self._changed:
                if not self._loops and time.monotonic() - last > _LINGER_SECONDS:
                    self._sleeps = True
                    self._changed.wait_for(lambda: self._loops)
                    self._sleeps = False
                loops = list(self._loops.values())
                pause = min((watched.pause for watched in loops), default=_LINGER_STEP)
            time.sleep(pause)
            for watched in loops:
                self._look(watched)
            if loops:
                last = time.monotonic()

    def _look(self, watched: WatchedLoop) -> None:
        try:
            watched.look(time.monotonic(), lambda: frames_of(watched.loop, watched.thread), time.monotonic)
        except Exception as error:  # noqa: BLE001  (the other loops are still watched)
            if not isinstance(error, RuntimeError):  # raised by a loop that is closed
                log_warning("loop.unwatched", error=f"{type(error).__name__}: {error}")
            with self._changed:
                self._forget(watched)


def _way_in() -> tuple[object, Callable[[Callable[[], object]], object]] | None:
    """Return the running loop and how another thread calls into it; ``None`` where time is not real."""
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
    """Watch the running loop for *listener*; ``None`` in virtual time."""
    return _WATCHER.enter(listener)


def leave(watched: WatchedLoop, listener: BlockListener) -> None:
    """Stop watching for *listener*."""
    _WATCHER.leave(watched, listener)


MOST = 16
"""How many records a run keeps: the longest ones."""


class LoopBlocking:
    """Collects for one run what blocked the event loop for longer than *limit* seconds; ``None``: it is not watched."""

    __slots__ = ("_found", "_least", "_logged", "_watch", "limit")

    def __init__(self, limit: float | None) -> None:
        self.limit = limit if limit is not None else float("inf")
        self._found: list[BlockedLoop] = []
        self._least = 0.0
        """The shortest record that is kept, once there are as many as a run may keep."""
        self._logged: set[str] = set()
        self._watch: WatchedLoop | None = None

    def start(self) -> None:
        """Watch the running event loop."""
        if self.limit != float("inf"):
            self._watch = enter(self)

    def stop(self) -> None:
        """Stop watching it for this run."""
        if self._watch is not None:
            leave(self._watch, self)
            self._watch = None

    def record_call(self, what: str, seconds: float, function: Callable[..., object]) -> None:
        """Record a call of ours that took longer than the limit; a sample says where in the code."""
        where = self._watch.place(what) if self._watch is not None else ""
        self.record(BlockedLoop(what, seconds, where or _place(function)))

    def record(self, blocked: BlockedLoop) -> None:
        """Record what blocked the loop."""
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
        """The longest ones, in order of time."""
        return tuple(self._found)


_seconds = operator.attrgetter("seconds")


def _place(function: Callable[..., object]) -> str:
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    return f"{code.co_qualname} ({code.co_filename}:{code.co_firstlineno})"[-300:]
