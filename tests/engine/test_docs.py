"""The page about failing verifiers: its code runs as it stands."""

import re
from pathlib import Path

import pytest
from tests.forked_scripts import run_script

PAGE = Path(__file__).parents[2] / "docs" / "verifier-faults.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def run(script, tmp_path):
    path = tmp_path / "page.py"
    path.write_text(script)
    done = run_script(path)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_retry_and_worker_examples_run(tmp_path):
    assert run("\n".join(BLOCKS[:2]), tmp_path) == "verified 2\n" + "verified\n" * 3


def test_documented_solver_example_prints_conflict(tmp_path):
    pytest.importorskip("z3", reason="the extra 'z3' is not installed")
    assert run(BLOCKS[2], tmp_path) == "these cannot all hold: Ann is 3; Ann is older than Bob; Bob is 7\n"
    assert len(BLOCKS) == 3
