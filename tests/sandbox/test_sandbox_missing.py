"""A machine that cannot give everything: each promise is reported, refused, or knowingly done without."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from interwhen.sandbox import (
    Crashed,
    Denied,
    Limited,
    Limits,
    ProcessSandbox,
    Returned,
    SandboxUnavailable,
    Script,
    _process,
)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
CALM = Limits(seconds=30.0, memory_bytes=160 << 20)
SYSTEM_PYTHON = "/usr/bin/python3"
NAMESPACES = frozenset({"mount", "pid", "net", "ipc", "uts"})


@pytest.fixture(autouse=True)
def whole():
    if ProcessSandbox().probe().missing:
        pytest.skip("this machine cannot give everything to begin with")


@pytest.mark.fault(
    "P10", injected="a machine without a mechanism", happens="refuses to run, and says what is missing and why"
)
@pytest.mark.parametrize(
    ("without", "missing", "why"),
    [
        ({"pid"}, {"processes"}, "no pid namespace"),
        ({"seccomp"}, {"syscalls"}, "syscalls: left out"),
        ({"seccomp", "net"}, {"syscalls", "network"}, "no network namespace"),
        ({"mount", "landlock"}, {"files"}, "no landlock"),
        ({"root", "user"}, {"processes"}, "needs root or user namespaces"),
    ],
)  # fmt: skip
def test_missing_guarantee_is_refused(without, missing, why):
    sandbox = ProcessSandbox(without=frozenset(without), python=SYSTEM_PYTHON)
    assert sandbox.probe().missing == missing
    with pytest.raises(SandboxUnavailable, match=why) as raised, sandbox:
        pytest.fail("entered")
    assert raised.value.missing == missing
    assert all(name in str(raised.value) for name in missing)


def test_allowed_missing_guarantees_are_recorded():
    with ProcessSandbox(without=frozenset({"pid"}), allow_missing={"processes", "network"}) as sandbox:
        outcome = sandbox.run_sync(Script(source="print(1)"), CALM)
    assert isinstance(outcome, Returned)
    assert outcome.record.missing == {"processes"}


def test_guarantees_are_probed_in_each_run(monkeypatch):
    lacking = ProcessSandbox(without=frozenset({"pid"}))
    probed = replace(lacking._setting, required=())
    monkeypatch.setitem(_process._PROBED, probed, ProcessSandbox().probe())
    with lacking, pytest.raises(SandboxUnavailable, match="processes"):
        lacking.run_sync(Script(source="print('ran')"), CALM)


LANDLOCK = """
import os
for path in ("$canary", "/etc/shadow", "/etc/hostname", "/proc/1/environ", "/root"):
    try:
        print("GAINED", os.listdir(path) if os.path.isdir(path) else open(path).read(10))
    except OSError:
        pass
for path in ("$canary", "/tmp/pwned", "/var/tmp/pwned"):
    try:
        open(path, "a")
        print("GAINED", path)
    except OSError:
        pass
open("mine", "w").write("x")
print(open("mine").read(), os.getcwd())
"""


@pytest.mark.skipif(not Path(SYSTEM_PYTHON).exists(), reason="needs a Python that everybody may run")
class TestWithoutNamespaces:
    """A machine without namespaces, as an ordinary container: Landlock protects files, and seccomp the network."""

    @pytest.fixture
    def sandbox(self):
        missing = {"processes", "files"}
        with ProcessSandbox(without=NAMESPACES | {"user"}, allow_missing=missing, python=SYSTEM_PYTHON) as sandbox:
            if "files" in sandbox.probe().missing:
                pytest.skip("no landlock here")
            yield sandbox

    def test_files_are_protected_without_one_mechanism(self, sandbox, host):
        outcome = sandbox.run_sync(Script(source=host.aim(LANDLOCK)), CALM)
        assert isinstance(outcome, Returned), outcome
        assert "GAINED" not in outcome.record.stdout
        word, folder = outcome.record.stdout.split()
        assert word == "x"
        assert not Path(folder).exists()

    def test_network_is_denied_without_one_mechanism(self, sandbox, host):
        source = "import socket\nsocket.create_connection(('127.0.0.1', $port)).sendall(b'GAINED')"
        outcome = sandbox.run_sync(Script(source=host.aim(source)), CALM)
        assert isinstance(outcome, Denied)
        host.check()

    def test_daemon_is_killed(self, sandbox, host):
        source = """
import os
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "$tag"])
    os._exit(0)
os.wait()
"""
        assert isinstance(sandbox.run_sync(Script(source=host.aim(source)), CALM), Returned)
        host.check()

    def test_sandbox_cannot_kill_outside_processes(self, sandbox, host):
        outcome = sandbox.run_sync(Script(source=host.aim("import os\nos.kill($victim, 9)")), CALM)
        assert isinstance(outcome, Denied | Crashed)
        host.check()

    def test_limits_hold_without_one_mechanism(self, sandbox):
        outcome = sandbox.run_sync(Script(source="while True: pass"), Limits(seconds=1.5))
        assert isinstance(outcome, Limited)
        outcome = sandbox.run_sync(Script(source="bytearray(1 << 30)"), CALM)
        assert isinstance(outcome, Limited)
        assert outcome.which == "memory"
