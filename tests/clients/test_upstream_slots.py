"""A wrapped call to llama.cpp resumes only after the slot of the closed stream is free."""

import json

import openai
import pytest
from both import KINDS, ask
from interwhen import wrap
from interwhen.testing.server import Stall, events, reply
from watchers import word

pytestmark = pytest.mark.anyio


def llama(*, has_slots=True, held=2, owned_by="llamacpp"):
    left = [held]

    def pages(request):
        if request.path.endswith("/models"):
            return reply(200, json.dumps({"data": [{"id": "m", "owned_by": owned_by}]}).encode())
        if request.path == "/props":
            return reply(404, b"{}")
        if not has_slots:
            return reply(501, b'{"error": {"code": 501, "message": "This server does not support slots endpoint"}}')
        left[0] -= 1
        return reply(200, json.dumps([{"id": 0, "id_task": 1, "is_processing": left[0] >= 0}]).encode())

    return pages


def script(api):
    def answer(request):
        if request.number % 2 == 0:
            return (*events(["BAD\n", "x\n"], api=api)[:3], Stall())
        return events(["fine\n"], api=api)

    return answer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("api", ["chat", "completions"])
async def test_a_wrapped_call_waits_for_its_slot(kind, api, serve, clients):
    server = serve(script(api), owned_by="llamacpp", pages=llama())
    assert (await ask(wrap(clients(KINDS[kind], server), [word(good="good")]), api)).interwhen.result.ledger.resumes
    call = "/v1/chat/completions" if api == "chat" else "/v1/completions"
    paths = [request.path for request in server.requests if request.path not in {"/props", "/apply-template"}]
    assert paths == [call, "/v1/models", "/slots", "/slots", "/slots", call]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_without_slots_is_asked_only_once(kind, serve, clients):
    server = serve(script("chat"), pages=llama(has_slots=False))
    client = wrap(clients(KINDS[kind], server, max_retries=2), [word(good="good")])
    for _ in range(2):
        await ask(client)
    assert [request.path for request in server.requests].count("/slots") == 1


async def test_other_servers_are_not_asked_for_slots(serve, clients):
    server = serve(script("chat"), pages=llama(owned_by="vllm"))
    await ask(wrap(clients(openai.AsyncOpenAI, server), [word(good="good")]))
    assert "/slots" not in [request.path for request in server.requests]
