"""Calls through the gateway to hosted models that hide their reasoning."""

import pytest
from helpers import post, sse
from interwhen import load_monitor
from tests.hosted_server import THOUGHTS, Hosted

WRONG = "17 * 24 = 418.\nSo it is 418."
RIGHT = "17 * 24 = 408"
HIDDEN = "the model's reasoning was not sent, so no check has seen it"


def asked(vendor, text):
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}} if vendor == "anthropic" else {}
    return {"model": "m", "messages": [{"role": "user", "content": text}], **thinking}


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "gemini"])
def test_result_reports_hidden_reasoning(upstream, gateway, vendor):
    running = gateway(upstream(Hosted(vendor, RIGHT), owned_by=vendor), watchers=[load_monitor("arithmetic")])
    judged = post(running, asked(vendor, "What is 17 * 24?")).json()["interwhen"]["result"]
    assert judged["type"] == "verified"
    assert judged["hidden_reasoning"]
    assert judged["ledger"]["reasoning_tokens"] == (0 if vendor == "anthropic" else THOUGHTS)
    steps = post(running, asked(vendor, "A box holds 17 rows of 24 eggs. How many?")).json()["interwhen"]["result"]
    assert steps["type"] == "unverified"
    assert HIDDEN in [reason["why"] for reason in steps["unverified_reasons"]]


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "gemini"])
def test_correction_resumes_by_turn(upstream, gateway, vendor):
    script = Hosted(vendor, WRONG, "So it is 408.")
    running = gateway(upstream(script, owned_by=vendor), watchers=[load_monitor("arithmetic:remedy=feedback")])
    *_, last, end = sse(post(running, {**asked(vendor, "What is 17 * 24?"), "stream": True}).text)
    assert end == "[DONE]"
    assert last["interwhen"]["result"]["resume"]["mode"] == "turn"
    assert last["interwhen"]["result"]["hidden_reasoning"]
    assert script.accepted[1]["messages"][-1]["role"] == "user"


def test_response_with_encrypted_reasoning_is_unverified(upstream, gateway):
    running = gateway(upstream(Hosted("openai", RIGHT)), watchers=[load_monitor("arithmetic")])
    body = {"model": "m", "input": "A box holds 17 rows of 24 eggs. How many?"}
    result = post(running, body, "responses").json()["interwhen"]["result"]
    assert result["type"] == "unverified"
    assert result["ledger"]["reasoning_tokens"] == THOUGHTS
