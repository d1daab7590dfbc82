"""The console script answers `--help` and `--version` without importing what commands need."""

import os
import subprocess
import sys
from importlib.metadata import entry_points

import interwhen
import interwhen_launcher
import pytest
from interwhen_launcher import COMMANDS, answer
from interwhen_launcher.__main__ import main


def new_modules(code):
    watched = f"import sys; before = set(sys.modules)\n{code}\nprint(*set(sys.modules) - before, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", watched], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stderr.split())


# Each module is time: interwhen has 150 of its own, and cyclopts with rich as many.
@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["--version"]])
def test_help_and_version_import_only_the_launcher(arguments):
    loaded = new_modules(f"from interwhen_launcher.__main__ import main; main({arguments!r})")
    assert "interwhen_launcher" in loaded
    assert loaded <= {"__future__", "interwhen_launcher", "interwhen_launcher.__main__"}


def test_a_command_is_started(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["verifiers", "list"])
    assert caught.value.code == 0
    assert "arithmetic" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"interwhen {interwhen.__version__}\n"


def test_every_command_entry_point_loads():
    for entry in entry_points(group="interwhen.commands"):
        assert callable(entry.load()), entry.value


def test_every_command_of_the_app_has_its_line():
    from interwhen.cli._app import app

    assert {name for name in app if not name.startswith("-")} == set(COMMANDS)
    text = answer(["--help"])
    for name, told in COMMANDS.items():
        assert any(line.split() == [name, *told.split()] for line in text.splitlines()), name


@pytest.mark.parametrize("columns", ["1", "40", "63", "80", "500", "wide", ""])
def test_help_fits_the_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    text = answer([])
    widest = max(map(len, text.splitlines()))
    assert widest <= (100 if columns in ("500", "wide", "") else max(int(columns), 40))
    assert text.split() == answer(["-h"]).split()


@pytest.mark.parametrize(
    ("columns", "terminal", "width"),
    [("", 0, 100), ("0", 0, 100), ("wide", 0, 100), ("", 60, 60), ("0", 60, 60), ("wide", 60, 60), ("70", 60, 70)],
)
def test_terminal_without_size_has_unknown_width(columns, terminal, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(interwhen_launcher.os, "get_terminal_size", lambda *_: os.terminal_size((terminal, 0)))
    assert interwhen_launcher._columns() == width


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--help"],
        ["--debug", "run", "-h"],
        ["verifiers", "--version"],
        ["nonsense"],
        ["--debug"],
        # A command of another distribution has its own help.
        ["theirs", "--help"],
        ["--log-level", "debug", "theirs", "-h"],
    ],
)
def test_launcher_answers_only_help_and_version(arguments):
    assert answer(arguments) is None


@pytest.mark.parametrize("arguments", [["--log-level", "debug", "--help"], ["--debug", "-h"]])
def test_options_without_a_command_may_come_before_help(arguments):
    assert answer(arguments) == answer([])


def test_closed_output_pipe_is_no_error():
    code = (
        "from interwhen_launcher import __main__ as launcher\n"
        "launcher.answer = lambda given: 'x' * 10**7\n"
        "launcher.main([])"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_launcher_all_names_exist():
    assert set(interwhen_launcher.__all__) <= set(vars(interwhen_launcher))
