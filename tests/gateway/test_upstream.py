"""Upstreams that fail: what the client gets is an error as clear as the upstream's own, and never a block."""

import json
import threading
from base64 import b64encode

import httpx2
import openai
import pytest
from helpers import ASK, post, refused, sse
from interwhen.testing._server_script import data, delta
from interwhen.testing.server import (
    Disconnect,
    Reset,
    Send,
    SendRaw,
    Sleep,
    Stall,
    events,
    fault,
    reply,
)
from responses_writer import Writer
from structlog.testing import capture_logs
from watchers import passing


@pytest.mark.fault(
    "S10",
    injected="no server listens at the upstream",
    happens="502 upstream_unreachable, counted as failed, never as a block",
)
@pytest.mark.parametrize("watchers", [[passing()], []])
@pytest.mark.parametrize("streamed", [True, False])
def test_unreachable_upstream_is_a_502(watchers, streamed, gateway):
    running = gateway("http://127.0.0.1:9/v1", watchers=watchers)
    error = refused(post(running, {**ASK, "stream": streamed}), 502, "upstream_unreachable")
    assert error["type"] == "upstream_error"
    assert "content_filter" not in json.dumps(error)
    assert running.metric('interwhen_calls_total{api="chat",outcome="failed"}') == 1
    assert running.metric('interwhen_calls_total{api="chat",outcome="abstained"}') == 0
    assert running.metric('interwhen_upstream_errors_total{code="upstream_unreachable",upstream="127.0.0.1:9"}') == 1


@pytest.mark.parametrize("name", ["http_429", "http_400", "http_400_ctx", "http_500"])
@pytest.mark.parametrize("watchers", [[passing()], []])
def test_upstream_error_is_passed_through(name, watchers, upstream, gateway):
    server = upstream(fault(name, "chat"))
    direct = httpx2.post(f"{server.base_url}/chat/completions", json=ASK)
    answer = post(gateway(server, watchers=watchers), ASK)
    assert (answer.status_code, answer.json()) == (direct.status_code, direct.json())
    assert answer.headers.get("retry-after") == direct.headers.get("retry-after")
    assert len(server.posts) == 2  # once direct, once through the gateway: to try again is the client's choice


def test_silent_upstream_is_a_504(upstream, gateway):
    patience = {"first_token": 0.2, "inter_token": 0.2}
    for steps in ((Stall(),), (delta({"content": "a"}), Stall())):
        running = gateway(upstream(steps), watchers=[passing()], patience=patience)
        refused(post(running, ASK), 504, "upstream_timeout")


@pytest.mark.fault(
    "S11",
    injected="an error event, a reset or nonsense mid-stream",
    happens="an error event and no end mark; 502 or its own status where nothing was sent",
)
@pytest.mark.parametrize("name", ["error_event", "rst_mid", "eof_mid", "malformed_json"])
def test_upstream_failure_during_stream_is_an_error(name, upstream, gateway):
    running = gateway(upstream(fault(name, "chat")), watchers=[passing()])
    chunks = sse(post(running, {**ASK, "stream": True}).text)
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks if "choices" in chunk) == "one "
    assert "error" in chunks[-1]
    assert "[DONE]" not in chunks
    assert not any(choice["finish_reason"] for chunk in chunks for choice in chunk.get("choices", ()))
    refused_whole = post(running, ASK)
    assert refused_whole.status_code == (503 if name == "error_event" else 502)
    assert "error" in refused_whole.json()
    assert running.metric('interwhen_calls_total{api="chat",outcome="failed"}') == 2


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_stream_without_end_marker_is_unverified(api, upstream, gateway):
    steps = (delta({"content": "one "}),) if api == "chat" else Writer().text("one ").steps()[:4]
    running = gateway(upstream(steps), watchers=[passing()])
    body, path = (ASK, "chat/completions") if api == "chat" else ({"model": "m", "input": "q"}, "responses")
    seen = sse(post(running, {**body, "stream": True}, path).text)
    assert "[DONE]" not in seen
    assert [event for event in seen if event.get("choices", [{}])[0].get("finish_reason")] == []
    assert not {event.get("type") for event in seen} & {"response.completed", "response.incomplete"}
    result = seen[-1]["interwhen"]["result"]
    assert (result["type"], result["finish_reason"]) == ("unverified", "truncated")
    whole = post(running, body, path).json()
    assert whole["interwhen"]["result"]["finish_reason"] == "truncated"
    assert (whole["choices"][0]["finish_reason"] is None) if api == "chat" else (whole["status"] == "incomplete")
    assert running.metric(f'interwhen_calls_total{{api="{api}",outcome="unverified"}}') == 2


def test_end_marker_without_finish_reason_is_preserved(upstream, gateway):
    running = gateway(upstream(events(["one "], api="chat", finish_reason=None)), watchers=[passing()])
    *chunks, last = sse(post(running, {**ASK, "stream": True}).text)
    assert last == "[DONE]"
    assert [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]] == [None, None]
    assert chunks[-1]["interwhen"]["result"]["finish_reason"] == "other"


def test_sdk_raises_errors_during_the_stream(upstream, gateway):
    steps = (delta({"content": "one "}), Send(data({"error": {"message": "out of memory", "code": 500}})))
    running = gateway(upstream(steps), watchers=[passing()])
    client = openai.OpenAI(base_url=running.base_url, api_key="k", max_retries=0)
    seen = []
    with pytest.raises(openai.APIError, match="out of memory"):
        seen.extend(client.chat.completions.create(**ASK, stream=True))
    client.close()


def test_broken_upstream_connection_breaks_relayed_stream(upstream, gateway):
    running = gateway(upstream((delta({"content": "one "}), Reset())))
    with pytest.raises(httpx2.RemoteProtocolError):
        post(running, {**ASK, "stream": True})


def test_broken_stream_is_not_requested_again(upstream, gateway):
    server = upstream((delta({"content": "one "}), Reset()))
    running = gateway(server, watchers=[passing()])
    post(running, {**ASK, "stream": True})
    assert len(server.posts) == 1


@pytest.mark.fault(
    "S20",
    injected="an upstream that takes a request and closes, on a new connection",
    happens="502, and the request was sent once; on a kept connection it is sent again, once",
)
@pytest.mark.parametrize("transport", ["fast", "httpx2"])
@pytest.mark.parametrize("watchers", [[passing()], []], ids=["supervised", "relayed"])
@pytest.mark.parametrize("end", [Disconnect(), Reset()], ids=["closed", "reset"])
def test_only_a_reused_connection_is_retried(end, watchers, transport, upstream, gateway):
    server = upstream(lambda request: events(["one"], api="chat") if request.number in {1, 3} else (end,))
    running = gateway(server, watchers=watchers, transport=transport)
    refused(post(running, ASK), 502, "upstream_unreachable")
    assert len(server.posts) == 1
    assert [post(running, {**ASK, "stream": True}).status_code for _ in range(2)] == [200, 200]
    first, second, third = (request.connection for request in server.posts[1:])
    assert first == second != third


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr("interwhen.models._token_stream._DRAIN_SECONDS", 30.0)


def test_one_of_two_closed_connections_is_retried(upstream, gateway):
    both = threading.Barrier(2)
    steps = (*events(["one"], api="chat")[:-1], Sleep(0.3), *events([], api="chat"))
    server = upstream(
        lambda request: (
            events(["two"], api="chat") if request.number == 3 else steps if request.number < 2 else (Disconnect(),)
        )
    )
    running = gateway(server, transport="fast")

    def call():
        both.wait(60)
        post(running, {**ASK, "stream": True})

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert "two" in post(running, {**ASK, "stream": True}).text
    connections = [request.connection for request in server.posts]
    assert connections[2] in connections[:2]
    assert connections[3] not in connections[:2]


def test_partially_answered_request_is_not_retried(upstream, gateway):
    begun = (SendRaw(b"HTTP/1.1 200 OK\r\ncontent-"), Disconnect())
    server = upstream(lambda request: begun if request.number else events(["one"], api="chat"))
    running = gateway(server, transport="fast")
    assert post(running, {**ASK, "stream": True}).status_code == 200
    refused(post(running, ASK), 502, "upstream_unreachable")
    first, second = (request.connection for request in server.posts)
    assert first == second


def with_user(server):
    return server.base_url.replace("//", "//someone:top%40secret@")


def is_discreet(answer):
    return not any(word in answer for word in ("secret", "someone", "http:", "/v1", "chat/"))


@pytest.mark.parametrize("transport", ["fast", "httpx2"])
@pytest.mark.parametrize("watchers", [[passing()], []], ids=["supervised", "relayed"])
def test_upstream_error_names_only_the_host(watchers, transport, gateway):
    running = gateway("http://someone:topsecret@localhost:9/v1", watchers=watchers, transport=transport)
    with capture_logs() as logs:
        answer = post(running, ASK)
        running.idle()
    assert "localhost:9" in refused(answer, 502, "upstream_unreachable")["message"]
    assert is_discreet(answer.text)
    assert "127.0.0.1" not in answer.text
    assert "upstream.failed" in {log["event"] for log in logs}
    assert "secret" not in str(logs)
    told = httpx2.get(f"{running.root}/readyz").text + httpx2.get(f"{running.root}/metrics").text
    assert "secret" not in told


@pytest.mark.parametrize("transport", ["fast", "httpx2"])
@pytest.mark.parametrize(
    "steps",
    [
        (Disconnect(),),
        (delta({"content": "one "}), Reset()),
        reply(307, b"", {"location": "http://someone:topsecret@elsewhere/v1/chat/completions"}),
        (SendRaw(b"nonsense\r\n\r\n"), Disconnect()),
        reply(200, b"{}", {"content-encoding": "gzip"}),
        reply(200, b"<html>", {"content-type": "text/html"}),
    ],
    ids=["closed", "reset", "redirected", "nonsense", "encoded", "page"],
)
def test_later_upstream_failure_names_only_the_host(steps, transport, upstream, gateway):
    running = gateway(
        with_user(upstream(steps)), watchers=[passing()], transport=transport, budgets={"reconnects": 1}, detail="full"
    )
    for streamed in (True, False):
        answer = post(running, {**ASK, "stream": streamed})
        assert '"error"' in answer.text
        assert is_discreet(answer.text)


def test_url_credentials_are_sent_to_the_upstream(upstream, gateway):
    server = upstream(events(["one"], api="chat"))
    running = gateway(with_user(server), watchers=[passing()])
    post(running, ASK)
    post(running, ASK, headers={"authorization": "Bearer own"})
    basic = "Basic " + b64encode(b"someone:top@secret").decode()
    assert [request.headers["authorization"] for request in server.posts] == [basic, "Bearer own"]
