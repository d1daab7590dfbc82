"""The measurement of the penalty: its report follows from the runs. What it finds on a machine is no matter of a test."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import anyio
import msgspec
import pytest
from interwhen import Monitor, UsageError, Violation, verifier
from interwhen.bench import _penalty
from interwhen.bench._experiment import Output
from interwhen.bench._penalty import METRICS, Penalty, Setup, command, parse_share, penalty, run_sweep
from interwhen.bench._report import Report
from interwhen.bench._streams import Flow, LocalSource, MonitorCost, ReplayedFile, ServerSource, passing
from interwhen.models import load_recordings
from interwhen.remedies import Stop
from interwhen.testing.server import Disconnect, ScriptedServer, events, reply

SMALL = ReplayedFile(speed=60.0, tokens=60)
OPTIONS = {"speed": 60.0, "tokens": 60, "pairs": 1, "verifier_ms": 1.0, "monitors": 2}


def flow(*arrivals, total=None, **fields):
    defaults = {"total": arrivals[-1] if total is None else total, "tokens": len(arrivals), "text_sha256": "x"}
    return Flow(arrivals=arrivals, **{**defaults, **fields})


def of(bare, supervised, monitors=(), **more):
    # `more` has other arms.
    arms = {"bare": bare, "supervised": supervised, **more}
    return Penalty("s", monitors, {arm: [(each,) for each in flows] for arm, flows in arms.items()})


def test_added_cost_is_difference_within_pairs():
    measured = of(
        [flow(1.0, 2.0 + n) for n in range(4)], [flow(1.001, 2.1 + n, total=2.2 + n, tail=0.1) for n in range(4)]
    )
    assert measured.correct == 4
    assert measured.added("time to first text")[0].value == pytest.approx(1.0)
    added, percent = measured.added("total")
    assert added.value == added.low == pytest.approx(0.2)
    assert percent.value == pytest.approx(sum(20 / (2 + n) for n in range(4)) / 4)
    assert measured.added("until the last text")[0].value == pytest.approx(0.1)
    assert measured.tail.value == pytest.approx(100)
    report = measured.report()
    assert report.value("added to one gap, p99 of all", "added") == pytest.approx(99)
    assert "4 correct pairs of 4, 4 with equal text" in report.tables[1].title
    assert len(report.observations) == 8


def test_interrupted_pair_is_listed_but_not_counted():
    good, bad = flow(1.0, 2.0), flow(1.0, 9.0, why_not="interrupted by m1: wrong")
    measured = of([good, good, flow(1.0)], [good, bad, good])
    assert [(row["pair"], row["why"]) for row in measured.others] == [
        ("2", "interrupted by m1: wrong"),
        ("3", "fewer than two pieces of text came"),
    ]
    assert measured.others[0]["supervised, s"] == 9.0
    assert (measured.pairs, measured.correct) == (3, 1)
    assert measured.added("total")[0].value == 0
    with pytest.raises(UsageError, match=r"at least one pair must be a correct run, got none of 1.*interrupted by m1"):
        of([good], [bad])


def test_gaps_during_fork_are_reported_separately():
    supervised = flow(1.0, 2.0, 5.0, 6.0, forks=1, fork_tokens=7, fork_spans=((2.5, 3.5),))
    report = of([flow(1.0, 2.0, 3.0, 4.0)], [supervised]).report()
    assert report.value("mean gap, beside a fork") == 3000
    assert report.value("mean gap, no fork running") == 1000
    assert report.value("share of the stream's time beside a fork") == pytest.approx(60)
    assert report.value("tokens of forks a run") == 7


def test_ablation_measures_cost_of_monitor():
    cost = MonitorCost(monitor="m1", checks=3, open=1, checking=0.2, on_loop=0.1, blocked=0.0, tail=0.05)
    bare, whole, less = flow(1.0, 2.0), flow(1.0, 2.0, total=2.5, costs=(cost,)), flow(1.0, 2.0, total=2.1)
    row = of([bare], [whole], ["m1"], **{"without m1": [less]}).report().row("m1")
    assert row["saved without it"].value == pytest.approx(400)
    assert (row["checks"].value, row["left open"].value, row["tail"].value) == (3, 1, pytest.approx(50))


def test_bars_use_the_upper_confidence_limit():
    bare = [flow(1.0, 101.0) for _ in range(20)]
    measured = of(bare, [flow(1.0, 101.0, total=101.0 + 1.9 * (n % 2)) for n in range(20)])
    assert measured.added("total")[1].value < 1
    report = measured.report(fail_above=1.0)
    met = {what: report.row(f"{what}: added")["upper end"].met for what in ("first text", "gap, p99", "whole run")}
    assert met == {"first text": True, "gap, p99": True, "whole run": False}
    assert not report.passed
    assert measured.report(fail_above=3.0).passed
    assert measured.report().passed


def test_few_correct_pairs_do_not_pass():
    good, bad = flow(1.0, 2.0), flow(1.0, 9.0, why_not="interrupted by m1: wrong")
    report = of([good] * 10, [good] * 7 + [bad] * 3).report(fail_above=1000.0)
    assert not report.passed
    assert "only 7 of 10 pairs were correct runs: too few" in report.warnings[0]
    assert of([good] * 10, [good] * 8 + [bad] * 2).report(fail_above=1000.0).passed


def test_noise_is_measured_between_bare_runs():
    report = of([flow(1.0, 2.0)], [flow(1.0, 3.0)], control=[flow(1.0, 2.5)]).report()
    assert report.value("total", "added") == 1.0
    noise = [row["added"].value for row in report.tables[1].rows if row["what"] == "  bare, once more"]
    assert len(noise) == len(METRICS)
    assert 0.5 in noise


@pytest.mark.parametrize(("text", "share"), [("1%", 1.0), (" 0.5 %", 0.5)])
def test_a_share_is_a_percentage(text, share):
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["1", "x%", "-1%", "%"])
def test_invalid_share_is_refused(text):
    with pytest.raises(UsageError, match="--fail-above must be a percentage"):
        parse_share(text)


def test_a_small_measurement_gives_a_whole_report():
    setup = Setup(SMALL, tuple(passing(3, verifier_seconds=0.01)), pairs=2, control=True, leave_one_out=True)
    measured = anyio.run(setup.measure)
    report = measured.report()
    assert (measured.pairs, measured.correct) == (2, 2)
    assert {flow.tokens for flow in measured.bare} == {60}
    assert measured.monitors == ["m1", "m2", "m3"]
    for name in measured.monitors:
        row = report.row(name)
        assert row["checks"].value > 0
        assert row["left open"].value == 0
        assert "saved without it" in row
    assert measured.tail.value >= 10  # the check of the last segment cannot begin before the end of the stream
    assert len(report.charts) == 4
    assert all(series.points for chart in report.charts for series in chart.series)


def test_forks_are_counted():
    async def once():
        with anyio.fail_after(60):
            return await Setup(SMALL, monitors=1, verifier_ms=0.0, forks=True, pairs=1).measure()

    report = anyio.run(once).report()
    assert report.value("forks a run") >= 1
    assert report.value("m1", "checks") >= 1


def test_concurrent_pair_contains_every_stream():
    measured = anyio.run(Setup(SMALL, monitors=1, verifier_ms=0.0, pairs=1, concurrency=3).measure)
    assert len(measured.bare) == len(measured.supervised) == 3


def test_measurement_without_correct_run_is_an_error():
    @verifier(name="fussy", worker="inline")
    def refute(_claim):
        return Violation(why="I do not like it")

    fussy = Monitor(name="fussy", verifier=refute, extractor=passing(1)[0].extractor, remedy=Stop())
    with pytest.raises(UsageError, match="interrupted by fussy"):
        anyio.run(Setup(SMALL, (fussy,), pairs=1).measure)


def test_a_sweep_changes_one_thing_at_a_time():
    setup = Setup(SMALL, pairs=1, monitors=1, verifier_ms=0.0)
    report = anyio.run(run_sweep, setup, "length", (20, 20, 40))  # each value once
    assert [(row["tokens"], row["tokens a run"].value) for row in report.tables[0].rows] == [("20", 20), ("40", 40)]
    assert "the total grows by" in report.tables[0].caption
    for axis, value in (("verifier-latency", 10), ("polls", 50), ("monitors", 2), ("concurrency", 2)):
        assert setup.at(axis, value) != setup
    assert len(setup.at("monitors", 2).watching()) == 2


@pytest.mark.parametrize(("axis", "values"), [("polls", (0,)), ("length", (0, 5))])
def test_values_that_cannot_be_swept_are_refused(axis, values):
    with pytest.raises(UsageError, match=f"--values must be at least 1 for --sweep {axis}, got 0"):
        anyio.run(run_sweep, Setup(SMALL), axis, values)


def test_both_arms_send_the_same_request():
    async def once():
        async with ScriptedServer(lambda _request: events(["one ", "two ", "three.\n"])) as server:
            source = ServerSource(server.base_url, "m", api="completions", tokens=7, prompts=("P", "Q"))
            measurement = await Setup(source, monitors=1, verifier_ms=0.0, pairs=2, seed=5).measure()
            return measurement, [request.json for request in server.posts]

    measured, asked = anyio.run(once)
    assert measured.correct == 2
    assert {flow.tokens for flow in measured.bare} == {3}
    assert [(body["prompt"], body["seed"], body["max_tokens"]) for body in asked] == [
        *[("P", 5, 7)] * 4,  # the first pair warms up
        *[("Q", 6, 7)] * 2,
    ]


@pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed")
def test_forks_share_the_local_model_with_its_stream():
    monitors = passing(1, verifier_seconds=0.0, forks=True, poll_chars=60, fork_tokens=8)
    measured = anyio.run(Setup(LocalSource(tokens=120, slots=2), tuple(monitors), pairs=1).measure)
    assert measured.source == "local:tiny"
    assert measured.bare[0].tokens > 60
    assert measured.report().value("forks a run") >= 1
    assert measured.report().value("prompt tokens of forks a run") > 0


# ---------------------------------------------------------------------- the command


def test_command_writes_tables_report_picture_and_page(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    files = {"json": tmp_path / "p.json", "page": tmp_path / "p.html"}
    if find_spec("matplotlib") is not None:
        files["plot"] = tmp_path / "p.png"
    assert command(**OPTIONS, control=True, output=Output(**files)) == 0
    report = msgspec.json.decode(files["json"].read_bytes(), type=Report)
    assert "1 correct pairs of 1" in report.tables[1].title
    assert report.settings["verifier_ms"] == 1.0
    shown = capsys.readouterr().out
    assert "bare, once more" in shown
    assert "…" not in shown  # no number is cut where there is no terminal
    page = files["page"].read_text(encoding="utf-8")
    assert page.count("<svg") == 4
    assert "nan" not in page
    if "plot" in files:
        assert files["plot"].read_bytes().startswith(b"\x89PNG")


def test_command_fails_above_the_given_share():
    slow = {**OPTIONS, "verifier_ms": 200.0}
    assert command(**slow, fail_above="1%") == 1
    assert command(**slow, fail_above="100000%") == 0


def test_sweep_writes_table_report_and_page(tmp_path, capsys):
    files = {"json": tmp_path / "s.json", "page": tmp_path / "s.html"}
    assert command(**OPTIONS, sweep="monitors", values="0,1", output=Output(**files)) == 0
    rows = json.loads(files["json"].read_bytes())["tables"][0]["rows"]
    assert [row["monitors"] for row in rows] == ["0", "1"]
    assert "The penalty over monitors" in capsys.readouterr().out
    assert files["page"].read_text(encoding="utf-8").count("<svg") == 2


def test_a_stream_is_recorded_and_replayed(tmp_path, capsys):
    path = tmp_path / "r.jsonl"
    assert command(record=path, speed=60.0, tokens=20) == 0
    (recording,) = load_recordings(path)
    assert sum(1 for arrival in recording.arrivals if arrival.chunk.text) == 20
    with pytest.raises(UsageError, match="must name a new file"):
        command(record=path)
    assert command(replay=path, pairs=1, monitors=0) == 0
    assert "r.jsonl" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"model": "acme"}, "--model must be 'local' or 'local:PATH.gguf', got 'acme'"),
        ({"sweep": "polls", "fail_above": "1%"}, "--sweep must stand without --fail-above and --record"),
        ({"fail_above": "1"}, "--fail-above must be a percentage, such as 1%; got '1'"),
        ({"sweep": "polls", "values": "a"}, "--values must be whole numbers with commas between"),
        ({"sweep": "polls", "monitor": ("arithmetic",)}, "got --monitor as well; leave one of them out"),
        ({"speed": 0.0}, "--speed must be a number above 0, got 0"),
        ({"pairs": 0}, "--pairs must be a whole number of at least 1, got 0"),
        ({"concurrency": 0}, "--concurrency must be a whole number of at least 1, got 0"),
        ({"monitors": -1}, "--monitors must be a whole number of at least 0, got -1"),
        (
            {"record": Path("no/such/r.jsonl")},
            "--record must be in a folder that exists, got 'no/such/r.jsonl'; make 'no/such' first",
        ),
        ({"replay": Path("x"), "model": "local"}, "--replay must stand without --model and --base-url"),
        ({"replay": Path("no/such/r.jsonl")}, "--replay must name a readable file, got 'no/such/r.jsonl'"),
    ],
)
def test_invalid_options_are_refused(options, why):
    with pytest.raises(UsageError, match=re.escape(why)):
        anyio.run(lambda: penalty(**options))


PAGE = Path(__file__).parents[2] / "docs" / "penalty.md"


@pytest.mark.skipif(not PAGE.exists(), reason="docs/ is not here")
@pytest.mark.source
def test_documented_options_exist():
    parameters = {*command.__annotations__, *Output.__dataclass_fields__}
    there = {f"--{name.replace('_', '-')}" for name in parameters}
    named = set(re.findall(r"--[a-z]+(?:-[a-z]+)*", PAGE.read_text(encoding="utf-8")))
    assert named <= there
    assert len(named) > 15


@pytest.mark.skipif(not PAGE.exists(), reason="docs/ is not here")
@pytest.mark.source
def test_every_row_of_the_table_is_explained():
    text = re.sub(r"[^a-z0-9 ]", " ", PAGE.read_text(encoding="utf-8").lower())
    for label in _penalty.METRICS:
        assert all(word in text for word in re.findall(r"\w+", label))


@pytest.mark.parametrize(
    "answer", [reply(401, b'{"error": {"message": "wrong key"}}'), (Disconnect(),)], ids=["key", "dead"]
)
def test_unanswering_model_gives_one_line_error(answer):
    async def measure():
        async with ScriptedServer(lambda _: answer) as server:
            await penalty(base_url=server.base_url, model="m", pairs=1, concurrency=2)

    with pytest.raises(UsageError, match="OPENAI_API_KEY") as caught:
        anyio.run(measure)
    assert "\n" not in str(caught.value)
