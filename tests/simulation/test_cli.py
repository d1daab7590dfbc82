"""``python -m tests.simulation`` says what it covered, and how to see a failure again."""

import json

import pytest
from tests import command_line
from tests.simulation.__main__ import app
from tests.simulation.generation import generate
from tests.simulation.mutants import MUTANTS
from tests.simulation.worlds import from_json, to_json


def run(*arguments):
    return command_line.run(app, arguments)


@pytest.fixture
def defect(monkeypatch):
    next(mutant for mutant in MUTANTS if mutant.name == "a stream is left open").plant(monkeypatch)


def test_coverage_counts_reached_labels_and_names_missed_ones(capsys):
    assert run("--seeds", "30") == 0
    out = capsys.readouterr().out
    assert "every promise held" in out
    assert "30 worlds from seed 0" in out
    assert "verified" in out
    assert "NEVER" in out  # thirty worlds do not see everything, and it says so
    assert "blind: " in out


def test_counts_are_written_as_json(capsys):
    assert run("--seeds", "3", "--json") == 0
    assert json.loads(capsys.readouterr().out)["worlds"] == 3


def test_one_seed_is_told_event_by_event(capsys):
    assert run("--seed", "5") == 0
    out = capsys.readouterr().out
    assert "the model says" in out
    assert "request 0: after ''" in out
    assert "every invariant holds" in out


def test_a_world_given_as_json_matches_its_seed(capsys):
    assert run("--world", to_json(generate(5))) == 0
    given = capsys.readouterr().out
    run("--seed", "5")
    assert given == capsys.readouterr().out


def test_a_broken_promise_reports_its_replay_command(defect, capsys):
    assert run("--seeds", "3", "--from", "6") == 1
    out = capsys.readouterr().out
    assert "3 broken" in out
    assert "python -m tests.simulation --seed 6" in out
    assert "was never closed" in out
    small = out.rpartition("--world '")[2].rpartition("'")[0]
    assert len(from_json(small).items) == 1
    assert run("--world", small, "--no-shrink") == 1
    assert "BROKEN: leaving a run leaves no task and no open stream" in capsys.readouterr().out


def test_one_broken_seed_is_made_small(defect, capsys):
    assert run("--seed", "7") == 1
    assert "The smallest world" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--seeds", "0"), "at least 1"),
        (("--jobs", "0"), "at least 1"),
        (("--seed", "1", "--world", "{}"), "must not be used together"),
        (("--world", "{"), "must be a world as JSON"),
    ],
)
def test_wrong_usage(arguments, said, capsys):
    assert run(*arguments) == 2
    assert said in capsys.readouterr().err
