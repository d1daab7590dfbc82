"""Calls through a gateway, by the openai SDK and by hand: what comes out, whole and streamed."""

import json

import httpx2
import msgspec
import openai
import pytest
from helpers import ASK, corrected, post, sse
from interwhen.clients import SupervisionInfo
from interwhen.testing._server_script import counts, delta
from interwhen.testing.server import events, reply, tool_call
from structlog.testing import capture_logs
from watchers import no_call_with, passing, word

pytestmark = pytest.mark.anyio


async def test_sound_stream_equals_the_upstream_stream(upstream, gateway):
    server = upstream((*events(["one\n", "two"], api="chat")[:-1], counts(3, 2), events([], api="chat")[-1]))
    chunks = sse(post(gateway(server, watchers=[passing()], detail="off"), {**ASK, "stream": True}).text)
    direct = sse(httpx2.post(f"{server.base_url}/chat/completions", json={**ASK, "stream": True}).text)
    # Token counts were asked for by us, and not by the client.
    assert chunks == [chunk for chunk in direct if chunk == "[DONE]" or chunk["choices"]]


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("streamed", [True, False])
async def test_the_sdk_reads_a_corrected_answer(kind, streamed, upstream, gateway):
    from both import KINDS, ask, read

    running = gateway(upstream(corrected), watchers=[word(good="good", delivery="gate")])
    client = KINDS[kind](base_url=running.base_url, api_key="key", max_retries=0)
    answer = await ask(client, stream=streamed)
    if streamed:
        chunks = await read(answer)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        told, reason = chunks[-1].interwhen, chunks[-1].choices[0].finish_reason
        told_all = [getattr(chunk, "interwhen", {}) for chunk in chunks]
        assert [e["type"] for each in told_all for e in each.get("events", ())] == ["violation_found", "remedied"]
    else:
        text, told, reason = answer.choices[0].message.content, answer.interwhen, answer.choices[0].finish_reason
    assert text == "one\ngood\ntwo\n"
    assert reason == "stop"
    assert told["result"]["type"] == "verified"
    assert told["result"]["resume"]["mode"] == "turn"
    if isinstance(client, openai.OpenAI):
        client.close()
    else:
        await client.close()


def test_live_stream_reports_retraction_as_typed_event(upstream, gateway):
    # The check ends after the stream, also on a busy machine.
    running = gateway(upstream(corrected), watchers=[word(good="good", slow=1.0)])
    chunks = sse(post(running, {**ASK, "stream": True}).text)
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks[:-1])
    assert text == "one\nBAD\ntwo\nCorrection: good\ntwo\n"
    assert "violation" not in text
    assert "{" not in text
    types = [event["type"] for chunk in chunks[:-1] for event in chunk.get("interwhen", {}).get("events", ())]
    assert "violation_found" in types
    assert "retracted" in types


def test_client_can_rebuild_final_text_from_events(upstream, gateway):
    running = gateway(upstream(corrected), watchers=[word(good="good")], detail="full")
    chunks = sse(post(running, {**ASK, "stream": True}).text)[:-1]
    trace = ""
    for chunk in chunks:
        info = msgspec.convert(chunk["interwhen"], SupervisionInfo)
        if info.start is not None:
            trace = trace[: info.start] + (chunk["choices"][0]["delta"].get("content") or "")[info.lead :]
    assert trace == info.result.text
    assert info.result.certificate.matches(trace)
    assert "BAD" not in trace


@pytest.mark.fault(
    "S14",
    injected="a monitor blocks the answer",
    happens="200 with content_filter, counted as abstained, not as failed",
)
def test_abstention_is_content_filter_and_no_failure(upstream, gateway):
    from interwhen.remedies import Abstain

    running = gateway(upstream(events(["BAD\n"], api="chat")), watchers=[word(remedy=Abstain(), delivery="gate")])
    whole = post(running, ASK)
    assert whole.status_code == 200
    assert whole.headers["x-interwhen-status"] == "abstained"
    assert whole.json()["choices"][0]["finish_reason"] == "content_filter"
    chunks = sse(post(running, {**ASK, "stream": True}).text)
    assert chunks[-1] == "[DONE]"
    assert chunks[-2]["choices"][0]["finish_reason"] == "content_filter"
    assert "error" not in json.dumps(chunks)
    assert running.metric('interwhen_calls_total{api="chat",outcome="abstained"}') == 2
    assert running.metric('interwhen_calls_total{api="chat",outcome="failed"}') == 0


@pytest.mark.parametrize("words", [None, "", "Sorry."])
def test_abstained_stream_ends_with_notice_once(words, upstream, gateway):
    from interwhen import Resample

    lines = ["one\n", "BAD\n"]
    server = upstream(lambda request: events(lines if request.number == 0 else lines[1:], api="chat"))
    config = {} if words is None else {"abstention": words}
    watchers = [word(remedy=Resample(), slow=0.2)]  # the check ends after the stream
    chunks = sse(post(gateway(server, watchers=watchers, **config), {**ASK, "stream": True}).text)
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks[:-1])
    said = "This answer was stopped, because a part of it could not be verified." if words is None else words
    assert text == f"one\nBAD\n{said}"
    assert chunks[-2]["choices"][0]["finish_reason"] == "content_filter"


def test_unread_refusal_text_is_unverified(upstream, gateway):
    steps = (delta({"content": "ok\n"}), delta({"refusal": "BAD\n"}), *events([], api="chat"))
    running = gateway(upstream(steps), watchers=[passing()])
    whole = post(running, ASK)
    assert whole.json()["choices"][0]["message"]["refusal"] == "BAD\n"
    assert whole.headers["x-interwhen-status"] == whole.json()["interwhen"]["result"]["type"] == "unverified"
    *_, last, _ = sse(post(running, {**ASK, "stream": True}).text)
    assert last["interwhen"]["result"]["type"] == "unverified"
    assert running.metric('interwhen_calls_total{api="chat",outcome="unverified"}') == 2


@pytest.mark.fault("S15", injected="a tool call is refused", happens="no piece of it reaches the client")
def test_a_refused_tool_call_never_reaches_the_client(upstream, gateway):
    def script(request):
        what = "BAD" if request.number == 0 else "fine"
        return (*tool_call("act", json.dumps({"on": what})), *events([], api="chat", finish_reason="tool_calls"))

    tools = [{"type": "function", "function": {"name": "act", "parameters": {"type": "object", "required": ["on"]}}}]
    server = upstream(script)
    running = gateway(server, watchers=[no_call_with()])
    for streamed in (True, False):
        server.requests.clear()
        answer = post(running, {**ASK, "tools": tools, "stream": streamed})
        assert "fine" in answer.text
        assert "BAD" not in answer.text.replace(r"BAD must not be touched", "").split('"interwhen"')[0]
        assert server.posts[0].json["tools"] == tools
        assert len(server.posts) == 2


def test_reasoning_is_watched_and_passed_on(upstream, gateway):
    steps = (delta({"reasoning_content": "so\nBAD\n"}), delta({"content": "yes"}), *events([], api="chat"))
    running = gateway(upstream(steps), watchers=[word(delivery="observe")])
    answer = post(running, ASK).json()
    assert answer["choices"][0]["message"]["reasoning_content"] == "so\nBAD\n"
    assert answer["interwhen"]["events"][0]["violation"]["quote"] == "BAD"


def test_completions_are_repaired_in_place(upstream, gateway):
    def script(request):
        return events(["x\n", "BAD\n"] if request.number == 0 else ["\n"])

    server = upstream(script)
    answer = post(gateway(server, watchers=[word(good="good")]), {"model": "m", "prompt": "q:"}, "completions")
    assert answer.json()["choices"][0]["text"] == "x\ngood\n"
    assert server.posts[1].json["prompt"] == "q:x\ngood"


def test_the_responses_api_is_supervised_too(upstream, gateway):
    from responses_writer import Writer

    def script(request):
        writer = Writer(f"resp_{request.number}")
        return writer.text("one\n", "BAD\n") if request.number == 0 else writer.text("\n")

    server = upstream(lambda request: script(request).steps())
    client = openai.OpenAI(base_url=gateway(server, watchers=[word(good="good")]).base_url, api_key="k")
    whole = client.responses.create(model="m", input="q")
    assert whole.output_text == "one\ngood\n"
    assert whole.interwhen["result"]["type"] == "verified"
    server.requests.clear()
    kinds = [event.type for event in client.responses.create(model="m", input="q", stream=True)]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    client.close()


def test_unmonitored_call_passes_bytes_unchanged(upstream, gateway):
    server = upstream(events(["a", "b"], api="chat"))
    running = gateway(server)
    raw = b'{"stream": true,  "model":"m", "messages": [] , "odd": 1.0}'
    answer = post(running, raw, headers={"authorization": "Bearer secret", "x-custom": "1", "x-interwhen-foo": "1"})
    assert server.posts[0].body == raw
    sent = server.posts[0].headers
    assert (sent["authorization"], sent["x-custom"]) == ("Bearer secret", "1")
    assert "x-interwhen-foo" not in sent
    assert answer.content == httpx2.post(f"{server.base_url}/chat/completions", content=raw).content
    assert answer.headers["x-interwhen-monitors"] == "none"


def test_other_v1_paths_are_relayed(upstream, gateway):
    from interwhen.testing.server import reply

    server = upstream(reply(200, b'{"data": [1, 2]}', {"x-request-id": "r7"}))
    running = gateway(server)
    answer = post(running, {"model": "e", "input": "x"}, "embeddings?api-version=3")
    assert (answer.json(), answer.headers["x-request-id"]) == ({"data": [1, 2]}, "r7")
    assert server.posts[0].path == "/v1/embeddings?api-version=3"
    assert httpx2.get(f"{running.base_url}/models").json()["data"][0]["id"] == "scripted"


def test_several_upstreams_serve_their_models(upstream, gateway):
    one = upstream(events(["from one"], api="chat"))
    two = upstream(events(["from two"], api="chat"))
    running = gateway(f"gpt-*={one.base_url}", f"*={two.base_url}", watchers=[passing()])
    for model, said in (("gpt-5", "from one"), ("qwen", "from two")):
        assert post(running, {**ASK, "model": model}).json()["choices"][0]["message"]["content"] == said
    # Both list a model "scripted", which goes to the second.
    assert [card["id"] for card in httpx2.get(f"{running.base_url}/models").json()["data"]] == ["scripted"]


def test_health_and_readiness_are_reported(upstream, gateway):
    running = gateway(upstream(()), watchers=[passing()])
    assert httpx2.get(f"{running.root}/healthz").json() == {"status": "alive"}
    assert httpx2.get(f"{running.root}/readyz").status_code == 200
    down = gateway("http://127.0.0.1:9/v1")
    assert httpx2.get(f"{down.root}/readyz").status_code == 503
    assert httpx2.get(f"{down.root}/healthz").status_code == 200


DOWN = "http://127.0.0.1:9/v1"


@pytest.mark.fault("H14", injected="two upstreams for a model, one is down", happens="as ready as calls are")
@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        (DOWN, "{}", 503),
        ("*=" + DOWN, "qwen*={}", 503),
        ("m[ab]=" + DOWN, "m[ab]={}", 503),
        ("{}", DOWN, 200),
        ("qwen*=" + DOWN, "{}", 200),
        ("m[ab]=" + DOWN, "mc,m[ab]={}", 200),
    ],
)
def test_readiness_probes_only_used_upstreams(first, second, status, upstream, gateway):
    url = upstream(()).base_url
    running = gateway(first.format(url), second.format(url))
    assert httpx2.get(f"{running.root}/readyz").status_code == status


def test_metrics_count_calls_checks_violations_and_tokens(upstream, gateway):
    running = gateway(upstream(corrected), watchers=[word(good="good")])
    post(running, ASK)
    assert running.metric('interwhen_calls_total{api="chat",outcome="steps verified"}') == 1
    assert running.metric('interwhen_checks_total{monitor="word",outcome="pass"}') >= 2
    assert running.metric('interwhen_violations_total{monitor="word"}') == 1
    assert running.metric('interwhen_tokens_total{kind="kept"}') > 0
    assert running.metric("interwhen_calls_served") == 0


def test_failed_check_never_counts_as_pass(upstream, gateway):
    import interwhen
    from watchers import every_line

    @interwhen.verifier(name="raises", worker="inline")
    def raises(claim):
        raise ValueError("no")

    monitor = interwhen.Monitor(name="raises", verifier=raises, extractor=every_line)
    running = gateway(upstream(events(["a\n"], api="chat")), watchers=[monitor])
    assert post(running, ASK).headers["x-interwhen-status"] == "unverified"
    assert running.metric('interwhen_checks_total{monitor="raises",outcome="errored"}') == 1
    assert running.metric('interwhen_checks_total{monitor="raises",outcome="pass"}') == 0


REFUSED = reply(429, b'{"error": {"message": "slow down", "code": "rate"}}', {"retry-after": "3600"})


def refusing(request):
    return events(["one\n", "BAD\n", "two\n"], api="chat") if request.number == 0 else REFUSED


@pytest.mark.fault("H4", injected="an upstream refuses a resume, after text", happens="content_filter, and counted")
def test_refused_resume_ends_stream_with_content_filter(configured, upstream, gateway):
    server = upstream(refusing)
    running = gateway(server, watchers=[word(good="good")])
    with capture_logs() as logs:
        *_, last, end = sse(post(running, {**ASK, "stream": True}).text)
        running.idle()
    assert (last["choices"][0]["finish_reason"], end) == ("content_filter", "[DONE]")
    assert last["interwhen"]["result"]["upstream_status"] == 429
    assert running.metric('interwhen_calls_total{api="chat",outcome="abstained"}') == 1
    host = server.base_url.split("/")[2]
    assert running.metric(f'interwhen_upstream_errors_total{{code="status_429",upstream="{host}"}}') == 1
    [ended] = [each for each in logs if each["event"] == "call.ended"]
    assert (ended["outcome"], ended["upstream_status"]) == ("abstained", 429)


@pytest.mark.fault(
    "H4", injected="an upstream refuses a resume, before text", happens="its own error, with Retry-After"
)
def test_refused_resume_of_whole_answer_returns_upstream_error(upstream, gateway):
    answer = post(gateway(upstream(refusing), watchers=[word(good="good")]), ASK)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3600")
    assert answer.json()["error"]["message"] == "slow down"


def counted(request):
    *steps, end = corrected(request)
    return (*steps, counts(3, 2), end)


@pytest.mark.parametrize("script", [counted, refusing], ids=["corrected", "refused"])
def test_finish_reason_chunk_carries_the_result(script, upstream, gateway):
    running = gateway(upstream(script), watchers=[word(good="good")])
    body = {**ASK, "stream": True, "stream_options": {"include_usage": True}}
    *_, finish, last, _ = sse(post(running, body).text)
    assert (len(finish["choices"]), len(last["choices"])) == (1, 0)
    assert finish["interwhen"]["result"] == last["interwhen"]["result"]
    assert finish["interwhen"]["call_id"] == last["interwhen"]["call_id"]
