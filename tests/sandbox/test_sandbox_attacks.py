"""The escape corpus in both sandboxes, and in the process sandbox as it is for root and for everybody else."""

import os

import pytest
from interwhen.sandbox import Crashed, Denied, Limited, MontySandbox, ProcessSandbox, Returned, Script
from sandbox_attacks import MONTY, PROCESS

# Where there is no listener, a program that is cut off in the middle of a call cannot be told from one that is not.
MODES = {
    "root": ("kernel", frozenset()),
    "user namespace": ("kernel", frozenset({"root"})),
    "no listener": ("kernel", frozenset({"notify"})),
    "bubblewrap": ("bubblewrap", frozenset()),
    "bubblewrap, user namespace": ("bubblewrap", frozenset({"root"})),
}
SYSTEM_PYTHON = "/usr/bin/python3"
SOME = ("TCP, the error swallowed", "a local socket", "mount", "trace the parent", "a user namespace by clone")


def sandbox_of(mode):
    # Where root gives up being root early, a Python in root's own directory is out of its reach.
    isolation, without = MODES[mode]
    python = SYSTEM_PYTHON if "root" in without and os.geteuid() == 0 else None
    sandbox = ProcessSandbox(isolation=isolation, without=without, python=python)
    guarantees = sandbox.probe()
    if guarantees.missing:
        pytest.skip(f"this machine cannot enforce {guarantees.why(guarantees.missing)}")
    return sandbox


def ending(outcome):
    match outcome:
        case Returned():
            return "returned"
        case Denied():
            return "denied"
        case Limited(which=which):
            return f"limited:{which}"
        case Crashed():
            return "crashed"


def check(attack, outcome, host, record_property):
    assert ending(outcome) in attack.ends, outcome
    assert "GAINED" not in outcome.record.stdout + outcome.record.stderr, outcome
    # The clock of a program starts before it; a busy machine is given time to end it.
    assert outcome.record.seconds < attack.limits.seconds + 5
    host.check()
    record_property("tries", 1)


FAULT = pytest.mark.fault(
    "P10",
    injected="untrusted code that reads, writes, connects, forks, traces, floods and hangs (the escape corpus)",
    happens="denied or limited, or it ends with nothing gained; the host is untouched and no process is left",
)


@FAULT
@pytest.mark.parametrize(
    ("mode", "attack"),
    [
        pytest.param(mode, attack, id=f"{mode}: {attack.name}")
        for mode in MODES
        for attack in PROCESS
        if mode != "no listener" or attack.name in SOME
    ],
)
def test_process_sandbox_stops_each_attack(mode, attack, host, record_property):
    with sandbox_of(mode) as sandbox:
        outcome = sandbox.run_sync(Script(source=host.aim(attack.source)), attack.limits)
    check(attack, outcome, host, record_property)
    assert outcome.record.missing == frozenset()


@FAULT
@pytest.mark.parametrize("attack", MONTY, ids=lambda attack: attack.name)
def test_monty_stops_each_attack(attack, monty, host, record_property):
    check(attack, monty.run_sync(Script(source=host.aim(attack.source)), attack.limits), host, record_property)


@pytest.fixture(scope="module")
def monty():
    pytest.importorskip("pydantic_monty", reason="the extra 'sandbox' is not installed")
    with MontySandbox(parallel=1) as sandbox:
        yield sandbox
