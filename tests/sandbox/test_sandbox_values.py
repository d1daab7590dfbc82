"""Programs, limits and reports: what cannot be is refused where it is written."""

import math
import sys

import pytest
from interwhen import UsageError
from interwhen.sandbox import Call, Command, Limits, SandboxUnavailable, Script
from interwhen.sandbox._sandbox import Finding, Guarantees


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a\0b", "."])
def test_file_names_must_be_relative(name):
    for make in (lambda f: Script(source="", files=f), lambda f: Command(argv=("x",), files=f)):
        with pytest.raises(UsageError, match="relative path"):
            make({name: b""})
    with pytest.raises(UsageError, match="content of a file must be bytes, got 'text' for 'x'"):
        Script(source="", files={"x": "text"})
    assert Script(source="", files={"a/b.txt": b""}).files


@pytest.mark.parametrize("function", ["", "f()", "a.b", "f(x); import os"])
def test_function_must_be_a_name(function):
    with pytest.raises(UsageError, match="must be the name of a function"):
        Call(source="", function=function)


@pytest.mark.parametrize("argv", [(), ("",), ("a\0b",), "ls", ("ls", 1)])
def test_command_needs_an_executable(argv):
    with pytest.raises(UsageError, match="executable"):
        Command(argv=argv)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seconds", 0),
        ("seconds", math.nan),
        ("seconds", math.inf),
        ("memory_bytes", -1),
        ("files", 0),
        ("open_files", 7),
        ("seconds", "1"),
        ("seconds", True),
        ("memory_bytes", 1.5),
    ],
)
def test_limits_are_validated(name, value):
    with pytest.raises(UsageError, match=name):
        Limits(**{name: value})


def test_report_names_missing_guarantees_with_reason():
    report = Guarantees("process", (Finding("network", ("seccomp",)), Finding("files", missing="no landlock")))
    assert report.missing == {"files"}
    assert report.why({"files"}) == "files: no landlock"
    error = SandboxUnavailable("process", report.missing, report.why(report.missing))
    assert "cannot enforce files here (files: no landlock)" in str(error)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
@pytest.mark.parametrize("version", [2, 3])
def test_landlock_without_truncation_control_protects_no_files(version, monkeypatch):
    from interwhen.sandbox._inside import confinement

    monkeypatch.setattr(confinement, "version", lambda: version)
    monkeypatch.setattr(confinement, "restrict", lambda readable, folder: None)
    monkeypatch.setattr(confinement.syscalls, "prctl", lambda option, value: None)
    enforced = confinement.Enforced()
    confinement._restrict_files({"without": [], "readable": []}, enforced, "/box")
    (finding,) = (row for row in enforced.findings() if row[0] == "files")
    missing = ("files", [], "landlock cannot forbid to truncate files before Linux 6.2")
    assert finding == (missing if version < 3 else ("files", ["landlock"], ""))
