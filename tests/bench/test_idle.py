"""The measurement of work ahead of time works; what it finds on a busy machine is no matter of a test."""

import anyio
import msgspec
import pytest
from interwhen import UsageError
from interwhen.bench._idle import IdleReport, measure_idle
from interwhen.bench._idle_cli import idle_table
from interwhen.testing import Pause, ScriptedModel
from interwhen_launcher import main
from rich.console import Console
from trio.testing import MockClock


def script(request):
    """Ten milliseconds a token, and no end of its own."""
    for _ in range(request.sampling.max_tokens):
        yield Pause(0.01)
        yield "x "


def test_a_small_run_gives_a_whole_report_and_a_table(capsys):
    report = anyio.run(
        lambda: measure_idle(ScriptedModel(script), pairs=6, tokens=10, slice_tokens=8),
        backend="trio",
        backend_options={"clock": MockClock(autojump_threshold=0)},
    )
    assert report.pairs == 6
    assert report.slices > 6
    assert report.preempted > 0
    assert report.beside_at_steps == 0
    assert msgspec.json.decode(msgspec.json.encode(report), type=IdleReport) == report
    Console(width=160).print(idle_table(report))
    assert "a run, ms" in capsys.readouterr().out


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(UsageError, match="at least 2"):
        anyio.run(lambda: measure_idle(ScriptedModel(script), pairs=1))


def test_the_command_is_there(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["bench", "idle", "--pairs", "1"])
    assert caught.value.code == 2
    assert "at least 2" in capsys.readouterr().err
