"""Watches event loops from a thread: one that does not answer in time is looked at, to see what it is doing.

A hundred times a second the thread asks each loop that has a run to call back, which costs the loop some ten
microseconds; a token costs nothing more. Nothing is asked of a loop without a run, or of one in virtual time. When the
last run is over, the thread looks for the next one for a while before it sleeps: to wake a thread costs more than to
begin a run, and would delay the first token.

Many short calls in one turn of the loop make it late as well. Then nobody holds it, and nobody is blamed: a loop that
is late is looked at more often, and who is found in it must be found there for a while.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Protocol

from interwhen._engine.loop_frames import frames_of
from interwhen._engine.loop_turn import Turn
from interwhen._log import log_warning
from interwhen.ledger import Held

_LINGER_SECONDS, _LINGER_STEP = 5.0, 0.01
"""For how long the thread looks for a next run, and how often."""


class Listener(Protocol):
    """Who wants to know."""

    limit: float

    def add(self, held: Held) -> None:
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
                    listener.add(Held(sample.what, seconds, sample.where))

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
