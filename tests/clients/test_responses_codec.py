"""The Responses API: the same events as from the bare client; corrected where something is wrong."""

import json

import pytest
from both import KINDS, ask, outcome, read, shown
from interwhen import wrap
from interwhen.testing._server_script import data
from interwhen.testing.server import Send, reply
from responses_writer import TOOL, Writer
from watchers import no_call_with, passing, word

pytestmark = pytest.mark.anyio

STREAMS = {
    "text": lambda: Writer().text("one\n", "two").steps(),
    "reasoning": lambda: Writer().reasoning("hm\n", "so").text("one\n", "two").steps(),
    "call": lambda: Writer().text("one\n").call('{"to": "home"}').steps(),
    "length": lambda: Writer().text("one").steps("incomplete", incomplete_details={"reason": "max_output_tokens"}),
}


@pytest.fixture(params=KINDS)
def pair(request, clients):
    def make(server, monitors=None, **options):
        bare = clients(KINDS[request.param], server, **options)
        return bare, wrap(bare, [passing()] if monitors is None else monitors)

    return make


@pytest.mark.parametrize("name", STREAMS)
async def test_events_are_the_same(name, serve, pair):
    bare, wrapped = pair(serve(lambda _: STREAMS[name]()))
    want, _ = await outcome(bare, "responses", stream=True, tools=[TOOL])
    got, error = await outcome(wrapped, "responses", stream=True, tools=[TOOL])
    assert error is None
    assert [shown(event) for event in got] == [shown(event) for event in want]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("status", "reason", "finish"),
    [("incomplete", "max_output_tokens", "length"), ("incomplete", None, "other"), ("cancelled", None, "other")],
)
async def test_an_incomplete_answer_is_never_verified(status, reason, finish, stream, serve, pair):
    def script(_):
        writer = Writer().text("one\n", "two\n")
        writer.steps(status, incomplete_details=reason and {"reason": reason})
        writer.events[-1]["type"] = "response.completed"
        if stream:
            return [Send(data(event)) for event in writer.events]
        return reply(200, json.dumps(writer.events[-1]["response"]).encode())

    _, client = pair(serve(script))
    answer = await ask(client, "responses", stream=stream)
    last = (await read(answer))[-1] if stream else answer
    assert (last.interwhen.result.status, last.interwhen.result.finish_reason) == ("unverified", finish)
    assert (last.response if stream else last).status == status


async def test_whole_responses_are_the_same(serve, pair):
    def script(request):
        writer = Writer().reasoning("hm").text("one\n", "two").call('{"to": "home"}')
        return writer.steps() if request.json.get("stream") else writer.whole()

    bare, wrapped = pair(serve(script))
    want = await ask(bare, "responses", tools=[TOOL])
    got = await ask(wrapped, "responses", tools=[TOOL])
    assert shown(got) == shown(want)
    assert got.output_text == "one\ntwo"
    assert got.interwhen.result.status == "verified"


@pytest.mark.parametrize("sent", [5, 0])
async def test_an_unfinished_response_gets_one_extra_result_event(sent, serve, pair):
    bare, wrapped = pair(serve(lambda _: Writer().text("one\n", "two").steps()[:sent]))
    want, _ = await outcome(bare, "responses", stream=True)
    got, error = await outcome(wrapped, "responses", stream=True)
    assert error is None
    assert [shown(event) for event in got[:-1]] == [shown(event) for event in want]
    assert (got[-1].type, got[-1].sequence_number) == ("response.in_progress", len(want))
    assert got[-1].interwhen.result.status == "unverified"
    assert got[-1].interwhen.result.finish_reason == "truncated"


async def test_a_non_streamed_truncated_response_is_marked_incomplete(serve, pair):
    _, wrapped = pair(serve(lambda _: Writer().text("one\n", "two").steps()[:6]))
    got = await ask(wrapped, "responses")
    assert (got.status, got.incomplete_details) == ("incomplete", None)
    assert got.output_text == got.interwhen.result.text == "one\ntwo"
    assert got.interwhen.result.status == "unverified"


@pytest.mark.parametrize("written", [-1000, 1 << 70])
async def test_a_count_that_cannot_be_is_not_believed(written, serve, pair):
    _, wrapped = pair(serve(lambda _: Writer().text("one\n", "two").steps(written=written)))
    events = await read(await ask(wrapped, "responses", stream=True))
    assert events[-1].interwhen.result.ledger.kept == 2


@pytest.mark.parametrize("where", ["text", "reasoning"])
async def test_what_is_wrong_is_corrected(where, serve, pair):
    def script(request):
        if request.number == 0:
            writer = Writer()
            (writer.reasoning if where == "reasoning" else writer.text)("We see BAD\n", "and so on\n")
            return writer.steps()
        return Writer("resp_2").text("Now it is right.\n").steps()

    server = serve(script)
    _, wrapped = pair(server, [word(good="good", slow=0.05)])
    events = await read(await ask(wrapped, "responses", stream=True))
    shown_text = "".join(event.delta for event in events if event.type.endswith("text.delta"))
    result = events[-1].interwhen.result
    assert result.text == "We see good\nNow it is right.\n"
    assert result.resume.mode == "turn"
    assert "Correction: We see good" in shown_text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.id == "resp_1"
    assert events[-1].response.output_text == result.answer
    trace = ""
    for event in events:
        info = event.interwhen
        if info.start is not None:
            text = event.delta if event.type.endswith(".delta") else ""
            trace = trace[: info.start] + text[info.lead :]
    assert trace == result.text
    items = server.posts[1].json["input"]
    assert items[0] == {"role": "user", "content": "q"}
    assert items[1] == {"type": "message", "role": "assistant", "content": "We see good\n"}


@pytest.mark.parametrize("stream", [True, False])
async def test_a_refused_call_never_reaches_the_caller(stream, serve, pair):
    def script(request):
        again = any(
            item.get("type") == "function_call_output" for item in request.json["input"] if isinstance(item, dict)
        )
        return Writer("resp_2" if again else "resp_1").call('{"to": "home"}' if again else '{"to": "BAD"}').steps()

    server = serve(script)
    _, wrapped = pair(server, [no_call_with()])
    answer = await ask(wrapped, "responses", stream=stream, tools=[TOOL])
    events = await read(answer) if stream else []
    response = events[-1].response if stream else answer
    seen = [event.model_dump_json() for event in events] or [answer.model_dump_json()]
    assert "BAD" not in "".join(seen)
    assert [item.arguments for item in response.output if item.type == "function_call"] == ['{"to": "home"}']
    result = events[-1].interwhen.result if stream else answer.interwhen.result
    assert result.status == "verified"
    items = server.posts[1].json["input"]
    assert items[1]["type"] == "function_call"
    assert items[2]["type"] == "function_call_output"
    assert items[1]["call_id"] == items[2]["call_id"]


async def test_the_stream_helper_works(serve, clients):
    import openai

    client = wrap(clients(openai.AsyncOpenAI, serve(lambda _: STREAMS["text"]())), [passing()])
    async with client.responses.stream(model="m", input="q") as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert "response.output_text.delta" in kinds
    assert final.output_text == "one\ntwo"
