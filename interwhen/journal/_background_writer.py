"""One thread per process that writes to a file, so that no call waits for the disk."""

from __future__ import annotations

import atexit
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar


class BackgroundWriter(ABC):
    """Writes with one thread, which starts when it is needed and ends with the program.

    A forked process starts its own thread. *close_seconds* is how long :meth:`close` waits for the thread.
    """

    _starting: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, thread_name: str, close_seconds: float) -> None:
        self._thread_name = thread_name
        self.close_seconds = close_seconds
        self._thread: threading.Thread | None = None
        self._closed: threading.Thread | None = None
        """The thread that :meth:`close` ended last. If the disk hangs, it still writes."""
        self._process = 0

    @abstractmethod
    def _begin(self) -> Callable[[], None]:
        """Return the function that the new thread calls: it writes what is queued until :meth:`_tell_to_end`."""

    @abstractmethod
    def _tell_to_end(self) -> bool:
        """Let the thread write what is queued and end. Return false if it cannot be told, because the disk hangs."""

    @abstractmethod
    def _forget(self) -> None:
        """Drop what the parent process has queued, because this process was forked from it."""

    def close(self) -> None:
        """Let the thread write all queued records and end; wait for at most ``close_seconds``."""
        thread, self._thread = self._thread, None
        if thread is None or self._process != os.getpid():
            return
        atexit.unregister(self.close)
        self._closed = thread
        if self._tell_to_end():
            thread.join(self.close_seconds)
        else:
            self._thread = self._thread or thread  # still our thread: it will continue when the disk answers

    def start(self) -> None:
        """Start the thread unless it runs; the end of the program calls :meth:`close`."""
        if self._thread is not None and self._process == os.getpid():
            return
        with self._starting:
            if self._thread is not None and self._process == os.getpid():
                return
            if self._process != os.getpid():
                self._process, self._closed = os.getpid(), None
                self._forget()
            self._thread = threading.Thread(
                target=self._run, args=(self._begin(), self._closed), name=self._thread_name, daemon=True
            )
            self._thread.start()
            atexit.register(self.close)

    @staticmethod
    def _run(write: Callable[[], None], before: threading.Thread | None) -> None:
        if before is not None:
            before.join()  # the disk hangs, and two threads would write to one file
        write()
