from __future__ import annotations

import re
from pathlib import Path

import pytest
from interwhen.bench import _planner
from interwhen.bench._planner import RIGHT_AGAIN, ROUTES, SERVERS, WRONG, Runner, SimulatedServer, planner, play


def totals(costs):
    return [sum(column) for column in zip(*costs, strict=True)]


def test_the_oracle_is_never_beaten_and_rereading_never_beats_it():
    for cost in play(SERVERS["as usual"], ROUTES["and restored"], 1024, forks=60, seed=3):
        assert cost.oracle <= cost.planned + 1e-12
        assert cost.oracle <= cost.reread + 1e-12


@pytest.mark.parametrize("server", SERVERS)
def test_the_planner_is_close_to_the_oracle_on_every_server(server):
    planned, oracle, reread = totals(play(SERVERS[server], ROUTES["and restored"], 4096, forks=150, seed=5))
    assert planned < 1.1 * oracle
    assert planned < reread


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_rates_are_right_again_within_twenty_forks(wrong):
    costs = []
    for seed in range(4):
        costs += list(play(SERVERS["as usual"], ROUTES["and restored"], 2048, forks=80, seed=seed, wrong=WRONG[wrong]))[
            RIGHT_AGAIN:
        ]
    planned, oracle, _ = totals(costs)
    assert planned < 1.1 * oracle


def test_the_mean_of_what_happens_is_what_the_oracle_expects():
    runner = Runner(SimulatedServer(), 1)
    situation = runner.situation(routes=ROUTES["and restored"], size=1024)
    for route in ("live", "prefill", "restored"):
        seconds = sum(runner.run(route, situation).seconds for _ in range(2000)) / 2000
        assert seconds == pytest.approx(runner.expected(route, situation), rel=0.05)


def test_a_small_simulation_gives_a_whole_report(monkeypatch):
    monkeypatch.setattr(_planner, "SIZES", (256,))
    report = planner(forks=5)
    assert len(report.observations) == len(SERVERS) * len(ROUTES)
    assert report.value("regret over the grid", "simulated") <= report.value("regret in the worst cell", "simulated")
    assert len(report.tables[0].rows) == 4 + 3 * len(WRONG)
    assert report.subject == "SIMULATION"


PAGE = Path(__file__).parents[2] / "docs" / "measurements.md"


@pytest.mark.slow
@pytest.mark.source
@pytest.mark.skipif(not PAGE.exists(), reason="docs/ is not here")
def test_the_page_has_the_numbers_of_this_simulation():
    """The simulation is the same on every machine: another number means that the planner has changed."""
    found = re.search(
        r"regret against an oracle ([\d.]+) % \(worst cell ([\d.]+) %\); ([\d.]+) times cheaper.*?"
        r"is ([\d.]+) to\s+([\d.]+) % \(worst server ([\d.]+) %\)",
        PAGE.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert found is not None
    report = planner()
    labels = ("regret over the grid", "regret in the worst cell", "cheaper than always rereading, all forks")
    after, worst = (
        [row["simulated"].value for row in report.tables[0].rows if row["what"] == f"  after those{of}"]
        for of in ("", ", worst server")
    )
    numbers = [report.value(label, "simulated") for label in labels] + [min(after), max(after), max(worst)]
    assert [f"{number:.1f}" for number in numbers] == list(found.groups())
