"""Engine tests run in virtual time on trio; those that use *loop*, on asyncio and on uvloop."""

import pytest
from tests.virtual_clock import virtual_backend

LOOPS = {"asyncio": {}, "uvloop": {"use_uvloop": True}}


def pytest_generate_tests(metafunc):
    if "loop" in metafunc.fixturenames:
        metafunc.parametrize("loop", list(LOOPS))


@pytest.fixture
def anyio_backend(request):
    if "loop" in request.fixturenames:
        return "asyncio", LOOPS[request.getfixturevalue("loop")]
    return virtual_backend()
