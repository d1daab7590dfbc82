"""Counts the work of Python code in interpreted instructions: the same number on every machine, however busy."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any


def count_steps(function: Callable[..., object], *arguments: Any) -> int:
    """Return how many instructions of Python *function* executes in this thread when it is called.

    What C code does inside one instruction (a slice, ``str.find``, a regex) is not seen: :func:`cpu_seconds` is for
    that. Raises what *function* raises. Numbers of two versions of Python differ; how they grow does not.
    """
    counted = _monitored if sys.version_info >= (3, 12) else _traced
    # A collection runs the callbacks and finalizers of others.
    collects = gc.isenabled()
    gc.disable()
    try:
        return counted(function, arguments)
    finally:
        if collects:
            gc.enable()


def cpu_seconds(function: Callable[..., object], *arguments: Any, tries: int = 3) -> float:
    """Return the least CPU time that *function* takes in this thread, of so many *tries*, in seconds.

    It does not count what other processes take; but a machine may be slow all the same, so compare it with a ceiling
    that only work of another order can reach.
    """
    return min(_timed(function, arguments) for _ in range(tries))


def _timed(function: Callable[..., object], arguments: tuple[Any, ...]) -> float:
    began = time.thread_time()
    function(*arguments)
    return time.thread_time() - began


def _traced(function: Callable[..., object], arguments: tuple[Any, ...]) -> int:
    steps = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Callable[..., Any]:
        nonlocal steps
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        steps += event == "opcode"
        return trace

    before = sys.gettrace()  # a debugger or a coverage tool gets its place back
    sys.settrace(trace)
    try:
        function(*arguments)
    finally:
        sys.settrace(before)
    return steps


def _monitored(function: Callable[..., object], arguments: tuple[Any, ...]) -> int:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined, unused-ignore]  # from 3.12 on
    tool = next(number for number in range(5, -1, -1) if monitoring.get_tool(number) is None)
    event = monitoring.events.INSTRUCTION
    thread = threading.get_ident()
    steps = 0

    def step(_code: CodeType, _offset: int) -> None:
        nonlocal steps
        steps += threading.get_ident() == thread

    monitoring.use_tool_id(tool, "interwhen.testing.steps")
    try:
        monitoring.register_callback(tool, event, step)
        monitoring.set_events(tool, event)
        function(*arguments)
    finally:
        monitoring.set_events(tool, 0)
        monitoring.register_callback(tool, event, None)
        monitoring.free_tool_id(tool)
    return steps
