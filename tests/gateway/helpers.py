"""Requests to a gateway, by hand, and what comes back."""

import json

import httpx2
from interwhen.testing.server import events

ASK = {"model": "m", "messages": [{"role": "user", "content": "q"}]}


def corrected(request):
    return events(["one\n", "BAD\n", "two\n"] if request.number == 0 else ["\n", "two\n"], api="chat")


def sse(text):
    payloads = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in payloads]


def post(gateway, body, path="chat/completions", **options):
    data = {"content": body} if isinstance(body, bytes) else {"json": body}
    return httpx2.post(f"{gateway.base_url}/{path}", timeout=60, **data, **options)


def rest_of(client):
    return b"".join(iter(lambda: client.recv(65536), b""))


def refused(answer, status, code, *, retry_after=False):
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert ("retry-after" in answer.headers) == retry_after
    return error
