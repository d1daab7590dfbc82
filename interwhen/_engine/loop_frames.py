"""What an event loop is doing right now, seen from another thread."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

# Until 3.12, CPython took a frame apart while it was still the current one. Whoever asked for it just then, from
# another thread, got a frame object with nothing behind it: it could read garbage, or bring the process down.
SEES_FUNCTIONS = sys.version_info >= (3, 12)
"""Whether the functions that a loop is in can be seen; else only its task's own coroutine, which keeps its frame."""


def frames_of(loop: object, thread: int) -> list[FrameType]:
    """Return what *loop*, which runs in *thread*, is in, innermost first; nothing where it cannot be seen."""
    if SEES_FUNCTIONS:
        return _functions(sys._current_frames().get(thread))  # noqa: SLF001
    return _coroutine(loop)


def _functions(frame: FrameType | None) -> list[FrameType]:
    found = list[FrameType]()
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


def _coroutine(loop: object) -> list[FrameType]:
    import asyncio

    if not isinstance(loop, asyncio.AbstractEventLoop):
        return []  # trio tells nobody which of its tasks is running
    task = asyncio.current_task(loop)
    # What a coroutine awaits is not told while it runs; anyio's wrapper of a task keeps what it wraps.
    coroutine: Any = task.get_coro() if task is not None else None
    frame = getattr(coroutine, "cr_frame", None)
    if isinstance(frame, FrameType) and frame.f_code.co_name in ("_run_coro", "_run_wrapped_task"):
        wrapped: Any = frame.f_locals.get("coro") or getattr(frame.f_locals.get("self"), "_coro", None)
        frame = getattr(wrapped, "cr_frame", None) or frame
    return [frame] if isinstance(frame, FrameType) else []
