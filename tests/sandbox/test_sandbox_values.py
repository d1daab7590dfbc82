"""Programs, limits and reports: what cannot be is refused where it is written."""

import math
import sys

import pytest
from interwhen import UsageError
from interwhen.sandbox import Call, Command, Finding, Guarantees, Limits, SandboxUnavailable, Script


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a\0b", "."])
def test_files_lie_in_the_programs_directory(name):
    for make in (lambda f: Script(source="", files=f), lambda f: Command(argv=("x",), files=f)):
        with pytest.raises(UsageError, match="relative path"):
            make({name: b""})
    with pytest.raises(UsageError, match="content of a file must be bytes, got 'text' for 'x'"):
        Script(source="", files={"x": "text"})
    assert Script(source="", files={"a/b.txt": b""}).files


@pytest.mark.parametrize("function", ["", "f()", "a.b", "f(x); import os"])
def test_a_function_is_a_name(function):
    with pytest.raises(UsageError, match="must be the name of a function"):
        Call(source="", function=function)


@pytest.mark.parametrize("argv", [(), ("",), ("a\0b",), "ls", ("ls", 1)])
def test_a_command_has_an_executable(argv):
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
def test_limits_are_limits(name, value):
    with pytest.raises(UsageError, match=name):
        Limits(**{name: value})


def test_a_report_says_what_is_missing_and_why():
    report = Guarantees("process", (Finding("network", ("seccomp",)), Finding("files", missing="no landlock")))
    assert report.missing == {"files"}
    assert report.why({"files"}) == "files: no landlock"
    error = SandboxUnavailable("process", report.missing, report.why(report.missing))
    assert "cannot enforce files here (files: no landlock)" in str(error)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
@pytest.mark.parametrize("version", [2, 3])
def test_a_landlock_that_cannot_forbid_truncation_does_not_protect_files(version, monkeypatch):
    from interwhen.sandbox._inside import confinement

    monkeypatch.setattr(confinement, "version", lambda: version)
    monkeypatch.setattr(confinement, "restrict", lambda readable, folder: None)
    monkeypatch.setattr(confinement.syscalls, "prctl", lambda option, value: None)
    enforced = confinement.Enforced()
    confinement._restrict_files({"without": [], "readable": []}, enforced, "/box")
    (finding,) = (row for row in enforced.findings() if row[0] == "files")
    missing = ("files", [], "landlock cannot forbid to truncate files before Linux 6.2")
    assert finding == (missing if version < 3 else ("files", ["landlock"], ""))
