"""Runs CPython code, or any command, in an isolated process."""

from __future__ import annotations

import contextlib
import errno
import json
import marshal
import os
import selectors
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeAlias, assert_never, get_args

from interwhen._types.errors import SandboxUnavailable, UsageError
from interwhen._types.vetting import require
from interwhen.sandbox._inside.plan import KeeperAnswer, RunPlan, boot
from interwhen.sandbox._sandbox import (
    ALL,
    Abort,
    BlockingSandbox,
    Call,
    Command,
    Crashed,
    Denied,
    Finding,
    Guarantee,
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
    from interwhen.sandbox._bubblewrap import Bubblewrap

# Start the launcher, read the output of the program within its limits, and end all processes.

_SET_UP_SECONDS = 20.0
"""Added to the time limit of a run, for setting up the sandbox on a busy machine."""
_END_SECONDS = 2.0
_CHUNK = 65536

_HERE = Path(__file__).parent


def interpreter() -> str:
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


@dataclass(slots=True)
class Heard:
    """What our process received from a run."""

    answer: KeeperAnswer | str
    """The keeper's answer, or why there is none."""
    stdout: bytes
    stderr: bytes
    ended_for: Literal["", "output", "seconds", "aborted"] = ""
    """Why our process ended the run; empty if it did not."""


@dataclass(slots=True)
class _Stream:
    """One pipe and its data: at most *limit* bytes, and one more if there was too much."""

    descriptor: int
    limit: int
    data: bytearray = field(default_factory=bytearray)
    open: bool = True

    @property
    def overfull(self) -> bool:
        return len(self.data) > self.limit

    def read(self) -> None:
        chunk = os.read(self.descriptor, _CHUNK)
        self.open = bool(chunk)
        self.data += chunk[: self.limit + 1 - len(self.data)]


def launch(plan: RunPlan, abort: Abort, wrapper: Bubblewrap | None = None) -> Heard:
    # Blocks until the launcher has ended; another thread can end the run by calling `abort`. Raises `OSError` if the
    # launcher cannot be started.
    with contextlib.ExitStack() as stack:
        request = _file_of(marshal.dumps({**plan}), stack)
        status, status_theirs = os.pipe()
        stack.callback(os.close, status)
        control_theirs, control = os.pipe()
        closing = _Closing(control)
        stack.callback(closing)
        try:
            descriptors = (str(status_theirs), str(control_theirs))
            argv = [interpreter(), "-I", "-S", "-c", boot(str(_HERE)), *descriptors, str(os.getpid())]
            given: list[int] = []
            user = None
            if wrapper is not None:
                given = [_file_of(content, stack) for content in wrapper.files.values()]
                argv = [*wrapper.argv(given), *descriptors, "0"]
                user = wrapper.user
            # The process inherits no environment, no directory, and no descriptors but these.
            process = subprocess.Popen(  # noqa: S603  (our own launcher)
                argv,
                stdin=request,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(status_theirs, control_theirs, *given),
                start_new_session=True,
                env={},
                cwd="/",
                user=user,
                group=user,
                extra_groups=None if user is None else (),
            )
        finally:
            os.close(status_theirs)
            os.close(control_theirs)
        stack.enter_context(process)
        stack.callback(_end, process, closing)
        abort.kill_with(closing)
        stack.callback(abort.kill_with, None)
        return _follow(plan, process, status, closing, abort)


def _file_of(content: bytes, stack: contextlib.ExitStack) -> int:
    descriptor = os.memfd_create("given")
    stack.callback(os.close, descriptor)
    while content:
        content = content[os.write(descriptor, content) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


class _Closing:
    """Closes our end of the control pipe once, which tells the keeper to end the sandbox."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _follow(plan: RunPlan, process: subprocess.Popen[bytes], status: int, closing: _Closing, abort: Abort) -> Heard:
    assert process.stdout is not None
    assert process.stderr is not None
    limit = plan["output_bytes"]
    stdout, stderr = _Stream(process.stdout.fileno(), limit), _Stream(process.stderr.fileno(), limit)
    # The keeper is trusted, and reads a bounded part of the return value of each task. So its answers always fit, and
    # this limit never cuts one.
    answer = _Stream(status, (8 * limit + (1 << 20)) * (1 + len(plan["more"])))
    ended_for = _listen((stdout, stderr, answer), plan["total_seconds"] + _SET_UP_SECONDS, closing)
    heard = _heard(bytes(answer.data))
    why = "aborted" if abort.aborted else ended_for
    return Heard(heard, bytes(stdout.data[:limit]), bytes(stderr.data[:limit]), why)


def _heard(data: bytes) -> KeeperAnswer | str:
    try:
        answer: KeeperAnswer | str = marshal.loads(data)  # noqa: S302  (the keeper is trusted)
    except (EOFError, ValueError, TypeError):
        return "the sandbox died"
    return answer


def _listen(streams: tuple[_Stream, ...], seconds: float, closing: _Closing) -> Literal["", "output", "seconds"]:
    ended_for: Literal["", "output", "seconds"] = ""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream.descriptor, selectors.EVENT_READ, stream)
        while selector.get_map():
            left = deadline - time.monotonic()
            for key, _ in selector.select(left) if left > 0 else ():
                key.data.read()
                if not key.data.open:
                    selector.unregister(key.fd)
            if ended_for and left <= 0:
                break  # the keeper has not ended in time: `_end` will kill it
            if not ended_for and (left <= 0 or any(stream.overfull for stream in streams)):
                ended_for = "seconds" if left <= 0 else "output"
                closing()
                deadline = time.monotonic() + _END_SECONDS
    return ended_for


def _end(process: subprocess.Popen[bytes], closing: _Closing) -> None:
    closing()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


_SIGNALS = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE"}


def findings_of(answer: KeeperAnswer) -> tuple[Finding, ...]:
    rows = {name: (tuple(by), missing) for name, by, missing in answer["findings"]}
    return tuple(Finding(name, *rows.get(name, ((), "not reported"))) for name in ALL)


def judge_each(heard: Heard, programs: Sequence[Program], limits: Limits) -> tuple[Outcome, ...]:
    answer = heard.answer
    if isinstance(answer, str):
        record = Record(stdout=_text(heard.stdout), stderr=_text(heard.stderr))
        if heard.ended_for == "output":
            return (Limited("output", record),) * len(programs)
        return (
            Crashed(f"the sandbox could not run the program ({answer}): see `interwhen doctor --sandbox`", record),
        ) * len(programs)
    answers = [answer, *answer["more"]]
    outcomes = [_judged(one, heard, program, limits) for one, program in zip(answers, programs, strict=False)]
    left = len(programs) - len(outcomes)
    # After a failure to start, the keeper tries no other program.
    if answers[-1]["kind"] == "start":
        return (*outcomes, *outcomes[-1:] * left)
    # The shared output or time was used up before the remaining programs began.
    which: LimitName = "output" if heard.ended_for == "output" else "seconds"
    return (*outcomes, *(Limited(which, Record()) for _ in range(left)))


def _judged(answer: KeeperAnswer, heard: Heard, program: Program, limits: Limits) -> Outcome:
    record = Record(
        stdout=_text(heard.stdout),
        stderr=_text(heard.stderr),
        seconds=answer["seconds"],
        cpu_seconds=answer["cpu_seconds"],
        peak_memory_bytes=answer["peak_memory_bytes"],
        refused=tuple(answer["refused"]),
        missing=frozenset(finding.guarantee for finding in findings_of(answer) if not finding.enforced),
    )
    # The forbidden action came first, before any limit.
    if answer["kind"] == "deny":
        return Denied(answer["what"], record)
    if heard.ended_for == "output":
        return Limited("output", record)
    return _by_end(answer, program, limits, record)


def _by_end(answer: KeeperAnswer, program: Program, limits: Limits, record: Record) -> Outcome:
    match answer["kind"]:
        case "limit":
            which: LimitName = answer["what"] if answer["what"] in get_args(LimitName) else "seconds"  # type: ignore[assignment]
            return Limited(which, record)
        case "start":
            return Crashed(f"the program could not be started: {answer['what']}", record)
        case "signal":
            number = answer["code"]
            return _unless_refused(Crashed(_SIGNALS.get(number, f"signal {number}"), record))
        case _:
            if isinstance(program, Command):
                return _by_code(answer, None, record)
            return _by_report(answer, program, limits, record)


def _by_report(answer: KeeperAnswer, program: Program, limits: Limits, record: Record) -> Outcome:
    if len(answer["value"]) > limits.output_bytes:
        return Limited("output", record)
    word, _, rest = answer["value"].decode(errors="replace").partition("\0")
    if word == "raised":
        raised, _, rest = rest.partition("\0")
        number, _, message = rest.partition("\0")
        return _by_exception(answer, raised, message, number, record)
    if not isinstance(program, Call):
        return _by_code(answer, None, record)
    if word != "value":
        ending = f"it ended with exit code {answer['code']} before {program.function!r} returned"
        return _unless_refused(Crashed(ending, record))
    try:
        value: Json = json.loads(rest)
    except (ValueError, RecursionError):
        return Crashed("the function must return JSON, got something else", record)
    return _by_code(answer, value, record)


def _by_code(answer: KeeperAnswer, value: Json, record: Record) -> Outcome:
    if answer["code"] != 0:
        if record.refused:
            return Denied(record.refused[0], record)
        if answer["full"] in {"disk", "files"}:
            return Limited("disk" if answer["full"] == "disk" else "files", record)
    return Returned(value, answer["code"], record)


def _by_exception(answer: KeeperAnswer, raised: str, message: str, text: str, record: Record) -> Outcome:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else None
    limit = _limit_of(answer, raised, message, number)
    if limit is not None:
        return Limited(limit, record)
    if number in {errno.EPERM, errno.EACCES, errno.EROFS}:
        return Denied(record.refused[0] if record.refused else message, record)
    return _unless_refused(Crashed(f"{raised}: {message}" if message else raised, record))


def _limit_of(answer: KeeperAnswer, raised: str, message: str, number: int | None) -> LimitName | None:
    if raised == "MemoryError" or number == errno.ENOMEM:
        return "memory"
    if raised == "RecursionError":
        return "recursion"
    if number == errno.EAGAIN or message == "can't start new thread":
        return "processes"
    if number == errno.EMFILE:
        return "open_files"
    if number in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return "files" if answer["full"] == "files" else "disk"
    return None


def _unless_refused(crashed: Crashed) -> Outcome:
    refused = crashed.record.refused
    return Denied(refused[0], crashed.record) if refused else crashed


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


Mechanism: TypeAlias = Literal["root", "user", "mount", "pid", "net", "ipc", "uts", "landlock", "seccomp", "notify"]
"""A mechanism that a sandbox uses: the rights of root, a kind of namespace, a filter, or (``notify``) the listener of
the filter of system calls."""

Isolation: TypeAlias = Literal["kernel", "bubblewrap"]

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
    """The settings of a :class:`ProcessSandbox`; its constructor explains them."""

    python: str
    site: bool
    readable: tuple[tuple[str, str], ...]
    """Pairs of a path and its real path."""
    required: tuple[Guarantee, ...]
    without: tuple[Mechanism, ...]
    isolation: Isolation

    @property
    def name(self) -> str:
        return "process" if self.isolation == "kernel" else self.isolation


class ProcessSandbox(BlockingSandbox):
    """Runs programs in separate namespaces, under a filter of system calls, without privileges, and within limits.

    Needs Linux, but no Python package. If a guarantee cannot be enforced, entering the sandbox raises
    :class:`~interwhen.sandbox.SandboxUnavailable`, unless *allow_missing* names the guarantee.
    """

    def __init__(
        self,
        *,
        allow_missing: AbstractSet[Guarantee] = frozenset(),
        readable: Iterable[str | os.PathLike[str]] = (),
        site: bool = False,
        python: str | None = None,
        parallel: int | None = None,
        without: AbstractSet[Mechanism] = frozenset(),
        isolation: Isolation = "kernel",
    ) -> None:
        """Configure a sandbox; entering it tests whether it is available.

        :param allow_missing: guarantees that may be missing.
        :param readable: files and directories that programs may read, in addition to the system's and Python's. Paths
            that do not exist are left out.
        :param site: whether Python code may import the packages that are installed here.
        :param python: the path of the interpreter for Python code (default: the one of Python's base installation or,
            with *site*, the one of this process).
        :param parallel: the most calls of :meth:`run` and :meth:`run_each` that run at a time (default: the number of
            processors).
        :param without: mechanisms not to use, to test a machine that lacks them.
        :param isolation: what makes the namespaces and the file system: ``kernel`` (this module), or ``bubblewrap``,
            which has to be installed.

        Raises :class:`UsageError` for an unknown isolation, guarantee or mechanism, if *parallel* is below 1, and if
        *readable* is no list, or has the path ``/`` or a link to it.
        """
        require("isolation", isolation, Isolation)
        require("allow_missing", tuple(allow_missing), tuple[Guarantee, ...])
        require("without", tuple(without), tuple[Mechanism, ...])
        if isinstance(readable, str | os.PathLike):
            raise UsageError(f"readable must be a list of paths, got {readable!r:.200}: give a list")
        executable = python or (sys.executable if site else interpreter())
        self._setting = _Setting(
            executable,
            site,
            _readable((*_SYSTEM, *_python_paths(executable, site=site), *(os.fspath(path) for path in readable))),
            tuple(name for name in ALL if name not in allow_missing),
            tuple(sorted(without)),
            isolation,
        )
        self.name = self._setting.name
        super().__init__(parallel)
        self._entered = False

    def probe(self) -> Guarantees:
        """Find out which guarantees this machine can enforce, if possible by making a sandbox.

        The result is cached in this process, except for failures that may be temporary. Raises :class:`OSError` if this
        process cannot start another one.
        """
        return _probe(replace(self._setting, required=()))

    async def run_each(self, calls: Sequence[Call], limits: Limits = Limits()) -> tuple[Outcome, ...]:  # noqa: B008
        """Run *calls*, one after another, each in a process of its own; cancelling kills them.

        This is faster than single runs, because the file system is made once. *limits* are those of each call, but
        ``seconds`` and the output to stdout and stderr are also for all calls together. Calls that do not start in time
        are :class:`Limited`; after too much output, so is each call that was not ended for a forbidden system call.
        *calls* share the ``files`` and ``stdin`` of the first; each call finds only these files. Raises
        :class:`UsageError` if the sandbox was not entered with ``async with``, if the files are too large, or if
        arguments have no JSON form, and :class:`~interwhen.sandbox.SandboxUnavailable` if a required guarantee is
        missing.
        """

        def run(abort: Abort) -> tuple[Outcome, ...]:
            return judge_each(self._heard(calls, limits, abort), calls, limits) if calls else ()

        return await self._in_thread(run, "run_each()")

    def _run(self, program: Program, limits: Limits, abort: Abort) -> Outcome:
        return judge_each(self._heard((program,), limits, abort), (program,), limits)[0]

    def _heard(self, programs: Sequence[Program], limits: Limits, abort: Abort) -> Heard:
        if not self._entered:
            raise UsageError("a ProcessSandbox must be entered before a run, and is not: use `with` or `async with`")
        size = sum(map(len, programs[0].files.values()))
        if size > limits.disk_bytes:
            raise UsageError(
                f"the files of a program must fit on its disk of {limits.disk_bytes} bytes, got {size} "
                "bytes: raise disk_bytes, or give smaller files"
            )
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


def _unavailable(guarantees: Guarantees, required: Iterable[Guarantee]) -> SandboxUnavailable:
    missing = guarantees.missing.intersection(required)
    return SandboxUnavailable(guarantees.sandbox, frozenset(missing), guarantees.why(missing))


_PROBED: dict[_Setting, Guarantees] = {}


def _probe(setting: _Setting) -> Guarantees:
    if setting not in _PROBED:
        guarantees, lasting = _probe_now(setting)
        if not lasting:
            return guarantees
        _PROBED[setting] = guarantees
    return _PROBED[setting]


def _probe_now(setting: _Setting) -> tuple[Guarantees, bool]:
    if not sys.platform.startswith("linux"):
        return _nothing(setting, f"this sandbox needs Linux, and this is {sys.platform}"), True
    if setting.isolation == "bubblewrap" and shutil.which("bwrap") is None:
        return _nothing(setting, "the program bwrap must be in PATH, and is not: install bubblewrap"), False
    heard = _carry_out(setting, (Script(source=""),), Limits(), Abort())
    if isinstance(heard.answer, str):
        return _nothing(setting, f"{heard.answer} {_text(heard.stderr)[-300:]}".strip()), False
    if heard.answer["kind"] != "exit" or heard.answer["code"] != 0:
        said = heard.answer["what"] or heard.stderr.decode(errors="replace")[-300:]
        return _nothing(setting, f"an empty program must run, and does not: {said}"), False
    return Guarantees(setting.name, findings_of(heard.answer)), True


def _nothing(setting: _Setting, missing: str) -> Guarantees:
    return Guarantees(setting.name, tuple(Finding(name, missing=missing) for name in ALL))


def _carry_out(setting: _Setting, programs: Sequence[Program], limits: Limits, abort: Abort) -> Heard:
    # Used only if there is no mount namespace, which is known only inside the sandbox.
    folder = tempfile.mkdtemp(prefix="interwhen-")
    try:
        plan = _plan(setting, programs, limits, folder)
        if setting.isolation == "kernel":
            return launch(plan, abort)
        from interwhen.sandbox._bubblewrap import wrap  # it calls the C library, and needs Linux

        return launch(plan, abort, wrap(plan, setting.python, as_root="root" not in setting.without))
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


def _plan(setting: _Setting, programs: Sequence[Program], limits: Limits, folder: str) -> RunPlan:
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
        "outer": {},
        "user": 0,
    }


def _python_paths(executable: str, *, site: bool) -> tuple[str, ...]:
    prefixes = {str(Path(os.path.realpath(executable)).parent.parent)}
    if site:
        prefixes |= {sys.prefix, sys.base_prefix, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    # A link on the way to the interpreter may be elsewhere: in the folder of PATH from which an environment was made.
    links, path = set[str](), Path(executable)
    while path.is_symlink():
        links.add(str(path))
        path = Path(os.path.normpath(path.parent / path.readlink()))
    return (
        *sorted(prefixes),
        *sorted(link for link in links if not link.startswith(tuple(f"{each}/" for each in prefixes))),
    )


def _readable(paths: Iterable[str]) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for path in sorted({os.path.abspath(path) for path in paths}):  # noqa: PTH100  (links must stay as they are)
        real = os.path.realpath(path)
        if real == "/":
            raise UsageError(
                "readable must not hold '/' or a link to it, because the whole machine would be readable, got "
                f"{path!r}: name single directories"
            )
        inside = any(path.startswith(f"{shown}/") and real == path for shown, _ in pairs)
        if Path(real).exists() and not inside:
            pairs.append((path, real))
    return tuple(pairs)
