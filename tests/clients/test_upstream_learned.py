"""What is learned of a server belongs to its URL and to the model that was asked."""

import httpx2
import openai
import pytest
from both import KINDS, ask, read
from interwhen import wrap
from interwhen.clients import _upstream
from interwhen.testing.server import events, reply
from structlog.testing import capture_logs
from watchers import passing, word

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("kind", KINDS)
async def test_lessons_from_one_model_never_apply_to_another(kind, serve, clients):
    def script(request):
        goes_on = "continue_final_message" in request.json or len(request.json["messages"]) > 1
        return events(["fine\n"] if goes_on else ["BAD\n", "x\n"], api="chat")

    prefilling, other = serve(script, owned_by="vllm"), serve(script, owned_by="openai")
    bare = clients(KINDS[kind], prefilling)
    client = wrap(bare, [word(good="good")], probe="never")

    async def resumed(using):
        return (await ask(using)).interwhen.result.resume.mode

    assert await resumed(client) == "unproven_prefill"
    assert await resumed(client.with_options(timeout=90)) == "unproven_prefill"
    assert [request.path for request in prefilling.requests].count("/v1/models") == 1
    assert await resumed(client.copy(base_url=other.base_url)) == "turn"
    assert not any("continue_final_message" in post.json for post in other.posts)
    assert (
        await resumed(client.copy(base_url=other.base_url).with_options(base_url=prefilling.base_url))
        == "unproven_prefill"
    )
    await ask(client, model="n")
    await ask(client, model="n")
    assert [request.path for request in prefilling.requests].count("/v1/models") == 2


async def test_another_http_client_may_lead_to_another_server(serve, clients):
    server = serve(lambda r: events([["BAD\n", "x\n"], ["fine\n"]][r.number % 2], api="chat"), owned_by="vllm")
    client = wrap(clients(openai.AsyncOpenAI, server), [word(good="good")])
    await ask(client)
    async with httpx2.AsyncClient() as http:
        await ask(client.copy(http_client=http))
    assert [request.path for request in server.requests].count("/v1/models") == 2


async def test_an_option_refused_by_one_model_reaches_another(serve, clients):
    refused = reply(400, b'{"error": {"message": "not supported", "param": "stream_options"}}')

    def script(request):
        refuses = request.json["model"] == "old" and "stream_options" in request.json
        return refused if refuses else events(["a\n"], api="chat")

    server = serve(script)
    client = wrap(clients(openai.AsyncOpenAI, server), [passing()])
    for model in ("old", "new", "old"):
        await read(await ask(client, stream=True, model=model))
    assert ["stream_options" in post.json for post in server.posts] == [True, False, True, False]


async def test_learned_resume_modes_are_logged_and_later_rechecked(serve, clients, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(_upstream.anyio, "current_time", lambda: now[0])
    server = serve(lambda r: events([["BAD\n", "x\n"], ["fine\n"]][r.number % 2], api="chat"), owned_by="llamacpp")
    client = wrap(clients(openai.AsyncOpenAI, server), [word(good="good")])

    def asked():
        return [request.path for request in server.requests].count("/v1/models")

    with capture_logs() as logged:
        for _ in range(3):
            assert (await ask(client)).interwhen.result.resume.mode == "prefill"
    assert asked() == 1
    learned = [entry for entry in logged if entry["event"] == "endpoint.resume_learned"]
    assert [(entry["mode"], entry["model"]) for entry in learned] == [
        ("prefill", f"m@{server.base_url.removeprefix('http://').removesuffix('/v1')}")
    ]
    assert learned[0]["seconds"] > 1
    now[0] += learned[0]["seconds"]
    assert (await ask(client)).interwhen.result.resume.mode == "prefill"
    assert asked() == 2
