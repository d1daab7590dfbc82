"""Journal tests run in virtual time on trio; those that use *loop*, on asyncio."""

import pytest
from tests.virtual_clock import virtual_backend


@pytest.fixture
def anyio_backend(request):
    if "loop" in request.fixturenames:
        return "asyncio"
    return virtual_backend()


@pytest.fixture
def loop():
    """Ask for a real event loop."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.journal"
