"""What passes through unsupervised: in time, and with the headers that are meant for the other end."""

import time

import httpx2
import pytest
from helpers import ASK, post, refused
from hypothesis import given
from hypothesis import strategies as st
from interwhen.gateway import _relay
from interwhen.gateway._exchange import returned, sent
from interwhen.testing._server_script import delta
from interwhen.testing.server import Head, SendRaw, Sleep, Stall, events, reply
from watchers import passing

SHORT = {"first_token": 0.3, "inter_token": 20.0}
PATHS = ["chat/completions", "embeddings"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("steps", [(Stall(),), (Head(200, {"content-type": "text/event-stream"}), Stall())])
def test_silent_upstream_before_body_is_a_timeout(steps, path, upstream, gateway):
    running = gateway(upstream(steps), patience=SHORT)
    refused(post(running, ASK, path), 504, "upstream_timeout")
    api = "chat" if path == PATHS[0] else "other"
    assert running.metric(f'interwhen_calls_total{{api="{api}",outcome="failed"}}') == 1


@pytest.mark.parametrize("path", PATHS)
def test_upstream_stalling_in_body_breaks_the_connection(path, upstream, gateway):
    server = upstream((delta({"content": "one "}), Stall()))
    running = gateway(server, patience={"first_token": 20.0, "inter_token": 0.3})
    with pytest.raises(httpx2.RemoteProtocolError):
        post(running, {**ASK, "stream": True}, path)
    counted = f'interwhen_upstream_errors_total{{code="upstream_timeout",upstream="{host(server)}"}}'
    assert running.metric(counted) == 1
    until = time.monotonic() + 60
    while not server.posts[0].gone.is_set():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_slow_upstream_without_long_silence_completes(upstream, gateway):
    slow = tuple(step for text in "abcdefghij" for step in (Sleep(0.45), delta({"content": text})))
    patience = {"first_token": 4.0, "inter_token": 4.0}  # less than all of it takes
    running = gateway(upstream((*slow, *events([], api="chat"))), patience=patience)
    assert "[DONE]" in post(running, {**ASK, "stream": True}).text


def test_an_upstream_without_a_limit_is_waited_for(upstream, gateway):
    steps = (delta({"content": "a"}), Sleep(0.2), *events([], api="chat"))
    running = gateway(upstream(steps), patience={"first_token": None, "inter_token": None})
    assert "[DONE]" in post(running, {**ASK, "stream": True}).text


def test_an_answer_without_a_body_has_its_head(upstream, gateway):
    running = gateway(upstream((SendRaw(b"HTTP/1.1 204 No Content\r\nx-a: b\r\n\r\n"),)))
    answer = post(running, ASK, "embeddings")
    assert (answer.status_code, answer.headers["x-a"], answer.content) == (204, "b", b"")


@pytest.mark.parametrize("watchers", [[passing()], []], ids=["supervised", "relayed"])
def test_headers_named_by_connection_are_not_forwarded(watchers, upstream, gateway):
    hop = {"connection": "keep-alive, X-Hop", "x-hop": "secret", "x-far": "kept"}
    answer_head = {"content-type": "text/event-stream", **hop, "keep-alive": "timeout=5"}
    server = upstream((Head(200, answer_head), *events(["one\n"], api="chat")))
    answer = post(gateway(server, watchers=watchers), {**ASK, "stream": True}, headers=hop)
    assert "one" in answer.text
    for headers in (server.posts[0].headers, answer.headers):
        assert headers["x-far"] == "kept"
        assert "x-hop" not in headers


@pytest.mark.parametrize("watchers", [[passing()], []], ids=["supervised", "relayed"])
@pytest.mark.parametrize("path", PATHS)
def test_cookies_are_not_forwarded(path, watchers, upstream, gateway):
    cookies = {"set-cookie": "session=of-another; HttpOnly", "x-far": "kept"}
    body = b'{"id": "x", "choices": [{"index": 0, "message": {"content": "one"}, "finish_reason": "stop"}]}'
    server = upstream(reply(200, body, cookies))
    answer = post(gateway(server, watchers=watchers), ASK, path, headers={"cookie": "session=mine"})
    assert (answer.status_code, answer.headers["x-far"]) == (200, "kept")
    assert "set-cookie" not in answer.headers
    assert "cookie" not in server.posts[0].headers


NAMES = st.sampled_from(["x-a", "x-b", "authorization", "x-request-id"])


@given(st.lists(NAMES, min_size=1, max_size=3), st.booleans())
def test_connection_listed_headers_are_hop_by_hop(names, upper):
    listed = " ,\t".join(names)
    value = listed.upper() if upper else listed
    every = ["x-a", "x-b", "authorization", "x-request-id", "x-c"]
    raw = [(b"connection", value.encode()), *((name.encode(), b"v") for name in every)]
    left = set(every) - set(names)
    assert set(sent(raw)) - {"accept-encoding"} == left
    assert set(sent([*raw[1:], raw[0]])) - {"accept-encoding"} == left
    headers = {"connection": value, **dict.fromkeys(every, "v")}
    assert {name.decode() for name, _ in returned(headers, new_body=False)} == left


def host(server):
    return server.base_url.partition("//")[2].partition("/")[0]


@pytest.mark.parametrize("body", [b'{"data": "\xff"}', b"[" * 100_000, b"[]", b"<html>"])
def test_unreadable_model_list_is_empty(body):
    assert _relay._cards(body) == []
