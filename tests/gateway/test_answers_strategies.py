"""Strategies behind the URL: chosen by the operator or the client, with their cost in headers and usage."""

import json
import socket
import time
from importlib.util import find_spec

import httpx2
import openai
import pytest
from helpers import ASK, post, refused, sse
from interwhen.gateway import _answers
from interwhen.remedies import Abstain
from interwhen.testing._server_script import counts
from interwhen.testing.server import Sleep, events, reply
from watchers import passing, word


def told(*texts, prompt=3):
    def script(request):
        steps = events([texts[min(request.number, len(texts) - 1)]], api="chat")
        return (*steps[:-1], counts(prompt, 2), steps[-1])

    return script


def content(answer):
    return answer.json()["choices"][0]["message"]["content"]


WAYS = {
    "model": ({"model": "until-verified@m"}, {}),
    "model with options": ({"model": "until-verified:n=5@m#word"}, {}),
    "header": ({}, {"x-interwhen-strategy": "until-verified"}),
    "field": ({"interwhen": {"strategy": "until-verified"}}, {}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("streamed", [True, False])
def test_a_request_names_its_strategy(way, streamed, upstream, gateway):
    server = upstream(told("BAD\n", "BAD\n", "fine\n"))
    offered = ["until-verified", "until-verified:n=5"]
    running = gateway(server, watchers=[word(scope="answer")], strategies=offered)
    fields, headers = WAYS[way]
    answer = post(running, {**ASK, **fields, "stream": streamed}, headers=headers)
    assert answer.headers["x-interwhen-strategy"].partition(":")[0] == "until-verified"
    assert answer.headers["x-interwhen-monitors"] == "word"
    if streamed:
        chunks = sse(answer.text)
        assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks[:-1]) == "fine\n"
        result = chunks[-2]["interwhen"]["result"]
    else:
        assert content(answer) == "fine\n"
        result = answer.json()["interwhen"]["result"]
        assert answer.headers["x-interwhen-status"] == "answer verified"
        assert answer.headers["x-interwhen-ledger"] == (
            "kept=2, discarded=4, fork-tokens=0, prompt-tokens=9, fork-prompt-tokens=0, cached-tokens=0, requests=3, "
            "forks=0, remedies=0"
        )
        usage = answer.json()["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (9, 6, 15)
    assert (result["type"], result["ledger"]["requests"]) == ("verified", 3)
    assert {request.json["model"] for request in server.requests if request.method == "POST"} == {"m"}
    assert not any("interwhen" in name for request in server.requests for name in request.headers)


def test_operator_strategy_is_default_and_request_overrides(upstream, gateway):
    server = upstream(told("BAD\n", "fine\n"))
    running = gateway(server, watchers=[word(scope="answer")], strategy="until-verified")
    assert content(post(running, ASK)) == "fine\n"
    server.requests.clear()
    for body, headers in (({}, {"x-interwhen-strategy": "none"}), ({"model": "none@m"}, {})):
        answer = post(running, {**ASK, **body}, headers=headers)
        assert "x-interwhen-strategy" not in answer.headers
    server.requests.clear()
    post(running, {**ASK, "interwhen": False})
    assert len(server.requests) == 1


def test_a_rule_chooses_the_strategy_of_its_models(upstream, gateway):
    server = upstream(told("fine\n"))
    rules = [{"match": "q*", "strategy": "best-of-n:n=2"}]
    running = gateway(server, watchers=[passing()], models=rules)
    assert post(running, {**ASK, "model": "qwen"}).headers["x-interwhen-strategy"] == "best-of-n:n=2"
    assert "x-interwhen-strategy" not in post(running, ASK).headers


def test_a_strategy_needs_no_monitor(upstream, gateway):
    running = gateway(upstream(told("a\n", "b\n", "b\n")), strategies=["self-consistency:n=3"])
    answer = post(running, {**ASK, "model": "self-consistency:n=3@m"})
    assert content(answer) == "b\n"
    assert answer.headers["x-interwhen-status"] == "unverified"
    assert answer.headers["x-interwhen-monitors"] == "none"


def test_names_of_models_with_the_same_sign_pass(upstream, gateway):
    server = upstream(told("fine\n"))
    running = gateway(server, watchers=[passing()])
    for model in ("claude@20240229", "@cf/meta/llama", "a@b@c", "os:system@m", "greedy@"):
        server.requests.clear()
        assert post(running, {**ASK, "model": model}).status_code == 200
        assert server.requests[0].json["model"] == model


@pytest.mark.parametrize(
    "asked",
    [
        "nothing",
        "best-of-n:n=0",
        "best-of-n:n=65",
        "best-of-n:m=2",
        "os:getcwd",
        "examples.strategies:x",
        "greedy:",
        ":",
    ],
)
def test_an_unknown_strategy_is_refused_and_imports_nothing(asked, upstream, gateway):
    server = upstream(told("fine\n"))
    running = gateway(server, watchers=[passing()], strategies=["best-of-n"])
    error = refused(post(running, ASK, headers={"x-interwhen-strategy": asked}), 400, "unknown_strategy")
    assert error["param"] == "strategy"
    refused(post(running, {**ASK, "interwhen": {"strategy": [7]}}), 400, "unknown_strategy")
    assert not server.requests


MISSPELT = ["best-of-nn:n=4", "bestofn", "greedi", "untill-verified", "best-of-n:n=4", "interrupt"]


@pytest.mark.fault("H10", injected="a client asks for samples that are not offered", happens="400")
@pytest.mark.parametrize("asked", MISSPELT)
def test_a_strategy_is_off_unless_it_is_offered(asked, upstream, gateway):
    server = upstream(told("fine\n"))
    running = gateway(server, watchers=[passing()])
    refused(post(running, {**ASK, "model": f"{asked}@tiny#"}), 400, "unknown_strategy")
    refused(post(running, ASK, headers={"x-interwhen-strategy": asked}), 400, "unknown_strategy")
    assert not [request for request in server.requests if request.method == "POST"]


@pytest.mark.parametrize("asked", MISSPELT)
def test_listed_model_is_not_read_as_strategy(asked, upstream, gateway):
    models = json.dumps({"object": "list", "data": [{"id": "m"}, {"id": f"{asked}@tiny"}]}).encode()
    server = upstream(told("fine\n"), pages=lambda _: reply(200, models))
    running = gateway(server, watchers=[passing()])
    answer = post(running, {**ASK, "model": f"{asked}@tiny"})
    assert answer.status_code == 200
    assert "x-interwhen-strategy" not in answer.headers
    assert server.requests[-1].json["model"] == f"{asked}@tiny"
    refused(post(running, {**ASK, "model": f"{asked}@m"}), 400, "unknown_strategy")


@pytest.mark.parametrize("offered", [(), ("best-of-n:n=2", "none")])
def test_locked_gateway_allows_only_offered_strategies(offered, upstream, gateway):
    server = upstream(told("fine\n"))
    running = gateway(
        server, watchers=[passing(scope="answer")], locked=True, strategy="until-verified", strategies=offered
    )
    for asked in ("best-of-n:n=3", "best-of-n", "greedy", *(() if offered else ("best-of-n:n=2", "none"))):
        refused(post(running, ASK, headers={"x-interwhen-strategy": asked}), 403, "locked")
        refused(post(running, {**ASK, "model": f"{asked}@m"}), 403, "locked")
    for asked in ("until-verified", *offered):
        assert post(running, ASK, headers={"x-interwhen-strategy": asked}).status_code == 200


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"model": "best-of-n@m", "n": 3}, "n must be 1"),
        ({"model": "examples.strategies.step_beam:StepBeam@m"}, "continues a partial text"),
    ],
)
def test_unsupported_strategy_request_is_a_400(fields, why, upstream, gateway):
    server = upstream(told("fine\n"))
    for streamed in (True, False):
        offered = [fields["model"].removesuffix("@m")]
        running = gateway(server, watchers=[passing()], strategies=offered)
        answer = post(running, {**ASK, **fields, "stream": streamed})
        assert why in refused(answer, 400, "invalid_request")["message"]
    assert not [request for request in server.requests if request.method == "POST"]


def test_responses_api_refusal_suggests_chat_completions(upstream, gateway):
    running = gateway(upstream(told("fine\n")), watchers=[passing()], strategies=["best-of-n"])
    answer = post(running, {"model": "best-of-n@m", "input": "q"}, path="responses")
    assert "/chat/completions" in refused(answer, 400, "invalid_request")["message"]


@pytest.mark.parametrize("streamed", [True, False])
def test_upstream_refusal_is_passed_through(streamed, upstream, gateway):
    server = upstream(reply(429, b'{"error": {"message": "slow down", "code": "rate"}}', {"retry-after": "7"}))
    running = gateway(server, watchers=[passing()], strategies=["best-of-n"])
    answer = post(running, {**ASK, "model": "best-of-n@m", "stream": streamed})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json()["error"]["code"] == "rate"
    assert len([request for request in server.requests if request.method == "POST"]) == 1


def test_broken_upstream_ends_strategy_stream_with_error(upstream, gateway):
    running = gateway(
        upstream((*events(["one\n"], api="chat")[:-2], Sleep(30))),
        watchers=[passing()],
        patience={"inter_token": 0.2},
        strategies=["best-of-n"],
    )
    chunks = sse(post(running, {**ASK, "model": "best-of-n@m", "stream": True}).text)
    assert chunks[-1]["error"]["code"] == "upstream_timeout"
    assert running.metric('interwhen_calls_total{api="chat",outcome="failed"}') == 1


def test_comments_keep_connection_alive_during_strategy(upstream, gateway, monkeypatch):
    monkeypatch.setattr(_answers, "BEAT_SECONDS", 0.05)
    steps = events(["fine\n"], api="chat")
    running = gateway(
        upstream((*steps[:-1], Sleep(0.3), steps[-1])), watchers=[passing()], strategies=["best-of-n:n=2"]
    )
    text = post(running, {**ASK, "model": "best-of-n:n=2@m", "stream": True}).text
    assert text.startswith(": a strategy is choosing\n\n")
    client = openai.OpenAI(base_url=running.base_url, api_key="key", max_retries=0)
    chunks = list(client.chat.completions.create(model="best-of-n:n=2@m", messages=ASK["messages"], stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "fine\n"
    client.close()


def test_client_disconnect_ends_strategy_samples(upstream, gateway):
    server = upstream((*events(["one\n"], api="chat")[:-2], Sleep(60)))
    running = gateway(server, watchers=[passing()], strategies=["best-of-n", "interrupt"])
    for model in ("best-of-n@m", "interrupt@m"):
        client = socket.create_connection(("127.0.0.1", int(running.root.rpartition(":")[2])))
        body = json.dumps({**ASK, "model": model, "stream": True}).encode()
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )
        until = time.monotonic() + 60
        while not server.open_connections:
            assert time.monotonic() < until
            time.sleep(0.005)
        client.close()
        running.idle()
        while server.open_connections:
            assert time.monotonic() < until
            time.sleep(0.005)
    assert running.metric('interwhen_calls_total{api="chat",outcome="left"}') == 2


def test_strategy_call_samples_sequentially_in_one_slot(upstream, gateway):
    most = running_now = 0

    def script(request):
        nonlocal most, running_now
        running_now += 1
        most = max(most, running_now)
        steps = events(["BAD\n"], api="chat")
        yield from steps[:-1]
        yield Sleep(0.02)
        running_now -= 1
        yield steps[-1]

    server = upstream(script)
    running = gateway(
        server,
        watchers=[word(scope="answer", remedy=Abstain())],
        limits={"concurrent": 1},
        strategies=["best-of-n:n=4"],
    )
    post(running, {**ASK, "model": "best-of-n:n=4@m"})
    assert most == 1


def test_operator_limits_bound_a_strategy(upstream, gateway):
    server = upstream(told("BAD\n"))
    running = gateway(
        server, watchers=[word(scope="answer", remedy=Abstain())], strategy_samples=3, strategies=["best-of-n"]
    )
    post(running, {**ASK, "model": "best-of-n@m"})
    assert len(server.requests) == 3
    server.requests.clear()
    running = gateway(
        server, watchers=[word(scope="answer", remedy=Abstain())], strategy_tokens=2, strategies=["best-of-n"]
    )
    post(running, {**ASK, "model": "best-of-n@m"})
    assert len(server.requests) == 2


@pytest.mark.parametrize("strategy", ["best-of-n:n=2", "interrupt", "greedy", "self-consistency:n=2"])
def test_gated_text_is_never_shown_by_strategy(strategy, upstream, gateway):
    running = gateway(
        upstream(told("one\nBAD\n")), watchers=[word(remedy=Abstain(), delivery="gate")], strategies=[strategy]
    )
    for streamed in (True, False):
        answer = post(running, {**ASK, "model": f"{strategy}@m", "stream": streamed})
        said = sse(answer.text)[-2] if streamed else answer.json()
        assert said["choices"][0]["finish_reason"] == "content_filter"
        shown = (
            [chunk["choices"][0]["delta"].get("content") or "" for chunk in sse(answer.text)[:-1]]
            if streamed
            else [content(answer) or ""]
        )
        assert "BAD" not in "".join(shown)


def test_switched_off_strategy_sends_one_request(upstream, gateway):
    server = upstream(told("BAD\n", "fine\n"))
    running = gateway(server, watchers=[word(scope="answer")], off=True, strategy="until-verified")
    answer = post(running, {**ASK, "model": "until-verified@m", "stream": True})
    assert sse(answer.text)[0]["choices"][0]["delta"]["content"] == "BAD\n"
    assert answer.headers["x-interwhen-supervision"] == "off"
    assert server.requests[0].json["model"] == "m"
    assert len(server.requests) == 1


def test_the_kill_switch_ends_the_sampling(portal, upstream, gateway):
    def script(request):
        if request.number == 1:
            running.gateway.switch(off=True)
        steps = events(["BAD\n"], api="chat")
        return (*steps[:-1], Sleep(0.2), steps[-1])

    server = upstream(script)
    running = gateway(server, watchers=[word(scope="answer")], strategies=["best-of-n"])
    try:
        answer = post(running, {**ASK, "model": "best-of-n@m"})
    finally:
        portal.call(lambda: running.gateway.switch(off=False))
    assert len(server.requests) == 2
    assert content(answer) == "BAD\n"
    assert (answer.headers["x-interwhen-supervision"], answer.headers["x-interwhen-status"]) == ("off", "unverified")


def test_an_operator_s_wrong_strategy_stops_the_start(upstream, gateway):
    from interwhen.registry import PluginError

    with pytest.raises(PluginError, match="no-such"):
        gateway("http://127.0.0.1:1/v1", strategy="no-such")
    with pytest.raises(PluginError, match="no-such"):
        gateway("http://127.0.0.1:1/v1", models=[{"match": "*", "strategy": "no-such"}])


def test_single_sample_strategy_preserves_upstream_bytes(upstream, gateway):
    server = upstream(told("fine\n"))
    running = gateway(server, watchers=[word(scope="answer")], detail="off", strategies=["until-verified"])
    body = {**ASK, "stream": True, "stream_options": {"include_usage": True}}
    direct = httpx2.post(f"{server.base_url}/chat/completions", json=body).text
    assert post(running, {**body, "model": "until-verified@m"}).text == direct


# A real model: the ledger that a client gets is compared with the counts that the server sends.


class Wiretap:
    """Passes requests on to *inner*, and keeps the bytes of each answer."""

    def __init__(self, inner):
        self._inner = inner
        self.answers = []

    async def send(self, request, *, connect_timeout):
        response = await self._inner.send(request, connect_timeout=connect_timeout)
        self.answers.append(bytearray())
        return Tapped(response, self.answers[-1])

    async def aclose(self):
        await self._inner.aclose()

    def usages(self):
        bodies = [
            json.loads(line.removeprefix(b"data: "))
            for answer in self.answers
            for line in bytes(answer).splitlines()
            if line.startswith(b"data: {")
        ]
        return [body["usage"] for body in bodies if body.get("usage")]


class Tapped:
    def __init__(self, inner, answer):
        self._inner, self._answer = inner, answer

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def receive(self):
        data = await self._inner.receive()
        self._answer += data
        return data


@pytest.fixture
def tiny(portal):
    from tests.local.llamacpp import llama_server

    with portal.wrap_async_context_manager(llama_server()) as server:
        yield server


@pytest.mark.slow
@pytest.mark.skipif(find_spec("xllamacpp") is None, reason="not installed: xllamacpp (extra 'local')")
@pytest.mark.parametrize(
    "strategy", ["greedy", "best-of-n:n=4", "until-verified:n=8", "self-consistency:n=4", "interrupt"]
)
def test_real_model_answers_by_strategy_through_sdk(strategy, tiny, gateway):
    from examples.tiny_monitors.monitors import monitors_for
    from tests.measurements.tiny_tasks import totals

    (exercise,) = totals(count=1, seed=11)
    (asked,) = exercise.question.prompt
    monitors = monitors_for("totals", asked.content, delivery="interrupt")
    running = gateway(f"{tiny.url}/v1", watchers=monitors, strategies=[strategy])
    (server,) = running.gateway.upstreams
    server._transport = tap = Wiretap(server._transport)
    messages = [{"role": "user", "content": asked.content}]
    ask = {"model": f"{strategy}@m", "messages": messages, "max_tokens": 200, "seed": 4, "temperature": 0.8}
    with openai.OpenAI(base_url=running.base_url, api_key=tiny.api_key, max_retries=0, timeout=100) as client:
        whole = client.chat.completions.create(**ask)
        counted = tap.usages()
        result = whole.interwhen["result"]
        ledger = result["ledger"]
        assert result["type"] in ("verified", "unverified", "abstained")
        assert whole.choices[0].message.content or result["type"] == "abstained"
        if not result["violations"]:
            assert ledger["requests"] == len(counted)
            assert ledger["prompt_tokens"] == sum(usage["prompt_tokens"] for usage in counted)
            assert ledger["kept"] + ledger["discarded"] == sum(usage["completion_tokens"] for usage in counted)
            assert whole.usage.completion_tokens == ledger["kept"] + ledger["discarded"]
            assert whole.usage.prompt_tokens == ledger["prompt_tokens"]
            assert ledger["requests"] == 4 or not strategy.startswith("best-of-n")
        chunks = list(client.chat.completions.create(**ask, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text or chunks[-1].interwhen["result"]["type"] == "abstained"
