"""The scripted server: it notes what it was asked, says what its script says, and breaks where that says so."""

import httpx2
import pytest
from interwhen.testing.server import Disconnect, Head, ScriptedServer, Send, events, reply

pytestmark = pytest.mark.anyio


@pytest.fixture  # sockets need the real clock
def anyio_backend():
    return "asyncio"


async def test_each_request_is_recorded_and_answered_by_script():
    def script(request):
        return events([f"{request.number}", f" {request.json['prompt']}"], api="completions")

    async with ScriptedServer(script, context_tokens=99) as server, httpx2.AsyncClient() as client:
        for number in range(2):
            answer = await client.post(f"{server.base_url}/completions", json={"prompt": "q"})
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert f'"text":"{number}"' in answer.text.replace(": ", ":")
            assert answer.text.rstrip().endswith("data: [DONE]")
        models = (await client.get(f"{server.base_url}/models")).json()
        assert len(models["data"]) == 1
        assert [(request.path, request.json) for request in server.posts] == [("/v1/completions", {"prompt": "q"})] * 2
        assert server.connections == 1
    await server.settled()


async def test_scripted_disconnect_breaks_the_connection():
    steps = (Head(), Send(b"data: {}\n\n"), Disconnect())
    async with ScriptedServer(lambda _: steps) as server, httpx2.AsyncClient() as client:
        with pytest.raises(httpx2.TransportError):
            await client.post(f"{server.base_url}/completions", json={})
        assert (await client.get(f"{server.base_url}/models")).status_code == 200


async def test_reply_sends_a_complete_response():
    async with ScriptedServer(lambda _: reply(418, b'{"a": 1}')) as server, httpx2.AsyncClient() as client:
        answer = await client.post(f"{server.base_url}/chat/completions", json={})
    assert (answer.status_code, answer.json()) == (418, {"a": 1})
