"""What a sandbox is: anything that runs a program and keeps its promises."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import PurePosixPath
from types import TracebackType
from typing import Literal, Protocol, Self, TypeAlias, TypeVar, get_args

import anyio
import anyio.to_thread

from interwhen._types.errors import UsageError

# What a sandbox promises, and by what each promise is kept on this machine.

Guarantee: TypeAlias = Literal["network", "files", "processes", "memory", "syscalls", "privileges"]
"""One promise of a sandbox:

- ``network``: nothing is sent or received;
- ``files``: no file outside the program's own directory is changed, and none is read that it was not given;
- ``processes``: other processes are neither seen nor touched, and none of its own outlives the run;
- ``memory``: no more is taken than the limit;
- ``syscalls``: the parts of the kernel that no honest program needs are out of reach;
- ``privileges``: it has no rights of an administrator, and can gain none.
"""

ALL: tuple[Guarantee, ...] = get_args(Guarantee)


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether one promise is kept: ``by`` what, or why not (``missing``)."""

    guarantee: Guarantee
    by: tuple[str, ...] = ()
    missing: str = ""

    @property
    def enforced(self) -> bool:
        """Whether it can be relied on."""
        return bool(self.by)


@dataclass(frozen=True, slots=True)
class Guarantees:
    """What a sandbox can promise here, a finding for each promise."""

    sandbox: str
    findings: tuple[Finding, ...]

    @property
    def missing(self) -> frozenset[Guarantee]:
        """The promises that cannot be kept."""
        return frozenset(finding.guarantee for finding in self.findings if not finding.enforced)

    def why(self, guarantees: Iterable[Guarantee]) -> str:
        """Say why each of *guarantees* is missing."""
        wanted = set(guarantees)
        found = [finding for finding in self.findings if finding.guarantee in wanted]
        return "; ".join(f"{finding.guarantee}: {finding.missing}" for finding in found)


# How much of the machine a program may use.

LimitName: TypeAlias = Literal[
    "seconds", "cpu_seconds", "memory", "output", "disk", "files", "open_files", "processes", "recursion"
]
"""The limit that a program ran into."""

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run may use; reaching any of them ends it."""

    seconds: float = 5.0
    """Time on the clock, from when the program itself starts."""
    cpu_seconds: float = 5.0
    """Processor time of each process, rounded up to whole seconds."""
    memory_bytes: int = 256 * MIB
    """Address space of each process, and the memory of all of them together."""
    output_bytes: int = 64 * 1024
    """The most of stdout, of stderr and of a returned value that is kept; more ends the program."""
    disk_bytes: int = 16 * MIB
    """The private temporary directory, and any single file."""
    files: int = 512
    """How many files and directories may lie in the private temporary directory."""
    open_files: int = 64
    """How many files each process may have open."""
    processes: int = 16
    """How many processes and threads there may be at a time."""
    recursion: int = 1000
    """How deep calls may go, where the interpreter is ours to set (:class:`MontySandbox`)."""

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if not 0 < value < 1 << 60:
                raise UsageError(f"{limit.name}={value!r} must be a positive number")
        if self.open_files < 8:
            raise UsageError(f"open_files={self.open_files!r}: an interpreter does not start with less than 8")


# What a sandbox runs: a function, a script, or a command.

Json: TypeAlias = "bool | int | float | str | list[Json] | tuple[Json, ...] | dict[str, Json] | None"
"""A value that crosses the border of a sandbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Run *source*, call *function* of it with *arguments*, and give back what it returns.

    The value is plain JSON, whatever the function is up to; anything else that it returns ends as ``Crashed``.
    """

    source: str
    function: str
    arguments: tuple[Json, ...] = ()
    stdin: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.function.isidentifier():
            raise UsageError(f"function={self.function!r} is not the name of a function")
        check_files(self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Run *source* as a Python program; *files* lie in its current directory."""

    source: str
    stdin: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_files(self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Run the executable ``argv[0]``; it sees *files* in its current directory and nothing of our environment."""

    argv: tuple[str, ...]
    stdin: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.argv or not self.argv[0] or any("\0" in argument for argument in self.argv):
            raise UsageError(f"argv={self.argv!r} names no executable, or holds a NUL character")
        check_files(self.files)


Program: TypeAlias = Call | Script | Command


def encoded(arguments: tuple[Json, ...]) -> str:
    """Return *arguments* as the JSON text in which they go in."""
    try:
        return json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"arguments={arguments!r:.200}: only JSON goes into a sandbox ({error})") from error


def check_files(files: Mapping[str, bytes]) -> None:
    """Refuse names that would lie outside the program's directory."""
    for name in files:
        path = PurePosixPath(name)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
            raise UsageError(f"file {name!r}: a file of a program has a relative path without '..'")


# How a run in a sandbox ends: a closed union, none of whose members means that the program was right.


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of every run, however it ended."""

    stdout: str = ""
    """What it wrote, up to the limit; bytes that are no UTF-8 are replaced."""
    stderr: str = ""
    seconds: float = 0.0
    """From when the program itself started."""
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    """Of its largest process, where the system tells."""
    refused: tuple[str, ...] = ()
    """What it tried and was refused, and went on without."""
    missing: frozenset[Guarantee] = frozenset()
    """The guarantees that were not enforced in this run, because the caller allowed it."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The program came to its own end. An ``exit_code`` of 0 says only that."""

    value: Json
    """What the function of a :class:`Call` returned; None for anything else."""
    exit_code: int
    record: Record


@dataclass(frozen=True, slots=True)
class Denied:
    """The program tried something forbidden, and was ended or gave up."""

    what: str
    record: Record


@dataclass(frozen=True, slots=True)
class Limited:
    """The program ran into a limit."""

    which: LimitName
    record: Record


@dataclass(frozen=True, slots=True)
class Crashed:
    """The program failed: an exception, a signal, or a value that is no JSON."""

    reason: str
    record: Record


Outcome: TypeAlias = Returned | Denied | Limited | Crashed


class Sandbox(Protocol):
    """Runs untrusted programs; entered with ``async with`` or, in threads and worker processes, with ``with``.

    Entering raises :class:`~interwhen.sandbox.SandboxUnavailable` where a promise cannot be kept on this machine.
    A run never raises for what the program did. When it returns, or is cancelled, nothing of the program is left.
    """

    @property
    def name(self) -> str:
        """A short word for logs and reports."""
        ...

    def probe(self) -> Guarantees:
        """Find out what this sandbox can promise here. May take some 100 ms the first time."""
        ...

    def run_sync(self, program: Program, limits: Limits = ...) -> Outcome:
        """Run *program*, blocking this thread until it has ended."""
        ...

    async def run(self, program: Program, limits: Limits = ...) -> Outcome:
        """Run *program*; cancelling kills it."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


# A blocking run in a thread that a cancellation ends at once.

T = TypeVar("T")


class Abort:
    """Lets another thread end a run: what the run registers is called once, also when it is registered late."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kill: Callable[[], None] | None = None
        self._aborted = False

    @property
    def aborted(self) -> bool:
        """Whether the run was told to end."""
        return self._aborted

    def kill_with(self, kill: Callable[[], None] | None) -> None:
        """Say how to end the run from here on; None says that there is nothing left to end."""
        with self._lock:
            self._kill = kill
            if self._aborted and kill is not None:
                kill()

    def __call__(self) -> None:
        """End the run."""
        with self._lock:
            self._aborted = True
            if self._kill is not None:
                self._kill()


async def in_thread(work: Callable[[Abort], T], limiter: anyio.CapacityLimiter) -> T:
    """Do *work* in a thread and return its result; a cancellation aborts it and waits until it has ended."""
    abort = Abort()
    ended = anyio.Event()
    results: list[T] = []
    errors: list[Exception] = []

    async def follow() -> None:
        # Shielded, because nothing of a program may be left behind; bounded, because aborted work ends by itself.
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
