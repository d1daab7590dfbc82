"""What all tests share: support modules on the path, the report of faults, and hypothesis without a stopwatch."""

import gc
import os
import sys
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from zlib import crc32

# For the modules that tests share, however pytest was started.
sys.path.append(str(Path(__file__).parents[1]))

if folder := os.environ.get("INTERWHEN_CORE_COVERAGE"):
    from tests.core_coverage import CoreCoverage

    CORE_COVERAGE = CoreCoverage(folder)
else:
    CORE_COVERAGE = None

import httpcore2
import pytest
import structlog
from hypothesis import settings
from interwhen._engine import stream
from interwhen._run import recheck
from interwhen.journal import _directory, _writer
from interwhen.testing.server import ScriptedServer

# A folder of its own, because worker processes must be able to import what is in it.
sys.path.insert(0, str(Path(__file__).parent / "journal" / "support"))
sys.path.insert(0, str(Path(__file__).parent / "engine" / "support"))

from tests import reliability_report
from tests.fault_rows import ROWS

# CI machines are slow, and what fails there must fail again: it draws the same examples each time, other runs new ones.
settings.register_profile("interwhen", deadline=None, derandomize=bool(os.environ.get("INTERWHEN_SAME_EXAMPLES")))
settings.load_profile("interwhen")


# Each client would read the certificates of the system again: milliseconds, for each of thousands of clients.
_new_ssl_context = httpcore2.default_ssl_context


@cache
def _shared_ssl_context(trust_env, _file, _folder):
    return _new_ssl_context(_trust_env=trust_env)


def _default_ssl_context(*, _trust_env=True):
    return _shared_ssl_context(_trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


httpcore2.default_ssl_context = _default_ssl_context


def pytest_generate_tests(metafunc):
    for mark in metafunc.definition.iter_markers("parametrize"):
        values = mark.kwargs.get("argvalues", mark.args[1] if len(mark.args) > 1 else ())
        if isinstance(values, set | frozenset):
            raise pytest.UsageError(f"{metafunc.definition.nodeid}: parametrize must have an order, got a set: sort it")


def _refuse_shared_printer(_printer, _out, _terms):
    raise AssertionError("str() of a Z3 term uses one printer for all threads, and mixes their texts: use z3_text()")


@pytest.fixture(autouse=True)
def own_z3_printer(monkeypatch):
    if printing := sys.modules.get("z3.z3printer"):
        shared = type("SharedPrinter", (printing.PP,), {"__call__": _refuse_shared_printer})
        monkeypatch.setattr(printing, "_PP", shared())


@pytest.fixture(autouse=True)
def unconfigured():
    yield
    structlog.reset_defaults()


_journal_ended = _writer.ThreadClerk.ended
_server_settled = ScriptedServer.settled


@pytest.fixture(autouse=True)
def unhurried(request, monkeypatch):
    # A thread writes journals, in real time whatever the clock of the test. Tests of the limit itself make it shorter.
    monkeypatch.setattr(
        _writer.ThreadClerk, "ended", lambda self, seconds: _journal_ended(self, max(seconds, 30.0 * (seconds >= 0.5)))
    )
    monkeypatch.setattr(_directory, "_CLOSE_SECONDS", 30.0)
    monkeypatch.setattr(recheck, "_SECONDS", 60.0)  # to start a worker process takes a second or more
    backend = request.getfixturevalue("anyio_backend") if "anyio_backend" in request.fixturenames else "asyncio"
    if isinstance(backend, str) or "clock" not in backend[1]:  # virtual time counts exactly
        monkeypatch.setattr(stream, "STREAM_SECONDS", 30.0)
        monkeypatch.setattr(stream, "ABORT_SECONDS", 30.0)
        monkeypatch.setattr(
            ScriptedServer, "settled", lambda self, seconds=30.0: _server_settled(self, max(seconds, 30.0))
        )
        # Tests count the connections that are used again. Without the extra "fast", the module cannot be imported.
        if fast := sys.modules.get("interwhen.models._fast_transport"):
            monkeypatch.setattr(fast, "KEEPALIVE_SECONDS", 60.0)


@pytest.fixture
def configured():
    # Have structlog take the log, so that it can be captured.
    structlog.configure()


def pytest_addoption(parser):
    reliability_report.add_option(parser)
    group = parser.getgroup("interwhen")
    group.addoption(
        "--sample", type=int, default=1, metavar="N", help="run the first file of each folder, and one in N others"
    )
    group.addoption("--wheel", help="the wheel that tests/packaging installs with each extra")
    group.addoption("--uv", default="uv", help="the uv that installs it")


def pytest_ignore_collect(collection_path, config):
    # The sample touches every folder, and stays the same if tests are added elsewhere.
    every, path = config.getoption("--sample"), collection_path
    if every == 1 or not fnmatch(path.name, "test_*.py") or path == min(path.parent.glob("test_*.py")):
        return None
    return bool(crc32(path.relative_to(config.rootpath).as_posix().encode()) % every) or None


def pytest_collection_modifyitems(items):
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid}: the name of a test must have no address: give ids to parametrize")


class FailedAtOnce:
    """Names a failed test when it fails: a run that is ended before its summary must have named it."""

    def __init__(self, config):
        self._config = config

    def pytest_runtest_logreport(self, report):
        if report.failed:
            reporter = self._config.pluginmanager.get_plugin("terminalreporter")
            reporter.write_line(f"\nfailed: {report.nodeid}", flush=True)


def pytest_collection_finish():
    gc.collect()
    gc.freeze()


def pytest_configure(config):
    reliability_report.start(config, ROWS)
    if CORE_COVERAGE is not None:
        config.pluginmanager.register(CORE_COVERAGE)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailedAtOnce(config))
