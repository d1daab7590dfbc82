"""Bubblewrap: a ``bwrap`` that is not there, that may not, or that does less than it was asked for."""

import shutil
import sys

import pytest
from interwhen.sandbox import ProcessSandbox, SandboxUnavailable, _process

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


@pytest.fixture
def bwrap(tmp_path, monkeypatch):
    def put(script):
        path = tmp_path / "bwrap"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        monkeypatch.setattr(_process, "_PROBED", {})

    return put


def test_missing_bubblewrap_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(_process, "_PROBED", {})
    guarantees = ProcessSandbox(isolation="bubblewrap").probe()
    assert guarantees.sandbox == "bubblewrap"
    assert guarantees.missing == frozenset(_process.ALL)
    with (
        pytest.raises(SandboxUnavailable, match="the program bwrap must be in PATH"),
        ProcessSandbox(isolation="bubblewrap"),
    ):
        pytest.fail("entered")


def test_forbidden_namespaces_are_refused(bwrap):
    bwrap("echo 'bwrap: No permissions to create new namespace' >&2; exit 1")
    with (
        pytest.raises(SandboxUnavailable, match="No permissions to create new namespace") as raised,
        ProcessSandbox(isolation="bubblewrap"),
    ):
        pytest.fail("entered")
    assert raised.value.sandbox == "bubblewrap"


def test_namespace_made_by_others_is_not_promised(bwrap):
    real = shutil.which("bwrap")
    if real is None or ProcessSandbox(isolation="bubblewrap").probe().missing:
        pytest.skip("no bubblewrap here")
    bwrap(f'for word in "$@"; do shift; [ "$word" = --unshare-net ] || set -- "$@" "$word"; done; exec {real} "$@"')
    findings = {finding.guarantee: finding for finding in ProcessSandbox(isolation="bubblewrap").probe().findings}
    assert findings["network"].by == ("seccomp",)
    assert "pid namespace made by bubblewrap" in findings["processes"].by
    refused = ProcessSandbox(isolation="bubblewrap", without=frozenset({"seccomp"}))
    assert refused.probe().missing == {"network", "syscalls"}
    assert "did not make this namespace" in refused.probe().why({"network"})
