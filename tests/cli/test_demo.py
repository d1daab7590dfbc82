"""The demo: three runs, introduced before and summed up afterwards, with any model and with its own."""

import re
from importlib.util import find_spec

import interwhen
import pytest
from interwhen.cli import _flags
from interwhen.cli._demo import MODEL, SAMPLING, SCENES
from interwhen.cli._main import main
from interwhen.models import ConnectError, UpstreamError
from interwhen.testing import End, ScriptedModel

RIGHT = ("1 + 2 = 3\n4 + 5 = 9\n", End())
REPAIRED = (("59 * 12 = 718\n",), ("\n708 - 63 = 645\n", End()))
HOPELESS = (("<think>\n1471 + 830 = 2321\n",), ("1471 + 830 = 2322\n",), ("1471 + 830 = 2323\n",))


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


def conclusion(out):
    """Return the number, the end and the interrupts of each run, as the last lines of *out* show them."""
    return re.findall(
        r"^Run (\d) +\S ([\w ]+?) +\d+ tokens, \d+ of them discarded +(\d+) interrupts? *$", out, re.MULTILINE
    )


def test_a_line_end_that_is_taken_back_is_not_told(scripted, capsys):
    scripted(RIGHT, *REPAIRED, *HOPELESS)
    demo("--plain")
    out = capsys.readouterr().out
    assert "retracted: ~~~~" not in out
    assert "finish reason None" not in out
    if "not shown because" in out:
        assert not re.search(r"^ {8,}everywhere", out, re.MULTILINE)


def test_each_run_is_told_beforehand_and_all_are_summed_up(scripted, capsys):
    model = scripted(RIGHT, *REPAIRED, *HOPELESS)
    assert demo() == 0
    out = capsys.readouterr().out
    for number, scene in enumerate(SCENES, start=1):
        assert f"Run {number} of 3. {scene.introduction}" in out
        assert scene.problem in out
    assert "was written by interwhen in its place" in out
    assert " » repair: 708" in out
    assert conclusion(out) == [("1", "steps verified", "0"), ("2", "steps verified", "1"), ("3", "abstained", "3")]
    assert {request.sampling.temperature for request in model.requests} == {0.0}
    assert [request.prompt[0].content for request in model.requests if not request.prefix] == [
        scene.problem for scene in SCENES
    ]


def test_any_honest_end_is_a_good_end(scripted, capsys):
    scripted(RIGHT, RIGHT, ("nothing to check", End()))
    assert demo() == 0
    assert [end for _, end, _ in conclusion(capsys.readouterr().out)] == [
        "steps verified",
        "steps verified",
        "unverified",
    ]


@pytest.mark.parametrize("error", [UpstreamError("the server is on fire", status=400), ConnectError("gone")])
def test_a_model_that_fails_is_not_asked_again(scripted, capsys, error):
    scripted(RIGHT, *[(error,)] * 4)
    assert demo() == 5
    out = capsys.readouterr().out
    assert [end for _, end, _ in conclusion(out)] == ["steps verified", "failed"]
    assert "Run 3" not in out


def test_another_model_is_told_that_the_problems_were_not_chosen_for_it(scripted, capsys):
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


def test_with_its_own_model_it_ends_as_it_says(needs_the_library, capsys):
    assert demo() == 0
    ends = conclusion(capsys.readouterr().out)
    assert [end for _, end, _ in ends] == [scene.ends for scene in SCENES]
    for scene, (_, _, interrupts) in zip(SCENES, ends, strict=True):
        assert scene.interrupts[0] <= int(interrupts) <= scene.interrupts[1]


def test_nobody_puts_the_mistakes_there(needs_the_library):
    """Without a monitor, the model makes the first mistake of each scene by itself."""
    for scene in SCENES:
        with interwhen.run_sync(MODEL, scene.prompt, monitors=[scene.monitor], sampling=SAMPLING) as run:
            watched = run.drain()
        with interwhen.run_sync(MODEL, scene.prompt, sampling=SAMPLING) as run:
            alone = run.drain()
        if watched.violations:
            first = watched.violations[0]
            assert alone.text[first.span.start : first.span.end] == first.quote
        else:
            assert watched.text == alone.text


def test_the_text_is_slowed_down_for_the_eyes(scripted, capsys):
    model = scripted(RIGHT, RIGHT, RIGHT)
    assert demo("--speed", "5000") == 0
    assert "slowed down to 5000 tokens a second" in capsys.readouterr().out
    assert len(model.requests) == 3


@pytest.mark.parametrize("speed", ["-1", "nan", "inf"])
def test_a_speed_that_cannot_be_is_refused(scripted, capsys, speed):
    scripted(RIGHT, RIGHT, RIGHT)
    assert demo("--speed", speed) == 2
    assert "--speed must be at least 0 and finite" in capsys.readouterr().err
