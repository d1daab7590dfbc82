"""Measures the branches of the pure core while its own tests run: all other tests would only be slower.

Used where ``INTERWHEN_CORE_COVERAGE`` names the folder for the data: one file for each process of tests.
"""

import sys
from pathlib import Path

import coverage
import pytest

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests" / "core"
# The folder and not the name of the package: to find a package by name, coverage imports what is around it, and
# forgets that again, so that there would be two of each class.
SOURCE = ROOT / "interwhen" / "_core"


class CoreCoverage:
    """A plug-in of pytest. Made before `interwhen` is imported, since importing runs lines too."""

    def __init__(self, folder):
        assert "interwhen._core" not in sys.modules, "interwhen._core was imported before its lines could be measured"
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._coverage = coverage.Coverage(
            data_file=str(Path(folder) / "combined"), data_suffix=True, branch=True, source=[str(SOURCE)]
        )
        # Tests that count instructions or follow lines take the place of the tracer, and give it back.
        self._coverage.set_option("run:disable_warnings", ["trace-changed", "no-data-collected"])
        self._coverage.start()

    def pytest_collection_finish(self):
        self._coverage.stop()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        if not item.path.is_relative_to(TESTS):
            return (yield)
        self._coverage.start()
        try:
            return (yield)
        finally:
            self._coverage.stop()

    def pytest_sessionfinish(self):
        self._coverage.save()
