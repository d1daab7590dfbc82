"""The measurement of work ahead of time works; what it finds on a busy machine is no matter of a test."""

import anyio
import pytest
from interwhen import UsageError
from interwhen.testing import Pause, ScriptedModel
from tests.benchmarks import idle as _idle
from tests.benchmarks.__main__ import app
from tests.benchmarks.idle import idle
from tests.command_line import run
from tests.virtual_clock import virtual_backend


def script(request):
    for _ in range(request.sampling.max_tokens):
        yield Pause(0.01)
        yield "x "


def test_a_small_run_gives_a_whole_report(monkeypatch):
    monkeypatch.setattr(_idle, "load_model", lambda _name: ScriptedModel(script))
    report = anyio.run(
        lambda: idle(pairs=6, tokens=10, slice_tokens=8),
        backend="trio",
        backend_options=virtual_backend()[1],
    )
    assert len(report.observations) == 2 * 6
    assert report.value("slices of work done", "beside") > 6
    assert report.value("slices that a run cancelled", "beside") > 0
    assert report.value("arrivals with a slice still open", "beside") == 0
    ratio = report.row("a run, 95th percentile")["ratio"]
    assert ratio.low <= ratio.value <= ratio.high
    assert report.passed == (ratio.value <= 1.05)


def test_invalid_options_are_refused():
    with pytest.raises(UsageError, match="--pairs and --tokens must be at least 2, got 1 and 64"):
        anyio.run(lambda: idle(pairs=1))


def test_idle_command_is_registered(capsys):
    assert run(app, ["idle", "--pairs", "1"]) == 2
    assert "at least 2" in capsys.readouterr().err
