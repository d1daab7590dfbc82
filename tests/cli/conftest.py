"""Every test of the command line leaves logging and the environment as it found them."""

import pytest
import structlog


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield
    structlog.reset_defaults()
