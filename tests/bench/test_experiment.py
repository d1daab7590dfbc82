"""The frame: arms in random order within rounds, a budget of time, and commands with the same options."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import anyio
import msgspec
import pytest
from interwhen import UsageError
from interwhen.bench import _experiment
from interwhen.bench._experiment import Experiment, Output, command_of, observations, require
from interwhen.bench._overhead import overhead
from interwhen.bench._penalty import penalty
from interwhen.bench._prefixes import prefixes
from interwhen.bench._report import Chart, Report, Series, Table
from interwhen.bench._statistics import Estimate
from interwhen.toolkit import MissingExtraError
from interwhen_launcher.__main__ import main

CHART = Chart("gaps", "x", "y", (Series("a", ((1.0, 2.0), (2.0, 3.0))),))
TABLE = Table("numbers", ({"what": "a", "measured": Estimate(1.5, "ms", limit=1.0)},))


async def small(*, pairs: int = 2, transport: str = "httpx2", file: Path = Path("x"), seed: int = 0) -> Report:
    """Measure nothing.

    Parameters
    ----------
    pairs
        How many.
    """
    return Report(benchmark="small", tables=(TABLE,), charts=(CHART,), passed=pairs < 5)


def test_every_round_runs_arms_in_random_order():
    orders = [order for _, order in Experiment(("a", "b", "c"), 20, seed=3).rounds()]
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert len({tuple(order) for order in orders}) > 3
    assert orders == [order for _, order in Experiment(("a", "b", "c"), 20, seed=3).rounds()]
    assert orders != [order for _, order in Experiment(("a", "b", "c"), 20, seed=4).rounds()]


def test_warm_up_rounds_are_not_counted():
    asked = []

    async def measure(arm, number):
        asked.append((arm, number))
        return number

    by_arm = anyio.run(Experiment(("a", "b"), 2, warm_up=1).run, measure)
    assert by_arm == {"a": [0, 1], "b": [0, 1]}
    assert sorted(asked) == [("a", -1), ("a", 0), ("a", 1), ("b", -1), ("b", 0), ("b", 1)]
    assert observations(by_arm)[0] == {"arm": "a", "pair": 0, "value": 0}


def test_no_round_begins_after_the_time(monkeypatch, capsys):
    clock = iter(range(0, 1000, 40))
    monkeypatch.setattr(_experiment.time, "monotonic", lambda: next(clock))
    numbers = [number for number, _ in Experiment(("a",), 9, minutes=1.0).rounds()]
    assert numbers == [-1, 0, 1]  # 40 s have passed before round 1, and 80 s before round 2
    assert "2 of 9 rounds are counted" in capsys.readouterr().err


def test_at_least_one_round_is_counted():
    assert [number for number, _ in Experiment(("a",), 9, minutes=1e-9).rounds()] == [-1, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": 0}, "--pairs must be a whole number of at least 1, got 0"),
        ({"minutes": -1.0}, "--minutes must be .*, got -1.0"),
        ({"minutes": float("nan")}, "--minutes must be .*, got nan"),
    ],
)
@pytest.mark.parametrize("measure", [overhead, penalty, prefixes])
def test_an_option_that_is_not_positive_is_refused(measure, options, message):
    with pytest.raises(UsageError, match=message):
        anyio.run(lambda: measure(**options))


def test_command_has_options_of_measurement_and_report():
    command = command_of(small, uvloop=True)
    assert list(inspect.signature(command).parameters) == ["pairs", "transport", "file", "seed", "uvloop", "output"]
    assert inspect.signature(command).parameters["uvloop"].default is True
    assert command.__annotations__["pairs"] is int


def test_a_report_is_a_table_and_files(tmp_path, capsys):
    command = command_of(small, has_charts=True)
    output = Output(json=tmp_path / "r.json", page=tmp_path / "r.html")
    assert command(pairs=3, output=output) == 0
    assert "1.5 ms" in capsys.readouterr().out
    report = msgspec.json.decode(output.json.read_bytes(), type=Report)
    assert report.tables == (TABLE,)
    assert report.settings == {"pairs": 3, "transport": "httpx2", "file": "x", "seed": 0}
    assert output.page.read_text(encoding="utf-8").count("<svg") == 1
    assert command(pairs=5) == 1  # a report that does not pass ends with 1
    assert command_of(small, uvloop=False)(output=Output(json=output.json)) == 0
    assert msgspec.json.decode(output.json.read_bytes(), type=Report).settings["uvloop"] is False


def test_json_and_markdown_replace_the_tables(capsys):
    command = command_of(small)
    command(output=Output(json=Path("-")))
    assert msgspec.json.decode(capsys.readouterr().out, type=Report).benchmark == "small"
    command(output=Output(markdown=True))
    assert "| a | 1.5 ms | ≤ 1 ms | NO |" in capsys.readouterr().out


def test_hyphen_selects_standard_output(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bench", "overhead", "--pairs", "2", "--chunks", "20", "--closes", "2", "--json", "-"])
    assert ended.value.code == 0
    assert msgspec.json.decode(capsys.readouterr().out, type=Report).settings["pairs"] == 2


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            Output(page=Path("no/such/p.html")),
            "--page must be in a folder that exists, got 'no/such/p.html'; make 'no/such' first",
        ),
        (Output(json=Path("/")), "--json must be a file, got the folder '/'; name a file in it"),
        (
            Output(plot=Path("p.png")),
            "--plot needs a benchmark with charts, got one without; give --page for its tables",
        ),
    ],
)
def test_unwritable_output_is_refused_before_measuring(output, message):
    async def never(*, seed: int = 0) -> Report:
        raise AssertionError

    with pytest.raises(UsageError) as caught:
        command_of(never)(output=output)
    assert message in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_unwritable_page_is_refused():
    with pytest.raises(UsageError, match="--page must be a file that can be written, got '/dev/full'"):
        command_of(small, has_charts=True)(output=Output(page=Path("/dev/full")))


def test_missing_plot_extra_is_refused_before_measuring(monkeypatch, tmp_path):
    monkeypatch.setattr(_experiment, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"interwhen\[plots\]"):
        command_of(small, has_charts=True)(output=Output(plot=tmp_path / "front.png"))


def test_missing_extras_are_named_together(monkeypatch):
    for module in ("uvloop", "openai"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"^interwhen bench x needs .*'interwhen\[fast,openai\]'.*--no-uvloop"):
        require("interwhen bench x", "httptools", "uvloop", "starlette", "openai")
    require("interwhen bench x", "httptools", "starlette")
    with pytest.raises(MissingExtraError, match=r"interwhen bench small .*interwhen\[fast\]"):
        command_of(small, uvloop=False)(uvloop=True)
    assert command_of(small, uvloop=True)(uvloop=False) == 0


def test_fast_transport_checks_its_extra_when_selected(monkeypatch):
    monkeypatch.setitem(sys.modules, "httptools", None)
    with pytest.raises(MissingExtraError, match=r"interwhen\[fast\]"):
        command_of(small)(transport="fast")


@pytest.mark.parametrize(
    "name",
    [
        "compare",
        "overhead",
        "penalty",
    ],
)
def test_every_benchmark_command_has_the_common_options(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bench", name, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for option in ("--seed", "--minutes", "--json", "--page", "--plot", "--markdown"):
        assert option in out


def test_nothing_is_measured_while_supervision_is_off(monkeypatch):
    monkeypatch.setenv("INTERWHEN_OFF", "1")
    with pytest.raises(UsageError, match="supervision must be on to measure small"):
        command_of(small)()
