"""Runs small functions and scripts in Monty, an interpreter without files, network and processes."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, assert_never

from interwhen._types.errors import MissingExtraError, UsageError
from interwhen.sandbox._sandbox import (
    Abort,
    BlockingSandbox,
    Call,
    Command,
    Crashed,
    Denied,
    Finding,
    Guarantees,
    Json,
    Limited,
    LimitName,
    Limits,
    Outcome,
    Program,
    Record,
    Returned,
    Script,
    encoded,
)

if TYPE_CHECKING:
    from pydantic_monty import Monty, MontySession, ResourceLimits

_GRACE = 0.25
"""A worker that has not stopped is killed so many seconds after the time limit."""
_CHECKOUT_SECONDS = 60.0
_WORKER_BYTES = 1 << 30
"""The address space of a worker, in addition to twice the program's memory limit."""

_ABSENT = "an interpreter without it"
_GUARANTEES = Guarantees(
    "monty",
    (
        Finding("network", (_ABSENT,)),
        Finding("files", (_ABSENT,)),
        Finding("processes", (_ABSENT,)),
        Finding("memory", ("the interpreter counts",)),
        Finding("syscalls", (_ABSENT,)),
        Finding("privileges", (_ABSENT,)),
    ),
)

# Exceptions of a program that uses features that this interpreter does not have.
_FORBIDDEN = ("PermissionError", "ModuleNotFoundError", "ImportError")


class MontySandbox(BlockingSandbox):
    """Runs functions and scripts in Monty, an interpreter of much of Python that has no files, network or processes.

    A small program usually takes less than a millisecond, because worker processes are kept for later calls. If no
    worker becomes free within 60 seconds, a call ends as :class:`Crashed`. A run raises :class:`UsageError` for a
    :class:`Command`, and for a program with files or stdin. Entering raises
    :class:`~interwhen.toolkit.MissingExtraError` without the extra ``sandbox``.
    """

    name = "monty"

    def __init__(self, *, parallel: int | None = None) -> None:
        super().__init__(parallel)
        self._pool: Monty | None = None

    def probe(self) -> Guarantees:
        """Return the guarantees of this sandbox, which are the same on every machine."""
        return _GUARANTEES

    def _run(self, program: Program, limits: Limits, abort: Abort) -> Outcome:
        if self._pool is None:
            raise UsageError("a MontySandbox must be entered before a run, and is not: use `with` or `async with`")
        code, inputs, mark = _code_of(program)
        settings: ResourceLimits = {
            "max_feed_duration_secs": min(limits.seconds, limits.cpu_seconds),
            "max_total_sleep_secs": limits.seconds,
            "max_memory": limits.memory_bytes,
            "max_recursion_depth": limits.recursion,
        }
        try:
            with self._pool.checkout(limits=settings) as session:
                return _Run(session, program, limits, mark).go(code, inputs, abort)
        except TimeoutError:
            return Crashed(
                f"a worker must become free within {_CHECKOUT_SECONDS:g} s, and none did: run fewer "
                "programs at one time",
                Record(),
            )

    def __enter__(self) -> Self:
        try:
            from pydantic_monty import Monty
        except ImportError as error:
            raise MissingExtraError("MontySandbox", "sandbox") from error
        pool = Monty(max_processes=self._parallel, checkout_timeout=_CHECKOUT_SECONDS, feed_duration_limit_grace=_GRACE)
        self._pool = pool.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.__exit__(None, None, None)


def _code_of(program: Program) -> tuple[str, dict[str, Any], str]:
    # The code of a `Call` prints the mark before the returned value; for a `Script`, the mark is empty.
    if program.files or program.stdin:
        raise UsageError(
            "a program for Monty must have no files and no stdin, and has some: use ProcessSandbox, or give "
            "the content as an argument"
        )
    match program:
        case Call(source=source, function=function, arguments=arguments):
            # The value leaves the interpreter as text: to convert an object would use time and memory of our process.
            mark = secrets.token_hex(16)
            inputs = {"_interwhen_arguments": encoded(arguments)}
            call = f"{function}(*_interwhen_json.loads(_interwhen_arguments))"
            value = f"_interwhen_json.dumps({call}, allow_nan=False)"
            return f"{source}\nimport json as _interwhen_json\nprint({mark!r} + {value})\nNone", inputs, mark
        case Script(source=source):
            # The value of a last expression would be converted and given to us.
            return f"{source}\nNone", {}, ""
        case Command():
            raise UsageError("a program for Monty must be Python code, got a Command: use ProcessSandbox for commands")
        case _:
            assert_never(program)


class _Run:
    """One run in one session."""

    def __init__(self, session: MontySession, program: Program, limits: Limits, mark: str) -> None:
        self._session = session
        self._program = program
        self._limits = limits
        self._mark = mark
        self._streams = {"stdout": "", "stderr": ""}
        self._too_much = False
        self._worker = session.worker_pid
        self._begun = time.monotonic()

    def go(self, code: str, inputs: dict[str, Any], abort: Abort) -> Outcome:
        from pydantic_monty import MontyCrashedError, MontyError

        self._bound_worker()
        abort.kill_with(self._kill)
        try:
            self._session.feed_run(code, inputs=inputs, print_callback=self._printed)
        except MontyCrashedError as error:
            return self._of_crash(timed_out=error.timed_out)
        except MontyError as error:
            return self._of_error(error)
        finally:
            # The worker returns to the pool, so this run must not kill it any more.
            abort.kill_with(None)
        return self._of_end()

    def _printed(self, stream: str, text: str) -> None:
        if self._too_much:
            return
        room = self._room(stream)
        self._streams[stream] += text[:room]
        if len(text) > room:
            self._too_much = True
            self._kill()

    def _room(self, stream: str) -> int:
        # A returned value is printed to stdout too, and has the same limit.
        most = self._limits.output_bytes * (2 if self._mark and stream == "stdout" else 1) + len(self._mark)
        return most - len(self._streams[stream])

    def _kill(self) -> None:
        if self._worker is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._worker, signal.SIGKILL)

    def _bound_worker(self) -> None:
        if self._worker is None or not sys.platform.startswith("linux"):
            return
        import resource

        most = _WORKER_BYTES + 2 * self._limits.memory_bytes
        with contextlib.suppress(ProcessLookupError, PermissionError):
            _, ceiling = resource.prlimit(self._worker, resource.RLIMIT_AS)
            if ceiling != resource.RLIM_INFINITY:
                most = min(most, ceiling)
            resource.prlimit(self._worker, resource.RLIMIT_AS, (most, ceiling))

    def _record(self, stdout: str | None = None) -> Record:
        return Record(
            stdout=self._streams["stdout"] if stdout is None else stdout,
            stderr=self._streams["stderr"],
            seconds=time.monotonic() - self._begun,
        )

    def _of_end(self) -> Outcome:
        stdout, mark, text = self._streams["stdout"].rpartition(self._mark) if self._mark else ("", "", "")
        if not isinstance(self._program, Call):
            return Returned(None, 0, self._record())
        record = self._record(stdout)
        if len(stdout) > self._limits.output_bytes or len(text) > self._limits.output_bytes:
            return Limited("output", record)
        try:
            value: Json = json.loads(text)
        except (ValueError, RecursionError):
            return Crashed(
                "the function must return JSON, got something else"
                if mark
                else "the program must print its value, and printed none",
                record,
            )
        return Returned(value, 0, record)

    def _of_crash(self, *, timed_out: bool) -> Outcome:
        if self._too_much:
            return Limited("output", self._record())
        if timed_out:
            return Limited("seconds", self._record())
        return Crashed("the interpreter ended unexpectedly while the program ran: try again", self._record())

    def _of_error(self, error: Any) -> Outcome:
        if self._too_much:
            return Limited("output", self._record())
        inner = error.exception()
        kind, message = type(inner).__name__, str(inner)
        limit = _limit_of(kind, message)
        if limit is not None:
            return Limited(limit, self._record())
        if kind in _FORBIDDEN or "not supported in this environment" in message:
            return Denied(message, self._record())
        return Crashed(f"{kind}: {message}" if message else kind, self._record())


def _limit_of(kind: str, message: str) -> LimitName | None:
    if kind == "MemoryError":
        return "memory"
    if kind == "RecursionError":
        return "recursion"
    if kind == "TimeoutError" and ("time limit exceeded" in message or "sleep limit exceeded" in message):
        return "seconds"
    return None
