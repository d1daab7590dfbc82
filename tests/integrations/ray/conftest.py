"""Makes the plug-in with checks of known cost importable, also in worker processes."""

import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(autouse=True)
def _plugin(monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN))
    assert str(PLUGIN) in sys.path


@pytest.fixture
def anyio_backend():
    return "asyncio"
