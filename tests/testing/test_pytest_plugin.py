"""The pytest plug-in: its fixtures, the output of a failure, and that it costs nothing unless it is used."""

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

TRACES = """
from interwhen.testing import LabelledTrace, Turn

def trace(name, text, label):
    return LabelledTrace(name=name, turns=(Turn(prompt="", text=text),), label=label)

TRACES = [trace("good", "2 + 2 = 4", "right"), trace("slip", "2 + 2 = 5", "wrong"), trace("silent", "Five.", "wrong")]
"""


@pytest.fixture
def suite(pytester, monkeypatch):
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeini("[pytest]\nfilterwarnings = error\naddopts = -p no:cacheprovider")

    def run(code, *options, by_entry_point=False):
        pytester.makepyfile(code)
        if not by_entry_point:  # without the plug-ins of others, which take a second to load
            monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        loaded = () if by_entry_point and _is_installed() else ("-p", "interwhen_pytest")
        return pytester.runpytest_subprocess(*loaded, *options)

    return run


def _is_installed():
    from importlib.metadata import entry_points

    return any(point.value == "interwhen_pytest" for point in entry_points(group="pytest11"))


def test_unused_plugin_imports_nothing_of_interwhen(suite):
    code = """
        import sys

        def test_nothing_is_imported():
            assert "interwhen_pytest" in sys.modules
            assert "interwhen" not in sys.modules
        """
    suite(code, by_entry_point=True).assert_outcomes(passed=1)


def test_plugin_import_does_not_import_interwhen():
    code = "import sys, pytest; before = set(sys.modules); import interwhen_pytest; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    new = set(done.stdout.split())
    assert "interwhen" not in new
    assert len(new) < 20


def test_plugin_fixtures_work(suite):
    code = (
        TRACES
        + """
import interwhen

def test_scripted(scripted_model):
    model = scripted_model("2 + 2 = 5\\n", "\\n")
    with interwhen.run_sync(model, "Add 2 and 2 apples.", monitors=["arithmetic"]) as run:
        assert run.drain().text == "2 + 2 = 4\\n"

def test_rechunked(rechunked_model):
    model = rechunked_model("So 2 + 2 = 5 apples\\n", " apples\\n", forks=lambda request: "")
    with interwhen.run_sync(model, "Add 2 and 2 apples.", monitors=["arithmetic"]) as run:
        assert run.drain().text == "So 2 + 2 = 4 apples\\n"

def test_trial(assert_trial):
    assert assert_trial("arithmetic", TRACES, recall=0.5, precision=1.0, false_interrupts=0.0).traces == 3
"""
    )
    suite(code).assert_outcomes(passed=3)


def test_failure_shows_bars_cases_and_seed(suite):
    code = (
        TRACES
        + """
def test_trial(assert_trial):
    assert_trial("arithmetic", TRACES, recall=0.9, located=0.5)
"""
    )
    result = suite(code, "--interwhen-seed", "17")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*recall must be at least 90.00%, got 50.00% (1 of 2;*)",
            "*violations at the label must be at least 50.00%, got nothing to count",
            "*misses (1 of 1):",
            "*'silent'",
            "*chunks of seed 17; the same again: --interwhen-seed 17",
        ]
    )


def test_a_seed_cuts_the_same_chunks(suite):
    code = """
        import anyio
        from interwhen.models import Request

        async def chunks(model):
            stream = await model.stream(Request(""))
            found = []
            while got := await stream.receive():
                found += [chunk.text for chunk in got]
            return found

        def test_chunks(rechunked_model):
            print("CHUNKS", anyio.run(chunks, rechunked_model("a" * 100)))
        """
    shown = [
        next(line for line in suite(code, "-s", "--interwhen-seed", seed).outlines if "CHUNKS" in line)
        for seed in ("1", "1", "2")
    ]
    assert shown[0] == shown[1] != shown[2]
