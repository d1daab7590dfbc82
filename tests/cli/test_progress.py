"""Progress on stderr, and the options that every command has in common."""

import importlib
import io
import json
import re
import threading
from types import SimpleNamespace

import interwhen
import pytest
from interwhen.cli._app import app
from interwhen.cli._progress import ProgressLine, duration, each, is_quiet, note, say, set_quiet
from interwhen.testing import ScriptedModel
from interwhen_launcher.__main__ import main
from tests.policy.policy_shop import RULE, write_shop


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    shown = Terminal()
    monkeypatch.setattr("interwhen.cli._progress.sys", SimpleNamespace(stderr=shown))
    return shown


@pytest.fixture
def quiet():
    set_quiet(quiet=True)
    yield
    set_quiet(quiet=False)


def worked(steps, seconds, total=None, *, remark=""):
    clock = Clock()
    with ProgressLine("pairs", total, ticks=False, clock=clock) as progress:
        for _ in range(steps):
            clock.now += seconds
            progress.advance(remark)


def test_terminal_shows_counts_and_remaining_time(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    worked(4, 30.0, total=10, remark="2 flagged")
    lines = terminal.getvalue().split("\r\x1b[K")
    assert lines[1:] == [
        "pairs 1 of 10, about 4 min 30 s left, 2 flagged",
        "pairs 2 of 10, about 4 min 0 s left, 2 flagged",
        "pairs 3 of 10, about 3 min 30 s left, 2 flagged",
        "pairs 4 of 10, about 3 min 0 s left, 2 flagged",
        "",
    ]
    # There is no colour that NO_COLOR would have to switch off.
    assert not re.search(r"\x1b\[[\d;]*m", terminal.getvalue())


def test_a_total_may_become_known_during_the_work(terminal):
    clock = Clock()
    with ProgressLine("checks", ticks=False, clock=clock) as progress:
        clock.now += 3
        progress.of(1, 4)
    assert "checks 1 of 4, about 9 s left" in terminal.getvalue()


def test_progress_without_total_shows_elapsed_time(terminal):
    worked(1, 3.0)
    assert "pairs 1, 3 s" in terminal.getvalue()


def test_a_long_line_fits_the_terminal(terminal):
    worked(1, 3.0, total=2, remark="x" * 500)
    assert max(map(len, terminal.getvalue().split("\r\x1b[K"))) < 60


def test_control_characters_in_remarks_are_escaped(terminal):
    worked(1, 3.0, total=2, remark="\x1b[31mred\n")
    assert "\x1b[31m" not in terminal.getvalue()
    assert "\\x1b[31mred" in terminal.getvalue()


def test_log_output_gets_periodic_lines(capsys):
    worked(40, 1.0, total=40)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"pairs {done} of 40, about {40 - done} s left" for done in (10, 20, 30, 40)]


@pytest.mark.usefixtures("quiet")
def test_quiet_shows_nothing(terminal):
    worked(40, 1.0, total=40)
    note("a hint")
    assert terminal.getvalue() == ""
    say("an answer")
    assert terminal.getvalue() == "an answer\n"


def test_short_work_shows_nothing(terminal):
    worked(4, 0.4, total=4)
    assert list(each(range(3), "runs")) == [0, 1, 2]
    assert terminal.getvalue() == ""


def test_note_is_printed_above_the_progress(terminal):
    clock = Clock()
    with ProgressLine("pairs", 2, ticks=False, clock=clock) as progress:
        clock.now += 5
        progress.advance()
        note("a draw is over")
    assert terminal.getvalue().endswith("pairs 1 of 2, about 5 s left\r\x1b[Ka draw is over\n")


def test_long_step_updates_the_elapsed_time(terminal):
    clock = Clock()
    shown = threading.Event()
    write = terminal.write

    def told(text):
        write(text)
        if "7 s" in text:
            shown.set()

    terminal.write = told
    with ProgressLine("probing", clock=clock):
        clock.now += 7
        assert shown.wait(60)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_a_time_is_in_words(seconds, words):
    assert duration(seconds) == words


# The commands.

LIVE = {
    "run": "shows the text as it grows",
    "resume": "shows the text as it grows",
    "demo": "shows the text as it grows",
    "precompute ask": "shows the text as it grows",
    "serve": "runs until it is stopped",
}
QUICK = {
    "policy explain": "prints one rule",
    "policy review": "changes one file",
    "precompute add": "writes one record",
    "precompute status": "reads records",
    "precompute why": "reads one record",
    "precompute evict": "deletes records",
    "verifiers new": "writes a few files",
    "verify": "compares hashes",
    "verifiers list": "reads metadata",
    "verifiers formats": "reads metadata",
    "verifiers show": "imports one plug-in",
    "verifiers why-failed": "imports one plug-in",
}
NO_JSON = {"export": "writes rows of JSON to its file"}
SHOWN_BY = {"ProgressLine", "each", "progress_of", "Experiment", "_shown"}
"""The names with which a module of a command shows progress; one of them must be among its names."""


def commands(parent=app, path=()):
    for name in parent:
        if name.startswith("-"):
            continue
        command = parent[name]
        if command.default_command is not None:
            yield " ".join((*path, name)), command
        yield from commands(command, (*path, name))


def test_long_commands_have_progress_and_json():
    by_name = dict(commands())
    assert len(by_name) > 25
    assert not (LIVE.keys() | QUICK.keys() | NO_JSON.keys()) - by_name.keys()
    for name, command in by_name.items():
        if name in LIVE or name in QUICK:
            continue
        module = importlib.import_module(command.default_command.__module__)
        assert SHOWN_BY & vars(module).keys(), f"{name} takes long and shows no progress"
        options = {option for argument in command.assemble_argument_collection() for option in argument.names}
        assert "--json" in options or name in NO_JSON, f"{name} has no --json"


@pytest.fixture
def places(tmp_path):
    # Map the progress that commands must show (a regex) to the arguments of the command.
    journal = tmp_path / "run.journal"
    text = "".join(f"{number} + 1 = {number + 1}\n" for number in range(20))
    with interwhen.run_sync(ScriptedModel([text]), "Q", monitors=["arithmetic"], journal=journal) as run:
        run.drain()
    shop = write_shop(tmp_path, RULE)
    return {
        r"checks 20 of 20, about 0 s left": ["recheck", str(journal)],
        rf"checked characters: {len(text)} of {len(text)}, about 0 s left": [
            *("view", str(journal), "--plain"),
            *("--recheck", "arithmetic"),
        ],
        r"checked rules and tools: \d+ of \d+, about \d+ s left": ["policy", "check", str(shop)],
        r"questions to the endpoint: 1 of \d+, ": ["doctor", "--base-url", "http://127.0.0.1:1/v1", "--model", "m"],
    }


@pytest.mark.parametrize("is_terminal", [False, True])
def test_progress_never_reaches_stdout(places, is_terminal, monkeypatch, capsys):
    pytest.importorskip("z3")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    for name in ("_SILENT_SECONDS", "_REDRAW_SECONDS", "_LINE_SECONDS"):
        monkeypatch.setattr(f"interwhen.cli._progress.{name}", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)

    def said(*arguments):
        with pytest.raises(SystemExit):
            main(arguments)
        return capsys.readouterr()

    for words, arguments in places.items():
        shown = said(*arguments, "--json")
        assert re.search(words, shown.err), (arguments, shown.err)
        assert all(json.loads(line) is not None for line in shown.out.splitlines()), arguments
        assert not re.search(r"\x1b\[[\d;]*m", shown.out + shown.err), arguments
        if is_terminal:  # the line is gone when the command is done
            assert shown.err.endswith("\r\x1b[K"), arguments
        assert said(*arguments, "--json", "--quiet") == (shown.out, ""), arguments
        assert not re.search(r"\x1b\[[\d;]*m", said(*arguments, "--quiet").out), arguments


def test_every_command_takes_quiet(monkeypatch):
    for name, command in commands():
        options = {option for argument in command.assemble_argument_collection() for option in argument.names}
        assert not options & {"--quiet", "-q"}, name
    seen = []
    monkeypatch.setattr("interwhen.cli._app.app", lambda tokens: seen.append((tokens, is_quiet())))
    for arguments in (
        ["recheck", "a", "--quiet"],
        ["--quiet", "recheck", "a"],
        ["recheck", "-q", "a"],
        ["recheck", "a"],
    ):
        app.meta(arguments)
    assert seen == [(("recheck", "a"), True)] * 3 + [(("recheck", "a"), False)]
