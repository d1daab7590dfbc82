"""The clock of the event loop that is running: real, uvloop's, or virtual."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio


def loop_clock() -> Callable[[], float]:
    """Return the running loop's clock, in seconds. asyncio's own costs a sixth of ``anyio.current_time``."""
    import asyncio  # by now somebody else has paid for it, unless this is trio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return anyio.current_time
    # asyncio's own loop tells the monotonic time by way of a method; twice a token, that is worth going around.
    return time.monotonic if getattr(type(loop), "time", None) is asyncio.BaseEventLoop.time else loop.time


def current_loop() -> object:
    """Return what identifies the running event loop."""
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        import trio

        return trio.lowlevel.current_trio_token()
