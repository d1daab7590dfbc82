"""The gateway's kill switch: by flag, by variable, by signal; in a header, a metric and the log."""

import json
import logging
import signal
import threading
import time
import weakref

import httpx2
import pytest
from helpers import ASK, post, sse
from interwhen._engine import run as engine_run
from interwhen.testing._server_script import delta
from interwhen.testing.server import Sleep, Stall, events, tool_call
from processes import serving
from watchers import no_call_with, word

WRONG = "2 + 2 = 5\n"


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.delenv(engine_run.VARIABLE, raising=False)
    monkeypatch.setattr(engine_run._Switch, "said", None)
    # A run that another test abandoned may not be collected yet.
    monkeypatch.setattr(engine_run._Switch, "running", weakref.WeakValueDictionary())


def wrong(_request):
    return events([WRONG], api="chat")


def test_disabled_gateway_passes_everything_and_says_so(upstream, gateway):
    running = gateway(upstream(wrong), monitors=("arithmetic:remedy=abstain",), reading="gate", detail="off", off=True)
    answer = post(running, {**ASK, "stream": True})
    assert WRONG.strip() in answer.text
    assert answer.headers["x-interwhen-supervision"] == "off"
    assert answer.headers["x-interwhen-monitors"] == "none"
    assert running.metric("interwhen_supervision_off") == 1.0
    assert running.metric('interwhen_unsupervised_answers_total{why="off"}') == 1.0
    running.gateway.switch(off=False)
    answer = post(running, {**ASK, "stream": True})
    assert WRONG.strip() not in answer.text
    assert "x-interwhen-supervision" not in answer.headers
    assert running.metric("interwhen_supervision_off") == 0.0


@pytest.mark.parametrize("how", ["--off", "INTERWHEN_OFF"])
def test_gateway_can_start_switched_off(upstream, monkeypatch, how):
    if how == engine_run.VARIABLE:
        monkeypatch.setenv(how, "1")
    flags = () if how == engine_run.VARIABLE else (how,)
    with serving(upstream(wrong).base_url, "--monitor", "arithmetic:remedy=abstain", *flags) as running:
        assert post(running, {**ASK, "stream": True}).headers["x-interwhen-supervision"] == "off"
        running.child.send_signal(signal.SIGUSR2)
        until = time.monotonic() + 60
        while "x-interwhen-supervision" in post(running, {**ASK, "stream": True}).headers:
            assert time.monotonic() < until


def test_a_signal_switches_it_off_and_on(upstream):
    with serving(upstream(wrong).base_url, "--monitor", "arithmetic", log_level="warning") as running:
        for number, expected in ((signal.SIGUSR1, "off"), (signal.SIGUSR2, None)):
            running.child.send_signal(number)
            until = time.monotonic() + 60
            while post(running, {**ASK, "stream": True}).headers.get("x-interwhen-supervision") != expected:
                assert time.monotonic() < until
        assert running.end(signal.SIGTERM) == 0
    assert "gateway.switched" in running.output


# Calls in flight.


def slow(delivery):
    return word(slow=60, delivery=delivery)


class HeldBack:
    """A script that sends a text, and the rest once it may."""

    def __init__(self, first, *rest):
        self.first, self.rest = first, rest
        self.may_end = threading.Event()

    def __call__(self, _request):
        yield self.first
        until = time.monotonic() + 60
        while not self.may_end.is_set():
            yield Stall() if time.monotonic() > until else Sleep(0.01)
        yield from self.rest


@pytest.fixture
def script():
    return HeldBack(*events(["held\n", "more\n"], api="chat"))


def throw_once(ready, running, then=lambda: None):
    def throw():
        until = time.monotonic() + 60
        while not ready() and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(0.05)  # in most runs, the gateway has read what was sent; what must happen is the same in each
        running.gateway.switch(off=True)
        then()

    thread = threading.Thread(target=throw)
    thread.start()
    return thread


def sent(server):
    return lambda: server.posts and server.posts[0].generated


@pytest.mark.parametrize("reading", ["gate", "final"])
def test_switching_off_releases_stream_in_flight_and_counts(reading, script, upstream, gateway, caplog):
    server = upstream(script)
    running = gateway(server, watchers=[slow("gate")], reading=reading)
    got = []
    with (
        caplog.at_level(logging.WARNING, "interwhen"),
        httpx2.stream(
            "POST", f"{running.base_url}/chat/completions", json={**ASK, "stream": True}, timeout=60
        ) as answer,
    ):
        assert answer.headers["x-interwhen-monitors"] == "word"  # sent before the switch was thrown
        hand = throw_once(sent(server), running)
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                got.append(json.loads(line.removeprefix("data: ")))
            if "held" in line:
                assert not script.may_end.is_set()
                script.may_end.set()
    hand.join()
    texts = [choice["delta"].get("content") or "" for chunk in got for choice in chunk["choices"]]
    assert "".join(texts) == "held\nmore\n"
    result = got[-1]["interwhen"]["result"]
    assert result["type"] == "unverified"
    assert "switched off" in result["unverified_reasons"][0]["why"]
    assert running.metric('interwhen_unsupervised_answers_total{why="off"}') == 1
    assert "calls_in_flight=1" in caplog.text


def test_switching_off_marks_whole_answer_in_headers(script, upstream, gateway):
    server = upstream(script)
    running = gateway(server, watchers=[slow("gate")])
    hand = throw_once(sent(server), running, script.may_end.set)
    answer = post(running, ASK)
    hand.join()
    assert answer.json()["choices"][0]["message"]["content"] == "held\nmore\n"
    assert answer.headers["x-interwhen-supervision"] == "off"
    assert answer.headers["x-interwhen-status"] == "unverified"


def test_a_tool_call_in_flight_is_released(upstream, gateway):
    script = (*tool_call("move", '{"to": "BAD"}', size=100), delta({}, finish_reason="tool_calls"), *events([]))
    server = upstream(script)
    running = gateway(server, watchers=[no_call_with(slow=60)])
    tools = [{"type": "function", "function": {"name": "move", "parameters": {"type": "object"}}}]
    hand = throw_once(sent(server), running)
    answer = post(running, {**ASK, "tools": tools})
    hand.join()
    assert answer.json()["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == '{"to": "BAD"}'
    assert answer.headers["x-interwhen-supervision"] == "off"


def test_unread_fields_pass_after_switching_off(upstream, gateway):
    first, *rest = events(["held\n"], api="chat")
    script = HeldBack(first, delta({"thinking": "unread"}), *rest)
    server = upstream(script)
    running = gateway(server, watchers=[slow("gate")])
    hand = throw_once(sent(server), running, script.may_end.set)
    chunks = sse(post(running, {**ASK, "stream": True}).text)
    hand.join()
    assert any(choice["delta"].get("thinking") for chunk in chunks[:-1] for choice in chunk["choices"])


def test_queued_call_passes_unsupervised_after_switching_off(script, upstream, gateway):
    running = gateway(upstream(script), watchers=[slow("gate")], limits={"concurrent": 1})
    first = threading.Thread(target=post, args=(running, {**ASK, "stream": True}))
    first.start()
    until = time.monotonic() + 60
    while running.gateway.slots.taken < 1:
        assert time.monotonic() < until
        time.sleep(0.005)
    hand = throw_once(lambda: running.gateway.slots.waiting, running, script.may_end.set)
    answer = post(running, {**ASK, "stream": True})
    assert answer.headers["x-interwhen-supervision"] == "off"
    assert answer.headers["x-interwhen-monitors"] == "none"
    for thread in (first, hand):
        thread.join(60)
    assert running.metric('interwhen_unsupervised_answers_total{why="off"}') == 2
