"""Who held the event loop: what one run keeps of it, from its own calls and from whoever watches the loop."""

from __future__ import annotations

import operator
from collections.abc import Callable

from interwhen._engine import loop_watch
from interwhen._log import log_warning
from interwhen.ledger import Held

MOST = 16
"""How many a run keeps: the longest ones."""


class Holding:
    """Collects for one run who held the event loop for longer than *limit* seconds; ``None``: nobody looks."""

    __slots__ = ("_found", "_least", "_logged", "_watch", "limit")

    def __init__(self, limit: float | None) -> None:
        self.limit = limit if limit is not None else float("inf")
        self._found: list[Held] = []
        self._least = 0.0
        """The shortest that is kept, once there are as many as are: a hold is told to all runs of a loop."""
        self._logged: set[str] = set()
        self._watch: loop_watch.Watched | None = None

    def start(self) -> None:
        """Have the running event loop watched."""
        if self.limit != float("inf"):
            self._watch = loop_watch.enter(self)

    def stop(self) -> None:
        """Have it watched no more, as far as this run is concerned."""
        if self._watch is not None:
            loop_watch.leave(self._watch, self)
            self._watch = None

    def took(self, what: str, seconds: float, function: Callable[..., object]) -> None:
        """Take note of a call of ours that took longer than the limit; a sample tells where it was."""
        where = self._watch.place(what) if self._watch is not None else ""
        self.add(Held(what, seconds, where or _place(function)))

    def add(self, held: Held) -> None:
        """Take note of who held the loop."""
        if held.what not in self._logged and len(self._logged) < MOST:
            self._logged.add(held.what)
            log_warning("loop.held", what=held.what, seconds=round(held.seconds, 3), where=held.where)
        found = self._found
        if held.seconds <= self._least:
            return
        found.append(held)
        if len(found) > MOST:
            found.remove(min(found, key=_seconds))
            self._least = min(map(_seconds, found))

    @property
    def found(self) -> tuple[Held, ...]:
        """The longest holds, in order of time."""
        return tuple(self._found)


_seconds = operator.attrgetter("seconds")


def _place(function: Callable[..., object]) -> str:
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    return f"{code.co_qualname} ({code.co_filename}:{code.co_firstlineno})"[-300:]
