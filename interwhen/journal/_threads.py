"""The thread that writes a journal."""

from __future__ import annotations

import threading

import anyio
import anyio.to_thread

from interwhen.journal.places import Writing


class ThreadClerk:
    """Writes in a thread of its own."""

    def __init__(self) -> None:
        self._ending = False
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._ended = threading.Event()

    def start(self, writing: Writing, seconds: float) -> None:
        """Start the thread."""
        # A daemon: a disk that never answers must not keep the process from ending.
        threading.Thread(target=self._run, args=(writing, seconds), name="interwhen journal", daemon=True).start()

    def wake(self) -> None:
        """Have what is there written soon."""
        self._wake.set()

    def hurry(self) -> None:
        """Have it written at once."""
        self._hurry.set()

    def end(self) -> None:
        """Let the thread end once it has written what is there."""
        self._ending = True
        self._hurry.set()
        self._wake.set()

    async def ended(self, seconds: float) -> bool:
        """Wait in another thread; with a limiter of its own, because others may hold all of the shared one."""
        return await anyio.to_thread.run_sync(
            self._ended.wait, seconds, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
        )

    def _run(self, writing: Writing, seconds: float) -> None:
        goes_on = writing.write()
        while goes_on and not self._ending:
            self._wake.wait()
            self._hurry.wait(seconds)
            self._hurry.clear()
            self._wake.clear()
            goes_on = writing.write()
        if goes_on:
            writing.write()
        writing.shut()
        self._ended.set()
