"""Runs the commands of a checker on a file: in a sandbox, or in a scratch directory here. Never by a shell."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread
from interwhen.sandbox import Crashed, Denied, Limited, Limits, ProcessSandbox, Returned, Script

_MIB = 1 << 20
_MARK = "interwhen: step"
_DRIVER = f"""
import json, subprocess, sys
steps = json.load(open("steps.json"))
for number, argv in enumerate(steps):
    try:
        code = subprocess.call(argv, stdin=subprocess.DEVNULL)
    except OSError as error:
        code = "missing"
    if code != 0:
        break
sys.stdout.flush()
sys.stderr.write("\\n{_MARK} %d %s\\n" % (number, code))
"""
"""Runs the steps inside the sandbox. The program's own output comes before its last line."""
_KEPT = ("PATH", "LANG", "HOME", "ELAN_HOME", "SYSTEMROOT")
_CLOSING = 2.0


@dataclass(frozen=True, slots=True)
class Ran:
    """How the commands went."""

    step: int = 0
    """The last command that ran."""
    code: int | None = None
    """Its exit code; negative: the signal that ended it; ``None``: it did not come to an end."""
    output: str = ""
    trouble: str = ""
    """Why it did not come to an end."""
    missing: bool = False
    """Whether it is not installed."""


async def run_inside(
    steps: Iterable[tuple[str, ...]], files: dict[str, bytes], *, seconds: float, site: bool, readable: tuple[str, ...]
) -> Ran:
    """Run *steps* in the process sandbox. Raises :class:`~interwhen.errors.SandboxUnavailable`."""
    limits = Limits(
        seconds=seconds,
        cpu_seconds=seconds,
        memory_bytes=2048 * _MIB,
        disk_bytes=64 * _MIB,
        output_bytes=256 * 1024,
        open_files=256,
        processes=32,
    )
    (file,) = files
    placed = [[part.replace("{file}", file) for part in argv] for argv in steps]
    given = {**files, "steps.json": json.dumps(placed).encode()}
    async with ProcessSandbox(site=site, readable=readable) as sandbox:
        outcome = await sandbox.run(Script(source=_DRIVER, files=given), limits)
    output = f"{outcome.record.stdout}\n{outcome.record.stderr}"
    match outcome:
        case Returned():
            return _told(output)
        case Limited(which=which):
            return Ran(output=output, trouble=f"it ran into the limit of {which}")
        case Denied(what=what):
            return Ran(output=output, trouble=f"it tried what is not allowed: {what}")
        case Crashed(reason=reason):
            return Ran(output=output, trouble=reason)


def _told(output: str) -> Ran:
    head, mark, tail = output.rpartition(_MARK)
    step, _, code = tail.strip().partition(" ")
    if not mark or not step.isdigit():
        return Ran(output=output, trouble="it ended before it could say how")
    if code == "missing":
        return Ran(int(step), None, head, missing=True)
    return Ran(int(step), int(code), head)


async def run_outside(
    steps: Iterable[tuple[str, ...]],
    files: dict[str, bytes],
    *,
    seconds: float,
    directory: str | None,
    most: int = 256 * 1024,
) -> Ran:
    """Run *steps* on this machine, with all the rights of this process: in a scratch directory, or in *directory*.

    When it returns or is cancelled, the process group of each command is gone, and so are the files.
    """
    scratch = await anyio.to_thread.run_sync(_scratch, files)
    ran = Ran()
    try:
        with anyio.move_on_after(seconds) as scope:
            for number, argv in enumerate(steps):
                placed = tuple(part.replace("{file}", str(Path(scratch, *files))) for part in argv)
                ran = await _call(number, placed, directory or scratch, scratch, most)
                if ran.code != 0:
                    break
        if scope.cancelled_caught:
            return Ran(trouble=f"it did not end within {seconds:g} s")
        return ran
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _scratch(files: dict[str, bytes]) -> str:
    folder = tempfile.mkdtemp(prefix="interwhen-")
    for name, content in files.items():
        Path(folder, name).write_bytes(content)
    return folder


async def _call(number: int, argv: tuple[str, ...], directory: str, home: str, most: int) -> Ran:
    environment = {name: value for name, value in os.environ.items() if name in _KEPT}
    program = argv[0] if os.sep not in argv[0] or Path(argv[0]).is_absolute() else str(Path(home, argv[0]))
    try:
        process = await anyio.open_process(
            (program, *argv[1:]),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=environment,
            start_new_session=True,
        )
    except FileNotFoundError:
        return Ran(number, missing=True)
    except OSError as error:
        return Ran(number, trouble=f"it could not be started: {error}")
    output = bytearray()
    try:
        assert process.stdout is not None
        async for data in process.stdout:
            output += data
            if len(output) > most:
                return Ran(number, None, _text(output), f"it wrote more than {most} bytes")
        code = await process.wait()
    finally:
        await _end(process)
    return Ran(number, code, _text(output))


async def _end(process: anyio.abc.Process) -> None:
    """Kill the process group of *process*, whatever became of it, and give back its pipes."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    with anyio.move_on_after(_CLOSING, shield=True):
        await process.aclose()


def _text(output: bytearray) -> str:
    return output.decode(errors="replace")
