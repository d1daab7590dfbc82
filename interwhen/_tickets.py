"""What a check may know about itself: how much time it has left, and that nobody waits for it any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock


class Ticket:
    """One check in a worker. It is called off from another thread than the one it runs in."""

    __slots__ = ("_callbacks", "_lock", "called_off", "deadline")

    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.called_off = False
        self._callbacks: list[Callable[[], object]] = []
        self._lock = Lock()

    def add(self, callback: Callable[[], object]) -> None:
        """Have *callback* called once this is called off; at once if it is."""
        with self._lock:
            if not self.called_off:
                self._callbacks.append(callback)
                return
        callback()

    def remove(self, callback: Callable[[], object]) -> None:
        """Take *callback* back. Once this returns, it is not called any more."""
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

    def call_off(self) -> None:
        """Tell whoever wants to know. Under the lock, so that none is called who has been taken back."""
        with self._lock:
            self.called_off = True
            for callback in self._callbacks:
                callback()
            self._callbacks.clear()


CURRENT: ContextVar[Ticket | None] = ContextVar("interwhen_ticket", default=None)


@contextmanager
def hold(ticket: Ticket) -> Iterator[None]:
    """Make *ticket* that of the code within."""
    token = CURRENT.set(ticket)
    try:
        yield
    finally:
        CURRENT.reset(token)
