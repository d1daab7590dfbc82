"""What all tests share: support modules on the path, the report of faults, and hypothesis without a stopwatch."""

import sys
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

# For the modules that tests share, however pytest was started.
sys.path.append(str(Path(__file__).parents[1]))
# A folder of its own, because worker processes must be able to import what is in it.
sys.path.insert(0, str(Path(__file__).parent / "engine" / "support"))

from tests import reliability_report
from tests.fault_rows import ROWS

# CI machines are slow.
settings.register_profile("interwhen", deadline=None)
settings.load_profile("interwhen")


@pytest.fixture(autouse=True)
def unconfigured():
    """Leave structlog as it was found: a command that a test runs configures it."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def configured():
    """Have structlog take the log, so that it can be captured."""
    structlog.configure()


def pytest_addoption(parser):
    reliability_report.add_option(parser)


def pytest_configure(config):
    reliability_report.start(config, ROWS)
