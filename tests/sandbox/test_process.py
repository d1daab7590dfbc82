"""What the process sandbox does for honest programs, and what it leaves behind when it is stopped: nothing."""

import gc
import marshal
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path

import anyio
import pytest
from interwhen import UsageError
from interwhen.sandbox import (
    Call,
    Command,
    Crashed,
    Denied,
    Limited,
    Limits,
    ProcessSandbox,
    Returned,
    SandboxUnavailable,
    Script,
)
from interwhen.sandbox import _process as module

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
CALM = Limits(seconds=30.0)


def descriptors():
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


@pytest.fixture(scope="module", params=["kernel", "bubblewrap"])
def sandbox(request):
    guarantees = ProcessSandbox(isolation=request.param).probe()
    if request.param == "bubblewrap" and guarantees.missing:
        pytest.skip(f"no bubblewrap here: {guarantees.why(guarantees.missing)}")
    with ProcessSandbox(isolation=request.param, allow_missing=guarantees.missing) as sandbox:
        yield sandbox


def test_a_function_returns_json(sandbox):
    program = Call(
        source="def pair(a, b):\n    print('hello')\n    return [a, {'b': b}]",
        function="pair",
        arguments=("ä", [1.5, None]),
    )
    outcome = sandbox.run_sync(program, CALM)
    assert isinstance(outcome, Returned)
    assert outcome.value == ["ä", {"b": [1.5, None]}]
    assert (outcome.exit_code, outcome.record.stdout, outcome.record.stderr) == (0, "hello\n", "")
    assert outcome.record.peak_memory_bytes > 1 << 20
    assert outcome.record.cpu_seconds > 0


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(): return {1}", "TypeError: Object of type set is not JSON serializable"),
        ("def f(): return float('nan')", "ValueError: Out of range float values are not JSON compliant"),
        ("def f(): raise KeyError('no')", "KeyError: 'no'"),
        ("def g(): pass", "KeyError: 'f'"),
        ("def f(: pass", "SyntaxError: invalid syntax (main.py, line 1)"),
        ("import os\ndef f(): os._exit(0)", "it ended with exit code 0 before 'f' returned"),
        ("import sys\ndef f(): sys.exit(3)", "it ended with exit code 3 before 'f' returned"),
        ("import os\ndef f():\n    os.write(4, b'value\\0' + b'[' * 50000)\n    os._exit(0)", "the function must return JSON"),
        ("import os\ndef f():\n    os.write(4, b'\\xff\\0{}')\n    os._exit(0)", "it ended with exit code 0 before 'f' returned"),
        ("import os, signal\ndef f(): os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
    ],
)  # fmt: skip
def test_a_function_that_returns_no_json_has_crashed(sandbox, source, reason):
    outcome = sandbox.run_sync(Call(source=source, function="f"), CALM)
    assert isinstance(outcome, Crashed)
    assert outcome.reason.startswith(reason)


def test_a_value_that_is_too_long_is_output(sandbox):
    outcome = sandbox.run_sync(Call(source="def f(): return 'x' * 100_000", function="f"), CALM)
    assert isinstance(outcome, Limited)
    assert outcome.which == "output"


def test_script_gets_stdin_files_and_exit_code(sandbox):
    source = "import sys\nprint(sys.stdin.read(), open('in/data.txt').read())\nopen('out', 'w')\nsys.exit(3)"
    outcome = sandbox.run_sync(Script(source=source, stdin=b"12", files={"in/data.txt": b"34"}), CALM)
    assert isinstance(outcome, Returned)
    assert (outcome.exit_code, outcome.record.stdout) == (3, "12 34\n")


def test_traceback_shows_only_the_program(sandbox):
    outcome = sandbox.run_sync(Script(source="x = 1\n1 / 0"), CALM)
    assert isinstance(outcome, Crashed)
    assert outcome.reason == "ZeroDivisionError: division by zero"
    assert 'File "main.py", line 2' in outcome.record.stderr


def test_output_that_is_no_text_is_replaced(sandbox):
    outcome = sandbox.run_sync(Script(source="import os\nos.write(1, b'a\\xff')"), CALM)
    assert outcome.record.stdout == "a�"


def test_output_is_kept_up_to_its_limit_exactly(sandbox):
    limits = Limits(seconds=30.0, output_bytes=1000)
    exact = sandbox.run_sync(Script(source="print('x' * 999)"), limits)
    assert isinstance(exact, Returned)
    assert len(exact.record.stdout) == 1000
    more = sandbox.run_sync(Script(source="print('x' * 1000)"), limits)
    assert isinstance(more, Limited)
    assert (more.which, more.record.stdout) == ("output", "x" * 1000)


def test_command_gets_its_files_and_environment(sandbox):
    program = Command(
        argv=("sh", "-c", "cat name; echo $WORD; pwd; exit 4"), files={"name": b"x "}, environment={"WORD": "y"}
    )
    outcome = sandbox.run_sync(program, CALM)
    assert isinstance(outcome, Returned)
    assert (outcome.exit_code, outcome.record.stdout.split()) == (4, ["x", "y", "/box"])


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler here")
def test_compiled_program_runs(sandbox):
    source = b'#include <stdio.h>\nint main(void) { puts("made here"); return 0; }'
    program = Command(argv=("sh", "-c", "gcc -o prog main.c && ./prog"), files={"main.c": source})
    outcome = sandbox.run_sync(program, Limits(seconds=60.0, memory_bytes=1 << 30))
    assert isinstance(outcome, Returned)
    assert outcome.record.stdout == "made here\n"


def test_missing_command_crashes_with_reason(sandbox):
    outcome = sandbox.run_sync(Command(argv=("no-such-command",)), CALM)
    assert isinstance(outcome, Crashed)
    assert "could not be started: [Errno 2] No such file or directory" in outcome.reason
    assert outcome.record.missing == sandbox.probe().missing


def test_a_command_that_fills_its_disk_is_limited(sandbox):
    if "files" in sandbox.probe().missing:
        pytest.skip("no file system of its own")
    limits = Limits(seconds=30.0, disk_bytes=1 << 20)
    full = sandbox.run_sync(
        Command(argv=("sh", "-c", "for n in 1 2 3; do head -c 700000 /dev/zero > $n || exit 1; done")), limits
    )
    assert isinstance(full, Limited)
    assert full.which == "disk"


def test_only_requested_paths_are_readable(sandbox, tmp_path):
    (tmp_path / "shown").write_text("seen")
    tmp_path.chmod(0o755)  # where we are root, the program is somebody else
    program = Script(source=f"print(open({str(tmp_path / 'shown')!r}).read())\nopen({str(tmp_path / 'new')!r}, 'w')")
    assert isinstance(sandbox.run_sync(program, CALM), Crashed)
    with ProcessSandbox(readable=[tmp_path], allow_missing=sandbox.probe().missing) as wider:
        outcome = wider.run_sync(program, CALM)
    assert isinstance(outcome, Denied)
    assert "Read-only file system" in outcome.what or "Permission denied" in outcome.what
    assert outcome.record.stdout == "seen\n"
    assert [path.name for path in tmp_path.iterdir()] == ["shown"]


def test_packages_are_importable_only_with_site(sandbox):
    if not Path(sysconfig.get_path("platlib"), "msgspec").exists():
        pytest.skip("the packages of the tests are not of this environment")
    program = Script(source="import msgspec\nprint(msgspec.json.encode(1).decode())")
    assert isinstance(sandbox.run_sync(program, CALM), Crashed | Denied)
    with ProcessSandbox(site=True, allow_missing=sandbox.probe().missing) as wider:
        outcome = wider.run_sync(program, CALM)
    assert outcome.record.stdout == "1\n", outcome


def test_an_interpreter_may_be_reached_by_links(sandbox, tmp_path):
    paths = [tmp_path / name / "python3" for name in ("one", "other")]
    for path, to in zip(paths, (paths[1], sys.executable), strict=True):
        path.parent.mkdir()
        path.symlink_to(to)
    with ProcessSandbox(python=str(paths[0]), allow_missing=sandbox.probe().missing) as linked:
        outcome = linked.run_sync(Script(source="print(1)"), CALM)
    assert outcome.record.stdout == "1\n", outcome


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_concurrent_calls_are_independent(sandbox, backend):
    async def main():
        results = {}

        async def one(number):
            program = Call(source="def f(x): return x * x", function="f", arguments=(number,))
            results[number] = (await many.run(program, CALM)).value

        async with (
            ProcessSandbox(allow_missing=sandbox.probe().missing, parallel=2) as many,
            anyio.create_task_group() as group,
        ):
            for number in range(4):
                group.start_soon(one, number)
        return results

    assert anyio.run(main, backend=backend) == {number: number**2 for number in range(4)}


@pytest.mark.fault(
    "P10",
    injected="cancelled while untrusted code runs, at once and later",
    happens="it is killed, and the cancellation continues",
)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("after", [0.0, 0.05, 1.0])
def test_cancelling_kills_the_program(sandbox, host, backend, after):
    program = Script(source=host.aim("import os\nos.execvp('sleep', ['sleep', '$tag'])"))

    async def main():
        async with ProcessSandbox(allow_missing=sandbox.probe().missing) as one:
            with anyio.move_on_after(after) as scope:
                await one.run(program, Limits(seconds=300.0))
            host.check()
            return scope.cancelled_caught

    assert anyio.run(main, backend=backend)


@pytest.mark.fault(
    "P10", injected="our process is killed while untrusted code runs", happens="the program ends with it"
)
def test_programs_die_with_the_host(host):
    source = host.aim("import os\nos.execvp('sleep', ['sleep', '$tag'])")
    # A newly started process: a fork of this one, which has threads, might deadlock.
    code = (
        "from interwhen.sandbox import Limits, ProcessSandbox, Script\n"
        "with ProcessSandbox(allow_missing=ProcessSandbox().probe().missing) as one:\n"
        f"    one.run_sync(Script(source={source!r}), Limits(seconds=300.0))\n"
    )
    ours = subprocess.Popen([sys.executable, "-c", code])
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                host.check()
            except AssertionError:
                break
            time.sleep(0.02)
        else:
            pytest.fail("the program never started")
    finally:
        ours.kill()
        ours.wait()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            host.check()
        except AssertionError:
            time.sleep(0.02)
        else:
            return
    host.check()


def test_runs_leak_no_descriptor_thread_or_directory(sandbox, monkeypatch, tmp_path):
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    gc.collect()
    before, threads = descriptors(), threading.active_count()
    for source in ("", "1 / 0", "while True: print('x' * 1000)"):
        sandbox.run_sync(Script(source=source), CALM)
    assert set(descriptors()) <= set(before)  # what other tests left behind may be closed meanwhile
    assert threading.active_count() <= threads
    assert list(tmp_path.iterdir()) == []


def test_sandbox_must_be_entered_first():
    outside = ProcessSandbox()
    with pytest.raises(UsageError, match="must be entered"):
        outside.run_sync(Script(source=""))
    with pytest.raises(UsageError, match="async with"):
        anyio.run(outside.run, Script(source=""))


def test_calls_after_failed_start_all_crash():
    async def outcomes(sandbox):
        async with sandbox:
            return await sandbox.run_each([Call(source="def f(): return 1", function="f")] * 3, CALM)

    missing = frozenset({"network", "files", "processes", "memory", "syscalls", "privileges"})
    crashes = anyio.run(outcomes, ProcessSandbox(python="/nonexistent/bin/python", allow_missing=missing))
    assert [type(outcome) for outcome in crashes] == [Crashed] * 3
    assert all("could not be started" in outcome.reason for outcome in crashes)


def test_invalid_settings_are_usage_errors(sandbox, tmp_path):
    with pytest.raises(UsageError, match="isolation must be one of kernel, bubblewrap, got 'docker'"):
        ProcessSandbox(isolation="docker")
    with pytest.raises(UsageError, match=r"allow_missing must be .* network, files, .*, got \('walls',\)"):
        ProcessSandbox(allow_missing={"walls"})
    with pytest.raises(UsageError, match=r"without must be .* root, user, .*, got \('walls',\)"):
        ProcessSandbox(without={"walls"})
    with pytest.raises(UsageError, match="parallel must be a whole number of at least 1 or None, got 0"):
        ProcessSandbox(parallel=0)
    for path in ("folder", tmp_path):
        with pytest.raises(UsageError, match="readable must be a list of paths"):
            ProcessSandbox(readable=path)
    with pytest.raises(UsageError, match="whole machine"):
        ProcessSandbox(readable=["/"])
    (tmp_path / "link").symlink_to("/")
    with pytest.raises(UsageError, match="whole machine"):
        ProcessSandbox(readable=[tmp_path / "link"])
    with pytest.raises(UsageError, match="on its disk of 5 bytes, got 10 bytes"):
        sandbox.run_sync(Script(source="", files={"x": bytes(10)}), Limits(disk_bytes=5))
    with pytest.raises(UsageError, match="must have a JSON form"):
        sandbox.run_sync(Call(source="", function="f", arguments=({1},)))


def test_other_platforms_enforce_no_guarantee(monkeypatch):
    monkeypatch.setattr(module.sys, "platform", "darwin")
    monkeypatch.setattr(module, "_PROBED", {})
    with pytest.raises(SandboxUnavailable, match="needs Linux, and this is darwin") as raised, ProcessSandbox():
        pytest.fail("entered")
    assert raised.value.missing == {"network", "files", "processes", "memory", "syscalls", "privileges"}


def test_truncated_answer_means_the_sandbox_died():
    whole = marshal.dumps({"exit": (0, "\xfc"), "value": [b"x", 2.5, None, {"a": 1 << 70}]})
    assert module._heard(whole)["exit"] == (0, "\xfc")
    assert {module._heard(whole[:size]) for size in range(len(whole))} == {"the sandbox died"}
