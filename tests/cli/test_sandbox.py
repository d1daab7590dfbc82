"""``interwhen doctor --sandbox``: the report for people and for scripts, and what the exit code says."""

import json

import pytest
from interwhen.cli import _sandbox as command
from interwhen.sandbox._sandbox import Finding, Guarantees
from interwhen_launcher.__main__ import main


def probed(monkeypatch, *findings):
    monkeypatch.setattr(command.ProcessSandbox, "probe", lambda _: Guarantees("process", findings))


def run(*arguments):
    with pytest.raises(SystemExit) as raised:
        main(["doctor", "--sandbox", *arguments])
    return raised.value.code


def test_available_guarantees_are_listed(monkeypatch, capsys):
    probed(monkeypatch, Finding("network", ("network namespace", "seccomp")))
    assert run() == 0
    shown = capsys.readouterr().out
    assert "network" in shown
    assert "network namespace, seccomp" in shown


def test_missing_guarantee_exits_with_5(monkeypatch, capsys):
    probed(monkeypatch, Finding("files", missing="no landlock \x1b[31m"))
    assert run() == 5
    shown = capsys.readouterr().out
    assert "no landlock" in shown
    assert "\x1b[31m" not in shown


def test_json_lists_findings_of_each_sandbox(monkeypatch, capsys):
    probed(monkeypatch, Finding("files", missing="no landlock"))
    assert run("--json") == 5
    [process, *_] = json.loads(capsys.readouterr().out)
    assert process == {
        "sandbox": "process",
        "findings": [{"guarantee": "files", "by": [], "missing": "no landlock"}],
    }


def test_real_sandbox_reports_every_guarantee(capsys):
    assert run("--json") in {0, 5}
    [process, *_] = json.loads(capsys.readouterr().out)
    names = [finding["guarantee"] for finding in process["findings"]]
    assert names == ["network", "files", "processes", "memory", "syscalls", "privileges"]
