"""The console script: exit codes, machine-readable output, clear errors."""

import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import structlog
from interwhen import Delta
from interwhen.cli import _exits, _flags
from interwhen.cli._main import main
from interwhen.events import Event, Finished
from interwhen.models import ConnectError, ModelError, UpstreamError
from interwhen.testing import End, ScriptedModel
from interwhen.toolkit import MissingExtraError

HINT = "to resume interrupted runs, give them a journal: interwhen run --journal FILE ...\n"
RIGHT = "1 + 2 = 3\n4 + 5 = 9\n"


@pytest.fixture
def scripted(monkeypatch):
    def use(*steps):
        model = ScriptedModel([steps or (RIGHT, End())])
        monkeypatch.setattr(_flags, "load_model", lambda *args, **kwargs: model)
        return model

    return use


def run(*arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return caught.value.code


def test_task_group_error_is_one_line(monkeypatch, capsys):
    def fail(*_, **__):
        raise ExceptionGroup("tasks", [ExceptionGroup("inner", [ConnectError("nothing\nlistens")]), ConnectError("x")])

    monkeypatch.setattr("anyio.run", fail)
    assert run("run", "p", "--base-url", "http://localhost:9/v1", "--model", "m") == _exits.FAILED
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: nothing")

    def crash(*_, **__):
        raise ExceptionGroup("tasks", [ConnectError("x"), ZeroDivisionError()])

    monkeypatch.setattr("anyio.run", crash)
    with pytest.raises(ExceptionGroup):
        main(("run", "p", "--base-url", "http://localhost:9/v1", "--model", "m"))


class TestExitCodes:
    def test_verified_run_exits_with_0(self, scripted, capsys):
        scripted()
        assert run("run", "p", "-m", "arithmetic") == 0
        out = capsys.readouterr().out
        assert "✓ steps verified" in out
        assert "certificate" in out

    def test_unverified_run_exits_with_3(self, scripted, capsys):
        scripted()
        assert run("run", "p") == 3
        assert "? unverified" in capsys.readouterr().out

    def test_abstained_run_exits_with_4(self, scripted, capsys):
        scripted("1 + 2 = 4\n", End())
        assert run("run", "p", "-m", "arithmetic:remedy=abstain") == 4
        assert "abstained" in capsys.readouterr().out

    def test_failed_run_exits_with_5(self, scripted, capsys):
        scripted("1 + 2", UpstreamError("the server is on fire", status=400))
        assert run("run", "p") == 5
        out = capsys.readouterr().out
        assert "✗ failed  the server is on fire" in out
        assert "  │ 1 + 2" in out

    def test_interrupted_run_exits_with_130(self, scripted, monkeypatch, capsys):
        scripted()

        def interrupt(*args, **kwargs):
            raise KeyboardInterrupt

        monkeypatch.setattr("anyio.run", interrupt)
        assert run("run", "p") == 130
        assert capsys.readouterr().err == f"error: interrupted\n{HINT}"

    @pytest.mark.parametrize(
        ("error", "code"),
        [(ConnectError("gone"), 5), (ModelError("odd"), 5), (MissingExtraError("it", "local"), 2)],
    )
    def test_exit_codes_separate_errors_by_blame(self, error, code):
        assert _exits.of_error(error) == code


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("run",), "exactly one of PROMPT, --prompt-file and --chat, got none"),
            (("run", "p", "--chat", "c.json"), "got PROMPT and --chat"),
            (("run", "--prompt-file", "/no/such/file"), "must be readable UTF-8 text, got '/no/such/file'"),
            (("run", "p", "--max-tokens", "many"), "--max-tokens"),
            (("run", "p", "--max-remedies", "-1"), "Budgets: remedies must be a whole number of at least 0, got -1"),
            (("run", "p", "--monitor", "arithmetics"), "did you mean 'arithmetic'?"),
            (("run", "p", "--model", "locale"), "'locale': not installed"),
            (("run", "p", "--api", "chat"), "--api must be used with --base-url only"),
            (("run", "p", "--base-url", "http://localhost:1/v1"), "may serve several, got none"),
            (("run", "p", "--nonsense"), "--nonsense"),
            (("rum",), 'Did you mean "run"?'),
            (("plan", "explain"), "'interwhen plan explain' was removed: interwhen doctor"),
            (("plan", "capacity", "x"), "'interwhen plan capacity' was removed: load-test the gateway"),
            (("remedies", "x.db"), "'interwhen remedies' was removed: docs/remedies.md"),
            (
                ("doctor", "--contract", "--record", "x"),
                "'interwhen doctor --record' was removed: write python -m tests.contr",
            ),
            (("doctor", "--base-url", "http://localhost:1/v1"), "--model must be given with --base-url"),
            (("doctor", "--model", "acme:x"), "--model must be 'local' or 'local:PATH.gguf' without --base-url"),
            (("verifiers", "show", "zzz"), "'zzz': not installed"),
        ],
    )
    def test_usage_error_is_one_line_and_exits_2(self, arguments, said, capsys):
        assert run(*arguments) == 2
        out, err = capsys.readouterr()
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert said in err
        assert out == ""

    def test_debug_option_raises_the_exception(self):
        with pytest.raises(ValueError, match="exactly one"):
            main(["run", "--debug"])

    def test_error_output_contains_no_terminal_controls(self, capsys):
        assert run("run", "p", "--model", "x\x1b[2J\x9b") == 2
        err = capsys.readouterr().err
        assert "\x1b" not in err
        assert "\x9b" not in err

    @pytest.mark.parametrize("option", ["--prompt-file", "--chat"])
    def test_input_that_is_not_utf8_is_refused(self, option, monkeypatch, capsys):
        for errors in ("strict", "surrogateescape"):  # the second one in the C locale
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff"), encoding="utf-8", errors=errors))
            assert run("run", option, "-") == 2
            assert "must be readable UTF-8 text, got '-'" in capsys.readouterr().err
        assert run("run", "\udcff") == 2
        assert "PROMPT must be UTF-8 text" in capsys.readouterr().err

    def test_prompt_is_read_from_stdin(self, monkeypatch, scripted):
        monkeypatch.setattr("sys.stdin", io.StringIO("once upon\n"))
        model = scripted()
        run("run", "--prompt-file", "-", "--json")
        assert model.requests[0].prompt == "once upon\n"

    def test_invalid_chat_file_is_refused(self, tmp_path, capsys):
        path = tmp_path / "chat.json"
        path.write_text('{"messages": 3}')
        assert run("run", "--chat", str(path)) == 2
        assert "--chat must name a file with a chat" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "text", ['[{"role":"user","content":"hi"}]', '{"messages": [{"role": "user", "content": "hi"}]}']
    )
    def test_chat_file_sets_prompt_and_sampling(self, text, tmp_path, scripted):
        path = tmp_path / "chat.json"
        path.write_text(text)
        model = scripted()
        assert run("run", "--chat", str(path), "--max-tokens", "7", "--stop", "a", "--stop", "b", "--seed", "3") == 3
        [request] = model.requests
        assert [(m.role, m.content) for m in request.prompt] == [("user", "hi")]
        assert (request.sampling.max_tokens, request.sampling.stop, request.sampling.seed) == (7, ("a", "b"), 3)

    def test_prompt_is_read_from_file(self, tmp_path, scripted):
        path = tmp_path / "prompt.txt"
        path.write_text("once upon\n")
        model = scripted()
        run("run", "--prompt-file", str(path))
        assert model.requests[0].prompt == "once upon\n"


class TestJson:
    def test_json_output_has_one_event_per_line(self, scripted, capsys):
        scripted()
        assert run("run", "p", "-m", "arithmetic", "--json") == 0
        lines = capsys.readouterr().out.splitlines()
        events = [msgspec.json.decode(line, type=Event) for line in lines]
        assert [isinstance(event, Finished) for event in events] == [False] * (len(events) - 1) + [True]
        assert events[-1].result.status == "verified"
        assert "".join(event.text for event in events if isinstance(event, Delta)) == RIGHT
        assert [msgspec.json.decode(msgspec.json.encode(event), type=Event) for event in events] == events

    def test_json_output_contains_no_terminal_controls(self, scripted, capsys):
        scripted("\x1b[2J\x9b\u202e\u2028", End())
        run("run", "p", "--json")
        out = capsys.readouterr().out
        assert not {"\x1b", "\x9b", "\u202e", "\u2028"} & set(out)
        assert json.loads(out.splitlines()[1])["text"] == "\x1b[2J\x9b\u202e\u2028"

    def test_errors_go_to_stderr_only(self, capsys):
        assert run("run", "--json") == 2
        assert capsys.readouterr().out == ""


class TestInformation:
    def test_version_option_prints_version(self, capsys):
        assert run("--version") == 0
        assert capsys.readouterr().out == "interwhen 0.1.0\n"

    @pytest.mark.parametrize("command", [(), ("run",), ("demo",), ("doctor",), ("verifiers",), ("verifiers", "list")])
    def test_every_command_has_help(self, command, capsys):
        assert run(*command, "--help") == 0
        assert "Usage: interwhen" in capsys.readouterr().out

    def test_verifiers_list_shows_load_state(self, capsys):
        assert run("verifiers", "list") == 0
        assert "arithmetic" in capsys.readouterr().out
        assert run("verifiers", "list", "--load") == 0
        assert "✓" in capsys.readouterr().out

    def test_verifiers_show_describes_options(self, capsys):
        assert run("verifiers", "show", "arithmetic") == 0
        out = capsys.readouterr().out
        assert "required" in out
        assert "remedy    Auto" in out

    def test_why_failed_reports_exit_codes(self, capsys):
        assert run("verifiers", "why-failed", "arithmetic") == 0
        assert run("verifiers", "why-failed", "interwhen/arithmetic:level=locate") == 0
        assert run("verifiers", "why-failed", "arithmetik") == 2
        assert run("verifiers", "why-failed", "absent/arithmetic") == 2
        assert "works" in capsys.readouterr().out


class TestLogging:
    def test_library_does_not_configure_structlog(self):
        code = "import interwhen, structlog; print(structlog.is_configured())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False"

    def test_log_level_filters_logs_on_stderr(self, scripted, capsys):
        scripted(ConnectError("gone"))
        run("run", "p", "--json", "--max-reconnects", "0", "--log-level", "error")
        assert capsys.readouterr().err == ""
        structlog.get_logger().error("thing.happened", text="\x1b[2J")
        out, err = capsys.readouterr()
        assert out == ""
        assert "thing.happened" in err
        assert "\x1b" not in err


def test_missing_extra_is_a_one_line_error():
    code = "import sys; sys.modules['rich'] = None\nfrom interwhen.cli._main import main\nmain(['run'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: the command line needs an extra that is not installed: pip install 'interwhen[cli]'\n"


@pytest.mark.fault("P3", injected="SIGINT to a run in progress", happens="ends at once with code 130")
def test_ctrl_c_interrupts_a_running_command(tmp_path):
    script = tmp_path / "scripted.py"
    script.write_text(
        "import signal\n"
        # tests that run in the background ignore Ctrl-C, and the child would inherit that
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from interwhen.cli import _flags as flags\n"
        "from interwhen.cli._main import main\n"
        "from interwhen.testing import Pause, ScriptedModel\n"
        "flags.load_model = lambda *a, **k: ScriptedModel([['begun\\n', Pause(60)]])\n"
        "main(['run', 'p', '--json'])\n"
    )
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while "begun" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (130, f"error: interrupted\n{HINT}")
    assert all(msgspec.json.decode(line, type=Event) for line in out.splitlines())


@pytest.mark.parametrize("view", ["--json", "--plain"])
def test_closed_output_pipe_is_no_error(view, tmp_path):
    script = tmp_path / "scripted.py"
    script.write_text(
        "from interwhen.cli import _flags as flags\n"
        "from interwhen.cli._main import main\n"
        "from interwhen.testing import ScriptedModel\n"
        "flags.load_model = lambda *a, **k: ScriptedModel(['words\\n' * 40000], size=6)\n"
        f"main(['run', 'p', '{view}'])\n"
    )
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


@pytest.mark.parametrize("arguments", [["verifiers", "list"], ["run", "--help"], ["bench"]])
def test_output_that_cannot_be_written_is_no_traceback(arguments):
    command = [sys.executable, "-c", "from interwhen_launcher.__main__ import main; main()", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141
    full = Path("/dev/full")
    if full.exists():
        with full.open("w") as out:
            completed = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
        assert (completed.returncode, completed.stderr.count("\n")) == (2, 1)
        assert completed.stderr.startswith("error: the disk must have room for the output")


@pytest.mark.parametrize("group", ["bench", "verifiers", "policy", "precompute"])
def test_each_subcommand_has_a_summary_line(group, capsys):
    with pytest.raises(SystemExit):
        main([group, "--help"])
    commands = capsys.readouterr().out.partition("Commands")[2].partition("╰")[0]
    rows = re.findall(r"^│ ([a-z][\w-]*) *(.*?) *│$", commands, re.MULTILINE)
    assert rows
    assert not [name for name, told in rows if not told]
