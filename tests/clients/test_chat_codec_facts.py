"""Facts are on every chunk and every response, however the SDK is asked for them."""

import anyio.to_thread
import interwhen
import openai
import pytest
from both import KINDS, in_its_way, read
from interwhen import UsageError, wrap
from interwhen.clients import supervision_info
from interwhen.testing.server import events
from responses_writer import Writer
from watchers import passing, word

pytestmark = pytest.mark.anyio

ASK = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
CALLS = {
    "chat": (lambda client: client.chat.completions, ASK),
    "completions": (lambda client: client.completions, {"model": "m", "prompt": "q"}),
    "responses": (lambda client: client.responses, {"model": "m", "input": "q"}),
}


def one_two(api):
    return Writer().text("one\n", "two").steps() if api == "responses" else events(["one\n", "two"], api=api)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("api", CALLS)
async def test_parsed_raw_responses_carry_supervision_facts(api, kind, serve, clients):
    resource, asked = CALLS[api]
    client = wrap(clients(KINDS[kind], serve(one_two(api))), [passing()])
    raw = await in_its_way(client, lambda: resource(client).with_raw_response.create(**asked))
    assert supervision_info(raw) is supervision_info(raw.parse()) is not None
    assert supervision_info(raw.parse()).result.status == "verified"
    assert [check.key for check in supervision_info(raw.parse()).verdicts] == ["one", "two"]
    bare = await in_its_way(client, lambda: resource(client).create(**asked))
    assert supervision_info(raw.parse(to=type(bare))).result.status == "verified"
    assert supervision_info(bare).result.status == "verified"

    def read():
        with resource(client).with_streaming_response.create(**asked) as response:
            return response.parse()

    if kind == "async":
        async with resource(client).with_streaming_response.create(**asked) as response:
            parsed = await response.parse()
    else:
        parsed = await anyio.to_thread.run_sync(read)
    assert supervision_info(parsed).result.status == "verified"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_stream_helper_final_answers_carry_supervision_facts(api, kind, serve, clients):
    resource, asked = CALLS[api]
    client = wrap(clients(KINDS[kind], serve(one_two(api))), [passing()])
    final = "get_final_completion" if api == "chat" else "get_final_response"

    def read():
        with resource(client).stream(**asked) as stream:
            return list(stream), getattr(stream, final)()

    if kind == "async":
        async with resource(client).stream(**asked) as stream:
            seen = [event async for event in stream]
            answer = await getattr(stream, final)()
    else:
        seen, answer = await anyio.to_thread.run_sync(read)
    assert supervision_info(answer).result.status == "verified"
    assert [check.key for check in supervision_info(answer).verdicts] == ["one", "two"]
    chunks = [event.chunk for event in seen if event.type == "chunk"] if api == "chat" else seen
    assert chunks
    assert all(supervision_info(chunk) is not None for chunk in chunks)
    assert supervision_info(chunks[-1]).result.status == "verified"
    assert supervision_info(answer).call_id == supervision_info(chunks[-1]).call_id != ""


async def test_an_unsupervised_stream_helper_carries_no_supervision_facts(serve, clients):
    client = wrap(clients(openai.AsyncOpenAI, serve(one_two("chat"))), [passing()])
    async with client.chat.completions.stream(**ASK, interwhen=False) as stream:
        completion = await stream.get_final_completion()
    assert completion.choices[0].message.content == "one\ntwo"
    assert supervision_info(completion) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [True, False])
async def test_beta_responses_are_supervised(kind, stream, serve, clients):
    writers = [lambda: Writer().text("BAD\n"), lambda: Writer("resp_2").text("fine\n")]
    server = serve(lambda request: writers[request.number % 2]().steps())
    client = wrap(clients(KINDS[kind], server), [word(remedy=interwhen.Resample())])
    options = {"model": "m", "input": "q", "stream": stream, "interwhen": {"reading": "gate"}}
    answer = await in_its_way(client, lambda: client.beta.responses.create(**options))
    last = (await read(answer))[-1] if stream else answer
    assert last.interwhen.result.text == "fine\n"
    response = last.response if stream else answer
    assert type(response) is openai.types.beta.BetaResponse
    assert response.output[-1].content[0].text == "fine\n"
    assert [post.path for post in server.posts] == ["/v1/responses?beta=true"] * 2
    agents = {"enabled": True}
    with pytest.raises(UsageError, match="multi_agent"):
        await in_its_way(client, lambda: client.beta.responses.create(**options, multi_agent=agents))
