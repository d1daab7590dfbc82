"""Measures the branches of the pure core while its own tests run: all other tests would only be slower.

Used where ``INTERWHEN_CORE_COVERAGE`` names the folder for the data: one file for each process of tests.
"""

import sys
from pathlib import Path

import coverage
import pytest

PACKAGE = "interwhen._core"
TESTS = Path(__file__).parent / "core"


class CoreCoverage:
    """A plug-in of pytest. Made before `interwhen` is imported, since importing runs lines too."""

    def __init__(self, folder):
        assert PACKAGE not in sys.modules, f"{PACKAGE} was imported before its lines could be measured"
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._coverage = coverage.Coverage(
            data_file=str(Path(folder) / ".coverage"), data_suffix=True, branch=True, source=[PACKAGE]
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
