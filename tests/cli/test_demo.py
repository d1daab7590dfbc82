"""The demo: one run without and two with interwhen, and next steps that work, with any model and with its own."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec

import interwhen
import pytest
from anyio.from_thread import start_blocking_portal
from interwhen.cli import _flags
from interwhen.cli._demo import MODEL, NEXT_STEPS, SAMPLING, SCENES
from interwhen.cli._main import main
from interwhen.models import ConnectError, UpstreamError
from interwhen.testing import End, ScriptedModel
from interwhen.testing.server import ScriptedServer
from tests.forked_scripts import run_script
from tests.hosted_server import Hosted

ALONE = ("59 * 12 = 718\n718 - 63 = 655\nAnswer: 655", End())
RIGHT = ("59 * 12 = 708\n708 - 63 = 645\nAnswer: 645", End())
REPAIRED = (("59 * 12 = 718\n",), ("\n708 - 63 = 645\nAnswer: 645", End()))
HOPELESS = (("<think>\n656 * 80 = 5200\n",), ("656 * 80 = 5210\n",), ("656 * 80 = 5220\n",))


@pytest.fixture
def scripted(monkeypatch):
    def use(*scripts):
        model = ScriptedModel(scripts)
        monkeypatch.setattr(_flags, "load_model", lambda *args, **kwargs: model)
        return model

    return use


def demo(*arguments):
    with pytest.raises(SystemExit) as caught:
        main(["demo", *([] if "--speed" in arguments else ["--speed", "0"]), *arguments])
    return caught.value.code


def conclusions(out):
    ends = r"^  \S ([\w ]+): .*\n +\d+ tokens, \d+ of them discarded, (\d+) interrupts?$"
    return re.findall(ends, out, re.MULTILINE)


def test_the_first_run_is_without_interwhen(scripted, capsys):
    model = scripted(ALONE, *REPAIRED, *HOPELESS)
    assert demo() == 0
    out = capsys.readouterr().out
    for number, scene in enumerate(SCENES, start=1):
        assert f"Run {number} of 3. {scene.introduction}" in out
        assert scene.problem in out
    assert "the answer is wrong; 645 is right" in out
    assert "the answer is right" in out
    assert "59 * 12 = ~~718~~ «708»" in out
    assert conclusions(out) == [("unverified", "0"), ("steps verified", "1"), ("abstained", "3")]
    assert {request.sampling.temperature for request in model.requests} == {0.0}
    assert [request.prompt[0].content for request in model.requests if not request.prefix] == [
        scene.problem for scene in SCENES
    ]


def test_unmonitored_run_shows_no_pending_checks(scripted, capsys):
    scripted(ALONE, *REPAIRED, *HOPELESS)
    demo()
    assert "…" not in capsys.readouterr().out.partition("Run 2")[0]


def test_demo_accepts_any_final_status(scripted, capsys):
    scripted(RIGHT, RIGHT, ("nothing to check", End()))
    assert demo() == 0
    assert [end for end, _ in conclusions(capsys.readouterr().out)] == ["unverified", "steps verified", "unverified"]


@pytest.mark.parametrize("error", [UpstreamError("the server is on fire", status=400), ConnectError("gone")])
def test_a_model_that_fails_is_not_asked_again(scripted, capsys, error):
    scripted(RIGHT, *[(error,)] * 4)
    assert demo() == 5
    out = capsys.readouterr().out
    assert [end for end, _ in conclusions(out)] == ["unverified", "failed"]
    assert "Run 3" not in out
    assert "Next" not in out


def test_demo_notes_that_problems_fit_default_model(scripted, capsys):
    scripted(RIGHT, RIGHT, RIGHT)
    assert demo("--base-url", "http://localhost:1/v1", "--model", "m") == 0
    assert f"chosen for {MODEL}" in capsys.readouterr().out
    scripted(RIGHT, RIGHT, RIGHT)
    assert demo() == 0
    assert "chosen for" not in capsys.readouterr().out


@pytest.fixture
def needs_the_library():
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed (extra 'local')")


def test_default_model_ends_each_scene_as_planned(needs_the_library, capsys):
    assert demo() == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) <= 60
    ends = conclusions(out)
    assert [end for end, _ in ends] == [scene.ends for scene in SCENES]
    for scene, (_, interrupts) in zip(SCENES, ends, strict=True):
        assert scene.interrupts[0] <= int(interrupts) <= scene.interrupts[1]


def test_demo_mistakes_come_from_the_model(needs_the_library):
    for scene in SCENES[1:]:
        with interwhen.run_sync(MODEL, scene.prompt, monitors=[scene.monitor], sampling=SAMPLING) as run:
            watched = run.drain()
        with interwhen.run_sync(MODEL, scene.prompt, sampling=SAMPLING) as run:
            alone = run.drain()
        first = watched.violations[0]
        assert alone.text[first.span.start : first.span.end] == first.quote


def steps():
    # Return the code and the commands of the next steps, flush left so that they can be copied.
    blocks = NEXT_STEPS.format(program="interwhen", python="python").split("\n\n")
    return blocks[1], blocks[3], blocks[5]


def test_the_wrapped_call_works_as_printed(tmp_path):
    pytest.importorskip("openai")
    script = tmp_path / "wrap.py"
    script.write_text(steps()[0])
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(
        ScriptedServer(Hosted("openai", "17 * 24 = 418\n", "17 * 24 = 408"))
    ) as server:  # fmt: skip
        environment = {**os.environ, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "key"}
        done = run_script(script, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "17 * 24 = 408"


def test_the_other_steps_are_commands_that_exist(tmp_path):
    _, write, measure = steps()
    program = [sys.executable, "-m", "interwhen_launcher"]
    assert write.startswith("interwhen ")
    done = subprocess.run([*program, *write.split()[1:]], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("interwhen-*/pyproject.toml"))
    assert measure.startswith("interwhen ")
    # The command measures for a minute; here it only gets as far as an option that no command has.
    command = [*program, *measure.split()[1:], "--fail-above", "no number"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "fail-above" in done.stderr


def test_the_text_is_slowed_down_for_readers(scripted, capsys):
    model = scripted(RIGHT, RIGHT, ("nothing to check", End()))
    assert demo("--speed", "5000") == 0
    assert len(model.requests) == 3


@pytest.mark.parametrize("speed", ["-1", "nan", "inf"])
def test_invalid_speed_is_refused(scripted, capsys, speed):
    scripted(RIGHT, RIGHT, RIGHT)
    assert demo("--speed", speed) == 2
    assert "--speed must be at least 0 and finite" in capsys.readouterr().err
