"""Strategies are tried on asyncio: checks in threads do not go with virtual time."""

import pytest


@pytest.fixture
def anyio_backend():
    return "asyncio"
