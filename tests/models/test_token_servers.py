"""The requests of llama.cpp and SGLang for token ids, with scripts that answer as their documentation says."""

import interwhen
import msgspec
import pytest
from interwhen import Sampling
from interwhen._types.models import Piece
from interwhen.models import ChatModel, Request, ScoredToken, StreamProtocolError, UpstreamError
from interwhen.models._chunks import decode_chat
from interwhen.models._token_resume import FAMILIES, TokenPrompt, TokenTrail
from interwhen.models._token_servers import LlamaCppTokens, SglangTokens, VllmTokens, token_server
from interwhen.models._token_stream import TokenStream
from interwhen.testing.server import ScriptedServer
from tests.token_server import LlamaCpp, Sglang, Vllm, ids_of

SCRIPTS = {
    "vllm": Vllm,
    "llamacpp": LlamaCpp,
    "sglang": Sglang,
    "sglang-incremental": lambda **options: Sglang(incremental=True, **options),
}
PROMPT = TokenPrompt((1, 2), "answer", FAMILIES[0], TokenTrail())


async def supervised(kind, script, *, monitors=("arithmetic:remedy=repair",), max_tokens=200):
    async with (
        ScriptedServer(script, owned_by=kind.partition("-")[0]) as server,
        ChatModel(server.base_url, "scripted", resume="tokens") as model,
        interwhen.run(model, "59 + 1?", monitors=list(monitors), sampling=Sampling(max_tokens=max_tokens)) as run,
    ):
        async for _ in run:
            pass
        return run.result, server


@pytest.mark.anyio
@pytest.mark.parametrize("kind", SCRIPTS)
@pytest.mark.parametrize("opened", [False, True])
async def test_a_repair_in_the_reasoning_continues_there(kind, opened):
    script = SCRIPTS[kind](opened=opened)
    result, _ = await supervised(kind, script)
    assert script.continued == ["59 + 1?<think>59 + 1 = 60"]
    assert result.resume.mode == "tokens"
    assert result.reasoning == "59 + 1 = 60\n"
    assert result.answer == "It is 60"
    assert result.finish_reason == "stop"
    if kind != "vllm":
        assert result.ledger.cached_tokens == len(ids_of("59 + 1?<think>59 + 1 = 60")) - 1


@pytest.mark.anyio
@pytest.mark.parametrize("kind", SCRIPTS)
async def test_the_second_correction_tokenizes_only_what_is_new(kind):
    script = SCRIPTS[kind]()
    async with (
        ScriptedServer(script, owned_by=kind.partition("-")[0]) as server,
        ChatModel(server.base_url, "scripted", resume="tokens") as model,
    ):
        first = await model.stream(Request("59 + 1?", (Piece("59 + 1 = 60", phase="reasoning"),)))
        while await first.receive():
            pass
        await first.aclose()
        assert first.trail.is_whole
        script.tokenized.clear()
        pieces = (Piece("59 + 1 = 60\n", phase="reasoning"), Piece("It is 60"), Piece("60", "repair"))
        second = await model.stream(Request("59 + 1?", pieces, trail=first.trail))
        await second.aclose()
    assert script.continued[-1] == "59 + 1?<think>59 + 1 = 60\n</think>It is 6060"
    assert script.tokenized == ["\n60"]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", SCRIPTS)
async def test_a_fork_is_read_in_each_servers_format(kind):
    async with (
        ScriptedServer(SCRIPTS[kind](), owned_by=kind.partition("-")[0]) as server,
        ChatModel(server.base_url, "scripted", resume="tokens") as model,
    ):
        completion = await model.complete(
            Request("59 + 1?", (Piece("so ", phase="reasoning"),), Sampling(max_tokens=4), side="?")
        )
    assert completion.text == "Hi"
    assert completion.finish_reason == ("length" if kind == "llamacpp" else "stop")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["sglang", "sglang-incremental"])
async def test_sglang_log_probabilities_are_those_of_each_event(kind):
    async with (
        ScriptedServer(SCRIPTS[kind](), owned_by="sglang") as server,
        ChatModel(server.base_url, "scripted", resume="tokens", sampling=Sampling(logprobs=True)) as model,
    ):
        stream = await model.stream(Request("59 + 1?", (Piece("59 + 1 = 60", phase="reasoning"),)))
        scores = []
        while chunks := await stream.receive():
            scores += [chunk.logprob for chunk in chunks if chunk.text]
        await stream.aclose()
        sampling = Sampling(max_tokens=4, logprobs=True, top_logprobs=2)
        fork = await model.complete(Request("59 + 1?", (Piece("so ", phase="reasoning"),), sampling, side="?"))
    assert set(scores) == {-0.5}
    assert fork.tokens[0].text == "Hi"
    assert fork.tokens[0].top == (("a", -0.5), ("b", -1.5))


@pytest.mark.anyio
async def test_sglang_without_prompt_ids_resumes_with_a_turn():
    class Old(Sglang):
        def __call__(self, request):
            request.json.pop("return_prompt_token_ids", None)
            return super().__call__(request)

    script = Old()
    result, _ = await supervised("sglang", script)
    assert result.resume.mode == "turn"
    assert script.continued == []


@pytest.mark.parametrize("server", [LlamaCppTokens, SglangTokens, VllmTokens])
def test_settings_of_the_chat_reach_each_server(server):
    async def post(body, place):
        raise AssertionError(place)

    chat = {"temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["x"], "max_completion_tokens": 9, "stream": True}
    chat |= {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "array"}}}}
    body = server("m", post).body({**chat, "messages": []}, PROMPT, with_ids=True)
    assert body["stream"] is True
    assert "messages" not in body
    options = body.get("sampling_params", body)
    assert (options["temperature"], options["top_p"], options["stop"]) == (0.5, 0.9, ["x"])
    if server is VllmTokens:
        assert (body["prompt"], body["max_tokens"], body["seed"]) == ([1, 2], 9, 7)
    elif server is LlamaCppTokens:
        assert (body["prompt"], body["n_predict"], body["seed"]) == ([1, 2], 9, 7)
        assert body["json_schema"] == {"type": "array"}
        assert body["preserved_tokens"] == ["<think>", "</think>"]
    else:
        assert (body["input_ids"], options["max_new_tokens"], options["sampling_seed"]) == ([1, 2], 9, 7)
        assert options["json_schema"] == '{"type":"array"}'


def test_an_unknown_server_is_asked_as_vllm_is():
    assert isinstance(token_server(None, "m", None), VllmTokens)
    assert isinstance(token_server("somebody", "m", None), VllmTokens)
    assert isinstance(token_server("sglang", "m", None), SglangTokens)


@pytest.mark.anyio
async def test_each_servers_error_inside_a_stream_is_raised():
    for kind, event in (
        ("sglang", {"error": {"message": "too long", "code": 400}}),
        (
            "sglang",
            {"text": "", "output_ids": [], "meta_info": {"finish_reason": {"type": "abort", "message": "gone"}}},
        ),
        ("llamacpp", {"error": {"message": "gone", "code": 500}}),
    ):

        class Broken(SCRIPTS[kind]):
            def parts(self, raw, event=event):
                raise KeyError

            def generate(self, body, event=event):
                return _only(event)

            native = generate

        async with (
            ScriptedServer(Broken(), owned_by=kind) as server,
            ChatModel(server.base_url, "scripted", resume="tokens") as model,
        ):
            stream = await model.stream(Request("59 + 1?", (Piece("so", phase="reasoning"),)))
            with pytest.raises(UpstreamError):
                await stream.receive()
            await stream.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("vllm", {"choices": ["x"]}),
        ("vllm", {"choices": {"a": 1}}),
        ("vllm", {"choices": [{"text": 5}]}),
        ("llamacpp", {"content": 5}),
        ("sglang", {"text": 5, "output_ids": [1], "meta_info": {}}),
        ("sglang", {"text": "a", "output_ids": 5, "meta_info": {"completion_tokens": 1}}),
    ],
)
async def test_malformed_events_fail_both_streams_and_whole_answers(kind, event):
    server = token_server(kind, "m", None)
    data = msgspec.json.encode(event)
    stream = TokenStream(server.events(Arrived(b"data: " + data + b"\n\n"), PROMPT, "reasoning"), decode_chat)
    with pytest.raises(StreamProtocolError, match="must be a chunk"):
        await stream.receive()
    with pytest.raises(StreamProtocolError, match=r"must be a completion|must have at least one choice"):
        server.completion(data)


@pytest.mark.parametrize(
    ("rows", "tops", "expected"),
    [
        ([[-0.5, 7, "a"]], [[[-0.5, 7, "a"]]], (ScoredToken("a", -0.5, (("a", -0.5),)),)),
        ([[-0.5, 7, None]], None, (ScoredToken("", -0.5),)),
        ([[-0.5, 7, "a"]], [None], (ScoredToken("a", -0.5),)),
        ([[-0.5, 7, "a"]], [5], (ScoredToken("a", -0.5),)),
        ([[-0.5]], [], ()),
        ([5], 5, ()),
    ],
)
def test_malformed_sglang_scores_are_left_out(rows, tops, expected):
    meta = {"completion_tokens": 1, "output_token_logprobs": rows, "output_top_logprobs": tops}
    data = msgspec.json.encode({"text": "a", "output_ids": [7], "meta_info": meta})
    assert SglangTokens("m", None).completion(data).tokens == expected


class Arrived:
    """A response whose body has arrived."""

    status = 200

    def __init__(self, body):
        self.headers = {}
        self.reads = [body, b""]

    async def receive(self):
        return self.reads.pop(0)

    async def aclose(self):
        pass


def _only(event):
    from interwhen.testing._server_script import data
    from interwhen.testing.server import Head, Send

    return Head(200, {"content-type": "text/event-stream"}), Send(data(event))


# ------------------------------------------------------------------------------------------ spaces before a text


class SentencePiece:
    """A tokenizer that puts a space before a text, as that of Llama 2 does."""

    async def chat_ids(self, chat):
        return tuple(ids_of("59 + 1?<think>"))

    async def text_ids(self, text, *, special):
        return tuple(ids_of(text if text.startswith("<") and special else " " + text))


@pytest.mark.anyio
async def test_no_space_is_added_where_a_text_continues():
    from interwhen.models._token_resume import KnownTags, TokenPrompts
    from tests.token_server import text_of

    pieces = (Piece("59 + 1 = ", phase="reasoning"), Piece("60", "repair", "reasoning"))
    prompt = await TokenPrompts(SentencePiece(), KnownTags()).prompt({"messages": []}, pieces)
    assert text_of(prompt.ids) == "59 + 1?<think>59 + 1 = 60"
