"""Every way to use the SDK works through a wrapped client: helpers, raw responses, options, Azure, own HTTP clients."""

import inspect
import json

import anyio.to_thread
import httpx2
import interwhen
import openai
import pytest
from both import KINDS, ask, in_its_way, read
from interwhen import Resample, UsageError, wrap
from interwhen.clients import supervision_info
from interwhen.testing._server_script import counts
from interwhen.testing.server import Head, Send, events, fault, reply
from pydantic import BaseModel
from watchers import passing, word

pytestmark = pytest.mark.anyio

ASK = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
DONE = Send(b"data: [DONE]\n\n")


def corrected(request):
    return events([["BAD\n", "x"], ["fine"]][min(request.number, 1)], api="chat")


def test_a_wrapped_client_is_one_of_the_sdk():
    for kind in (openai.OpenAI, openai.AsyncOpenAI, openai.AzureOpenAI, openai.AsyncAzureOpenAI):
        azure = {"api_version": "1", "azure_endpoint": "http://localhost"} if "Azure" in kind.__name__ else {}
        client = kind(api_key="k", **azure)
        wrapped = wrap(client, ["arithmetic"])
        assert isinstance(wrapped, kind)
        assert type(wrapped).__name__ == kind.__name__
        assert wrapped.user_agent == client.user_agent
        assert wrapped.chat.completions is not client.chat.completions
        bare, ours = (
            inspect.signature(client.chat.completions.create),
            inspect.signature(wrapped.chat.completions.create),
        )
        assert {**ours.parameters} == {**bare.parameters, "interwhen": ours.parameters["interwhen"]}
        assert "interwhen" not in inspect.signature(client.chat.completions.create).parameters


async def test_the_stream_helper(serve, clients):
    server = serve((*events(["one\n", "two"], api="chat")[:-1], counts(1, 2), DONE))
    client = wrap(clients(openai.AsyncOpenAI, server), [passing()])
    async with client.chat.completions.stream(**ASK, interwhen={"reading": "gate"}) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_completion()
    assert "content.delta" in kinds
    assert final.choices[0].message.content == "one\ntwo"


def test_the_stream_helper_in_plain_code(serve):
    server = serve(events(["one\n", "two"], api="chat"))
    with wrap(openai.OpenAI(base_url=server.base_url, api_key="k"), [passing()]) as client:
        with client.chat.completions.stream(**ASK) as stream:
            assert stream.get_final_completion().choices[0].message.content == "one\ntwo"
        client.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_parsing_into_a_type(kind, serve, clients):
    class Answer(BaseModel):
        value: int

    client = wrap(clients(KINDS[kind], serve(events(['{"value":', " 7}"], api="chat"))), [passing()])

    def call():
        return client.chat.completions.parse(**ASK, response_format=Answer)

    completion = await call() if kind == "async" else await anyio.to_thread.run_sync(call)
    assert completion.choices[0].message.parsed == Answer(value=7)
    assert supervision_info(completion).result.finish_reason == "stop"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [True, False])
async def test_raw_responses(kind, stream, serve, clients):
    head = reply(200, b"")[0]
    server = serve(corrected)
    client = wrap(clients(KINDS[kind], server), [word(remedy=interwhen.Resample())])

    def call():
        return client.chat.completions.with_raw_response.create(**ASK, stream=stream)

    raw = await call() if kind == "async" else await anyio.to_thread.run_sync(call)
    assert raw.status_code == 200
    assert raw.headers["content-type"].startswith("text/event-stream" if stream else "application/json")
    answer = raw.parse()
    if stream:
        answer = "".join(chunk.choices[0].delta.content or "" for chunk in await read(answer))
    else:
        answer = answer.choices[0].message.content
    assert answer == "fine"
    assert head.status == 200


async def test_streamed_raw_responses_hide_refuted_text(serve, clients):
    client = wrap(clients(openai.AsyncOpenAI, serve(corrected)), [word(remedy=interwhen.Resample())])
    async with client.chat.completions.with_streaming_response.create(**ASK, stream=True) as response:
        lines = [line async for line in response.iter_lines()]
    assert lines[-2:] == ["data: [DONE]", ""] or lines[-1] == "data: [DONE]"
    assert not any("BAD" in line for line in lines)
    assert any("fine" in line for line in lines)


async def test_a_raw_body_has_one_line_per_event(serve, clients):
    chunk = json.loads(events(["one\n"], api="chat")[0].data.removeprefix(b"data: "))
    event = b"data: " + json.dumps(chunk, indent=1).encode().replace(b"\n", b"\ndata: ") + b"\n\n"
    client = wrap(clients(openai.AsyncOpenAI, serve([Send(event), *events([], api="chat")])), [passing()])
    async with client.chat.completions.with_streaming_response.create(**ASK, stream=True) as response:
        first, *_ = [line async for line in response.iter_lines() if line]
    assert json.loads(first.removeprefix("data: ")) == chunk


@pytest.mark.parametrize("kind", KINDS)
async def test_a_truncated_raw_body_has_no_end_mark(kind, serve, clients):
    scripts = [events(["one\n"], api="chat")[:1], events(["one\n"], api="chat")]
    server = serve(lambda request: scripts[request.number])
    client = wrap(clients(KINDS[kind], server), [passing()])

    async def read_raw():
        manager = client.chat.completions.with_streaming_response.create(**ASK, stream=True)
        if kind == "async":
            async with manager as response:
                return [line async for line in response.iter_lines() if line]
        return await anyio.to_thread.run_sync(read_plainly, manager)

    def read_plainly(manager):
        with manager as response:
            return [line for line in response.iter_lines() if line]

    cut, ended = await read_raw(), await read_raw()
    assert "one" in cut[0]
    assert "data: [DONE]" not in cut
    assert ended[-1] == "data: [DONE]"


async def test_streams_ended_by_supervision_get_an_end_mark(serve, clients):
    client = wrap(clients(openai.AsyncOpenAI, serve(events(["one\n"], api="chat")[:1])), [word(slow=60)])
    own = {"budgets": {"seconds": 0.2}}
    async with client.chat.completions.with_streaming_response.create(**ASK, stream=True, interwhen=own) as response:
        lines = [line async for line in response.iter_lines() if line]
    assert '"content_filter"' in lines[-2]
    assert lines[-1] == "data: [DONE]"


@pytest.mark.parametrize("kind", KINDS)
async def test_options_for_one_call(kind, serve, clients):
    server = serve(lambda request: events(["BAD\n", "x"] if request.number % 2 == 0 else ["fine"], api="chat"))
    client = wrap(clients(KINDS[kind], server), [word()], reading="final")
    answer = await ask(client)
    assert "fine" in answer.choices[0].message.content
    answer = await ask(
        client.with_options(timeout=90), interwhen={"monitors": [word(remedy=interwhen.remedies.Stop())]}
    )
    assert answer.choices[0].finish_reason == "content_filter"
    assert supervision_info(await ask(client, interwhen=False)) is None
    with pytest.raises(UsageError, match="reading"):
        await ask(client, interwhen={"redaing": "live"})
    assert all("interwhen" not in request.json for request in server.posts)


async def test_the_field_may_travel_in_the_extra_body(serve, clients):
    server = serve(events(["BAD\n"], api="chat"))
    client = wrap(clients(openai.AsyncOpenAI, server))
    assert supervision_info(await ask(client, interwhen={"monitors": ["arithmetic"]})).result.status == "unverified"
    answer = await ask(client, extra_body={"interwhen": {"monitors": ["arithmetic"]}, "top_k": 1})
    assert supervision_info(answer) is not None
    assert server.posts[-1].json["top_k"] == 1
    assert "interwhen" not in server.posts[-1].json


@pytest.mark.parametrize("kind", ["AsyncAzureOpenAI", "AzureOpenAI"])
async def test_azure(kind, serve):
    server = serve(corrected)
    azure = getattr(openai, kind)(api_key="k", api_version="v1", azure_endpoint=server.base_url[:-3], max_retries=0)
    client = wrap(azure, [word(good="good", slow=0.01)])
    chunks = await read(await ask(client, stream=True))
    assert chunks[-1].interwhen.result.ledger.remedies == 1
    assert [post.path for post in server.posts] == ["/openai/deployments/m/chat/completions?api-version=v1"] * 2
    assert all(post.headers["api-key"] == "k" for post in server.posts)
    if kind == "AzureOpenAI":
        client.close()
    else:
        await client.close()


async def test_a_custom_async_http_client_is_used(serve):
    server = serve(corrected)
    sent = []

    async def hook(request):
        sent.append(request.url.path)

    async with httpx2.AsyncClient(event_hooks={"request": [hook]}) as http:
        own = openai.AsyncOpenAI(base_url=server.base_url, api_key="k", http_client=http)
        chunks = await read(await ask(wrap(own, [word()], resume="turn"), stream=True))
    assert "fine" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert sent == ["/v1/chat/completions"] * 2


async def test_a_custom_sync_http_client_is_used(serve):
    server = serve(corrected)
    sent = []
    with httpx2.Client(event_hooks={"request": [lambda request: sent.append(request.url.path)]}) as http:
        own = openai.OpenAI(base_url=server.base_url, api_key="k", http_client=http)
        client = wrap(own, [word()], resume="turn")
        chunks = await read(await ask(client, stream=True))
        client.close()
    assert "fine" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert sent == ["/v1/chat/completions"] * 2


async def test_stream_options_are_dropped_after_a_server_refusal(serve, clients):
    refused = reply(400, b'{"error": {"message": "stream_options is not supported", "param": "stream_options"}}')
    server = serve(lambda r: refused if "stream_options" in r.json else events(["a\n"], api="chat"))
    client = wrap(clients(openai.AsyncOpenAI, server), [passing()])
    await read(await ask(client, stream=True))
    await read(await ask(client, stream=True))
    assert len(server.posts) == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("refuses", [True, False])
async def test_a_non_streaming_model_is_supervised_too(kind, refuses, serve, clients):
    text = {"role": "assistant", "content": "one\nBAD\n"}
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}

    def script(request):
        if request.json.get("stream") and refuses:
            return reply(400, b'{"error": {"message": "this model cannot stream", "param": "stream"}}')
        message = text if len(request.json["messages"]) == 1 else {**text, "content": "fine", "tool_calls": [call]}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        whole = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        whole["usage"] = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        return reply(200, json.dumps(whole).encode())

    server = serve(script)
    client = wrap(clients(KINDS[kind], server), [word(remedy=interwhen.Feedback("rewind"))], resume="turn")
    answer = await ask(client, tools=[{"type": "function", "function": {"name": "look"}}])
    assert answer.choices[0].message.content == "one\nWait, BAD is no word.\nfine"
    assert answer.choices[0].message.tool_calls[0].function.name == "look"
    assert answer.interwhen.result.ledger.remedies == 1
    assert [post.json.get("stream") for post in server.posts] == ([True, False, False] if refuses else [True, True])


@pytest.mark.parametrize("kind", KINDS)
async def test_non_streaming_calls_are_retried_after_broken_connections(kind, serve, clients):
    server = serve(lambda r: fault("rst_mid", "chat") if r.number < 2 else events(["one\n"], api="chat"))
    client = wrap(clients(KINDS[kind], server, max_retries=2), [passing()])
    answer = await ask(client, interwhen={"tools": False}, timeout=60)
    assert answer.choices[0].message.content == "one\n"
    assert len(server.posts) == 3


async def test_errors_keep_the_cause_from_the_sdk(serve, clients):
    refusing = wrap(clients(openai.AsyncOpenAI, serve(fault("http_400", "chat"))), [passing()])
    with pytest.raises(openai.BadRequestError) as caught:
        await ask(refusing)
    assert caught.value.__cause__ is None
    breaking = wrap(clients(openai.AsyncOpenAI, serve(fault("rst_mid", "chat"))), [passing()])
    with pytest.raises(openai.APIConnectionError) as caught:
        await ask(breaking)
    # A reset reads like an end before anyio 4.16.
    assert isinstance(caught.value.__cause__, httpx2.ReadError | httpx2.RemoteProtocolError)


async def test_a_corrected_structured_answer_stays_valid_json(serve, clients):
    server = serve(lambda r: events([['{"a":\n', '"BAD"\n', "}"], ['"fine"\n}']][min(r.number, 1)], api="chat"))
    client = wrap(clients(openai.AsyncOpenAI, server), [word(remedy=interwhen.Resample(), slow=0.05)])
    chunks = await read(await ask(client, stream=True, response_format={"type": "json_object"}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert json.loads(text) == {"a": "fine"}


async def test_a_compressed_stream_is_read(serve, clients):
    import gzip

    body = gzip.compress(b"".join(step.data for step in events(["one\n", "two"], api="chat")))
    head = Head(200, {"content-type": "text/event-stream", "content-encoding": "gzip"})
    client = wrap(clients(openai.AsyncOpenAI, serve((head, Send(body)))), [passing()])
    chunks = await read(await ask(client, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "one\ntwo"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_fork_asks_the_model_on_the_side(kind, serve, clients):
    def parse(answer, segment):
        yield interwhen.Claim(key=f"{segment.text} {answer}", span=segment.span)

    @interwhen.verifier(name="side", worker="inline")
    def check(claim):
        return interwhen.Pass() if claim.key.endswith("yes") else interwhen.Violation(why=claim.key)

    monitor = interwhen.Monitor(name="side", verifier=check, extractor=interwhen.Fork("Is that so?", parse))

    def script(request):
        if request.json.get("stream"):
            return events(["one\n", "two\n"], api="chat")
        assert request.json["messages"][-1]["content"] == "Is that so?"
        assert "tools" not in request.json
        message = {"role": "assistant", "content": "yes"}
        return reply(200, json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode())

    client = wrap(clients(KINDS[kind], serve(script)), [monitor])
    tools = [{"type": "function", "function": {"name": "look"}}]
    chunks = await read(await ask(client, stream=True, tools=tools))
    assert chunks[-1].interwhen.result.status == "verified"


async def test_all_else_passes_through(serve, clients):
    server = serve(
        reply(
            200,
            b'{"object": "list", "data": [{"embedding": [1.0], "index": 0}], "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}',
        )
    )
    client = wrap(clients(openai.AsyncOpenAI, server), [passing()])
    assert (await client.models.list()).data[0].id == "scripted"
    assert (await client.embeddings.create(model="m", input="q")).model == "m"


@pytest.mark.parametrize("kind", KINDS)
async def test_url_posts_are_supervised_and_byte_bodies_refused(kind, serve, clients):
    server = serve(lambda request: events(["one\n", "BAD\n"] if request.number == 0 else ["two\n"], api="chat"))
    bare = clients(KINDS[kind], server)
    client = wrap(bare, [word(remedy=Resample())])
    body = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
    made = await in_its_way(
        client,
        lambda: client.post(f"{bare.base_url}chat/completions", body=body, cast_to=openai.types.chat.ChatCompletion),
    )
    assert made.choices[0].message.content == "one\ntwo\n"
    with pytest.raises(UsageError, match="the body of a supervised call must be a dict"):
        await in_its_way(client, lambda: client.post("/chat/completions", content=b"{}", cast_to=object))


async def test_it_works_on_trio_too(serve):
    import trio

    server = serve(corrected)

    def main():
        async def go():
            async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k") as bare:
                return [chunk async for chunk in await ask(wrap(bare, [word()]), stream=True)]

        return trio.run(go)

    chunks = await anyio.to_thread.run_sync(main)
    assert chunks[-1].interwhen.result.ledger.remedies == 1
