"""The token counts of a call are the sum of its requests, as the server counts them."""

import json

import interwhen
import openai
import pytest
from both import outcome
from interwhen import Feedback, Repair, Resample, wrap
from interwhen.clients import supervision_info
from interwhen.remedies import Abstain
from interwhen.testing.server import Send, events, reply
from tests.counting_server import Counting
from watchers import word

pytestmark = pytest.mark.anyio

APIS = ["chat", "completions", "responses"]
QUESTION = "How many words does this question have, and which of them are verbs?"
GOOD, BAD = "one\ntwo\n", "one\nBAD\nthree\nfour\n"


async def asked(api, server, clients, monitors, **options):
    client = server if isinstance(server, openai.AsyncOpenAI) else wrap(clients(openai.AsyncOpenAI, server), monitors)
    options[{"chat": "messages", "completions": "prompt", "responses": "input"}[api]] = (
        [{"role": "user", "content": QUESTION}] if api == "chat" else QUESTION
    )
    if options.get("stream") and api != "responses":
        options["stream_options"] = {"include_usage": True}
    seen, error = await outcome(client, api, **options)
    assert error is None
    usage = seen[-1].response.usage if api == "responses" and options.get("stream") else seen[-1].usage
    return seen, usage.model_dump(), supervision_info(seen[-1]).result


def names(api):
    return ("input_tokens", "output_tokens") if api == "responses" else ("prompt_tokens", "completion_tokens")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("api", APIS)
async def test_requests_that_ended_are_summed_with_their_details(api, stream, serve, clients):
    script = Counting("hosted", BAD, GOOD)
    monitors = [word(remedy=Resample(), delivery="final", slow=0.3)]  # it waits for the end of the first stream
    _, usage, result = await asked(api, serve(script), clients, monitors, stream=stream)
    assert (len(script.prompts), result.ledger.estimated_prompt_tokens) == (2, 0)
    prompt, completion = names(api)
    assert usage[prompt] == sum(script.prompts)
    assert usage[completion] == sum(script.generated)
    assert usage["total_tokens"] == sum(script.prompts) + sum(script.generated)
    assert usage[f"{prompt}_details"]["cached_tokens"] == sum(each // 2 for each in script.prompts)
    assert usage[f"{completion}_details"]["reasoning_tokens"] == 2


@pytest.mark.parametrize("api", APIS)
async def test_a_cut_requests_prompt_count_is_marked_estimated(api, serve, clients):
    script = Counting("hosted", BAD, GOOD)
    _, usage, result = await asked(api, serve(script), clients, [word(remedy=Resample())], stream=True)
    prompt, _ = names(api)
    estimated = result.ledger.estimated_prompt_tokens
    assert estimated > 0
    assert usage[prompt] == script.prompts[1] + estimated
    assert usage[f"{prompt}_details"]["estimated_tokens"] == estimated


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("remedy", [Resample(), Feedback("append")], ids=str)
@pytest.mark.parametrize(
    ("kind", "api"),  # vLLM counts a response at its end only
    [
        ("vllm", "chat"),
        ("vllm", "completions"),
        ("llamacpp", "chat"),
        ("llamacpp", "completions"),
        ("llamacpp", "responses"),
    ],
)
async def test_a_known_server_counts_prompts_of_cut_requests(kind, api, remedy, stream, serve, clients):
    script = Counting(kind, BAD, GOOD, BAD, "BAD again\n", GOOD)
    server = serve(script, pages=script.pages, owned_by=kind)
    client = wrap(clients(openai.AsyncOpenAI, server), [word(remedy=remedy)])
    await asked(api, client, clients, (), stream=stream)
    before = len(script.prompts)
    seen, usage, result = await asked(api, client, clients, (), stream=stream)
    assert len(script.prompts) == before + 3
    prompt, completion = names(api)
    assert usage[prompt] == sum(script.prompts[before:])
    assert result.ledger.estimated_prompt_tokens == 0
    assert usage[completion] <= sum(script.generated[before:])
    assert not any(hidden in chunk.model_dump_json() for chunk in seen for hidden in ("prompt_progress", '_ids":['))


async def test_a_cut_stream_counts_one_token_per_id(serve, clients):
    script = Counting("vllm", BAD, GOOD, BAD, GOOD, size=2)
    server = serve(script, pages=script.pages)
    client = wrap(clients(openai.AsyncOpenAI, server), [word(remedy=Resample())])
    await asked("completions", client, clients, (), stream=True)
    _, _, result = await asked("completions", client, clients, (), stream=True)
    assert result.ledger.discarded == len("one\nBAD\n") - len("one\n")
    assert result.ledger.kept == len("one\n") + len(GOOD)


@pytest.mark.parametrize("api", APIS)
async def test_calls_ending_at_a_cut_report_their_usage(api, serve, clients):
    script = Counting("hosted", BAD)
    _, usage, result = await asked(api, serve(script), clients, [word(remedy=Abstain())], stream=True)
    assert result.status == "abstained"
    prompt, completion = names(api)
    assert usage[completion] == result.ledger.kept + result.ledger.discarded > 0
    assert usage[prompt] == usage[f"{prompt}_details"]["estimated_tokens"] > 0


async def test_forks_are_requests_of_the_call(serve, clients):
    def script(request):
        if request.json.get("stream"):
            usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
            *steps, end = events(["one\n"], api="chat")
            return (*steps, Send(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"), end)
        choice = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}
        return reply(200, json.dumps({"choices": [choice], "usage": usage}).encode())

    def parse(answer, segment):
        yield interwhen.Claim(key=answer, span=segment.span)

    @interwhen.verifier(name="side")
    def check(claim):
        return interwhen.Pass()

    monitor = interwhen.Monitor(name="side", verifier=check, extractor=interwhen.Fork("Is that so?", parse))
    _, usage, _ = await asked("chat", serve(script), clients, [monitor])
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (10, 3, 13)


async def test_a_continuation_from_ids_asks_for_the_counts(serve, clients):
    script = Counting("vllm", BAD, GOOD)
    server = serve(script, pages=script.pages)
    _, usage, result = await asked("chat", server, clients, [word(remedy=Resample())])
    assert result.resume.mode == "tokens"
    assert script.bodies[1]["stream_options"] == {"include_usage": True}
    assert result.ledger.resumes[0].cached_tokens == script.prompts[1] // 2
    assert usage["prompt_tokens_details"]["cached_tokens"] == script.prompts[1] // 2


LONG = "one\ntwo BAD 12\nthree\nfour\nfive\nsix\nseven\n"


@pytest.mark.parametrize("most", [3, 9, 14, 25, 40])
@pytest.mark.parametrize("remedy", [Repair(), Feedback("rewind"), Feedback("append")], ids=str)
@pytest.mark.parametrize("api", APIS)
async def test_inserted_text_counts_toward_the_token_limit(api, remedy, most, serve, clients):
    script = Counting("hosted", LONG, LONG)
    monitors = [word(good="good enough", remedy=remedy)]
    limit = {"max_output_tokens" if api == "responses" else "max_tokens": most}
    for stream in (True, False):
        _, _, result = await asked(api, serve(script), clients, monitors, stream=stream, **limit)
        assert len(result.text) <= most, (result.text, script.bodies)
        assert result.finish_reason in ("length", "stop")
