"""Progress of commands that take a while, as one line on stderr."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextvars import ContextVar
from types import TracebackType
from typing import Self, TypeVar

from interwhen.cli._text import joined

T = TypeVar("T")

_SILENT_SECONDS = 2.0
"""No progress is shown in these first seconds of a block."""
_REDRAW_SECONDS = 0.2
_LINE_SECONDS = 10.0
"""Between two lines where stderr is not a terminal."""
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def set_quiet(*, quiet: bool) -> None:
    _quiet.set(quiet)


def is_quiet() -> bool:
    return _quiet.get()


_LOCK = threading.RLock()
_blocks: list[ProgressLine] = []
"""The blocks that were entered and not left. The line is that of the last one."""


class ProgressLine:
    """Shows the progress of a block of work on stderr.

    *verb* names the work, such as "checking". With *ticks*, a thread updates the line during a long step. Nothing is
    shown in the first two seconds, with ``--quiet``, or while another block is open inside this block.
    """

    def __init__(
        self,
        verb: str,
        total: int | None = None,
        *,
        ticks: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._verb = verb
        self._total = total
        self._clock = clock
        self._is_live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._done = 0
        self._note = ""
        self._is_drawn = False
        self._begun = self._shown = clock()
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True) if ticks else None
        self._is_quiet = is_quiet()

    def __enter__(self) -> Self:
        self._begun = self._shown = self._clock()
        with _LOCK:
            _blocks.append(self)
        if self._ticker is not None and not self._is_quiet:
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        with _LOCK:
            self.clear()
            _blocks.remove(self)

    def to(self, done: int, note: str = "") -> None:
        self._done, self._note = done, note
        self._show()

    def of(self, done: int, total: int | None, note: str = "") -> None:
        """Set the progress to *done* of *total* steps, with *note* after the counts."""
        self._total = total
        self.to(done, note)

    def advance(self, note: str = "") -> None:
        self.to(self._done + 1, note)

    def clear(self) -> None:
        with _LOCK:
            if self._is_drawn:
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()
                self._is_drawn = False

    def line(self) -> str:
        seconds = self._clock() - self._begun
        done, total = self._done, self._total
        parts = [self._verb]
        if total is not None:
            parts[0] += f" {done:,} of {total:,}"
        elif done:
            parts[0] += f" {done:,}"
        if total is not None and done > 0:
            parts.append(f"about {duration(seconds / done * max(0, total - done))} left")
        else:
            parts.append(duration(seconds))
        if self._note:
            parts.append(joined(self._note))
        return ", ".join(parts)

    def _tick(self) -> None:
        while not self._over.wait(0.5):
            self._show()

    def _show(self) -> None:
        if self._is_quiet:
            return
        now = self._clock()
        if now - self._begun < _SILENT_SECONDS:
            return
        if now - self._shown < (_REDRAW_SECONDS if self._is_live else _LINE_SECONDS):
            return
        with _LOCK:
            if self._over.is_set() or _blocks[-1] is not self:
                return
            self._shown = now
            if self._is_live:
                sys.stderr.write(f"\r\x1b[K{self.line()[: shutil.get_terminal_size().columns - 1]}")
                self._is_drawn = True
            else:
                sys.stderr.write(f"{self.line()}\n")
            sys.stderr.flush()


def each(items: Iterable[T], verb: str, *, ticks: bool = True) -> Iterator[T]:
    total = len(items) if isinstance(items, Sized) else None
    with ProgressLine(verb, total, ticks=ticks) as progress:
        for item in items:
            yield item
            progress.advance()


def note(line: str) -> None:
    if not is_quiet():
        say(line)


def say(line: str) -> None:
    with _LOCK:
        for block in _blocks:
            block.clear()
        print(joined(line), file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
