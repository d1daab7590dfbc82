"""Asynchronous tests run on both loops; those that use *transport*, once more with the fast one on asyncio."""

import pytest

WAYS = ["asyncio-httpx2", "trio-httpx2", "asyncio-fast"]


def pytest_generate_tests(metafunc):
    if "way" in metafunc.fixturenames:
        metafunc.parametrize("way", WAYS if "transport" in metafunc.fixturenames else WAYS[:2])


@pytest.fixture
def anyio_backend(way):
    return way.partition("-")[0]


@pytest.fixture
def transport(way):
    return way.partition("-")[2]
