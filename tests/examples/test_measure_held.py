"""The measurement of held right texts counts what it says."""

import gzip
import json
from dataclasses import replace

import pytest
from interwhen import load_monitor
from interwhen.registry import verifiers
from interwhen.toolkit import FunctionVerifier
from tests.measurements import measure_held

GENERAL = {"terms", "regex", "json_schema", "command", "critic", "early_stopping", "countdown", "zebralogic"}
"""Verifiers that no public set of right texts fits: docs/release.md names them."""


def written(folder, name, records):
    folder.mkdir()
    with gzip.open(folder / name, "wt") as lines:
        lines.writelines(f"{json.dumps(record)}\n" for record in records)


@pytest.fixture
def data(tmp_path):
    answers = ["2 + 2 = <<2+2=4>>4\n#### 4", "nothing to check here\n#### 4", "2 + 2 = 5\n#### 5"]
    written(tmp_path / "gsm8k", "train.jsonl.gz", [{"answer": answer} for answer in answers])
    steps = {"steps": ["3 + 3 = 6", "so 6"], "final_correct": True}
    written(tmp_path / "mrben", "mrben.jsonl.gz", [{**steps, "first_error": -1}, {**steps, "first_error": 0}])
    return tmp_path


def test_each_right_text_is_counted_once_by_outcome(data, capsys):
    assert measure_held.main([str(data)]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert rows == ["| `arithmetic` on gsm8k | 3 | 1 | 1 | 1 | 0 |", "| `arithmetic` on mrben | 1 | 1 | 0 | 0 | 0 |"]


def test_the_table_is_put_into_the_page(data, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: begin -->\nold\n<!-- table: end -->\nafter\n")
    measure_held.main([str(data), "--only", "arithmetic", "--limit", "1", "--write", str(page)])
    assert page.read_text().startswith("before\n<!-- table: begin -->\n| verifier and set |")
    assert page.read_text().endswith("<!-- table: end -->\nafter\n")
    assert "old" not in page.read_text()


def test_text_withheld_by_failure_is_counted_separately(data, monkeypatch, capsys):
    def fails(claim):
        raise RuntimeError("bad luck")

    verifier = FunctionVerifier("broken", "1", 1.0, "inline", fails)
    broken = replace(measure_held.gating("arithmetic"), verifier=verifier)
    monkeypatch.setattr(measure_held, "gating", lambda spec: broken)
    measure_held.main([str(data), "--only", "arithmetic"])
    assert "| `arithmetic` on gsm8k | 3 | 0 | 1 | 0 | 2 |" in capsys.readouterr().out


def test_every_shipped_verifier_is_measured_or_excluded():
    measured = {pair.verifier.partition(":")[0] for pair in measure_held.SETS}
    assert measured | GENERAL == {plugin.name for plugin in verifiers()}
    assert not measured & GENERAL


def test_tool_calls_are_gated_as_calls():
    assert measure_held.gating("provenance").delivery == "gate_tools"
    assert measure_held.gating("arithmetic").delivery == "gate"
    assert load_monitor("arithmetic").delivery == "interrupt"
