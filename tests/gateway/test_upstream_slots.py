"""A call through the gateway to llama.cpp resumes only after the slot of the closed stream is free."""

import json

from helpers import ASK, post, sse
from interwhen.testing.server import Stall, events, reply
from watchers import word


def test_a_resume_waits_for_the_slot(upstream, gateway):
    left = [2]

    def pages(request):
        if request.path == "/v1/models":
            return reply(200, b'{"data": [{"id": "m", "owned_by": "llamacpp"}]}')
        if request.path == "/props":
            return reply(404, b"{}")
        left[0] -= 1
        return reply(200, json.dumps([{"id": 0, "id_task": 1, "is_processing": left[0] >= 0}]).encode())

    def script(request):
        first = (*events(["BAD\n", "x\n"], api="chat")[:3], Stall())
        return first if request.number == 0 else events(["fine\n"], api="chat")

    server = upstream(script, pages=pages)
    running = gateway(server, watchers=[word(good="good")])
    *chunks, _ = sse(post(running, {**ASK, "stream": True}).text)
    call = "/v1/chat/completions"
    paths = [request.path for request in server.requests if request.path not in {"/props", "/apply-template"}]
    assert paths == [call, "/v1/models", "/slots", "/slots", "/slots", call]
    (cost,) = chunks[-1]["interwhen"]["result"]["ledger"]["resumes"]
    assert cost["request"] == 2
    assert cost["first_token"] > 0
