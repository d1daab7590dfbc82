"""The faults of the scripted server: each is described, and breaks a stream as its script says."""

import httpx2
import pytest
from interwhen import UsageError
from interwhen.testing.server import FAULTS, Disconnect, ScriptedServer, fault


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_a_script_with_a_description(name):
    assert FAULTS[name].says
    assert fault(name, "chat")


def test_unknown_fault_is_refused():
    with pytest.raises(UsageError, match="must be one of"):
        fault("earthquake")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # sockets need the real clock
@pytest.mark.parametrize("name", [name for name in FAULTS if isinstance(fault(name, "chat")[-1], Disconnect)])
async def test_a_fault_that_disconnects_breaks_the_answer(anyio_backend, name):
    async with ScriptedServer(lambda _: fault(name, "chat")) as server, httpx2.AsyncClient() as client:
        with pytest.raises(httpx2.TransportError):
            await client.post(f"{server.base_url}/chat/completions", json={})
