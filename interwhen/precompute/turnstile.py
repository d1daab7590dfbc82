"""Who may have the model: runs that somebody waits for always; work ahead of time only in between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import anyio.lowlevel

_LOOK_AGAIN = 0.1
"""Seconds after which the end of a run on another event loop is noticed."""


class Turnstile:
    """Lets one slice of work ahead of time through at a time, and none while a run wants the model.

    A run that begins ends the slice that is under way: at once where both are on the same event loop, else at the
    slice's next token. Before the next one it is quiet for *debounce* seconds, so that the pauses of a conversation, or
    of somebody who is typing, are left alone.
    """

    def __init__(self, debounce: float = 0.5) -> None:
        self._debounce = debounce
        self._lock = threading.Lock()
        self._wanting = 0
        self._changes = 1
        self._quiet_at = 0
        self._freed: anyio.Event | None = None
        self._slice: anyio.CancelScope | None = None
        self._thread = 0
        self.preempted = 0
        """How many slices were ended for a run."""

    @property
    def is_wanted(self) -> bool:
        """Whether a run wants the model now."""
        return self._wanting > 0

    def begin(self) -> None:
        """Note that a run wants the model. Never waits."""
        with self._lock:
            self._wanting += 1
            self._changes += 1
        if threading.get_ident() == self._thread:
            self.yield_now()

    def end(self) -> None:
        """Note that a run is over."""
        with self._lock:
            self._wanting -= 1
            self._changes += 1
        if self._freed is not None and threading.get_ident() == self._thread:
            self._freed.set()

    def touch(self) -> None:
        """Note that something happened: the time of quiet begins anew."""
        with self._lock:
            self._changes += 1

    def yield_now(self) -> None:
        """End the slice that is under way, if a run wants the model. To be called on the slice's own event loop."""
        if self._wanting and self._slice is not None and not self._slice.cancel_called:
            self.preempted += 1
            self._slice.cancel()

    async def quiet(self) -> None:
        """Wait until no run wants the model, and none has for *debounce* seconds."""
        await anyio.lowlevel.checkpoint()
        while self._wanting or self._quiet_at != self._changes:
            if self._wanting:
                self._thread = threading.get_ident()
                self._freed = anyio.Event()
                with anyio.move_on_after(_LOOK_AGAIN):
                    await self._freed.wait()
                continue
            seen = self._changes
            await anyio.sleep(self._debounce)
            if seen == self._changes:
                self._quiet_at = seen

    @contextmanager
    def slice(self) -> Iterator[anyio.CancelScope]:
        """Do one slice of work in the block; the scope it gets is cancelled when a run begins."""
        with anyio.CancelScope() as scope:
            self._thread = threading.get_ident()
            self._slice = scope
            try:
                self.yield_now()
                yield scope
            finally:
                self._slice = None
