"""Runs the commands of a checker on a file, in a sandbox or unprotected, without a shell."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread
from interwhen import Pass, Span, Unknown, Verdict, Violation
from interwhen.sandbox import Call, Crashed, Denied, Json, Limited, Limits, ProcessSandbox, Returned
from interwhen.toolkit import Scope

from interwhen_verifiers._blocks import line_span
from interwhen_verifiers._command import supervisor
from interwhen_verifiers._command.checker import MOST, Checker, Diagnostic

_MIB = 1 << 20
_MOST_OUTPUT = 256 * 1024
_DRIVER = """
import os, subprocess
def run(file, text, steps, more):
    with open(file, "wb") as opened:
        opened.write(text.encode())
    for number, argv in enumerate(steps):
        try:
            code = subprocess.call(argv, stdin=subprocess.DEVNULL, env={**os.environ, **dict(more)})
        except OSError as error:
            code = None
        if code != 0:
            break
    return [number, code]
"""
"""Runs the steps in the sandbox, and returns the index and the exit code of the last one."""
_KEPT = ("PATH", "LANG", "HOME", "ELAN_HOME", "SYSTEMROOT")
_CLOSING = 2.0
_SUPERVISED = supervisor.is_possible()
"""Whether a supervisor kills all processes of the command. If not, its process group is killed."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How the commands of a checker ended."""

    step: int = 0
    """The index of the last command, also if it could not be started; 0 if it is not known."""
    code: int | None = None
    """The exit code of the last command; negative: the signal that ended it; ``None``: it did not start or did not
    finish.
    """
    output: str = ""
    """What the last command printed; in the sandbox, what all commands printed."""
    trouble: str = ""
    """Why there is no usable result, such as a command that did not finish; empty, too, for a missing command."""
    missing: bool = False
    """Whether the last command is not installed; in the sandbox, whether it could not be started."""
    diagnostics: tuple[Diagnostic, ...] | None = None
    """``None`` if :func:`read_apart` has not searched for them."""


async def run_inside(checker: Checker, text: bytes, *, seconds: float, readable: tuple[str, ...]) -> Ran:
    # `seconds` limits all commands together. Raises `SandboxUnavailable` if this machine cannot make the sandbox.
    limits = Limits(
        seconds=seconds,
        cpu_seconds=seconds,
        memory_bytes=2048 * _MIB,
        disk_bytes=64 * _MIB,
        output_bytes=_MOST_OUTPUT,
        open_files=256,
        processes=32,
    )
    placed = [[part.replace("{file}", checker.file) for part in argv] for argv in checker.steps]
    steps: list[Json] = [[*argv] for argv in placed]
    more: list[Json] = [[*pair] for pair in checker.environment]
    call = Call(source=_DRIVER, function="run", arguments=(checker.file, text.decode(), steps, more))
    async with ProcessSandbox(site=checker.site, readable=(*checker.readable, *readable)) as sandbox:
        outcome = await sandbox.run(call, limits)
    output = f"{outcome.record.stdout}\n{outcome.record.stderr}"
    match outcome:
        case Returned(value=[int(number), int(code)]):
            return Ran(number, code, output)
        case Returned(value=[int(number), None]):
            return Ran(number, None, output, missing=True)
        case Returned():
            return Ran(output=output, trouble="it ended before it could say how")
        case Limited(which=which):
            return Ran(output=output, trouble=f"it ran into the limit of {which}")
        case Denied(what=what):
            return Ran(output=output, trouble=f"it tried what is not allowed: {what}")
        case Crashed(reason=reason):
            return Ran(output=output, trouble=reason)


_FINDING = """
import itertools, json, re, sys
pattern, output, most = json.load(sys.stdin)
found = re.compile(pattern, re.MULTILINE).finditer(output)
json.dump([{**one.groupdict(), "": one[0]} for one in itertools.islice(found, most)], sys.stdout)
"""
_FINDING_SECONDS = 3.0


async def read_apart(checker: Checker, ran: Ran) -> Ran:
    # The search runs in another process, which is killed after a few seconds, because `re` may take exponential time.
    # If the search fails, `trouble` of the result says so.
    if not checker.own_pattern or ran.code not in checker.refutes:
        return ran
    given = json.dumps([checker.own_pattern, ran.output, MOST]).encode()
    with anyio.move_on_after(_FINDING_SECONDS):
        ended = await anyio.run_process([sys.executable, "-I", "-S", "-c", _FINDING], input=given, check=False)
        if ended.returncode == 0:
            return replace(ran, diagnostics=tuple(checker.read(json.loads(ended.stdout))))
        return replace(
            ran, trouble=f"the search for diagnostics in its output failed with exit code {ended.returncode}"
        )
    return replace(ran, trouble="the pattern for its diagnostics took too long on its output")


async def run_outside(checker: Checker, text: bytes, *, seconds: float, directory: str | None) -> Ran:
    # The commands have the rights of this process. At the end, all their processes are killed: where the system cannot
    # tell them, the process group; on Windows, the command alone. `seconds` limits all commands together.
    scratch = await anyio.to_thread.run_sync(_scratch, checker.file, text)
    number, output, ran = 0, bytearray(), Ran()
    try:
        with anyio.move_on_after(seconds) as scope:
            for number, argv in enumerate(checker.steps):
                placed = [part.replace("{file}", str(Path(scratch, checker.file))) for part in argv]
                if placed[0].startswith("./"):
                    placed[0] = str(Path(scratch, placed[0]))
                output = bytearray()
                ran = await _call(number, placed, directory or scratch, dict(checker.environment), output)
                if ran.code != 0:
                    break
        if scope.cancelled_caught:
            return Ran(number, None, _text(output), f"it did not end within {seconds:g} s")
        return ran
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _scratch(file: str, text: bytes) -> str:
    folder = tempfile.mkdtemp(prefix="interwhen-")
    Path(folder, file).write_bytes(text)
    return folder


async def _call(number: int, argv: list[str], directory: str, more: dict[str, str], output: bytearray) -> Ran:
    environment = {name: value for name, value in os.environ.items() if name in _KEPT} | more
    try:
        process = await anyio.open_process(
            [sys.executable, "-I", "-S", supervisor.__file__, *argv] if _SUPERVISED else argv,
            stdin=subprocess.PIPE if _SUPERVISED else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        return _unstarted(number, error)
    try:
        assert process.stdout is not None
        async for data in process.stdout:
            output += data
            if len(output) > _MOST_OUTPUT:
                return Ran(number, None, _text(output), f"it wrote more than {_MOST_OUTPUT} bytes")
        code = await process.wait()
    finally:
        await _end(process)
    return _reported(number, code, output) if _SUPERVISED else Ran(number, code, _text(output))


def _unstarted(number: int, error: OSError) -> Ran:
    if isinstance(error, FileNotFoundError):
        return Ran(number, missing=True)
    return Ran(number, trouble=f"it could not be started: {error}")


def _reported(number: int, code: int, output: bytearray) -> Ran:
    *errno, result = bytes(output[-supervisor.REPORT :]).split() or [b""]
    del output[-supervisor.REPORT :]
    if code or not result:
        return Ran(number, None, _text(output), "it left processes that could not be ended, or killed its supervisor")
    if errno:
        return _unstarted(number, OSError(int(result), os.strerror(int(result))))
    return Ran(number, int(result), _text(output))


async def _end(process: anyio.abc.Process) -> None:
    # The supervisor, where there is one, kills all processes of the command when its input ends.
    if not _SUPERVISED:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
    with anyio.move_on_after(_CLOSING, shield=True):
        await process.aclose()


def _text(output: bytearray) -> str:
    return output.decode(errors="replace")


# Turns the result of a checker into a verdict on the file.

# Exit codes of a program that a signal ended, on Linux.
_SIGNALS = {-4: "SIGILL", -6: "SIGABRT", -7: "SIGBUS", -8: "SIGFPE", -11: "SIGSEGV"}


def judge(
    checker: Checker, ran: Ran, starts: tuple[int, ...], end: int, *, before: int, scope: Scope = "steps"
) -> Verdict:
    """Turn *ran*, the result of the checker's commands, into a verdict on the checked text.

    *starts* are the offsets of the lines of the text, *end* is its end, and *before* is the number of lines before it
    in the judged file. *scope* is the scope of a pass. A code of ``checker.refutes`` refutes the text with a diagnostic
    at one of its lines, or without any if ``needs_diagnostic`` is false; with ``crash_refutes``, the last command
    refutes it by a crash only. The verdict is ``Unknown`` if *ran* neither accepts nor refutes the text.
    """
    line = " ".join(checker.steps[min(ran.step, len(checker.steps) - 1)]).replace("{file}", checker.file)
    if ran.missing:
        return Unknown(f"{line.split()[0]} is not installed; {checker.hint or 'it must be in the PATH'}")
    if ran.trouble:
        return Unknown(f"{line} did not run to its end: {ran.trouble}")
    if ran.code == 0:
        return Pass(f"{line} accepts it", scope=scope)
    if checker.crash_refutes and ran.step == len(checker.steps) - 1:
        name = _SIGNALS.get(ran.code or 0)
        if name is None:
            return Unknown(f"the program ended with exit code {ran.code}, which says nothing of the file")
        return Violation(why=f"the program crashes ({name})")
    if ran.code not in checker.refutes:
        return Unknown(f"{line} ended with exit code {ran.code}, which says nothing of the file")
    return _refuted(checker, ran, starts, end, before, line)


def _refuted(checker: Checker, ran: Ran, starts: tuple[int, ...], end: int, before: int, line: str) -> Verdict:
    if checker.unclear.search(ran.output):
        return Unknown(f"{line} lacks something on this machine: {ran.output.strip()[:200]}")
    diagnostics = list(checker.diagnostics(ran.output)) if ran.diagnostics is None else list(ran.diagnostics)
    mine = next((one for one in diagnostics if one.line > before), None)
    if mine is None and (checker.needs_diagnostic or any(one.line for one in diagnostics)):
        return Unknown(f"{line} ended with exit code {ran.code}, and names no line of this text")
    if mine is None:
        said = diagnostics[0].message if diagnostics else " ".join(ran.output.split())[:200]
        return Violation(why=f"{checker.name} refuses it" + (f": {said}" if said else ""))
    at = mine.line - before
    return Violation(
        why=f"{checker.name} refuses line {at} of that text: {mine.message}", where=_where(mine, starts, end, at)
    )


def _where(diagnostic: Diagnostic, starts: tuple[int, ...], end: int, line: int) -> Span | None:
    span = line_span(starts, end, line)
    if span is None or not len(span):
        return None
    start = span.start + diagnostic.column - 1
    return Span(start, span.end) if diagnostic.column > 0 and start < span.end else span
