"""Journal tests run in virtual time on trio; those that use *loop*, on asyncio."""

import pytest
from trio.testing import MockClock


@pytest.fixture
def anyio_backend(request):
    if "loop" in request.fixturenames:
        return "asyncio"
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@pytest.fixture
def loop():
    """Ask for a real event loop."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.journal"
