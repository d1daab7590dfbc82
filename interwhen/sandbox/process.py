"""Real Python, and any command, in a process that sees nothing of this machine."""

from __future__ import annotations

import json
import marshal
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeAlias, assert_never

import anyio
import anyio.to_thread

from interwhen.errors import SandboxUnavailable, UsageError
from interwhen.sandbox._aborting import Abort, in_thread
from interwhen.sandbox._inside.plan import Plan
from interwhen.sandbox._judging import findings_of, judge, judge_each
from interwhen.sandbox._launching import Heard, interpreter, launch
from interwhen.sandbox.guarantees import ALL, Finding, Guarantee, Guarantees
from interwhen.sandbox.limits import Limits
from interwhen.sandbox.outcomes import Outcome
from interwhen.sandbox.programs import Call, Command, Program, Script, encoded

Mechanism: TypeAlias = Literal["root", "user", "mount", "pid", "net", "ipc", "uts", "landlock", "seccomp", "notify"]
"""What a promise can be kept by: rights of root, kinds of namespaces, and filters."""

_SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
)
_RUNNER = (Path(__file__).parent / "_inside" / "runner.py").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class _Setting:
    """What makes one process sandbox differ from another."""

    python: str
    site: bool
    readable: tuple[tuple[str, str], ...]
    required: tuple[Guarantee, ...]
    without: tuple[Mechanism, ...]


class ProcessSandbox:
    """Runs programs in namespaces of their own, under a filter of system calls, without rights, and within limits.

    It needs Linux, and no package: the kernel is called directly. What it cannot enforce it refuses to run without,
    unless *allow_missing* names it; what was missing is in the record of each run.
    """

    name = "process"

    def __init__(
        self,
        *,
        allow_missing: AbstractSet[Guarantee] = frozenset(),
        readable: Iterable[str | os.PathLike[str]] = (),
        site: bool = False,
        python: str | None = None,
        parallel: int | None = None,
        without: AbstractSet[Mechanism] = frozenset(),
    ) -> None:
        """Configure a sandbox; entering it finds out whether it can be had.

        :param allow_missing: promises that may be broken.
        :param readable: more files and directories that programs may read, besides the system's and Python's.
        :param site: whether Python code may import the packages that are installed here.
        :param python: another interpreter for Python code.
        :param parallel: how many programs run at a time under :meth:`run` (as many as there are processors).
        :param without: mechanisms not to use, to see what is left on a machine that lacks them.
        """
        unknown = set(allow_missing) - set(ALL)
        if unknown:
            raise UsageError(f"allow_missing={sorted(unknown)!r}: the guarantees are {', '.join(ALL)}")
        executable = python or (sys.executable if site else interpreter())
        self._setting = _Setting(
            executable,
            site,
            _readable((*_SYSTEM, *_python_paths(executable, site=site), *(os.fspath(path) for path in readable))),
            tuple(name for name in ALL if name not in allow_missing),
            tuple(sorted(without)),
        )
        self._parallel = parallel or os.cpu_count() or 1
        self._limiter: anyio.CapacityLimiter | None = None
        self._entered = False

    def probe(self) -> Guarantees:
        """Find out what this sandbox can promise here, by making one."""
        return _probe(self._setting)

    def run_sync(self, program: Program, limits: Limits = Limits()) -> Outcome:  # noqa: B008  (it is immutable)
        """Run *program*, blocking this thread until it has ended."""
        return self._run(program, limits, Abort())

    async def run(self, program: Program, limits: Limits = Limits()) -> Outcome:  # noqa: B008  (it is immutable)
        """Run *program*; cancelling kills it. Waits while as many as may run at a time are running."""
        if self._limiter is None:
            raise UsageError("run() needs the sandbox to be entered with `async with`; in threads, use run_sync()")
        return await in_thread(lambda abort: self._run(program, limits, abort), self._limiter)

    async def run_each(self, calls: Sequence[Call], limits: Limits = Limits()) -> tuple[Outcome, ...]:  # noqa: B008
        """Run *calls*, one after another, each in a process of its own; cancelling kills them.

        No call can influence another: when one has ended, its processes are gone and its directory is empty again.
        The file system is made once for all of them, so that each takes little more than the start of an interpreter.
        *limits* are those of each call, but its ``seconds`` are for all calls together, and so is the output to stdout
        and stderr. *calls* share the ``files`` and ``stdin`` of the first.
        """
        if self._limiter is None:
            raise UsageError("run_each() needs the sandbox to be entered with `async with`")
        if not calls:
            return ()

        def run(abort: Abort) -> tuple[Outcome, ...]:
            return judge_each(self._heard(calls, limits, abort), calls, limits)

        return await in_thread(run, self._limiter)

    def _run(self, program: Program, limits: Limits, abort: Abort) -> Outcome:
        return judge(self._heard((program,), limits, abort), program, limits)

    def _heard(self, programs: Sequence[Program], limits: Limits, abort: Abort) -> Heard:
        if not self._entered:
            raise UsageError("a sandbox must be entered before it runs anything: `with` or `async with`")
        size = sum(map(len, programs[0].files.values()))
        if size > limits.disk_bytes:
            raise UsageError(f"the program's files have {size} bytes, its disk only {limits.disk_bytes}")
        heard = _carry_out(self._setting, programs, limits, abort)
        if not isinstance(heard.answer, str) and heard.answer["kind"] == "unavailable":
            raise _unavailable(Guarantees(self.name, findings_of(heard.answer)), self._setting.required)
        return heard

    def __enter__(self) -> Self:
        guarantees = self.probe()
        if guarantees.missing.intersection(self._setting.required):
            raise _unavailable(guarantees, self._setting.required)
        self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._entered = False

    async def __aenter__(self) -> Self:
        await anyio.to_thread.run_sync(self.__enter__)
        self._limiter = anyio.CapacityLimiter(self._parallel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._entered = False
        self._limiter = None


def _unavailable(guarantees: Guarantees, required: Iterable[Guarantee]) -> SandboxUnavailable:
    missing = guarantees.missing.intersection(required)
    return SandboxUnavailable("process", frozenset(missing), guarantees.why(missing))


_PROBED: dict[_Setting, Guarantees] = {}
"""What was found out; a failure that may have been a busy machine is not kept."""


def _probe(setting: _Setting) -> Guarantees:
    """Make the sandbox once, with nothing required, and see what is enforced in it."""
    if setting not in _PROBED:
        found, lasting = _try(setting)
        if not lasting:
            return found
        _PROBED[setting] = found
    return _PROBED[setting]


def _try(setting: _Setting) -> tuple[Guarantees, bool]:
    if not sys.platform.startswith("linux"):
        return _nothing(f"needs Linux, and this is {sys.platform}"), True
    relaxed = _Setting(setting.python, setting.site, setting.readable, (), setting.without)
    heard = _carry_out(relaxed, (Script(source=""),), Limits(), Abort())
    if isinstance(heard.answer, str):
        return _nothing(heard.answer), False
    if heard.answer["kind"] != "exit" or heard.answer["code"] != 0:
        said = heard.answer["what"] or heard.stderr.decode(errors="replace")[-300:]
        return _nothing(f"not even an empty program runs: {said}"), False
    return Guarantees("process", findings_of(heard.answer)), True


def _nothing(missing: str) -> Guarantees:
    return Guarantees("process", tuple(Finding(name, missing=missing) for name in ALL))


def _carry_out(setting: _Setting, programs: Sequence[Program], limits: Limits, abort: Abort) -> Heard:
    # Used only where there is no mount namespace, but that is found out inside.
    folder = tempfile.mkdtemp(prefix="interwhen-")
    try:
        return launch(_plan(setting, programs, limits, folder), abort)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _task(program: Program) -> bytes | None:
    match program:
        case Call(source=source, function=function, arguments=arguments):
            return marshal.dumps((source, function, json.loads(encoded(arguments))))
        case Script(source=source):
            return marshal.dumps((source, None, []))
        case Command():
            return None
        case _:
            assert_never(program)


def _plan(setting: _Setting, programs: Sequence[Program], limits: Limits, folder: str) -> Plan:
    program = programs[0]
    python = [setting.python, "-I", *(() if setting.site else ("-S",)), "-c", _RUNNER]
    argv, extra = (list(program.argv), dict(program.environment)) if isinstance(program, Command) else (python, {})
    environment = {
        "PATH": f"{Path(setting.python).parent}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        # Each thread would get 64 MiB of address space for itself otherwise.
        "MALLOC_ARENA_MAX": "2",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return {
        "argv": argv,
        "environment": {**environment, **extra},
        "stdin": program.stdin,
        "task": _task(program),
        "more": [task for other in programs[1:] if (task := _task(other)) is not None],
        "files": list(program.files.items()),
        "readable": list(setting.readable),
        "folder": folder,
        "seconds": limits.seconds,
        "total_seconds": limits.seconds,
        "cpu_seconds": limits.cpu_seconds,
        "memory_bytes": limits.memory_bytes,
        "output_bytes": limits.output_bytes,
        "disk_bytes": limits.disk_bytes,
        "inodes": limits.files,
        "open_files": limits.open_files,
        "processes": limits.processes,
        "required": list(setting.required),
        "without": list(setting.without),
    }


def _python_paths(executable: str, *, site: bool) -> tuple[str, ...]:
    """Return the directories that the interpreter needs."""
    prefixes = {str(Path(os.path.realpath(executable)).parent.parent)}
    if site:
        prefixes |= {sys.prefix, sys.base_prefix, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return tuple(sorted(prefixes))


def _readable(paths: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return pairs of what is shown and what it really is, without what lies inside of another."""
    pairs: list[tuple[str, str]] = []
    for path in sorted({os.path.abspath(path) for path in paths}):  # noqa: PTH100  (links must stay as they are)
        if path == "/":
            raise UsageError("readable='/': the whole machine is no sandbox")
        real = os.path.realpath(path)
        inside = any(path.startswith(f"{shown}/") and real == path for shown, _ in pairs)
        if Path(real).exists() and not inside:
            pairs.append((path, real))
    return tuple(pairs)
