"""Waking whoever waits, at no cost while nobody does."""

from __future__ import annotations

import anyio


class Bell:
    """Wakes the task that waits for it. What rings while nobody waits is not heard: look first, then wait."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: anyio.Event | None = None

    def ring(self) -> None:
        """Wake whoever waits."""
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        """Wait until it rings."""
        self._event = anyio.Event()
        await self._event.wait()
