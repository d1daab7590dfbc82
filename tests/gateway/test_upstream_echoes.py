"""What one client makes a server say changes nothing for another."""

import json

import pytest
from helpers import ASK, post
from interwhen.testing.server import events, reply
from watchers import passing

OPTIONS = {"stream_options": {"include_usage": True}}


def echoing(shape):
    def script(request):
        if "bad" not in request.json:
            return events(["fine\n"], api="chat")
        return reply(422, json.dumps(shape(request.json)).encode())

    return script


SHAPES = {
    "as the body": lambda body: body,
    "in the message": lambda body: {"error": {"message": f"invalid: {json.dumps(body)}", "param": None}},
    "as the input": lambda body: {"detail": [{"loc": ["body", "bad"], "msg": "extra", "input": body}]},
    "as the error": lambda body: {"error": body},
}
SENT = [{"bad": 1}, {"bad": 1, "user": "stream stream_options streaming"}]
FORGED = {"error": {"param": "stream_options"}, "detail": [{"loc": ["body", "stream"]}], "param": "stream_options"}


@pytest.mark.fault(
    "G5", injected="a 422 that echoes one client's body", happens="the calls of others stay as they were"
)
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_echoing_error_does_not_affect_other_calls(shape, streamed, upstream, gateway):
    server = upstream(echoing(SHAPES[shape]))
    running = gateway(server, watchers=[passing()])
    for sent in (*SENT, {"bad": 1, **FORGED}, {"bad": 1, **OPTIONS}, {"bad": 1, "stream": None}):
        assert post(running, {**ASK, "stream": streamed, **sent}).status_code == 422
    assert post(running, {**ASK, "stream": streamed}).status_code == 200
    last = server.posts[-1].json
    assert last["stream"] is True
    assert last["stream_options"] == {"include_usage": True}
