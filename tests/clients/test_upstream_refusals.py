"""A server that refuses the request after a correction: the call ends as a result, or with the server's own error."""

import json

import openai
import pytest
from both import KINDS, ask, outcome
from interwhen import Resample, wrap
from interwhen.clients import supervision_info
from interwhen.testing.server import Disconnect, Send, events, reply, tool_call
from responses_writer import TOOL, Writer
from structlog.testing import capture_logs
from watchers import no_call_with, word

pytestmark = pytest.mark.anyio

TOO_LONG = "This model's maximum context length is 4096 tokens."
SOON = {"retry-after-ms": "1"}


def refused(status, message="no", headers=None):
    return reply(status, json.dumps({"error": {"message": message, "code": status}}).encode(), headers)


FAULTS = {
    "429": (refused(429, headers=SOON), openai.RateLimitError, 429, 3),
    "429 for an hour": (refused(429, headers={"retry-after": "3600"}), openai.RateLimitError, 429, 2),
    "503": (refused(503, headers=SOON), openai.InternalServerError, 503, 3),
    "400": (refused(400), openai.BadRequestError, 400, 2),
    "context full": (refused(400, TOO_LONG), openai.BadRequestError, 400, 2),
    "closed": ((Disconnect(),), openai.APIConnectionError, None, 3),
}
"""By name: what the server does, the exception of the bare call, its status, and how many requests are made in all."""
APIS = ["chat", "completions", "responses"]


def said(request, *texts):
    if request.path.endswith("/responses"):
        return Writer(f"resp_{request.number}").text(*texts).steps()
    return events(texts, api=request.api)


def text_of(api, chunks):
    if api == "responses":
        return "".join(chunk.delta for chunk in chunks if chunk.type == "response.output_text.delta")
    if api == "completions":
        return "".join(choice.text for chunk in chunks for choice in chunk.choices)
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def ending_of(api, last):
    return last.response.incomplete_details.reason if api == "responses" else last.choices[0].finish_reason


def wrong_first(fault, *, times=99):
    def script(request):
        if request.number == 0:
            return said(request, "one\n", "BAD\n", "more\n")
        return fault if request.number <= times else said(request, "two\n")

    return script


@pytest.mark.fault(
    "H4", injected="every resume is refused, after text was shown", happens="content_filter, with what was right"
)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_refused_correction_of_shown_text_returns_a_result(fault, api, kind, serve, clients):
    steps, _, status, posts = FAULTS[fault]
    server = serve(wrong_first(steps))
    client = wrap(clients(KINDS[kind], server), [word(good="good")], resume="turn", abstention="")
    seen, error = await outcome(client, api, stream=True)
    assert error is None
    assert text_of(api, seen) == "one\nBAD\nCorrection: good" or text_of(api, seen) == "one\ngood"
    assert ending_of(api, seen[-1]) == "content_filter"
    result = supervision_info(seen[-1]).result
    assert (result.status, result.upstream_status, result.text) == ("abstained", status, "one\ngood")
    assert len(server.posts) == posts


@pytest.mark.fault(
    "H4", injected="every resume is refused, before text was shown", happens="the server's own error, as a bare call"
)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_refused_correction_of_unseen_text_raises_server_error(fault, api, kind, serve, clients):
    steps, bare, status, posts = FAULTS[fault]
    for options in ({}, {"stream": True, "interwhen": {"reading": "final"}}):
        server = serve(wrong_first(steps))
        client = wrap(clients(KINDS[kind], server), [word(good="good")], resume="turn")
        seen, error = await outcome(client, api, **options)
        assert type(error) is bare
        assert getattr(error, "status_code", None) == status
        assert not text_of(api, seen)
        assert len(server.posts) == posts


@pytest.mark.fault("H4", injected="one resume is refused for a moment", happens="sent again, and the call continues")
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", ["429", "503", "closed"])
async def test_a_correction_refused_once_is_sent_again(fault, stream, serve, clients):
    server = serve(wrong_first(FAULTS[fault][0], times=1))
    client = wrap(clients(openai.AsyncOpenAI, server), [word(remedy=Resample())], resume="turn")
    seen, error = await outcome(client, stream=stream)
    assert error is None
    result = supervision_info(seen[-1]).result
    assert (result.text, result.finish_reason, result.ledger.reconnects) == ("one\ntwo\n", "stop", 1)
    assert len(server.posts) == 3


async def test_each_correction_has_a_second_try(serve, clients):
    def script(request):
        if request.number % 2:
            return FAULTS["closed"][0]
        return said(request, "BAD\n") if request.number < 6 else said(request, "two\n")

    server = serve(script)
    client = wrap(clients(openai.AsyncOpenAI, server), [word(remedy=Resample())], resume="turn")
    seen, error = await outcome(client, stream=True)
    assert error is None
    assert supervision_info(seen[-1]).result.text == "two\n"


async def test_sdk_retries_count_as_the_second_try(serve, clients):
    server = serve(wrong_first(FAULTS["429"][0]))
    client = wrap(clients(openai.AsyncOpenAI, server, max_retries=1), [word(good="good")], resume="turn")
    seen, error = await outcome(client, stream=True)
    assert error is None
    assert supervision_info(seen[-1]).result.upstream_status == 429
    assert len(server.posts) == 3


async def test_a_first_request_is_not_tried_again(serve, clients):
    for fault in ("429", "503", "closed"):
        server = serve(FAULTS[fault][0])
        seen, error = await outcome(wrap(clients(openai.AsyncOpenAI, server), [word()]), stream=True)
        assert (seen, type(error)) == ([], FAULTS[fault][1])
        assert len(server.posts) == 1


async def test_an_error_as_first_event_is_a_refusal(serve, clients):
    event = b'data: {"error": {"message": "overloaded", "code": 400}}\n\n'
    server = serve(wrong_first((Send(event),)))
    client = wrap(clients(openai.AsyncOpenAI, server), [word(good="good")], resume="turn")
    seen, error = await outcome(client, stream=True)
    assert error is None
    assert supervision_info(seen[-1]).result.upstream_status == 400


async def test_the_log_has_the_servers_status(configured, serve, clients):
    client = wrap(clients(openai.AsyncOpenAI, serve(wrong_first(refused(400)))), [word(good="good")], resume="turn")
    with capture_logs() as logs:
        await outcome(client, stream=True)
    [ended] = [each for each in logs if each["event"] == "run.finished"]
    assert (ended["status"], ended["upstream_status"]) == ("abstained", 400)


@pytest.mark.fault(
    "H4", injected="every tool call is refused, until the context is full", happens="content_filter after four calls"
)
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("lead", ["", "I try again. "])
async def test_refusing_every_tool_call_ends_the_run_soon(lead, stream, serve, clients):
    def script(request):
        if len(json.dumps(request.json["messages"])) > 2500:
            return refused(400, TOO_LONG)
        call = tool_call("move", json.dumps({"to": f"BAD {request.number}"}), call_id=f"c{request.number}")
        text = events([lead], api="chat")[:1] if lead else ()
        return (*text, *call, *events([], api="chat", finish_reason="tool_calls"))

    server = serve(script)
    client = wrap(clients(openai.AsyncOpenAI, server), [no_call_with()])
    tools = [{"type": "function", "function": {"name": "move", "parameters": {"type": "object", "properties": {}}}}]
    seen, error = await outcome(client, tools=tools, stream=stream)
    assert error is None
    assert seen[-1].choices[0].finish_reason == "content_filter"
    assert len(server.posts) == 4


async def test_assistant_items_name_their_type(serve, clients):
    server = serve(wrong_first((), times=0))
    client = wrap(clients(openai.AsyncOpenAI, server), [word(good="good")])
    await ask(client, "responses", tools=[TOOL])
    kept = server.posts[1].json["input"][1]
    assert kept == {"type": "message", "role": "assistant", "content": "one\ngood\n"}
