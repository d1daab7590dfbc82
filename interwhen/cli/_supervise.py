"""Run a model under a viewer's eyes, and say with which code to exit."""

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

from interwhen._run import Run
from interwhen._run import run as start
from interwhen._types.budgets import Budgets
from interwhen._types.models import Model, Prompt, Sampling
from interwhen._types.monitors import Monitor
from interwhen._types.results import Result
from interwhen._types.segments import Phase
from interwhen.cli import _exits
from interwhen.cli._text import print_error
from interwhen.cli._view import Viewer
from interwhen.journal import Journal

if TYPE_CHECKING:
    import asyncio


_CLOSE_SECONDS = 5.0


async def supervise(
    model: Model,
    prompt: Prompt,
    viewer: Viewer,
    *,
    monitors: Sequence[Monitor] = (),
    sampling: Sampling | None = None,
    budgets: Budgets | None = None,
    starts_in: Phase = "answer",
    min_coverage: float = 0.0,
    journal: Journal | None = None,
) -> int:
    """Run *model* on *prompt*, show every event to *viewer*, close the model, and return the exit code."""
    async with closing(model):
        result = await watch(
            model,
            prompt,
            viewer,
            monitors=monitors,
            sampling=sampling,
            budgets=budgets,
            starts_in=starts_in,
            min_coverage=min_coverage,
            journal=journal,
        )
    return _exits.BY_STATUS[result.status]


async def watch(
    model: Model,
    prompt: Prompt,
    viewer: Viewer,
    *,
    monitors: Sequence[Monitor] = (),
    sampling: Sampling | None = None,
    budgets: Budgets | None = None,
    starts_in: Phase = "answer",
    min_coverage: float = 0.0,
    journal: Journal | None = None,
) -> Result:
    """Run *model* on *prompt*, show every event to *viewer*, and return the result."""
    run = start(
        model,
        prompt,
        monitors=monitors,
        sampling=sampling,
        budgets=budgets,
        starts_in=starts_in,
        min_coverage=min_coverage,
        journal=journal,
    )
    return await look_on(run, viewer)


async def look_on(run: Run, viewer: Viewer) -> Result:
    """Show every event of *run* to *viewer*, and return the result."""
    with viewer:
        async with run:
            async for event in run:
                viewer.show(event)
        return run.result


@asynccontextmanager
async def closing(model: Model) -> AsyncIterator[None]:
    """Close *model* at the end of the block, whatever ends it."""
    try:
        yield
    finally:
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await model.aclose()


# Ctrl-C: the run is called off, its record is written, and the process is gone within a second, whatever hangs.

_PATIENCE = 0.8
"""How long calling off may take, in seconds: a verifier or a server that hangs must not hold the user up."""
_SHOW_CURSOR = "\n\x1b[?25h"


class Interrupted(KeyboardInterrupt):
    """The user pressed Ctrl-C, and all that belonged to the run has been given back; the text says how to go on."""


def run_to_end(main: Callable[[], Awaitable[int]], hint: str = "") -> int:
    """Run *main* on an event loop and return its exit code. Raises :class:`Interrupted` with *hint* on Ctrl-C."""
    try:
        with _Handler(hint) as handler:
            code = anyio.run(handler.guard, main)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(hint) from error
    if handler.pressed:
        raise Interrupted(hint)
    return code


def resume_hint(journal: Path | None) -> str:
    """Return the line that says how an interrupted run can be gone on with."""
    if journal is None:
        return "to be able to go on after an interrupt, give the run a journal: interwhen run --journal FILE ..."
    return f"to go on: interwhen resume {shlex.quote(str(journal))}"


def leave() -> None:
    """End the process without waiting for threads: a verifier that hangs in one cannot be stopped from outside."""
    main = threading.main_thread()
    if any(thread is not main and not thread.daemon for thread in threading.enumerate()):
        _exit()


@contextmanager
def _woken_by_signals(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Have a signal wake *loop*: one that comes just before the loop goes to sleep would be seen only when it wakes."""
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
    """Turns the first SIGINT into a cancellation, and makes sure of the end."""

    def __init__(self, hint: str) -> None:
        self.pressed = 0
        self._hint = hint
        self._cancel: Callable[[], object] = lambda: None
        self._done = threading.Event()
        self._before: object = None

    def __enter__(self) -> Self:
        is_main = threading.current_thread() is threading.main_thread()
        # Whoever runs us in the background has us ignore Ctrl-C; that holds.
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._done.set()
        if self._before is not None:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    async def guard(self, main: Callable[[], Awaitable[int]]) -> int:
        """Run *main* until it ends or Ctrl-C is pressed."""
        import asyncio

        loop = asyncio.get_running_loop()
        with _woken_by_signals(loop), anyio.CancelScope() as scope:
            self._cancel = lambda: loop.call_soon_threadsafe(scope.cancel)
            if self.pressed:  # before there was anything to cancel
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
        """End at once. The journal's thread has written what there was by then: it never waits for the loop."""
        _kill_workers()
        if sys.stdout.isatty():
            sys.stdout.write(_SHOW_CURSOR)  # a live picture had hidden it
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
        except OSError:  # whoever read it has left
            continue
    os._exit(_exits.INTERRUPTED)
