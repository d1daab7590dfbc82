"""Who held the event loop: what one run keeps of it, from its own calls and from whoever watches the loop."""

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

# What an event loop was found doing in one of its turns, and who held it: from frames, without a clock or thread.

_FRAMES = 3
"""How many of the innermost frames are told."""
_WAITS_IN = frozenset(
    [
        *("selectors.py", "windows_events.py", "base_events.py", "runners.py"),
        *("_io_epoll.py", "_io_kqueue.py", "_io_windows.py", "_run.py"),
    ]
)
"""Files in which a loop waits for work or hands it out; whoever is found there holds nothing."""
_OURS: Mapping[str, str] = {
    "check_inline": "verifier",
    "check_aside": "verifier",
    "_check": "verifier",  # the task of a check: all that is seen of it where functions cannot be
    "parse": "name",
}
"""Functions of the engine that call foreign code, by the variable that says whose it is."""
_TIMED = frozenset(("check_inline", "parse"))
"""Those whose caller measures them, and tells how long they took."""


class Sample:
    """What a loop was found doing."""

    __slots__ = ("is_timed", "what", "where")

    def __init__(self, frames: Iterable[FrameType]) -> None:
        self.what = "other code"
        self.is_timed = False
        trail: list[str] = []
        for found in frames:
            code = found.f_code
            if len(trail) < _FRAMES:
                trail.append(f"{code.co_qualname} ({code.co_filename}:{found.f_lineno})")
            if code.co_name in _OURS and code.co_filename.endswith(_HOMES):
                self.what = _whose(found) or self.what
                self.is_timed = code.co_name in _TIMED
                break
        self.where = " < ".join(trail)[:600]


_HOMES = tuple(str(PurePath("interwhen", "_engine", name)) for name in ("checks.py", "jobs.py"))


def _call(frames: Sequence[FrameType]) -> FrameType:
    """Return the frame of what the loop called, of its *frames*, innermost first."""
    return deque(takewhile(lambda frame: not _is_of_loop(frame), frames), maxlen=1).pop()


def _is_of_loop(frame: FrameType) -> bool:
    return _turns(frame.f_code.co_filename, frame.f_code.co_name)


@functools.lru_cache(maxsize=4096)
def _turns(file: str, function: str) -> bool:
    """Tell whether a *function* in *file* is a loop's own, in which it waits or hands out work."""
    name = PurePath(file).name
    return name in _WAITS_IN or (name == "events.py" and function == "_run")  # asyncio's Handle


def _whose(frame: FrameType) -> str | None:
    """Return whose code *frame*, one of the engine's, has called; ``None``: it only hands it to a worker."""
    local = _OURS[frame.f_code.co_name]
    role = "verifier" if local == "verifier" else "extractor of"
    whose: Any = frame.f_locals.get(local)
    try:
        if isinstance(whose, str):
            return f"{role} {whose!r:.100}"
        is_handed_on = whose.worker not in ("inline", "async")
        name = f"{role} {whose.name!r}"
    except Exception:  # noqa: BLE001  (they may be properties of the user's)
        return role
    return None if is_handed_on else name


class Turn:
    """What a loop was found doing, from when it was asked to call back until it did.

    Only the watching thread looks, and a turn that is over is never told: what it still writes then is lost.
    """

    __slots__ = ("_call", "_first", "_last", "_looked", "_since", "asked", "held", "sample")

    def __init__(self, asked: float) -> None:
        self.asked = asked
        self.held: list[tuple[Sample, float]] = []
        """Who was found for a while, and for how long that may have been."""
        self.sample: Sample | None = None
        """The call that was found last."""
        self._call: FrameType | None = None
        self._looked = self._since = self._first = self._last = asked

    def see(self, now: float, frames: Sequence[FrameType], limit: float) -> None:
        """Take in what the loop is in *now*; nothing: it waits for work, or it cannot be seen."""
        call = None if not frames or _is_of_loop(frames[0]) else _call(frames)
        if call is None or call is not self._call:
            self.part(now, limit)
            self._call, self._since, self._first = call, self._looked, now
            self.sample = None if call is None else Sample(frames)
        self._looked = self._last = now

    def part(self, now: float, limit: float) -> None:
        """End the call that was found last, *now* at the latest.

        It must have been found for a quarter of the *limit*, or have kept the watching thread from looking for long.
        """
        sample, self.sample, self._call = self.sample, None, None
        is_found = self._last - self._first >= limit / 4 or self._first - self._since > 2 * limit
        if sample is not None and is_found and not sample.is_timed:
            self.held.append((sample, now - self._since))


# What an event loop is doing right now, seen from another thread.

# Until 3.12, CPython took a frame apart while it was still the current one. Whoever asked for it just then, from
# another thread, got a frame object with nothing behind it: it could read garbage, or bring the process down.
SEES_FUNCTIONS = sys.version_info >= (3, 12)
"""Whether the functions that a loop is in can be seen; else only its task's own coroutine, which keeps its frame."""


def frames_of(loop: object, thread: int) -> list[FrameType]:
    """Return what *loop*, which runs in *thread*, is in, innermost first; nothing where it cannot be seen."""
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
        return []  # trio tells nobody which of its tasks is running
    task = asyncio.current_task(loop)
    # What a coroutine awaits is not told while it runs; anyio's wrapper of a task keeps what it wraps.
    coroutine: Any = task.get_coro() if task is not None else None
    frame = getattr(coroutine, "cr_frame", None)
    if isinstance(frame, FrameType) and frame.f_code.co_name in ("_run_coro", "_run_wrapped_task"):
        wrapped: Any = frame.f_locals.get("coro") or getattr(frame.f_locals.get("self"), "_coro", None)
        frame = getattr(wrapped, "cr_frame", None) or frame
    return [frame] if isinstance(frame, FrameType) else []


# Watches event loops from a thread: one that does not answer in time is looked at, to see what it is doing.
#
# A hundred times a second the thread asks each loop that has a run to call back, which costs the loop some ten
# microseconds; a token costs nothing more. Nothing is asked of a loop without a run, or of one in virtual time. When
# the last run is over, the thread looks for the next one for a while before it sleeps: to wake a thread costs more
# than to begin a run, and would delay the first token.
#
# Many short calls in one turn of the loop make it late as well. Then nobody holds it, and nobody is blamed: a loop
# that is late is looked at more often, and who is found in it must be found there for a while.

_LINGER_SECONDS, _LINGER_STEP = 5.0, 0.01
"""For how long the thread looks for a next run, and how often."""


class Listener(Protocol):
    """Who wants to know."""

    limit: float

    def add(self, held: BlockedLoop) -> None:
        """Take note of who held the loop."""


class Watched:
    """One event loop: when it was asked to call back, and what it was found doing when it did not."""

    def __init__(self, post: Callable[[Callable[[], object]], object], loop: object, thread: int) -> None:
        self.loop = loop
        self.thread = thread
        self.limit = float("inf")
        """The shortest time after which somebody wants to know."""
        self._listeners: dict[Listener, None] = {}
        self._limits: Counter[float] = Counter()
        self._post = post
        self.turn: Turn | None = None
        """``None``: the loop has answered."""

    def add(self, listener: Listener) -> None:
        """Tell *listener* from now on. Called on the loop, as everything that looks at who listens."""
        self._listeners[listener] = None
        self._limits[listener.limit] += 1
        self.limit = min(self._limits)

    def remove(self, listener: Listener) -> bool:
        """Tell *listener* no more; whether anybody is left."""
        if listener in self._listeners:
            del self._listeners[listener]
            self._limits[listener.limit] -= 1
            if not self._limits[listener.limit]:
                del self._limits[listener.limit]
            self.limit = min(self._limits, default=float("inf"))
        return bool(self._listeners)

    def look(self, now: float, frames: Callable[[], Sequence[FrameType]], clock: Callable[[], float]) -> None:
        """Ask the loop to call back, or see what it is doing if it has not. Called from the watching thread.

        *frames* says what the loop is in, innermost first; nothing: it waits for work, or it cannot be seen.
        """
        turn = self.turn
        if turn is None:
            self.turn = Turn(now)
            self._post(lambda: self.answered(clock()))
        elif now - turn.asked >= self.limit / 2:
            turn.see(now, frames(), self.limit)

    def answered(self, now: float) -> None:
        """Take the loop's answer, on the loop: whatever held it is over."""
        turn, self.turn = self.turn, None
        if turn is None:
            return
        turn.part(now, self.limit)
        for sample, seconds in turn.held:
            for listener in self._listeners:
                if seconds > listener.limit:
                    listener.add(BlockedLoop(sample.what, seconds, sample.where))

    def place(self, what: str) -> str:
        """Return where *what*, whose caller has measured it, was found while it held the loop, as it still does.

        Empty if nobody looked, or saw no more than who had called it.
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


class _Watcher:
    """The thread that watches, for all loops of the process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._loops: dict[object, Watched] = {}
        self._thread: threading.Thread | None = None
        self._sleeps = False

    def enter(self, listener: Listener) -> Watched | None:
        way = _way_in()
        if way is None:
            return None
        loop, post = way
        with self._changed:
            watched = self._loops.get(loop)
            if watched is None:
                watched = self._loops[loop] = Watched(post, loop, threading.get_ident())
            watched.add(listener)
            if self._thread is None or not self._thread.is_alive():  # a fork leaves none alive
                self._sleeps = False
                self._thread = threading.Thread(target=self._watch, name="interwhen-loop-watch", daemon=True)
                self._thread.start()
            elif self._sleeps:
                self._changed.notify()
        return watched

    def leave(self, watched: Watched, listener: Listener) -> None:
        with self._changed:
            if not watched.remove(listener):
                self._forget(watched)

    def _forget(self, watched: Watched) -> None:
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

    def _look(self, watched: Watched) -> None:
        try:
            watched.look(time.monotonic(), lambda: frames_of(watched.loop, watched.thread), time.monotonic)
        except Exception as error:  # noqa: BLE001  one loop must not cost the others their watch
            if not isinstance(error, RuntimeError):  # which is how a loop says that it is over
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


_WATCHER = _Watcher()


def enter(listener: Listener) -> Watched | None:
    """Watch the running loop for *listener*; ``None`` where that makes no sense, in virtual time."""
    return _WATCHER.enter(listener)


def leave(watched: Watched, listener: Listener) -> None:
    """Watch no more for *listener*."""
    _WATCHER.leave(watched, listener)


MOST = 16
"""How many a run keeps: the longest ones."""


class Holding:
    """Collects for one run who held the event loop for longer than *limit* seconds; ``None``: nobody looks."""

    __slots__ = ("_found", "_least", "_logged", "_watch", "limit")

    def __init__(self, limit: float | None) -> None:
        self.limit = limit if limit is not None else float("inf")
        self._found: list[BlockedLoop] = []
        self._least = 0.0
        """The shortest that is kept, once there are as many as are: a hold is told to all runs of a loop."""
        self._logged: set[str] = set()
        self._watch: Watched | None = None

    def start(self) -> None:
        """Have the running event loop watched."""
        if self.limit != float("inf"):
            self._watch = enter(self)

    def stop(self) -> None:
        """Have it watched no more, as far as this run is concerned."""
        if self._watch is not None:
            leave(self._watch, self)
            self._watch = None

    def took(self, what: str, seconds: float, function: Callable[..., object]) -> None:
        """Take note of a call of ours that took longer than the limit; a sample tells where it was."""
        where = self._watch.place(what) if self._watch is not None else ""
        self.add(BlockedLoop(what, seconds, where or _place(function)))

    def add(self, held: BlockedLoop) -> None:
        """Take note of who held the loop."""
        if held.what not in self._logged and len(self._logged) < MOST:
            self._logged.add(held.what)
            log_warning("loop.blocked", what=held.what, seconds=round(held.seconds, 3), where=held.where)
        found = self._found
        if held.seconds <= self._least:
            return
        found.append(held)
        if len(found) > MOST:
            found.remove(min(found, key=_seconds))
            self._least = min(map(_seconds, found))

    @property
    def found(self) -> tuple[BlockedLoop, ...]:
        """The longest holds, in order of time."""
        return tuple(self._found)


_seconds = operator.attrgetter("seconds")


def _place(function: Callable[..., object]) -> str:
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    return f"{code.co_qualname} ({code.co_filename}:{code.co_firstlineno})"[-300:]
