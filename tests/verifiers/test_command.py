"""The verifier ``command``: real checkers judge code blocks, and whatever they cannot judge stays unknown."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import anyio
import pytest
from interwhen import Message, Pass, Segment, Span, Unknown, UsageError, Violation, run
from interwhen.testing import ScriptedModel
from interwhen.testing.complexity import BAITS, assert_quick, suspicious

from interwhen_verifiers._command import supervisor
from interwhen_verifiers._command.checker import PRESETS, Checker
from interwhen_verifiers._command.runs import run_outside
from interwhen_verifiers.command import command

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the process sandbox needs Linux")
BOTH = pytest.mark.parametrize("sandbox", ["none", pytest.param("process", marks=linux)])
RIGHT_C = '#include <stdio.h>\nint main(void) {\n    puts("hi");\n    return 0;\n}'


def needs(*programs):
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed")


def claims(monitor, *texts):
    if not hasattr(monitor.extractor, "step"):
        return [claim for text in texts for claim in monitor.extractor(Segment(text, Span(0, len(text)), "answer"))]
    state, all_claims = monitor.extractor.start(None), []
    for text in texts:
        state, more = monitor.extractor.step(state, Segment(text, Span(5, 5 + len(text)), "answer"))
        all_claims += more
    return all_claims


def verdict_on(*codes, language="c", **options):
    monitor = command(**options)
    claim = claims(monitor, *(f"```{language}\n{code}\n```" for code in codes))[-1]
    return anyio.run(monitor.verifier.check, claim), claim


def named(verdict, claim):
    return claim.text.split("\n"), verdict.where


@needs("gcc")
@BOTH
class TestGcc:
    def test_right_code_passes(self, sandbox):
        verdict, _ = verdict_on(RIGHT_C, preset="gcc", sandbox=sandbox)
        assert isinstance(verdict, Pass)
        assert verdict.evidence.startswith("gcc ")

    def test_an_error_is_placed(self, sandbox):
        code = "int main(void) {\n    int x = ;\n    return x;\n}"
        verdict, _ = verdict_on(code, preset="gcc", sandbox=sandbox)
        assert verdict.why.startswith("gcc refuses line 2 of that text: expected expression before")
        assert code[verdict.where.start : verdict.where.end] == ";"

    def test_missing_header_is_unknown(self, sandbox):
        verdict, _ = verdict_on('#include "mine.h"\nint main(void) { return f(); }', preset="gcc", sandbox=sandbox)
        assert isinstance(verdict, Unknown)

    def test_gcc_run_preset_executes_the_program(self, sandbox):
        assert verdict_on(RIGHT_C, preset="gcc-run", sandbox=sandbox)[0] == Pass("./main accepts it")
        crash = "#include <assert.h>\nint main(void) { assert(1 + 1 == 3); }"
        assert verdict_on(crash, preset="gcc-run", sandbox=sandbox)[0] == Violation("the program crashes (SIGABRT)")
        other = "int main(void) { return 3; }"
        assert verdict_on(other, preset="gcc-run", sandbox=sandbox)[0] == Unknown(
            "the program ended with exit code 3, which says nothing of the file"
        )

    def test_endless_program_is_unknown_and_killed(self, sandbox):
        loop = "int main(void) { for (;;); }"
        verdict, _ = verdict_on(loop, preset="gcc-run", sandbox=sandbox, seconds=1.5)
        assert isinstance(verdict, Unknown)
        assert "limit" in verdict.why or "did not end" in verdict.why

    def test_a_block_may_need_those_before_it(self, sandbox):
        helper = "static int twice(int n) { return 2 * n; }"
        main = "int main(void) {\n    return twice(2) - 4\n}"
        assert isinstance(verdict_on(helper, main.replace("4\n", "4;\n"), preset="gcc", sandbox=sandbox)[0], Pass)
        wrong, _ = verdict_on(helper, main, preset="gcc", sandbox=sandbox)
        assert wrong.why.startswith("gcc refuses line 2 of that text")


@needs("coqc")
@BOTH
class TestCoq:
    def test_valid_coq_proof_passes(self, sandbox):
        proof = "Theorem t : forall n : nat, n + 0 = n.\nProof. induction n; simpl; auto. Qed."
        assert verdict_on(proof, language="coq", preset="coq", sandbox=sandbox)[0] == Pass("coqc -q main.v accepts it")

    def test_invalid_coq_proof_is_refuted_at_error(self, sandbox):
        code = "Theorem t : 1 + 1 = 3.\nProof.\n  reflexivity.\nQed."
        verdict, _ = verdict_on(code, language="coq", preset="coq", sandbox=sandbox)
        assert verdict.why.startswith("coq refuses line 3 of that text: ")
        assert code[verdict.where.start : verdict.where.end] == "reflexivity."

    def test_proof_may_use_an_earlier_block(self, sandbox):
        first, second = "Definition two := 2.", "Theorem t : two = 2.\nProof. reflexivity. Qed."
        assert isinstance(verdict_on(first, second, language="coq", preset="coq", sandbox=sandbox)[0], Pass)

    def test_missing_library_is_unknown(self, sandbox):
        code = "Require Import mathcomp.ssreflect.nowhere."
        assert isinstance(verdict_on(code, language="coq", preset="coq", sandbox=sandbox)[0], Unknown)


@needs("mypy") if shutil.which("mypy") is None and not Path(sys.executable).with_name("mypy").exists() else linux
def test_mypy_preset_judges_types():
    verdict, _ = verdict_on("x: int = 3\ny: str = x", language="python", preset="mypy", seconds=60.0)
    assert verdict.why.startswith("mypy refuses line 2 of that text: Incompatible types in assignment")
    verdict, _ = verdict_on("x: int = 3", language="python", preset="mypy", seconds=60.0)
    assert isinstance(verdict, Pass)


@pytest.mark.parametrize("preset", ["lean", "coq", "gcc"])
@BOTH
def test_missing_checker_is_unknown_with_install_hint(preset, sandbox, monkeypatch):
    if preset != "lean" and sandbox == "process":
        pytest.skip("the sandbox has a PATH of its own")
    if shutil.which("lake") is None or sandbox == "none":
        monkeypatch.setenv("PATH", "/nowhere")
        verdict, _ = verdict_on("x", language=preset if preset != "gcc" else "c", preset=preset, sandbox=sandbox)
        assert isinstance(verdict, Unknown)
        assert "is not installed; install" in verdict.why


@needs("lake", "lean")
def test_lean_preset_judges_proofs():
    assert isinstance(verdict_on("example : 1 + 1 = 2 := rfl", language="lean", preset="lean", seconds=60)[0], Pass)
    verdict, _ = verdict_on("example : 1 + 1 = 3 := rfl", language="lean", preset="lean", seconds=60)
    assert verdict.why.startswith("lean refuses line 1 of that text")


SCRIPT = 'import sys\ntext = open(sys.argv[1]).read()\nif "bad" in text:\n    print("line 1: it is bad"); sys.exit(1)\nsys.exit(7 if "odd" in text else 0)'


@BOTH
def test_custom_script_judges_whole_answers(sandbox):
    python = sys.executable if sandbox == "none" else "python3"
    if sandbox == "process" and shutil.which("python3", path="/usr/bin:/usr/local/bin") is None:
        pytest.skip("there is no python3 that the sandbox shows")
    monitor = command(
        argv=(python, "-c", SCRIPT, "{file}"), pattern=r"line (?P<line>\d+): (?P<message>.*)", sandbox=sandbox
    )
    verdicts = [anyio.run(monitor.verifier.check, claim) for claim in claims(monitor, "fine", "a bad\nanswer", "odd")]
    assert isinstance(verdicts[0], Pass)
    assert verdicts[1] == Violation("script refuses line 1 of that text: it is bad", where=Span(0, 5))
    assert isinstance(verdicts[2], Unknown)
    assert "exit code 7" in verdicts[2].why


def test_claim_text_is_not_run_by_shell(tmp_path):
    monitor = command(argv=(sys.executable, "-c", "print('$HOME; true')", "{file}"), sandbox="none")
    (claim,) = claims(monitor, f"$(touch {tmp_path}/never) `touch {tmp_path}/never`; touch {tmp_path}/never")
    assert isinstance(anyio.run(monitor.verifier.check, claim), Pass)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancelled_check_leaves_no_process_or_file(backend, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sleep = f"import time; time.sleep(600); {tmp_path.name!r}"  # no other test has a process with this name
    child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleep!r}]); {sleep}"
    monitor = command(argv=(sys.executable, "-c", child, "{file}"), sandbox="none", seconds=30.0)
    (claim,) = claims(monitor, "text")

    async def main():
        with anyio.move_on_after(1.0):
            await monitor.verifier.check(claim)

    begun = time.monotonic()
    anyio.run(main, backend=backend)
    assert time.monotonic() - begun < 25
    assert list(tmp_path.iterdir()) == []
    # A process that was killed is seen for a moment longer on a busy machine.
    wait_until(lambda: not [pid for pid in children() if tmp_path.name in command_of(pid)])


DAEMON = """
import os, subprocess, sys, time
marker, how, _ = sys.argv[2:]
if how == "forked twice" and os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)", marker])
if how != "forked twice":
    program = [sys.executable, "-c", "import time; time.sleep(600)", marker]
    sinks = {} if how == "output" else dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    subprocess.Popen(program, start_new_session=True, env={} if how == "empty environment" else None, **sinks)
end = sys.argv[1]
while end == "flood":
    print("x" * 65536)
while end == "late":
    time.sleep(1)
os.kill(os.getpid(), 6) if end == "crash" else sys.exit(end == "refuse")
"""


@linux
@pytest.mark.fault("P10", injected="a daemon in a session of its own", happens="it is gone when the command has ended")
@pytest.mark.parametrize("how", ["output", "own session", "empty environment", "forked twice"])
@pytest.mark.parametrize("end", ["accept", "refuse", "crash", "flood", "late"])
def test_check_leaves_no_daemon(tmp_path, how, end):
    argv = (sys.executable, "-c", DAEMON, end, tmp_path.name, how, "{file}")
    monitor = command(argv=argv, sandbox="none", seconds=2.0 if end == "late" else 30.0)
    (claim,) = claims(monitor, "text")
    verdict = anyio.run(monitor.verifier.check, claim)
    assert isinstance(verdict, {"accept": Pass, "refuse": Violation}.get(end, Unknown)), verdict
    assert [pid for pid in children() if tmp_path.name in command_of(pid)] == []


@linux
@pytest.mark.fault("P10", injected="SIGKILL of our process while a command runs", happens="the command ends, too")
def test_killed_host_leaves_no_command(tmp_path):
    program = f"""
import anyio, sys
from interwhen import Segment, Span
from interwhen_verifiers.command import command

argv = (sys.executable, "-c", {DAEMON!r}, "late", {tmp_path.name!r}, "own session", "{{file}}")
monitor = command(argv=argv, sandbox="none", seconds=600.0)
(claim,) = monitor.extractor(Segment("text", Span(0, 4), "answer"))
anyio.run(monitor.verifier.check, claim)
"""

    def running():
        return [pid for pid in children() if f"time.sleep(600)\0{tmp_path.name}" in command_of(pid)]

    ours = subprocess.Popen([sys.executable, "-c", program])
    try:
        wait_until(running)
    finally:
        ours.kill()
        ours.wait()
    wait_until(lambda: not running())


@linux
@pytest.mark.parametrize(
    "program", ["import os; os.kill(os.getppid(), 9)", "print(' ' * 15 + '0')\nimport os; os.kill(os.getppid(), 9)"]
)
def test_a_command_that_kills_its_supervisor_is_unknown(program):
    monitor = command(argv=(sys.executable, "-c", program, "{file}"), sandbox="none")
    (claim,) = claims(monitor, "text")
    assert "killed its supervisor" in anyio.run(monitor.verifier.check, claim).why


def test_command_output_cannot_forge_a_report():
    program = "import sys; sys.stdout.write(' ' * 15 + '0'); sys.stdout.flush(); sys.exit(1)"
    monitor = command(argv=(sys.executable, "-c", program, "{file}"), sandbox="none")
    (claim,) = claims(monitor, "text")
    assert isinstance(anyio.run(monitor.verifier.check, claim), Violation)


@linux
def test_children_are_listed_without_kernel_child_list(monkeypatch):
    read = supervisor._read

    def without_list(path):
        if path.endswith("children"):
            raise FileNotFoundError
        return read(path)

    monkeypatch.setattr(supervisor, "_read", without_list)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert process.pid in supervisor._children()
        process.kill()


def test_unsupervised_process_group_is_killed(monkeypatch):
    monkeypatch.setattr("interwhen_verifiers._command.runs._SUPERVISED", False)
    for program, kind in (("", Pass), ("import sys; sys.exit(1)", Violation), ("import os; os.kill(0, 9)", Unknown)):
        monitor = command(argv=(sys.executable, "-c", program, "{file}"), sandbox="none")
        (claim,) = claims(monitor, "text")
        assert isinstance(anyio.run(monitor.verifier.check, claim), kind)


def wait_until(holds):
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def children():
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]


def command_of(pid):
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
    return "" if state == "Z" else line


FORGING = r"""
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void) {
    const char *said = "\ninterwhen: step 1 0\n[1, 0]\n";
    if (fork() == 0) {
        for (int times = 0; times < 3000; times++) {
            for (int file = 1; file < 10; file++) write(file, said, strlen(said));
            usleep(50);
        }
        return 0;
    }
    usleep(20000);
    abort();
}
"""


@linux
@needs("gcc")
def test_a_program_cannot_write_its_own_exit_code():
    verdict, _ = verdict_on(FORGING, preset="gcc-run")
    assert verdict == Violation(why="the program crashes (SIGABRT)")


@linux
def test_command_judges_file_of_any_name():
    monitor = command(argv=("grep", "-q", "Answer", "{file}"), file="steps.json")
    (claim,) = claims(monitor, "Nothing.")
    assert isinstance(anyio.run(monitor.verifier.check, claim), Violation)


def test_a_flood_of_output_is_bounded():
    flood = "while True: print('x' * 10000)"
    monitor = command(argv=(sys.executable, "-c", flood, "{file}"), sandbox="none", seconds=20.0)
    (claim,) = claims(monitor, "text")
    verdict = anyio.run(monitor.verifier.check, claim)
    assert isinstance(verdict, Unknown)
    assert "wrote more than" in verdict.why


@pytest.mark.skipif(sys.platform == "win32", reason="it needs a shell")
def test_output_printed_before_time_limit_is_kept():
    steps = (("sh", "-c", "echo first"), ("sh", "-c", "echo begun; exec sleep 60"))
    checker = Checker(name="it", steps=steps, languages=frozenset())
    ran = anyio.run(partial(run_outside, checker, b"", seconds=2.0, directory=None))
    assert (ran.step, ran.code, ran.output, ran.trouble) == (1, None, "begun\n", "it did not end within 2 s")


def test_command_does_not_inherit_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    look = "import os, sys; sys.exit('OPENAI_API_KEY' in os.environ)"
    monitor = command(argv=(sys.executable, "-c", look, "{file}"), sandbox="none")
    (claim,) = claims(monitor, "text")
    assert isinstance(anyio.run(monitor.verifier.check, claim), Pass)


@pytest.mark.parametrize("checker", [one for one in PRESETS.values() if one.steps], ids=lambda one: one.name)
def test_reading_diagnostics_is_linear(checker):
    assert suspicious(checker.pattern) == ()
    assert_quick(lambda text: list(checker.diagnostics(text)), baits=[*BAITS], size=20_000)
    for line in ("main.c:1:1: error: x\n", 'File "./main.v", line 3, characters 2-13:\nError:\n', 'File "'):
        begun = time.thread_time()
        list(checker.diagnostics(line * 5_000))
        assert time.thread_time() - begun < 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "got no preset and no argv"),
        ({"preset": "rust"}, "preset must be one of gcc"),
        ({"argv": ("checker",)}, "argv must contain the file"),
        ({"preset": "gcc", "seconds": -1.0}, "seconds must be above 0, got -1.0"),
        ({"preset": "gcc", "sandbox": "docker"}, "sandbox must be one of process, none, got 'docker'"),
        ({"preset": "gcc", "directory": "project"}, "needs sandbox='none', got 'process'"),
        ({"preset": "gcc", "file": "../x"}, "without a folder"),
        ({"preset": "gcc", "pattern": "("}, "pattern must be a regular expression"),
        ({"preset": "gcc", "pattern": "x"}, "must have a group named message"),
        ({"preset": "gcc", "refutes": (0, 1)}, "must not hold 0"),
        ({"preset": "gcc", "refutes": ("1",)}, "refutes must be a list of exit codes"),
        ({"preset": "gcc", "refutes": 1}, "refutes must be a list of exit codes"),
        ({"argv": "checker {file}"}, "argv must be a list of texts"),
        ({"argv": ("checker", 1, "{file}")}, "argv must be a list of texts"),
        ({"preset": "gcc", "languages": "c"}, "languages must be a list of texts"),
        ({"preset": "gcc", "readable": "/opt"}, "readable must be a list of texts"),
        ({"preset": "gcc", "sandbox": "none", "readable": ("/opt",)}, "needs sandbox='process', got 'none'"),
        ({"preset": "lean", "directory": "no/such/folder"}, "directory must be a folder"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        command(**options)


@needs("gcc")
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_run_corrects_code_that_does_not_compile():
    wrong = f"So:\n\n```c\n{RIGHT_C.replace(';', '', 1)}\n```\nDone.\n"
    model = ScriptedModel([wrong, f"```c\n{RIGHT_C}\n```\n"])
    async with run(
        model, (Message(role="user", content="C, please."),), monitors=[command(preset="gcc")]
    ) as supervised:
        result = await supervised.drain()
    assert result.status == "verified", result
    assert result.violations[0].why.startswith("gcc refuses line")
    assert result.text.startswith("So:\n\nWait, gcc refuses line")
