"""The gateway's kill switch: by flag, by variable, by signal; in a header, a metric and the log."""

import signal
import time

import pytest
from helpers import ASK, post
from interwhen import _run
from interwhen.testing.server import events
from processes import serving

WRONG = "2 + 2 = 5\n"


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.delenv(_run.VARIABLE, raising=False)
    monkeypatch.setattr(_run._Switch, "told", None)


def wrong(_request):
    return events([WRONG], api="chat")


def test_a_gateway_that_is_off_passes_everything_and_says_so(upstream, gateway):
    running = gateway(upstream(wrong), monitors=("arithmetic:remedy=abstain",), reading="gate", tell="off", off=True)
    answer = post(running, {**ASK, "stream": True})
    assert WRONG.strip() in answer.text
    assert answer.headers["x-interwhen-supervision"] == "off"
    assert answer.headers["x-interwhen-monitors"] == "none"
    assert running.metric("interwhen_supervision_off") == 1.0
    assert running.metric('interwhen_unwatched_answers_total{why="off"}') == 1.0
    running.gateway.switch(off=False)
    answer = post(running, {**ASK, "stream": True})
    assert WRONG.strip() not in answer.text
    assert "x-interwhen-supervision" not in answer.headers
    assert running.metric("interwhen_supervision_off") == 0.0


@pytest.mark.parametrize("how", ["--off", "INTERWHEN_OFF"])
def test_it_can_start_switched_off(upstream, monkeypatch, how):
    if how == _run.VARIABLE:
        monkeypatch.setenv(how, "1")
    flags = () if how == _run.VARIABLE else (how,)
    with serving(upstream(wrong).base_url, "--monitor", "arithmetic:remedy=abstain", *flags) as running:
        assert post(running, {**ASK, "stream": True}).headers["x-interwhen-supervision"] == "off"
        running.child.send_signal(signal.SIGUSR2)
        until = time.monotonic() + 10
        while "x-interwhen-supervision" in post(running, {**ASK, "stream": True}).headers:
            assert time.monotonic() < until


def test_a_signal_switches_it_off_and_on(upstream):
    with serving(upstream(wrong).base_url, "--monitor", "arithmetic", log_level="warning") as running:
        for number, expected in ((signal.SIGUSR1, "off"), (signal.SIGUSR2, None)):
            running.child.send_signal(number)
            until = time.monotonic() + 10
            while post(running, {**ASK, "stream": True}).headers.get("x-interwhen-supervision") != expected:
                assert time.monotonic() < until
        assert running.end(signal.SIGTERM) == 0
    assert "gateway.switched" in running.output
