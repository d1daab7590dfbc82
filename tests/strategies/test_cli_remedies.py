"""``interwhen remedies``: what was learned, and why."""

import json
from contextlib import suppress

import pytest
from interwhen import Auto, Span, Unverified, ViolationRecord
from interwhen.strategies import RemedyBeliefs
from interwhen_launcher import main

LADDER = Auto().order


def failed(*remedies):
    """Return the result of a run whose last remedy worked for its place, and the others did not."""
    acts = [
        ViolationRecord("m", "sums", "k", Span(0, 1), "", "", "", True, remedy, 0, "", place, "reasoning")
        for place, remedy in zip((5, 5, 9), (*remedies, "restart"), strict=True)
    ]
    return Unverified(
        text="", reasoning="", answer="", finish_reason=None, violations=tuple(acts), unverified_reasons=()
    )


def call(arguments):
    with suppress(SystemExit):
        main(arguments)


def test_remedies_shows_the_order_and_why(tmp_path, capsys):
    path = tmp_path / "remedies.db"
    with RemedyBeliefs(path, explore=0) as learner:
        for _ in range(20):
            learner.learn("qwen\x1b", {"sums": LADDER}, failed("resample", "feedback"))
    call(["remedies", str(path)])
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "20 runs with a remedy" in shown
    rows = [line.split("│")[2].strip() for line in shown.splitlines() if line.count("│") > 3]
    assert [row for row in rows if row] == ["repair", "feedback", "resample", "restart"]
    call(["remedies", "--json", str(path)])
    [first, *_] = json.loads(capsys.readouterr().out)
    assert (first["verifier"], first["rung"], first["runs"], first["first_uses"]) == ("sums", "repair", 20, 0.0)


def test_the_reason_of_a_repair_is_true_where_it_seldom_works(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "remedies.db"
    with RemedyBeliefs(path, explore=0) as learner:
        for _ in range(20):
            learner.learn("qwen", {"sums": LADDER}, failed("resample", "feedback"))
            learner.learn("qwen", {"sums": LADDER}, failed("feedback", "resample"))
        for _ in range(4):
            learner.learn("qwen", {"sums": LADDER}, failed("repair", "resample"))
        [first, *_] = learner.beliefs()
    assert (first.rung, first.first < 0.5) == ("repair", True)
    call(["remedies", str(path)])
    [row] = [line for line in capsys.readouterr().out.splitlines() if "repair" in line and "│" in line]
    assert "worth at least as much as the others" in row


def test_remedies_says_that_nothing_is_known_yet_or_that_there_is_no_file(tmp_path, capsys):
    path = tmp_path / "remedies.db"
    RemedyBeliefs(path).close()
    call(["remedies", str(path)])
    assert "No run with a remedy has ended yet" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["remedies", str(tmp_path / "none.db")])
    assert "the file of beliefs must exist" in capsys.readouterr().err
