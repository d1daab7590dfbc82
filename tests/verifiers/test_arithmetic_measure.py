"""The measuring script counts what it says, and skips sets that are absent."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "measurements" / "measure_arithmetic.py"


def measure(data: Path) -> list[str]:
    ran = subprocess.run([sys.executable, str(SCRIPT), str(data)], capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()


def test_absent_sets_are_skipped(tmp_path: Path) -> None:
    assert "gsm8k/train_2000: absent, skipped" in measure(tmp_path)


def test_interrupted_traces_are_counted(tmp_path: Path) -> None:
    (tmp_path / "gsm8k").mkdir()
    answers = ["2+2 = <<2+2=4>>4 pens\n#### 4", "2+2 = <<2+2=5>>5 pens\n3+3 = 5\n#### 5"]
    with gzip.open(tmp_path / "gsm8k" / "train_2000.jsonl.gz", "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"id": str(n), "answer": answer}) + "\n" for n, answer in enumerate(answers))
    (line,) = [line for line in measure(tmp_path) if line.startswith("gsm8k human")]
    assert line.startswith("gsm8k human: 1 of 2 interrupted (50.00 %); 3 claims: 1 pass, 0 unknown, 2 violations")


def test_first_errors_are_compared_with_the_labels(tmp_path: Path) -> None:
    (tmp_path / "bigbench_mistake").mkdir()
    traces = [
        {"id": "a", "steps": ["1 + 1 = 2", "2 * 3 = 7"], "first_error": 1, "final_correct": False},
        {"id": "b", "steps": ["1 + 1 = 3", "2 * 3 = 7"], "first_error": 1, "final_correct": False},
        {"id": "c", "steps": ["1 + 1 = 2"], "first_error": -1, "final_correct": True},
    ]
    with gzip.open(tmp_path / "bigbench_mistake" / "multistep_arithmetic.jsonl.gz", "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(trace) + "\n" for trace in traces)
    report = measure(tmp_path)
    assert any(line.startswith("multistep_arithmetic, clean: 0 of 1 interrupted") for line in report)
    (line,) = [line for line in report if line.startswith("multistep_arithmetic, wrong")]
    assert "2 of 2 caught (100.0 %), first violation at the label in 1 (50.0 %), before it in 1" in line
