"""The interface of a sandbox: guarantees, limits, programs and outcomes."""

from __future__ import annotations

import abc
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import TracebackType
from typing import Annotated, Literal, Protocol, Self, TypeAlias, TypeVar, get_args

import anyio
import anyio.to_thread
from msgspec import Meta

from interwhen._types.errors import UsageError
from interwhen._types.vetting import Positive, require, vet

# The guarantees of a sandbox, and the mechanisms that enforce them on this machine.

Guarantee: TypeAlias = Literal["network", "files", "processes", "memory", "syscalls", "privileges"]
"""One guarantee of a sandbox:

- ``network``: nothing is sent or received;
- ``files``: no file outside the program's own directory is written, made or deleted (except devices such as
  ``/dev/null``), and only files that the sandbox makes readable are read: mainly those of the system and of Python, and
  those that the caller named;
- ``processes``: other processes are not visible, and none of its own outlives the run;
- ``memory``: no process uses more than the limit;
- ``syscalls``: a list of system calls that honest programs do not need is refused;
- ``privileges``: it has no rights of an administrator, and cannot gain any.
"""

ALL: tuple[Guarantee, ...] = get_args(Guarantee)


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether one guarantee is enforced.

    ``by`` names the mechanisms that enforce it. Without any, ``missing`` says why.
    """

    guarantee: Guarantee
    by: tuple[str, ...] = ()
    missing: str = ""

    @property
    def enforced(self) -> bool:
        return bool(self.by)


@dataclass(frozen=True, slots=True)
class Guarantees:
    """The guarantees of a sandbox on this machine, a finding for each."""

    sandbox: str
    findings: tuple[Finding, ...]

    @property
    def missing(self) -> frozenset[Guarantee]:
        return frozenset(finding.guarantee for finding in self.findings if not finding.enforced)

    def why(self, guarantees: Iterable[Guarantee]) -> str:
        """Return a text such as ``network: REASON; files: REASON`` that says why each of *guarantees* is missing."""
        wanted = set(guarantees)
        findings = [finding for finding in self.findings if finding.guarantee in wanted]
        return "; ".join(f"{finding.guarantee}: {finding.missing}" for finding in findings)


LimitName: TypeAlias = Literal[
    "seconds", "cpu_seconds", "memory", "output", "disk", "files", "open_files", "processes", "recursion"
]

MIB = 1 << 20
_Limit = Annotated[int, Meta(gt=0, lt=1 << 60)]
_Seconds = Annotated[float, Meta(gt=0, lt=1 << 60)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The resource limits of one run. A program that fails because of a limit usually ends as :class:`Limited`.

    In :class:`MontySandbox`, the limits ``disk_bytes``, ``files``, ``open_files`` and ``processes`` have no effect.
    Raises :class:`UsageError` if a limit is not between 0 and 2**60 (both excluded), if ``open_files`` is below 8, and
    if another limit than those in seconds is not a whole number.
    """

    seconds: _Seconds = 5.0
    """The wall-clock time of the program."""
    cpu_seconds: _Seconds = 5.0
    """Processor time of each process, rounded up to whole seconds. In :class:`MontySandbox`, the smaller one of
    ``seconds`` and ``cpu_seconds`` limits the wall-clock time."""
    memory_bytes: _Limit = 256 * MIB
    """The most address space of each process and, where it can be measured, the most memory of all processes together.
    In :class:`MontySandbox`, the memory of the program, as the interpreter counts it."""
    output_bytes: _Limit = 64 * 1024
    """The most bytes of stdout, of stderr, and of a returned value as JSON with a short mark, each.
    :class:`MontySandbox` counts characters."""
    disk_bytes: _Limit = 16 * MIB
    """The most bytes in any single file and, on a machine with mount namespaces, in the program's own directory."""
    files: _Limit = 512
    """The most files and directories in the program's own directory. Without mount namespaces, there is no limit."""
    open_files: Annotated[int, Meta(ge=8, lt=1 << 60)] = 64
    """The most files that each process may have open."""
    processes: _Limit = 16
    """The most processes and threads at a time."""
    recursion: _Limit = 1000
    """The deepest nesting of calls, in :class:`MontySandbox`."""

    def __post_init__(self) -> None:
        vet(self)


# The programs of a sandbox: a function, a script, or a command.

Json: TypeAlias = "bool | int | float | str | list[Json] | tuple[Json, ...] | dict[str, Json] | None"
"""A value that goes into a sandbox or comes out of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Run *source*, call its *function* with *arguments*, and return the value.

    *arguments* and the value are passed as JSON, so a tuple becomes a list. A value without a JSON form usually ends as
    :class:`Crashed`; for such arguments, the run raises :class:`UsageError`. Raises :class:`UsageError` if *function*
    is not an identifier, or if a name in *files* is outside the program's directory. :class:`MontySandbox` takes
    neither *files* nor *stdin*.
    """

    source: str
    """Python code that defines the function."""
    function: str
    arguments: tuple[Json, ...] = ()
    stdin: bytes = b""
    """The standard input of the program."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """The contents of files in the current directory of the program, by name."""

    def __post_init__(self) -> None:
        if not self.function.isidentifier():
            raise UsageError(f"Call(function=...) must be the name of a function, got {self.function!r:.80}")
        check_files(self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Run *source* as a Python program. *files* has the contents of files in its current directory, by name.

    Raises :class:`UsageError` if one of these names is outside the directory. :class:`MontySandbox` takes neither
    *files* nor *stdin*.
    """

    source: str
    stdin: bytes = b""
    """The standard input of the program."""
    files: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_files(self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Run the executable ``argv[0]``, a path or a name in the program's ``PATH``.

    *files* has the contents of files in its current directory, by name. The program gets a few fixed environment
    variables, such as ``PATH``, and those of *environment*, which replace them. :class:`MontySandbox` runs no commands.
    Raises :class:`UsageError` if *argv* has no executable or a NUL character, or if a name in *files* is outside the
    directory.
    """

    argv: tuple[str, ...]
    stdin: bytes = b""
    """The standard input of the program."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = () if isinstance(self.argv, str) else self.argv
        if not parts or not parts[0] or any(not isinstance(part, str) or "\0" in part for part in parts):
            raise UsageError(
                f"Command(argv=...) must begin with an executable and have no NUL character, got {self.argv!r:.200}"
            )
        check_files(self.files)


Program: TypeAlias = Call | Script | Command


def encoded(arguments: tuple[Json, ...]) -> str:
    try:
        return json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"Call(arguments=...) must have a JSON form, got {arguments!r:.200} ({error}): give plain values"
        ) from error


def check_files(files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        if not isinstance(content, bytes | bytearray | memoryview):
            raise UsageError(f"the content of a file must be bytes, got {content!r:.80} for {name!r:.200}: encode it")
        path = PurePosixPath(name)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
            raise UsageError(
                f"the name of a file must be a relative path without '..' and NUL, got {name!r:.200}: correct it"
            )


# The outcomes of a run: a closed union. None of them means that the program was right.


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a run printed and used, and what the sandbox refused."""

    stdout: str = ""
    """The output of the program, cut if it is too long; bytes that are not UTF-8 are replaced. After
    :meth:`ProcessSandbox.run_each`, a call that was tried has the output of all calls."""
    stderr: str = ""
    """The error output of the program, as for ``stdout``."""
    seconds: float = 0.0
    """Wall-clock time from the start of the program's process to its end; 0 if the sandbox did not measure it."""
    cpu_seconds: float | None = None
    """The CPU time of the program and the children it waited for; ``None`` if the sandbox did not measure it."""
    peak_memory_bytes: int | None = None
    """The peak memory of the largest of these processes; ``None`` if the sandbox did not measure it."""
    refused: tuple[str, ...] = ()
    """Actions that the sandbox refused without ending the program, as far as it can observe them: each once, at most
    100."""
    missing: frozenset[Guarantee] = frozenset()
    """The guarantees that were not enforced in this run; empty if the sandbox did not report them."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The program ended by itself. An ``exit_code`` of 0 does not mean that its result is right."""

    value: Json
    """The value of the function of a :class:`Call`; ``None`` for other programs."""
    exit_code: int
    record: Record


@dataclass(frozen=True, slots=True)
class Denied:
    """The sandbox ended the program for a forbidden action, or it failed after one or with a permission error."""

    what: str
    """The action, such as the name of a system call, or the message of the program's exception."""
    record: Record


@dataclass(frozen=True, slots=True)
class Limited:
    """The program reached a limit, or raised an error that says so.

    A call of :meth:`ProcessSandbox.run_each` that could not start in time ends as this, too.
    """

    which: LimitName
    record: Record


@dataclass(frozen=True, slots=True)
class Crashed:
    """The program failed, for example by an exception or a signal, or could not be started.

    A failure of the sandbox itself ends as this, too.
    """

    reason: str
    record: Record


Outcome: TypeAlias = Returned | Denied | Limited | Crashed


class Sandbox(Protocol):
    """Runs untrusted programs. Enter it with ``async with`` or, in threads and worker processes, with ``with``.

    Entering raises :class:`~interwhen.sandbox.SandboxUnavailable` if a required guarantee cannot be enforced on this
    machine. A run never raises because of an action of the program. After a run, no process of the program is left, if
    the guarantee ``processes`` is enforced.
    """

    @property
    def name(self) -> str:
        """A short name for logs and reports."""
        ...

    def probe(self) -> Guarantees:
        """Find out which guarantees this machine can enforce. May take some 100 ms the first time."""
        ...

    def run_sync(self, program: Program, limits: Limits = ...) -> Outcome:
        """Run *program* within *limits*, and return its outcome. This blocks the thread until the program has ended."""
        ...

    async def run(self, program: Program, limits: Limits = ...) -> Outcome:
        """Run *program* within *limits*, and return its outcome. If this call is cancelled, the program is killed."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


# A blocking run in a thread, which a cancellation ends at once.

T = TypeVar("T")


class Abort:
    """Lets another thread end a run, by calling a function that the run has registered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kill: Callable[[], None] | None = None
        self._aborted = False

    @property
    def aborted(self) -> bool:
        return self._aborted

    def kill_with(self, kill: Callable[[], None] | None) -> None:
        """Register *kill*, a function that ends the run; ``None``: there is nothing to end at the moment.

        *kill* is called at once if the run was aborted already.
        """
        with self._lock:
            self._kill = kill
            if self._aborted and kill is not None:
                kill()

    def __call__(self) -> None:
        with self._lock:
            self._aborted = True
            if self._kill is not None:
                self._kill()


async def in_thread(work: Callable[[Abort], T], limiter: anyio.CapacityLimiter) -> T:
    """Run *work* in a thread. A cancellation aborts the work and waits for its end."""
    abort = Abort()
    ended = anyio.Event()
    results: list[T] = []
    errors: list[Exception] = []

    async def follow() -> None:
        # Shielded, so that no process of a program is left; bounded, because aborted work ends by itself.
        with anyio.CancelScope(shield=True):
            try:
                results.append(await anyio.to_thread.run_sync(work, abort, limiter=anyio.CapacityLimiter(1)))
            except Exception as error:  # noqa: BLE001  (raised again below, outside the group that would wrap it)
                errors.append(error)
        ended.set()

    async with limiter, anyio.create_task_group() as group:
        group.start_soon(follow, name="sandbox run")
        try:
            await ended.wait()
        finally:
            abort()
    for error in errors:
        raise error
    return results[0]


class BlockingSandbox(abc.ABC):
    """Base class of sandboxes whose runs block a thread; a subclass implements ``_run``, ``probe`` and ``with``.

    At most *parallel* asynchronous calls work at the same time (``None``: one for each processor); calls of
    :meth:`run_sync` are not counted.
    """

    def __init__(self, parallel: int | None) -> None:
        require("parallel", parallel, Positive | None)
        self._parallel = parallel or os.cpu_count() or 1
        self._limiter: anyio.CapacityLimiter | None = None

    @abc.abstractmethod
    def _run(self, program: Program, limits: Limits, abort: Abort) -> Outcome:
        """Run *program* within *limits*, and return its outcome. This blocks the thread; *abort* ends the run."""

    @abc.abstractmethod
    def __enter__(self) -> Self: ...

    @abc.abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def run_sync(self, program: Program, limits: Limits = Limits()) -> Outcome:
        """Run *program* within *limits*, and return its outcome. This blocks the thread until the program has ended.

        Raises :class:`UsageError` if the sandbox was not entered or does not take this program, and
        :class:`~interwhen.sandbox.SandboxUnavailable` if a required guarantee has become missing.
        """
        return self._run(program, limits, Abort())

    async def run(self, program: Program, limits: Limits = Limits()) -> Outcome:
        """Run *program* within *limits*, and return its outcome. If this call is cancelled, the program is killed.

        The call waits while *parallel* others are running. Raises :class:`UsageError` if the sandbox was not entered
        with ``async with`` or does not take this program, and :class:`~interwhen.sandbox.SandboxUnavailable` if a
        required guarantee has become missing.
        """
        return await self._in_thread(lambda abort: self._run(program, limits, abort), "run()")

    async def _in_thread(self, work: Callable[[Abort], T], call: str) -> T:
        if self._limiter is None:
            raise UsageError(
                f"a sandbox must be entered with `async with` for {call}, and this one was not: enter it so, or use "
                "run_sync() in threads"
            )
        return await in_thread(work, self._limiter)

    async def __aenter__(self) -> Self:
        await anyio.to_thread.run_sync(self.__enter__)
        self._limiter = anyio.CapacityLimiter(self._parallel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._limiter = None
        with anyio.CancelScope(shield=True):
            # All runs have ended by now, so that this takes milliseconds.
            await anyio.to_thread.run_sync(self.__exit__, kind, error, traceback)
