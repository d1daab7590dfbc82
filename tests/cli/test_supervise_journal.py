"""``run --journal``, ``resume`` and ``replay``, and how Ctrl-C and a kill end a run: with real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import anyio
import anyio.to_thread
import interwhen
import pytest
from interwhen._run.run import SyncRun
from interwhen.cli import _flags
from interwhen.cli._main import main
from interwhen.testing import ScriptedModel
from interwhen.testing._models import cut_into
from interwhen.testing.server import ScriptedServer, Stall, events
from tests.resealed import new_key

WRONG = "1 + 1 = 2\n2 + 2 = 5\n3 + 3 = 6\nso it is\n"
RIGHT = WRONG.replace("5", "4")


def run(*arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


@pytest.fixture
def model(monkeypatch):
    # Replace every model by one that continues the text `WRONG`. Return a list of the calls that opened a model.
    made = []

    def load(*args, **kwargs):
        if isinstance(args[0], ScriptedModel):
            return args[0]
        made.append((args, kwargs))
        return ScriptedModel(lambda request: cut_into(WRONG[len(request.prefix) :], 5))

    monkeypatch.setattr(_flags, "load_model", load)
    monkeypatch.setattr("interwhen._run.run.load_model", load)
    monkeypatch.setattr("interwhen._run.consent.load_model", load)
    return made


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.journal"


class TestCommands:
    def test_a_run_is_recorded_resumed_and_replayed(self, model, path, capsys):
        url = "http://user:secret@host:1/v1?key=secret"
        given = ("--model", "m", "--base-url", url, "-m", "arithmetic", "--journal", path)
        assert run("run", "p", *given) == 0
        first = capsys.readouterr().out
        assert b"secret" not in path.read_bytes()
        assert interwhen.journal.read_journal(path).header.untrusted_model == interwhen.journal.ModelReference(
            "http://host:1/v1", "m", "completions"
        )
        assert run("view", path, "--plain") == 0
        replayed = capsys.readouterr().out
        assert [line for line in replayed.splitlines() if "│" in line] == [
            line for line in first.splitlines() if "│" in line
        ]
        assert "✓ steps verified" in replayed
        assert run("resume", path) == 0
        assert "✓ steps verified" in capsys.readouterr().out
        assert len(model) == 1

    def test_torn_record_resumes_with_recorded_settings(self, model, path, capsys):
        assert run("run", "p", "--model", "local:x", "-m", "arithmetic", "--journal", path) == 0
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 3])
        assert run("view", path, "--plain") == 3
        assert "not over:" in capsys.readouterr().out
        assert run("resume", path) == 2
        assert "a file must not choose who gets its text" in capsys.readouterr().err
        assert run("resume", path, "--json", "--trust") == 0
        last = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert last["result"]["text"] == RIGHT
        assert [args for args, _ in model] == [("local:x",), ("local:x",)]
        path.write_bytes(data[: len(data) // 3])
        assert run("resume", path, "--model", "local:y", "-m", "arithmetic") == 0
        assert model[-1][0] == ("local:y",)

    def test_recheck_output_is_labelled_as_recheck(self, model, path, capsys):
        run("run", "p", "--journal", path)
        capsys.readouterr()
        assert run("view", path, "--plain", "--recheck", "arithmetic") == 3
        out = capsys.readouterr().out
        assert "Observed on the recorded text, without interrupts." in out
        assert "request 1, 18-19  arithmetic would have acted: 5  (2 + 2 is 4, not 5)" in out
        assert run("view", path, "--plain", "--recheck", "arithmetic", "--json") == 3
        [line] = capsys.readouterr().out.splitlines()
        assert json.loads(line)["violation"]["key"]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("resume", "/no/such/file"), "must be a readable file"),
            (("view", __file__, "--plain"), "it must begin with"),
            (("run", "p", "--journal", __file__), "this file exists: resume it"),
        ],
    )
    def test_usage_error_is_one_line_and_exits_2(self, model, arguments, said, capsys):
        assert run(*arguments) == 2
        out, err = capsys.readouterr()
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert said in err
        assert out == ""


# ---------------------------------------------------------------------- Ctrl-C

HANGING = """
import os, sys, time
from interwhen import Pass, verifier

@verifier(name="hanging", worker="thread", deadline=500.0)
def in_thread(claim):
    sys.stdout.write('{"hangs": 0}\\n'); sys.stdout.flush()
    time.sleep(500)
    return Pass()

@verifier(name="hanging", worker="process", deadline=500.0)
def in_process(claim):
    # What a worker process prints goes nowhere.
    with open(os.environ["HANGS_FILE"], "w") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(500)
    return Pass()

@verifier(name="hanging", worker="inline", deadline=500.0)
def inline(claim):
    sys.stdout.write('{"hangs": 0}\\n'); sys.stdout.flush()
    while True:
        time.sleep(0.05)
"""

SCRIPT = """
import signal
# tests that run in the background ignore Ctrl-C, and the child would inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)
import interwhen, hanging
from interwhen.journal import _writer
ended = _writer.ThreadClerk.ended  # waits half a second for the disk; a busy machine may need more
_writer.ThreadClerk.ended = lambda self, seconds: ended(self, max(seconds, 30.0))
from interwhen.cli import _flags as flags
import interwhen.cli._run
from interwhen.cli._main import main
from interwhen.testing import Pause, ScriptedModel
from sums import sums

def load(specs):
    return [interwhen.Monitor(name="m", verifier=getattr(hanging, where), extractor=sums) for where in specs]

if __name__ == "__main__":
    interwhen.cli._run.load_monitors = load
    flags.load_model = lambda *a, **k: ScriptedModel([["1+1=2\\n", "begun\\n", Pause(600)]])
    import sys
    main(["run", "p", "--json", *sys.argv[1:]])
"""


@pytest.fixture
def child(tmp_path):
    # The function returns the process and this line.
    (tmp_path / "hanging.py").write_text(HANGING)
    script = tmp_path / "scripted.py"
    script.write_text(SCRIPT)
    support = Path(__file__).parents[1] / "engine" / "support"
    paths = [str(tmp_path), str(support), os.environ.get("PYTHONPATH", "")]
    started = []

    def start(*arguments, until="begun"):
        process = subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HANGS_FILE": str(tmp_path / "hangs")},
        )
        started.append(process)
        for line in process.stdout:
            if until in line:
                return process, line
        raise AssertionError(process.stderr.read())

    yield start
    for process in started:
        process.kill()
        process.communicate()


def interrupted(process):
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    seconds = time.monotonic() - begun
    return seconds, process.communicate(timeout=60)[1]


# On an idle machine it takes 20 ms to 0.9 s; a busy one is given more. What hangs would take 500.
PROMPT_SECONDS = 55

CTRL_C = pytest.mark.fault(
    "P3", injected="SIGINT while a verifier hangs", happens="the end comes at once, with code 130; the journal is whole"
)


@CTRL_C
@pytest.mark.parametrize("where", ["", "in_thread", "in_process", "inline"])
def test_ctrl_c_ends_a_hanging_run(where, child, path, tmp_path):
    monitors = ("-m", where) if where else ()
    process, _ = child("--journal", path, *monitors, until="hangs" if where in ("in_thread", "inline") else "begun")
    worker = _written(tmp_path / "hangs") if where == "in_process" else 0
    seconds, err = interrupted(process)
    assert process.returncode == 130
    assert (
        err
        == f"error: interrupted\nto resume: interwhen resume {path} --model local{''.join(f' -m {name}' for name in monitors[1:])}\n"
    )
    assert seconds < PROMPT_SECONDS
    journal = interwhen.journal.read_journal(path)
    assert journal.left_out == 0
    assert interwhen.replay(path).text.startswith("1+1=2\n")
    if where == "in_process":
        _assert_gone(worker)


def _written(path):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()).endswith("\n"):
            return int(text)
        time.sleep(0.01)
    raise AssertionError("the verifier never began")


def _assert_gone(pid):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"worker {pid} is still there")


@CTRL_C
def test_interrupt_without_journal_suggests_one(child):
    process, _ = child()
    _, err = interrupted(process)
    assert process.returncode == 130
    assert err.splitlines()[1:] == ["to resume interrupted runs, give them a journal: interwhen run --journal FILE ..."]


def test_interrupted_run_can_resume(child, path):
    process, _ = child("--journal", path)
    interrupted(process)
    with SyncRun(interwhen.resume(path, model=ScriptedModel(["the end\n"]), monitors=[])) as going:
        assert going.drain().text == "1+1=2\nbegun\nthe end\n"


def test_the_hint_can_be_pasted_into_a_shell(model, monkeypatch):
    hints = []
    command = import_module("interwhen.cli._run")
    monkeypatch.setattr(command, "run_to_end", lambda _main, hint: hints.append(hint) or 0)
    url = ("--base-url", "http://user:secret@h:1/v1?key=secret", "--model", "my model")
    monitors = ("-m", "terms:terms=a;b", "-m", "regex:api_key=secret")
    monkeypatch.setattr(command, "load_monitors", lambda _specs: ())
    run("run", "p", "--journal", "my run.journal", *url, *monitors, "--sign-with", "key.pem")
    [hint] = hints
    assert hint == (
        "to resume: interwhen resume 'my run.journal' --base-url http://h:1/v1 --model 'my model' --api completions "
        "-m 'terms:terms=a;b' -m regex:... --sign-with key.pem"
    )


def test_signed_run_resumes_with_its_key(model, path, tmp_path, capsys):
    key = new_key(tmp_path / "key.pem")
    assert run("run", "p", "-m", "arithmetic", "--sign-with", key) == 2
    assert "--sign-with must be used with --journal" in capsys.readouterr().err
    assert run("run", "p", "-m", "arithmetic", "--journal", path, "--sign-with", key) == 0
    signer = interwhen.journal.read_journal(path).header.signer
    assert signer
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3])
    assert run("resume", path, "--model", "local", "--sign-with", key) == 0
    assert interwhen.journal.read_journal(path).result.certificate.signer == signer


# ---------------------------------------------------------------------- SIGKILL


@pytest.mark.anyio
@pytest.mark.fault(
    "P4", injected="SIGKILL of a real process", happens="resume asks the server to continue; the text is whole"
)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("sent", [2, 6])
async def test_a_killed_process_is_resumed_by_another(sent, path):
    kept = cut_into(WRONG, 5)

    def script(request):
        begun = len(request.json["prompt"].removeprefix("Q"))
        if not killed:
            # The run continues from the refuted line, and then no more text comes until the kill.
            return (*events(cut_into(WRONG[begun : 5 * sent], 5))[:-2], Stall())
        return events(cut_into(WRONG[begun:], 5))

    killed = False
    async with ScriptedServer(script) as server:
        command = [sys.executable, "-c", "from interwhen.cli._main import main; main()"]
        url = ("--base-url", server.base_url, "--model", "scripted")
        process = subprocess.Popen(
            [*command, "run", "Q", *url, "-m", "arithmetic", "--json", "--journal", str(path)],
            stdout=subprocess.DEVNULL,
        )
        try:
            with anyio.fail_after(90):
                while not _holds(path, 5 * sent):
                    await anyio.sleep(0.05)
        finally:
            process.kill()
            await anyio.to_thread.run_sync(process.wait)
        assert process.returncode == -signal.SIGKILL
        killed = True
        done = await anyio.run_process([*command, "resume", str(path), *url, "--json"])
        result = json.loads(done.stdout.splitlines()[-1])["result"]
        assert result["text"] == RIGHT
        assert result["type"] == "verified"
        assert len(server.posts) >= 2
    assert interwhen.replay(path).result.text == RIGHT
    assert len(kept) > sent


def _holds(path, length):
    try:
        return len(interwhen.replay(path).text) >= length
    except interwhen.journal.JournalError:
        return False
