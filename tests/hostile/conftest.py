"""What these tests use of others: the corpus, the toy worlds of the core and of the engine."""

import sys
from pathlib import Path

import pytest
import structlog
from tests.virtual_clock import virtual_backend

TESTS = Path(__file__).parents[1]
for folder in ("hostile", "core", "engine/support"):
    if str(TESTS / folder) not in sys.path:
        sys.path.insert(0, str(TESTS / folder))


@pytest.fixture
def anyio_backend(request):
    if "real_time" in request.fixturenames:
        return "asyncio"
    return virtual_backend()


@pytest.fixture
def real_time():
    """Mark a test that needs the real clock."""


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield
    structlog.reset_defaults()
