"""The report of faults says what passed, and fails where something is not shown."""

import subprocess
import sys
from pathlib import Path

from tests.fault_rows import ROWS
from tests.reliability_report import Tally, place, render

ROOT = Path(__file__).parents[1]

CONFTEST = """
from tests import reliability_report

def pytest_addoption(parser):
    reliability_report.add_option(parser)

def pytest_configure(config):
    config.addinivalue_line("markers", "fault(row, injected, happens): .")
    reliability_report.start(config, {"W1": "first", "W2": "second", "P6": "third"}, NOT_BUILT)
"""

SUITE = """
import pytest

@pytest.mark.fault("W1", injected="a | b", happens="ends")
@pytest.mark.fault("X1", injected="c", happens="ends")
@pytest.mark.parametrize("n", [10, 20])
def test_one(n, record_property):
    record_property("tries", n)

@pytest.mark.fault("W2", "d", "ends")
def test_two():
    assert WORKS
"""


def run(folder, works, not_built=("P6",)):
    (folder / "conftest.py").write_text(f"NOT_BUILT = {not_built}\n{CONFTEST}")
    (folder / "test_it.py").write_text(f"WORKS = {works}\n{SUITE}")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder),
         f"--reliability-report={folder / 'out.md'}"],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=100,
    )  # fmt: skip


def test_complete_suite_writes_the_table(tmp_path):
    process = run(tmp_path, works=True)
    assert process.returncode == 0, process.stdout
    page = (tmp_path / "out.md").read_text()
    assert "| W1 | first | a \\| b | ends | 2 | 30 |" in page
    assert "| W2 | second | d | ends | 1 | 1 |" in page
    assert page.index("| W2") < page.index("## Others") < page.index("| X1 |")
    assert "5 tests, 61 tries, over 3 rows." in page


def test_row_without_passing_test_fails_by_name(tmp_path):
    process = run(tmp_path, works=False)
    assert process.returncode == 1
    assert "without a passing test: W2" in process.stdout
    assert "failed: test_it.py::test_two" in process.stdout
    assert "W2" not in (tmp_path / "out.md").read_text()


def test_only_listed_unbuilt_rows_are_excused(tmp_path):
    process = run(tmp_path, works=True)
    assert "| P6 | third |  | not built yet | 0 | 0 |" in (tmp_path / "out.md").read_text()
    assert process.returncode == 0, process.stdout
    process = run(tmp_path, works=True, not_built=())
    assert process.returncode == 1
    assert "without a passing test: P6" in process.stdout


def test_row_listed_unbuilt_but_tested_is_reported(tmp_path):
    process = run(tmp_path, works=True, not_built=("P6", "W2"))
    assert process.returncode == 1
    assert "built, so to be taken out of NOT_BUILT: W2" in process.stdout
    assert "not built yet | 0 | 0 |\n" in (tmp_path / "out.md").read_text()


def test_rows_follow_table_order_with_others_last():
    assert sorted(["P2", "X3", "W10", "G1", "V1", "W2"], key=place) == ["W2", "W10", "V1", "P2", "G1", "X3"]
    tally = Tally()
    tally.add("W10", "a", "b", 3)
    assert tally.missing({"W10": "", "W2": ""}) == ["W2"]
    assert "| W10 |  | a | b | 1 | 3 |" in render(tally, {})


def test_the_table_has_all_rows():
    counted = {letter: sum(row.startswith(letter) for row in ROWS) for letter in "WVP"}
    assert counted == {"W": 32, "V": 13, "P": 12}
