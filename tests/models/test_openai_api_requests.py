"""What the adapters send, and how they continue from kept text."""

import json

import pytest
from interwhen import Message, Sampling, UsageError
from interwhen._types.models import Piece
from interwhen.models import (
    ChatModel,
    Completion,
    CompletionsModel,
    ContextOverflow,
    Model,
    Request,
    Retries,
    ScoredToken,
    Stream,
    StreamProtocolError,
    UpstreamError,
    Usage,
)
from interwhen.testing._server_script import data
from interwhen.testing.server import ScriptedServer, Send, events, fault, reply
from interwhen.toolkit import MissingExtraError

pytestmark = pytest.mark.anyio

CHAT = (Message("system", "Be brief."), Message("user", "2+2?"))
PIECES = (
    Piece("<think>2+2=5", phase="reasoning"),
    Piece(" Wait, 2+2=4.", origin="feedback", phase="reasoning"),
    Piece(" So 4"),
    Piece("!", origin="repair"),
)
TEXT = "<think>2+2=5 Wait, 2+2=4. So 4!"


def both(request):
    return events(["ok"], api="chat" if "chat" in request.path else "completions")


async def sent(kind, request, *, owned_by="scripted", **options):
    async with ScriptedServer(both, owned_by=owned_by) as server, kind(server.base_url, "m", **options) as model:
        stream = await model.stream(request)
        while await stream.receive():
            pass
        await stream.aclose()
        return server.posts[0].json


async def test_both_adapters_are_models():
    for kind in (CompletionsModel, ChatModel):
        model = kind("http://h/v1", "m", api_key="")
        assert isinstance(model, Model)
        assert model.name == "m@h"


async def test_streams_are_streams(transport):
    async with ScriptedServer(both) as server, ChatModel(server.base_url, "m", transport=transport) as model:
        stream = await model.stream(Request("q"))
        assert isinstance(stream, Stream)
        await stream.aclose()


async def test_completions_continue_the_text_of_the_trace():
    body = await sent(CompletionsModel, Request("Q: 2+2? A: ", PIECES))
    assert body["prompt"] == "Q: 2+2? A: " + TEXT
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}
    body = await sent(CompletionsModel, Request("Q", PIECES, side="\nIs it right? "))
    assert body["prompt"] == "Q" + TEXT + "\nIs it right? "


async def test_completions_take_a_chat_only_with_a_template():
    with pytest.raises(UsageError, match="ChatModel"):
        await sent(CompletionsModel, Request(CHAT))
    body = await sent(
        CompletionsModel,
        Request(CHAT, PIECES),
        template=lambda turns: "".join(f"<{turn.role}>{turn.content}" for turn in turns) + "<assistant>",
    )
    assert body["prompt"] == "<system>Be brief.<user>2+2?<assistant>" + TEXT


@pytest.mark.parametrize("kind", [CompletionsModel, ChatModel])
async def test_sampling_is_sent_and_falls_back_to_defaults(kind):
    defaults = Sampling(max_tokens=9, temperature=0.5, extra={"min_p": 0.1, "top_k": 1})
    own = Sampling(temperature=0.0, top_p=0.9, seed=7, stop=("END",), extra={"top_k": 2})
    body = await sent(kind, Request("q", sampling=own), sampling=defaults)
    expected = {"max_tokens": 9, "temperature": 0.0, "top_p": 0.9, "seed": 7, "stop": ["END"], "min_p": 0.1, "top_k": 2}
    assert {key: body[key] for key in expected} == expected
    assert "logprobs" not in body
    body = await sent(kind, Request("q", sampling=Sampling(logprobs=True)))
    assert json.dumps(body["logprobs"]) == ("true" if kind is ChatModel else "1")
    assert "temperature" not in body


@pytest.mark.fault("W14", injected="`n=2` in a request", happens="refused before it is sent")
async def test_several_continuations_are_refused():
    with pytest.raises(UsageError, match="n must be 1, got 2"):
        await sent(CompletionsModel, Request("q", sampling=Sampling(extra={"n": 2})))


async def test_a_first_chat_request_sends_only_the_prompt():
    async with ScriptedServer(both) as server, ChatModel(server.base_url, "m") as model:
        await (await model.stream(Request(CHAT))).aclose()
        assert [request.method for request in server.requests] == ["POST"]
        assert server.posts[0].json["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "2+2?"},
        ]
        assert "continue_final_message" not in server.posts[0].json


@pytest.mark.parametrize("owner", ["llamacpp", "sglang"])
async def test_auto_prefills_where_the_server_can(owner):
    body = await sent(ChatModel, Request("2+2?", PIECES, side=" Hm:"), owned_by=owner)
    assert body["messages"] == [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": TEXT + " Hm:"}]
    assert body["continue_final_message"] is True
    assert body["add_generation_prompt"] is False


async def test_auto_takes_turns_elsewhere_and_asks_once():
    async with ScriptedServer(both, owned_by="openai") as server, ChatModel(server.base_url, "m") as model:
        assert (await model.capabilities()).resume == "turn"
        assert (await model.capabilities()).resume == "turn"
        await (await model.stream(Request("2+2?", PIECES))).aclose()
        assert [request.method for request in server.requests] == ["GET", "POST"]
        assert server.posts[0].json["messages"] == [
            {"role": "user", "content": "2+2?"},
            {"role": "assistant", "content": "<think>2+2=5"},
            {"role": "user", "content": " Wait, 2+2=4."},
        ]  # the model writes the unfinished line after the feedback again


async def test_auto_takes_turns_where_the_model_list_fails():
    model = ChatModel("http://127.0.0.1:9/v1", "m")
    assert (await model.capabilities()).resume == "turn"
    await model.aclose()


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_kept_reasoning_is_sent_in_the_servers_field(name):
    def script(request):
        thought = {"choices": [{"index": 0, "delta": {name: "hm"}}]}
        return (Send(data(thought)), *events(["4"], api="chat"))

    async with ScriptedServer(script, owned_by="llamacpp") as server, ChatModel(server.base_url, "m") as model:
        assert (await model.capabilities()).think_tags == ("<think>", "</think>")
        stream = await model.stream(Request("q"))
        chunks = []
        while got := await stream.receive():
            chunks += got
        await stream.aclose()
        assert [(chunk.text, chunk.phase) for chunk in chunks[:2]] == [("hm", "reasoning"), ("4", "answer")]
        assert (await model.capabilities()).think_tags is None
        pieces = (Piece("hm", phase="reasoning"), Piece("4"))
        await (await model.stream(Request("q", pieces))).aclose()
        await (await model.stream(Request("q", pieces[:1], side=" so"))).aclose()
        assert server.posts[1].json["messages"][-1] == {"role": "assistant", name: "hm", "content": "4"}
        assert server.posts[2].json["messages"][-1] == {"role": "assistant", name: "hm so", "content": ""}


async def test_the_key_is_sent_and_never_shown(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    for key, expected in [("sk-own", "Bearer sk-own"), (None, "Bearer sk-environment"), ("", None)]:
        async with ScriptedServer(both) as server, ChatModel(server.base_url, "m", api_key=key) as model:
            await (await model.stream(Request("q"))).aclose()
            assert server.posts[0].headers.get("authorization") == expected
            assert "sk-" not in repr(model)
            assert "sk-" not in repr(model._post("x", {"stream": True}))


async def test_url_credentials_are_refused_and_not_shown():
    with pytest.raises(UsageError, match="must not have a user") as caught:
        ChatModel("http://user:secret@h/v1", "m")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *("localhost:8000/v1", "ftp://h/v1", "http://", "", "http://h:port/v1", "http://h:0/v1"),
        *("http://h/v1?key=secret", "http://h/v1#part", "http://h/v1 ", "http://h/v 1"),
    ],
)
async def test_an_unusable_address_is_refused_with_an_example(url):
    with pytest.raises(UsageError, match="http://host:port/v1") as caught:
        ChatModel(url, "m")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("tokens", [0, -5, "aks", 1.5])
async def test_a_context_of_no_tokens_is_refused(tokens):
    with pytest.raises(UsageError, match="context_tokens must be a whole number of at least 1"):
        CompletionsModel("http://h/v1", "m", context_tokens=tokens)


async def test_the_default_of_top_logprobs_is_sent(transport):
    default = Sampling(logprobs=True, top_logprobs=5)
    for api, one, other in ((ChatModel, 5, 2), (CompletionsModel, 5, 2)):
        async with (
            ScriptedServer(both) as server,
            api(server.base_url, "m", transport=transport, sampling=default) as model,
        ):
            await (await model.stream(Request("q"))).aclose()
            await (await model.stream(Request("q", sampling=Sampling(top_logprobs=2)))).aclose()
            name = "top_logprobs" if api is ChatModel else "logprobs"
            assert [post.json[name] for post in server.posts] == [one, other]


@pytest.mark.parametrize(
    "request_",
    [Request("\ud800"), Request("q", sampling=Sampling(extra={"x": object()}))],
    ids=["surrogate", "object"],
)
async def test_a_request_that_is_no_json_is_refused(request_):
    async with ChatModel("http://localhost:1/v1", "m") as model:
        with pytest.raises(UsageError, match="a request must be JSON in UTF-8"):
            await model.stream(request_)


@pytest.mark.parametrize("value", [None, 5])
async def test_a_header_that_is_no_text_is_refused(value):
    async with ChatModel("http://localhost:1/v1", "m", headers={"x-own": value}) as model:
        with pytest.raises(UsageError, match="the header 'x-own' must be a text"):
            await model.stream(Request("q"))


async def test_a_model_list_that_fails_is_requested_again(transport):
    lists = []

    def pages(_request):
        lists.append(reply(503, b"") if not lists else reply(200, CARD, {"content-type": "application/json"}))
        return lists[-1]

    async with (
        ScriptedServer(both, pages=pages) as server,
        ChatModel(server.base_url, "m", transport=transport) as chat,
        CompletionsModel(server.base_url, "m", transport=transport, context_tokens="ask") as text,
    ):
        assert (await chat.capabilities()).resume == "turn"
        assert [(await chat.capabilities()).resume for _ in range(2)] == ["tokens", "tokens"]
        assert len(lists) == 2
        lists.clear()
        assert [(await text.capabilities()).context_tokens for _ in range(3)] == [None, 4096, 4096]
        assert len(lists) == 2


CARD = b'{"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 4096}]}'


async def test_an_option_n_of_null_is_the_default(transport):
    async with ScriptedServer(both) as server, ChatModel(server.base_url, "m", transport=transport) as model:
        await (await model.stream(Request("q", sampling=Sampling(extra={"n": None})))).aclose()
        assert server.posts[0].json["n"] is None


async def test_servers_refusing_stream_options_are_asked_without_them(transport):
    def script(request):
        if "stream_options" in request.json:
            return reply(400, b'{"error": {"message": "unknown field", "param": "stream_options"}}')
        return both(request)

    async with ScriptedServer(script) as server, CompletionsModel(server.base_url, "m", transport=transport) as model:
        for _ in range(2):
            await (await model.stream(Request("q"))).aclose()
        assert ["stream_options" in post.json for post in server.posts] == [True, False, False]


async def test_refusals_in_words_are_followed_but_not_remembered(transport):
    def script(request):
        if "stream_options" in request.json:
            return reply(400, b'{"error": {"message": "unknown field: stream_options"}}')
        return both(request)

    async with ScriptedServer(script) as server, CompletionsModel(server.base_url, "m", transport=transport) as model:
        for _ in range(2):
            await (await model.stream(Request("q"))).aclose()
        assert ["stream_options" in post.json for post in server.posts] == [True, False, True, False]


async def test_unknown_transports_are_refused():
    with pytest.raises(UsageError, match="carrier pigeon"):
        ChatModel("http://h/v1", "m", transport="carrier pigeon")


async def test_a_missing_extra_says_how_to_get_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "httptools", None)
    for name in ("_fast_transport",):
        monkeypatch.delitem(sys.modules, f"interwhen.models.{name}", raising=False)
    with pytest.raises(MissingExtraError, match=r"interwhen\[fast\]"):
        ChatModel("http://h/v1", "m", transport="fast")


USAGE = {"prompt_tokens": 5, "completion_tokens": 2}


@pytest.mark.parametrize("kind", [CompletionsModel, ChatModel])
async def test_a_fork_is_answered_whole(kind, transport):
    def script(request):
        content = {"message": {"content": "yes", "reasoning_content": "hm"}} if kind is ChatModel else {"text": "yes"}
        lp = {"content": [{"logprob": -0.5}]} if kind is ChatModel else {"token_logprobs": [-0.5]}
        choice = {"index": 0, "finish_reason": "stop", "logprobs": lp, **content}
        return reply(200, json.dumps({"choices": [choice], "usage": USAGE}).encode())

    async with ScriptedServer(script) as server, kind(server.base_url, "m", transport=transport) as model:
        for _ in range(2):
            completion = await model.complete(Request("q", sampling=Sampling(logprobs=True)))
            assert completion == Completion("yes", "stop", Usage(5, None, 2), -0.5, (ScoredToken("", -0.5),))
        assert server.posts[0].json["stream"] is False
        assert server.connections == 1
    await server.settled()


@pytest.mark.parametrize("kind", [CompletionsModel, ChatModel])
async def test_a_fork_that_fails_is_typed(kind, transport):
    scripts = [
        (fault("http_400_ctx"), ContextOverflow),
        (reply(200, b"{nope"), StreamProtocolError),
        (reply(200, b'{"choices": []}'), StreamProtocolError),
        (reply(200, b'{"error": {"message": "gone", "code": 500}}'), UpstreamError),
    ]
    async with (
        ScriptedServer(lambda request: scripts[request.number][0]) as server,
        kind(server.base_url, "m", transport=transport, retries=Retries(attempts=0)) as model,
    ):
        for _, error in scripts:
            with pytest.raises(error):
                await model.complete(Request("q"))
    await server.settled()


async def test_a_fork_from_a_prefilled_turn_is_streamed(transport):
    async with (
        ScriptedServer(lambda _: fault("usage_only", "chat"), owned_by="llamacpp") as server,
        ChatModel(server.base_url, "m", transport=transport) as model,
    ):
        completion = await model.complete(Request("q", (Piece("kept "),), side="Is it? "))
        assert completion == Completion("one two three", "stop", Usage(5, 4, 3))
        assert server.posts[0].json["stream"] is True
        assert server.posts[0].json["messages"][-1] == {"role": "assistant", "content": "kept Is it? "}
    await server.settled()
