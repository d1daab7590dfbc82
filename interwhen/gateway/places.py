"""How many calls are served at once, and how many may wait for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from interwhen.gateway.config import Limits
from interwhen.gateway.problems import overloaded, too_many


class Places:
    """A bounded number of places, and a bounded queue before them, served in order."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._free = anyio.Semaphore(limits.concurrent)
        self.waiting = 0
        """How many calls wait for a place."""

    @property
    def taken(self) -> int:
        """How many calls are being served."""
        return self._limits.concurrent - self._free.value

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place and hold it. Raises :class:`Problem` where the queue is full, or the wait too long."""
        await self._take()
        try:
            yield
        finally:
            self._free.release()

    async def _take(self) -> None:
        if not self.waiting:
            try:
                self._free.acquire_nowait()
            except anyio.WouldBlock:
                pass
            else:
                return
        limits = self._limits
        if self.waiting >= limits.waiting:
            raise too_many(f"{limits.concurrent} calls are being served and {limits.waiting} wait already")
        self.waiting += 1
        try:
            with anyio.move_on_after(limits.wait_seconds):
                await self._free.acquire()
                return
        finally:
            self.waiting -= 1
        raise overloaded(limits.wait_seconds)
