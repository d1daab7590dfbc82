"""Every test of the command line ignores the environment."""

import pytest


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
