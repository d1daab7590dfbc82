"""The command that measures the penalty: tables, JSON, a picture, a page, and an exit code for machines."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest
from interwhen import UsageError
from interwhen.bench._penalty import Sweep
from interwhen.bench._penalty_cli import penalty
from interwhen.bench._penalty_report import Penalty
from interwhen.models import load_recordings
from interwhen_launcher import main

SMALL = {"speed": 60.0, "tokens": 60, "pairs": 1, "verifier_ms": 1.0, "monitors": 2}


def test_it_prints_tables_and_writes_a_report_a_picture_and_a_page(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    paths = {"json": tmp_path / "p.json", "page": tmp_path / "p.html"}
    if find_spec("matplotlib") is not None:
        paths["plot"] = tmp_path / "p.png"
    assert penalty(**SMALL, **paths, control=True) == 0
    report = msgspec.json.decode(paths["json"].read_bytes(), type=Penalty)
    assert report.correct == 1
    shown = capsys.readouterr().out
    assert "bare, once more" in shown
    assert "…" not in shown  # no number is cut where there is no terminal
    page = paths["page"].read_text(encoding="utf-8")
    assert page.count("<svg") == page.count("</svg>") == 4
    assert not re.search(r"(?:src|href)=", page)  # it needs no other file
    assert "nan" not in page
    if "plot" in paths:
        assert paths["plot"].read_bytes().startswith(b"\x89PNG")


def test_it_fails_above_a_share(tmp_path):
    slow = {**SMALL, "verifier_ms": 200.0}
    assert penalty(**slow, json=tmp_path / "a.json", fail_above="1%") == 1
    assert penalty(**slow, json=tmp_path / "b.json", fail_above="100000%") == 0


def test_it_does_not_pass_on_the_few_pairs_that_are_left(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Penalty, "correct", property(lambda report: 0.7 * report.pairs))
    assert penalty(**SMALL, json=tmp_path / "a.json", fail_above="100000%") == 1
    assert "too few" in capsys.readouterr().err


def test_a_sweep_is_a_table_a_report_and_a_page(tmp_path, capsys):
    paths = {"json": tmp_path / "s.json", "page": tmp_path / "s.html"}
    if find_spec("matplotlib") is not None:
        paths["plot"] = tmp_path / "s.png"
    assert penalty(**SMALL, sweep="monitors", values="0,1", **paths) == 0
    swept = msgspec.json.decode(paths["json"].read_bytes(), type=Sweep)
    assert [row.value for row in swept.rows] == [0, 1]
    assert "monitors" in capsys.readouterr().out
    assert paths["page"].read_text(encoding="utf-8").count("<svg") == 2


def test_a_stream_is_recorded_and_replayed(tmp_path, capsys):
    path = tmp_path / "r.jsonl"
    assert penalty(record=path, speed=60.0, tokens=20) == 0
    (recording,) = load_recordings(path)
    assert sum(1 for arrival in recording.arrivals if arrival.chunk.text) == 20
    with pytest.raises(UsageError, match="is there already"):
        penalty(record=path)
    assert penalty(replay=path, pairs=1, monitors=0, json=tmp_path / "x.json") == 0
    assert "r.jsonl" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"model": "acme"}, "--base-url"),
        ({"sweep": "polls", "fail_above": "1%"}, "--fail-above"),
        ({"fail_above": "1"}, "percentage"),
        ({"sweep": "polls", "values": "a"}, "whole numbers"),
        ({"sweep": "polls", "monitor": ("arithmetic",)}, "--monitor"),
        ({"speed": 0.0}, "speed=0.0"),
        ({"monitors": -1}, "negative"),
        ({"page": Path("no/such/p.html")}, "--page 'no/such/p.html': there is no folder 'no/such'"),
        ({"json": Path("/")}, "is a folder"),
    ],
)
def test_what_cannot_be_measured_is_refused(options, why):
    with pytest.raises(UsageError, match=re.escape(why)):
        penalty(**options)


def test_the_command_line_offers_it(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bench", "penalty", "--help"])
    assert ended.value.code == 0
    assert "--fail-above" in capsys.readouterr().out
