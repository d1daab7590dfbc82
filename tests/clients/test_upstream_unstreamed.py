"""Servers that answer at once: an answer is bounded as a whole, and not as one event of a stream."""

import json

import openai
import pytest
from both import KINDS, ask, outcome
from interwhen import wrap
from interwhen.clients._upstream import as_events, streamed
from interwhen.models import StreamProtocolError
from interwhen.testing._server_script import data
from interwhen.testing.server import Send, reply
from responses_writer import Writer
from watchers import passing
from wires import Body

pytestmark = pytest.mark.anyio

LONG = f"{'word ' * 30_000}\n" * 10  # 1.5 MB


def whole(api):
    if api == "responses":
        return Writer().text(LONG).whole()
    said = {"text": LONG} if api == "completions" else {"message": {"role": "assistant", "content": LONG}}
    kind = "text_completion" if api == "completions" else "chat.completion"
    body = {"id": "x", "object": kind, "created": 0, "model": "m"}
    return reply(200, json.dumps({**body, "choices": [{"index": 0, **said, "finish_reason": "stop"}]}).encode())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("api", ["chat", "completions", "responses"])
async def test_a_long_answer_is_read(api, kind, serve, clients):
    bare = clients(KINDS[kind], serve(lambda _: whole(api)))
    want, got = await ask(bare, api), await ask(wrap(bare, [passing()]), api)
    assert got == want
    assert got.interwhen.result.status == "verified"
    assert got.interwhen.result.text == LONG


async def test_stream_events_over_one_mebibyte_are_an_error(serve, clients):
    event = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    event["choices"] = [{"index": 0, "delta": {"content": LONG}, "finish_reason": None}]
    client = wrap(clients(openai.AsyncOpenAI, serve((Send(data(event)),))), [passing()])
    _, error = await outcome(client)
    assert isinstance(error, openai.APIError)
    assert "an event must have at most 1048576 bytes" in str(error)


async def test_reading_an_endless_answer_stops_at_the_limit():
    body = Body([b"[" * (1 << 20)] * 40)
    body.headers = {"content-type": "application/json"}
    with pytest.raises(StreamProtocolError, match="an answer must have at most 16777216 bytes"):
        await streamed("chat", body)
    assert len(body.pieces) == 23
    assert body.closed


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("chat", {"choices": 5}),
        ("chat", {"choices": ["x"]}),
        ("chat", {"choices": {"message": {}}}),
        ("chat", {"choices": [{"message": "x"}]}),
        ("chat", {"choices": [{"message": {"tool_calls": 5}}]}),
        ("chat", {"choices": [{"message": {"tool_calls": ["x"]}}]}),
        ("responses", {"output": 5}),
        ("responses", {"output": ["x"]}),
        ("responses", {"output": [{"summary": 5}]}),
        ("responses", {"output": [{"content": "x"}]}),
    ],
)
def test_answers_of_another_form_are_protocol_errors(api, body):
    with pytest.raises(StreamProtocolError, match="must have the form of the API"):
        as_events(api, json.dumps(body).encode())
