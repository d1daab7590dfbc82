"""Strategies behind a call of the real `openai` package: what the reader sees, what is verified, and what it cost."""

import json

import anyio
import interwhen
import openai
import pytest
from both import KINDS, ask, read
from interwhen import Auto, Resample
from interwhen.remedies import Abstain
from interwhen.testing._server_script import counts, data
from interwhen.testing.server import Send, Sleep, events, reply, tool_call
from watchers import no_call_with, passing, word

pytestmark = pytest.mark.anyio


def told(*texts, api="chat", prompt=3, **options):
    def script(request):
        pieces = texts[min(request.number, len(texts) - 1)]
        pieces = [pieces] if isinstance(pieces, str) else pieces
        steps = events(pieces, api=api, **options)
        return (*steps[:-1], counts(prompt, len(pieces) + 1), steps[-1])

    return script


def text_of(chunks, api="chat"):
    if api == "chat":
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    return "".join(chunk.choices[0].text or "" for chunk in chunks if chunk.choices)


async def answer(
    clients, server, strategy, *, kind="async", stream=False, monitors=None, api="chat", call=None, **options
):
    monitors = [word(scope="answer")] if monitors is None else monitors
    options = {"abstention": "", **options}
    client = interwhen.wrap(clients(KINDS[kind], server), monitors=monitors, strategy=strategy, **options)
    try:
        response = await ask(client, api, stream=stream, **(call or {}))
        if stream:
            chunks = await read(response)
            return text_of(chunks, api), chunks[-1].interwhen.result, chunks
        text = response.choices[0].message.content if api == "chat" else response.choices[0].text
        return text, response.interwhen.result, response
    finally:
        if kind == "sync":
            client.close()


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("api", ["chat", "completions"])
async def test_the_reader_sees_the_sample_that_is_verified(kind, stream, api, serve, clients):
    server = serve(told("BAD\n", ["al", "so BAD\n"], ["fine", "\n"], api=api))
    text, result, response = await answer(clients, server, "until-verified", kind=kind, stream=stream, api=api)
    assert text == "fine\n"
    assert result.text == "fine\n"
    assert result.label == "answer verified"
    assert result.certificate.matches("fine\n")
    ledger = result.ledger
    assert ledger.requests == 3 == len(server.requests)
    assert (ledger.kept, ledger.discarded) == (3, 2 + 3)  # each text and the token that ends it
    assert ledger.prompt_tokens == 9
    if not stream:
        assert response.usage.prompt_tokens == 9
        assert response.usage.completion_tokens == 8


GENERATE_TEST = "examples.strategies.generate_test:GenerateTest"
REVISION = "examples.strategies.revision:Revision"
STEP_BEAM = "examples.strategies.step_beam:StepBeam"
BUDGET_FORCING = "examples.strategies.budget_forcing:BudgetForcing"
CHAT = ("greedy", "best-of-n", "until-verified", "self-consistency", "weighted-vote", GENERATE_TEST)
CHAT = (*CHAT, REVISION, "interrupt")
PARTIAL = (STEP_BEAM, "examples.strategies.dvts:TreeSearch", BUDGET_FORCING)


@pytest.mark.fault("H10", injected="all samples of a strategy are refuted", happens="corrected or abstained")
@pytest.mark.parametrize("reading", ["live", "gate", "final"])
@pytest.mark.parametrize("strategy", [*CHAT, *PARTIAL])
async def test_no_refuted_answer_is_delivered_as_normal(strategy, reading, serve, clients):
    api = "completions" if strategy in PARTIAL else "chat"

    def script(request):
        return reply(404, b"{}") if request.method == "GET" else events(["one\nBAD\n"], api=api)

    server = serve(script)
    monitors = [word(scope="answer", remedy=Auto(samples=1))]
    _, result, chunks = await answer(
        clients, server, strategy, stream=True, monitors=monitors, api=api, reading=reading, strategy_tokens=40
    )
    assert result.status == "abstained"
    assert "BAD" not in result.text
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "content_filter"


@pytest.mark.parametrize("stream", [True, False])
async def test_the_best_of_refuted_samples_is_corrected(stream, serve, clients):
    texts = told("BAD\nBAD\n", "one\nBAD\n", "BAD\nBAD\nBAD\n", "two\n", api="completions")
    server = serve(lambda request: reply(404, b"{}") if request.method == "GET" else texts(request))
    monitors = [word(scope="answer", remedy=Resample(), delivery="gate")]
    text, result, _ = await answer(
        clients, server, "best-of-n:n=3", stream=stream, monitors=monitors, api="completions"
    )
    assert text == result.text == "one\ntwo\n"
    assert result.label == "answer verified"
    ledger = result.ledger
    assert (ledger.requests, ledger.remedies, [cost.request for cost in ledger.resumes]) == (4, 1, [4])
    assert ledger.kept + ledger.discarded == 4 * 2
    assert ledger.prompt_tokens == 4 * 3


@pytest.mark.parametrize("stream", [True, False])
async def test_without_budget_for_a_correction_the_call_abstains(stream, serve, clients):
    server = serve(told("BAD\n"))
    monitors = [word(scope="answer", remedy=Auto(order=("restart",)))]
    _, result, response = await answer(
        clients, server, "best-of-n", stream=stream, monitors=monitors, strategy_samples=2
    )
    assert result.status == "abstained"
    assert (response[-1] if stream else response).choices[0].finish_reason == "content_filter"
    assert len(server.requests) == 2


@pytest.mark.parametrize("stream", [True, False])
async def test_a_gate_shows_nothing_of_what_it_refuted(stream, serve, clients):
    server = serve(told("BAD\nBAD\n", "one\nBAD\n"))
    text, result, response = await answer(
        clients, server, "best-of-n:n=2", stream=stream, monitors=[word(delivery="gate", remedy=Abstain())]
    )
    assert text == "one\n"
    assert result.status == "abstained"
    assert "BAD" not in (
        json.dumps([chunk.model_dump() for chunk in response]) if stream else response.model_dump_json()
    )
    last = response[-1] if stream else response
    assert last.choices[0].finish_reason == "content_filter"


async def test_final_reading_never_shows_a_refuted_answer(serve, clients):
    server = serve(told("BAD\n", "one\nBAD\n"))
    text, result, _ = await answer(clients, server, "best-of-n:n=2", stream=True, reading="final")
    assert text == ""
    assert result.status == "abstained"


@pytest.mark.parametrize("stream", [True, False])
async def test_votes_choose_the_most_frequent_answer(stream, serve, clients):
    server = serve(told("Answer: 7\n", "so\nAnswer: 8\n", "Answer: 8.0\n"))
    text, result, _ = await answer(clients, server, "self-consistency:n=3", stream=stream, monitors=[passing()])
    assert text == "so\nAnswer: 8\n"
    assert result.status == "verified"
    assert result.ledger.requests == 3


async def test_a_vote_needs_no_monitor(serve, clients):
    server = serve(told("a\n", "b\n", "b\n"))
    text, result, _ = await answer(clients, server, "self-consistency:n=3", monitors=[])
    assert text == "b\n"
    assert result.status == "unverified"


async def test_an_interrupted_run_streams_as_it_comes(serve, clients):
    server = serve(told("one\nBAD\n", "good\n"))
    text, result, _ = await answer(
        clients, server, "interrupt-repair", stream=True, monitors=[word(good="good", slow=0.01)]
    )
    assert text == "one\nBAD\nCorrection: good\n" or text.startswith("one\nBAD\n")
    assert result.status == "verified"
    assert result.text.startswith("one\ngood")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_run_that_abstains_is_followed_by_another(stream, serve, clients):
    server = serve(told("one\nBAD\n", "two\n"))
    text, result, chunks = await answer(
        clients, server, "interrupt", stream=stream, monitors=[word(remedy=Abstain(), slow=0.01)]
    )
    assert result.text == "two\n"
    assert result.status == "verified"
    assert text.endswith("two\n")
    assert ("BAD" in text) is stream
    if stream:
        trace = ""
        for chunk in chunks:
            info = chunk.interwhen
            if info.start is not None:
                trace = trace[: info.start] + (chunk.choices[0].delta.content or "")[info.lead :]
        assert trace == "two\n"
    assert result.ledger.requests == 2
    assert result.ledger.kept == 2


async def test_another_run_never_replaces_text_a_gate_showed(serve, clients):
    server = serve(told("one\nBAD\n", "two\n"))
    gate = word(remedy=Abstain(), delivery="gate")
    text, result, _ = await answer(clients, server, "interrupt", stream=True, monitors=[gate])
    assert (text, result.status) == ("one\n", "abstained")
    assert len(server.requests) == 1
    text, result, _ = await answer(clients, serve(told("BAD\n", "two\n")), "interrupt", stream=True, monitors=[gate])
    assert (text, result.status) == ("two\n", "verified")  # nothing was shown of the first one


async def test_a_strategy_that_gives_up_shows_no_text(serve, clients):
    server = serve(told("BAD\n"))
    monitors = [word(delivery="gate", remedy=Abstain())]
    text, result, chunks = await answer(clients, server, f"{GENERATE_TEST}:rounds=3", stream=True, monitors=monitors)
    assert text == ""
    assert result.status == "abstained"
    assert chunks[-1].choices[0].finish_reason == "content_filter"
    assert chunks[-1].id == "scripted"
    assert result.ledger.requests == len(server.requests) == 3


async def test_revision_sends_text_and_criticism_as_messages(serve, clients):
    server = serve(told("BAD\n", "good\n"))
    text, result, _ = await answer(clients, server, REVISION)
    assert (text, result.status) == ("good\n", "verified")
    first, second = (request.json["messages"] for request in server.requests)
    assert second[: len(first)] == first
    assert [message["role"] for message in second[len(first) :]] == ["assistant", "user"]
    assert "BAD is no word" in second[-1]["content"]


async def test_strategies_change_only_temperature_and_seed_of_requests(serve, clients):
    server = serve(told("BAD\n"))
    call = {"seed": 5, "temperature": 0, "max_tokens": 20, "stop": ["###"], "user": "me"}
    await answer(clients, server, "best-of-n:n=2", call=call, monitors=[word(remedy=Abstain())])
    bodies = [request.json for request in server.requests]
    assert [body["seed"] for body in bodies] == [5, 6]
    assert {body["temperature"] for body in bodies} == {0.7}
    assert {(body["max_tokens"], body["stop"][0], body["user"]) for body in bodies} == {(20, "###", "me")}
    server = serve(told("fine\n"))
    await answer(clients, server, "greedy", call={"temperature": 0.9})
    await answer(clients, server, "best-of-n:n=1", call={"temperature": 0.9})
    await answer(clients, server, "best-of-n:n=1")
    assert [request.json.get("temperature") for request in server.requests] == [0, 0.9, None]
    assert not any("seed" in request.json for request in server.requests)


@pytest.mark.parametrize("stream", [True, False])
async def test_chosen_samples_keep_log_probabilities_and_unknown_fields(stream, serve, clients):
    def script(request):
        body = {"id": f"r{request.number}", "object": "chat.completion.chunk", "created": 1, "model": "m", "own": 1}
        text = "BAD\n" if request.number == 0 else "fine\n"
        scores = {"content": [{"token": text, "logprob": -0.1, "bytes": None, "top_logprobs": []}]}
        choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "logprobs": scores}
        return (Send(data({**body, "choices": [{**choice, "finish_reason": None}]})), *events([], api="chat"))

    server = serve(script)
    text, result, response = await answer(clients, server, "until-verified", stream=stream, call={"logprobs": True})
    assert (text, result.status) == ("fine\n", "verified")
    chunk = response[0] if stream else response
    assert chunk.own == 1
    assert chunk.choices[0].logprobs.content[0].logprob == -0.1


@pytest.mark.parametrize("stream", [True, False])
async def test_tool_calls_of_the_chosen_sample_come_whole(stream, serve, clients):
    def script(request):
        what = "BAD" if request.number == 0 else "fine"
        return (*tool_call("act", json.dumps({"on": what})), *events([], api="chat", finish_reason="tool_calls"))

    server = serve(script)
    tools = [{"type": "function", "function": {"name": "act", "parameters": {"type": "object", "required": ["on"]}}}]
    _, result, response = await answer(
        clients, server, "best-of-n:n=2", stream=stream, monitors=[no_call_with()], call={"tools": tools}
    )
    said = json.dumps([chunk.model_dump() for chunk in response]) if stream else response.model_dump_json()
    assert "fine" in said
    assert "BAD" not in said
    assert result.status == "verified"


@pytest.mark.parametrize("bad", ['{"on": "BAD"}', '{"on": ', '{"off": 1}'])
async def test_no_strategy_shows_a_refused_tool_call(bad, serve, clients):
    server = serve((*tool_call("act", bad), *events([], api="chat", finish_reason="tool_calls")))
    tools = [{"type": "function", "function": {"name": "act", "parameters": {"type": "object", "required": ["on"]}}}]
    for delivery in ("gate_tools", "interrupt"):
        for strategy in ("best-of-n:n=2", "self-consistency:n=2", "greedy"):
            _, result, chunks = await answer(
                clients,
                server,
                strategy,
                stream=True,
                monitors=[no_call_with(delivery=delivery)],
                call={"tools": tools},
            )
            assert not any(choice.delta.tool_calls for chunk in chunks for choice in chunk.choices)
            assert result.status == "abstained"
            assert chunks[-1].choices[0].finish_reason == "content_filter"


# What cannot be done is refused before it costs much, and says what to do.


@pytest.mark.parametrize(
    ("strategy", "call", "api", "why"),
    [
        ("best-of-n:n=2", {"n": 2}, "chat", "n must be 1"),
        ("best-of-n:n=2", {}, "responses", "got /responses"),
        (STEP_BEAM, {}, "chat", "continues a partial text"),
        ("best-of-n", {"interwhen": {"monitors": []}}, "chat", "choose self-consistency"),
        ("until-verified", {"interwhen": {"monitors": [word()]}}, "chat", "verify only steps"),
    ],
)
async def test_what_a_strategy_cannot_do_is_refused(strategy, call, api, why, serve, clients):
    server = serve(told("fine\n"))
    with pytest.raises(interwhen.UsageError, match=why):
        await answer(clients, server, strategy, api=api, call=call)
    assert not [request for request in server.requests if request.method == "POST"]


async def test_messages_with_pictures_are_kept_as_they_are(serve, clients):
    server = serve(told("BAD\n", "good\n"))
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    await answer(clients, server, REVISION, call={"messages": messages})
    assert server.requests[1].json["messages"][:1] == messages


@pytest.mark.parametrize(
    "option", [{"strategy": "no-such"}, {"strategy": "best-of-n:n=0"}, {"strategy": "best-of-n:n=65"}]
)
async def test_wrapping_a_client_with_an_invalid_strategy_raises(option, clients, serve):
    with pytest.raises(interwhen.registry.PluginError, match=r"no-such|fit"):
        interwhen.wrap(clients(openai.AsyncOpenAI, serve(told("x"))), monitors=[], **option)


async def test_one_call_may_choose_another_strategy_or_none(serve, clients):
    server = serve(told("BAD\n"))
    monitors = [word(remedy=Abstain())]
    client = interwhen.wrap(clients(openai.AsyncOpenAI, server), monitors=monitors, strategy="best-of-n:n=3")
    for override, requests in ((None, 3), ({"strategy": "best-of-n:n=2"}, 2), ({"strategy": None, "monitors": []}, 1)):
        server.requests.clear()
        await ask(client, interwhen=override)
        assert len(server.requests) == requests


# Faults of the server.


async def test_a_refused_first_request_raises_the_server_error(serve, clients):
    server = serve(reply(404, b'{"error": {"message": "no such model", "code": "model_not_found"}}'))
    for stream in (True, False):
        with pytest.raises(openai.NotFoundError, match="no such model"):
            await answer(clients, server, "best-of-n:n=3", stream=stream)


async def test_a_failed_later_sample_keeps_the_earlier_samples(serve, clients):
    def script(request):
        if request.number == 2:
            return reply(429, b'{"error": {"message": "slow down"}}', {"retry-after": "9"})
        return told("BAD\nBAD\n", "one\nBAD\n")(request)

    server = serve(script)
    monitors = [word(delivery="gate", remedy=Abstain())]
    text, result, _ = await answer(clients, server, "best-of-n:n=4", stream=True, monitors=monitors)
    assert (text, result.status) == ("one\n", "abstained")
    assert len(server.requests) == 3


async def test_a_silent_server_ends_the_call_in_time(serve, clients):
    import interwhen.clients._upstream as upstream
    from interwhen.models import Timeouts

    server = serve((Send(data({"choices": [{"index": 0, "delta": {"content": "x"}}]})), Sleep(60)))
    bare = clients(openai.AsyncOpenAI, server)
    from interwhen.clients._calls import make_settings
    from interwhen.clients._openai_client import wrapped

    endpoint = upstream.ModelEndpoint(Timeouts(inter_token=0.1))
    client = wrapped(bare, make_settings([word()], {"strategy": "best-of-n:n=2"}), lambda url, model: endpoint)
    with pytest.raises(openai.APITimeoutError):
        await ask(client)


async def test_the_time_budget_ends_the_strategy(serve, clients):
    server = serve((*events(["BAD\n"], api="chat")[:-1], Sleep(0.2), *events([], api="chat")))
    text, result, _ = await answer(clients, server, "best-of-n", budgets={"seconds": 0.3}, stream=True)
    assert (text, result.status) == ("", "abstained")
    assert "time budget" in result.reason


@pytest.mark.parametrize("strategy", ["best-of-n", "interrupt"])
async def test_a_caller_who_leaves_ends_every_request(strategy, serve, clients):
    server = serve((*events(["one\n"], api="chat")[:-2], Sleep(60)))
    client = interwhen.wrap(clients(openai.AsyncOpenAI, server), monitors=[word()], strategy=strategy)
    with anyio.move_on_after(0.3) as scope:
        async for _ in await ask(client, stream=True):
            pass
    assert scope.cancelled_caught
    with anyio.fail_after(60):
        while server.open_connections:
            await anyio.sleep(0.01)


# What it costs.


async def test_the_tokens_of_all_samples_are_limited(serve, clients):
    server = serve(told(["fine ", "and ", "on\n"]))
    _, result, _ = await answer(clients, server, "best-of-n", strategy_tokens=10)
    assert result.ledger.requests == 3  # a fourth one would not fit
    server = serve(told(["fine\n", "and\n", "on\n", "and\n", "on\n"]))
    _, result, _ = await answer(clients, server, "best-of-n", strategy_tokens=3)
    assert result.text == "fine\nand\non\n"
    assert result.finish_reason == "length"
    assert result.status == "unverified"


async def test_requests_are_limited_even_without_any_tokens(serve, clients):
    server = serve(told([]))
    await answer(clients, server, "best-of-n:n=64")
    assert len(server.requests) == 8
    server = serve(told([]))
    await answer(clients, server, "best-of-n:n=64", strategy_samples=5)
    assert len(server.requests) == 5


async def test_an_equal_fork_is_paid_for_once(serve, clients):
    from interwhen import Claim, Fork, Monitor, Pass

    @interwhen.verifier(name="agrees", worker="inline")
    def agrees(claim):
        return Pass()

    asking = Monitor(
        name="asking",
        verifier=agrees,
        extractor=Fork("Right?", lambda reply, segment: [Claim(key=reply, span=segment.span)]),
    )

    def script(request):
        if request.json.get("stream"):
            return told("one\n")(request)
        choice = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 2}
        return reply(200, json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}).encode())

    server = serve(script)
    _, result, _ = await answer(clients, server, "best-of-n:n=1", stream=True, monitors=[asking])
    assert result.ledger.forks == 1
    assert (result.ledger.fork_tokens, result.ledger.fork_prompt_tokens) == (2, 5)
    assert result.status == "verified"


# Strategies that put a text together.


@pytest.mark.parametrize("stream", [True, False])
async def test_a_search_over_steps_continues_partial_texts(stream, serve, clients):
    def script(request):
        if request.method == "GET":
            return reply(404, b"{}")
        prompt = request.json["prompt"]
        line = {"q": ("one\n", "BAD\n")[request.number % 2], "qone\n": "two\n"}.get(prompt, "")
        return events([line, "x"] if line else [], api="completions")

    text, result, _ = await answer(clients, serve(script), STEP_BEAM, stream=stream, api="completions")
    assert text == result.text
    assert text.startswith("one\ntwo\n")
    assert "BAD" not in text
    assert result.status == "verified"
    assert result.ledger.kept + result.ledger.discarded > result.ledger.kept > 0


async def test_words_inserted_by_a_strategy_are_marked(serve, clients):
    def script(request):
        if request.method == "GET":
            return reply(404, b"{}")
        return events(["thus 1\n"] if request.number else ["so\n"], api="completions")

    text, result, _ = await answer(clients, serve(script), f"{BUDGET_FORCING}:waits=1", stream=True, api="completions")
    assert text == result.text == "so\nWait,thus 1\n" or "Wait," in text
    (inserted,) = result.insertions
    assert result.text[inserted.span.start : inserted.span.end] == "\nWait,"
    assert result.ledger.inserted_chars == 6
    assert result.resume is not None
    assert result.resume.mode == "prefix"  # of the sample, although the replayed answer continues nothing


async def test_results_report_the_resume_mode_of_earlier_runs(serve, clients):
    def script(request):
        if request.method == "GET":
            return reply(404, b"{}")
        texts = {0: ["one\nBAD\n"], 1: ["BAD\n"]}
        return events(texts.get(request.number, ["two\n"]), api="completions")

    monitors = [word(remedy=interwhen.Resample(), slow=0.01)]
    _, result, _ = await answer(
        clients, serve(script), "interrupt", monitors=monitors, api="completions", budgets=interwhen.Budgets(remedies=1)
    )
    assert (result.text, result.ledger.requests) == ("two\n", 3)
    assert result.resume is not None
    assert result.resume.mode == "prefix"


@pytest.mark.parametrize("strategy", [STEP_BEAM, "best-of-n:n=2"])
@pytest.mark.parametrize("hidden", [0, 9])
async def test_steps_of_hidden_reasoning_are_not_verified(strategy, hidden, serve, clients):
    def script(request):
        if request.method == "GET":
            return reply(404, b"{}")
        steps = events(["one\n"] if request.json["prompt"] == "q" else [], api="completions")
        usage = {"prompt_tokens": 3, "completion_tokens": 12, "completion_tokens_details": {"reasoning_tokens": hidden}}
        body = {
            "id": "scripted",
            "object": "text_completion",
            "created": 0,
            "model": "m",
            "choices": [],
            "usage": usage,
        }
        return (*steps[:-1], Send(data(body)), steps[-1])

    text, result, _ = await answer(
        clients, serve(script), strategy, stream=True, api="completions", monitors=[passing()]
    )
    assert text == "one\n"
    assert result.status == ("unverified" if hidden else "verified")
    assert bool(result.ledger.reasoning_tokens) is bool(hidden)


async def test_a_custom_strategy_works_like_a_shipped_one(serve, clients, tmp_path, monkeypatch):
    (tmp_path / "own_strategies.py").write_text(
        """
from interwhen.strategies import Solution


class Twice:
    name = "twice"
    meets_model = False

    async def solve(self, question, context):
        for number in range(2):
            trace = await context.write(question, context.sampled(number))
            judged = await context.judge(question, trace)
            if judged.verified:
                break
        return Solution(trace=trace, result=judged.result)
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    server = serve(told("BAD\n", "fine\n"))
    text, result, _ = await answer(clients, server, "own_strategies:Twice", stream=True)
    assert (text, result.status, result.ledger.requests) == ("fine\n", "verified", 2)
