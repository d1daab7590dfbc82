"""Show runs to a viewer, and end them at Ctrl-C."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Self

import anyio

from interwhen import Result, Run
from interwhen._types.models import Model
from interwhen.cli import _exits
from interwhen.cli._text import print_error
from interwhen.cli._view import Viewer

if TYPE_CHECKING:
    import asyncio


_CLOSE_SECONDS = 5.0


async def show_run(run: Run, viewer: Viewer) -> Result:
    with viewer:
        async with run:
            async for event in run:
                viewer.show(event)
        return run.result


@asynccontextmanager
async def closing(model: Model) -> AsyncIterator[None]:
    """Close *model* at the end of the block, also after an error. Wait for that at most 5 seconds."""
    try:
        yield
    finally:
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await model.aclose()


# Ctrl-C: the run is cancelled, its record is written, and the process ends within a second, even if a part of it hangs.

_PATIENCE = 0.8
"""In seconds: the user does not wait for a verifier or a server that hangs."""
_SHOW_CURSOR = "\n\x1b[?25h"


class Interrupted(KeyboardInterrupt):
    """Raised after Ctrl-C has cancelled the work. The message is a hint for the user."""


def run_to_end(main: Callable[[], Awaitable[int]], hint: str = "") -> int:
    """Run *main* on an event loop and return its exit code.

    On Ctrl-C, *main* is cancelled, and :class:`Interrupted` is raised with *hint*. If that takes longer than 0.8
    seconds, or at a second Ctrl-C, the process ends with the exit code 130. This holds in the main thread, if SIGINT
    has Python's own handler.
    """
    try:
        with _Handler(hint) as handler:
            code = anyio.run(handler.guard, main)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(hint) from error
    if handler.pressed:
        raise Interrupted(hint)
    return code


def resume_hint(journal: Path | None, options: Sequence[str] = ()) -> str:
    """Tell the user how to resume an interrupted run, or without *journal*, how to give the next run one."""
    if journal is None:
        return "to resume interrupted runs, give them a journal: interwhen run --journal FILE ..."
    return f"to resume: {shlex.join(['interwhen', 'resume', str(journal), *options])}"


def leave() -> None:
    """End the process if a thread still runs for which Python would wait."""
    # Such a thread may have a verifier that hangs, and it cannot be stopped.
    main = threading.main_thread()
    if any(thread is not main and not thread.daemon for thread in threading.enumerate()):
        _exit()


@contextmanager
def _woken_by_signals(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let signals wake *loop*. Outside the main thread, do nothing."""
    # Without this, the loop would not notice a signal that arrives just before it sleeps.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        loop.add_reader(ours, ours.recv, 64)
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            loop.remove_reader(ours)


class _Handler:
    def __init__(self, hint: str) -> None:
        self.pressed = 0
        self._hint = hint
        self._cancel: Callable[[], object] = lambda: None
        self._done = threading.Event()
        self._before: object = None

    def __enter__(self) -> Self:
        is_main = threading.current_thread() is threading.main_thread()
        # A process that was started in the background ignores Ctrl-C; keep that.
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._done.set()
        if self._before is not None:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    async def guard(self, main: Callable[[], Awaitable[int]]) -> int:
        import asyncio

        loop = asyncio.get_running_loop()
        with _woken_by_signals(loop), anyio.CancelScope() as scope:
            self._cancel = lambda: loop.call_soon_threadsafe(scope.cancel)
            if self.pressed:  # before the scope was there
                scope.cancel()
            return await main()
        return _exits.INTERRUPTED

    def _press(self, _number: int, _frame: FrameType | None) -> None:
        self.pressed += 1
        if self.pressed > 1:
            self._end()
        threading.Thread(target=self._watch, name="interrupt", daemon=True).start()
        self._cancel()

    def _watch(self) -> None:
        if not self._done.wait(_PATIENCE):
            self._end()

    def _end(self) -> None:
        # The journal needs no end: a run can be resumed from the records that it has written.
        _kill_workers()
        if sys.stdout.isatty():
            sys.stdout.write(_SHOW_CURSOR)
        print_error("interrupted")
        print(self._hint, file=sys.stderr)
        _exit()


def _kill_workers() -> None:
    multiprocessing = sys.modules.get("multiprocessing")
    for child in multiprocessing.active_children() if multiprocessing is not None else ():
        child.kill()


def _exit() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # the reader has closed it
            continue
    os._exit(_exits.INTERRUPTED)
