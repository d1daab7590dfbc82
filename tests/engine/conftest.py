"""Engine tests run in virtual time on trio; those that use *loop*, on asyncio and on uvloop."""

import pytest
import structlog
from trio.testing import MockClock

LOOPS = {"asyncio": {}, "uvloop": {"use_uvloop": True}}


def pytest_generate_tests(metafunc):
    if "loop" in metafunc.fixturenames:
        metafunc.parametrize("loop", list(LOOPS))


@pytest.fixture
def anyio_backend(request):
    if "loop" in request.fixturenames:
        return "asyncio", LOOPS[request.getfixturevalue("loop")]
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@pytest.fixture
def configured():
    """Have structlog take the log, so that it can be captured."""
    structlog.reset_defaults()  # whatever another test has left
    structlog.configure()
    yield
    structlog.reset_defaults()
