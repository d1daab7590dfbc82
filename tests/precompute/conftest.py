"""These tests run in virtual time on trio; those that use *loop*, on a real asyncio loop."""

import os
import tempfile
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.virtual_clock import virtual_backend


@pytest.fixture
def anyio_backend(request):
    if "loop" in request.fixturenames:
        return "asyncio", {}
    return virtual_backend()


@pytest.fixture
def loop():
    return "asyncio"


@pytest.fixture
def log(configured):
    with capture_logs() as entries:
        yield entries


@pytest.fixture
def quick_path(tmp_path):
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)
