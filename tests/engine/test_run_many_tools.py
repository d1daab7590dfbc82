"""A request with thousands of tools does not stop the event loop."""

import threading

import interwhen
import pytest
from interwhen import Sampling
from interwhen._engine import run as engine
from interwhen.testing import ScriptedModel

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("count", [1, 101])
async def test_many_tools_are_read_in_another_thread(count, monkeypatch):
    made = []

    def core_for(*given, **options):
        made.append(threading.get_ident())
        return real(*given, **options)

    real = engine.core_for
    monkeypatch.setattr(engine, "core_for", core_for)
    tools = [{"type": "function", "function": {"name": f"tool{number}"}} for number in range(count)]
    async with interwhen.run(ScriptedModel(["one\n"]), "Q", sampling=Sampling(extra={"tools": tools})) as run:
        result = await run.drain()
    assert result.text == "one\n"
    assert (made == [threading.get_ident()]) is (count == 1)
