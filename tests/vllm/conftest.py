"""A real vLLM on the CPU, for the tests in this folder: `make test-vllm` installs it and runs them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.vllm.server import PARSERS, vllm_servers

WANTED = "INTERWHEN_VLLM" in os.environ


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not WANTED:
        skip = pytest.mark.skip(reason="needs a real vLLM: make test-vllm")
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def servers():
    with vllm_servers(list(PARSERS)) as urls:
        yield urls


@pytest.fixture
def url(servers):
    return servers["parser-on"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
