"""A call through the gateway continues inside the reasoning, by token ids."""

import re

import pytest
from helpers import post, sse
from interwhen import load_monitor
from tests.token_server import LlamaCpp, Sglang, Vllm, text_of

ASK = {"model": "m", "messages": [{"role": "user", "content": "59 + 1?"}]}


def test_a_streamed_call_continues_inside_the_reasoning(upstream, gateway):
    script = Vllm()
    running = gateway(upstream(script, owned_by="vllm"), watchers=[load_monitor("arithmetic:remedy=repair")])
    *chunks, end = sse(post(running, {**ASK, "stream": True}).text)
    assert end == "[DONE]"
    assert [raw.partition("<think>")[2] for raw in script.continued] == ["59 + 1 = 60"]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk.get("choices", ())]
    assert "".join(delta.get("content") or "" for delta in deltas) == "It is 60"
    assert chunks[-1]["interwhen"]["result"]["resume"]["mode"] == "tokens"


def test_stream_token_ids_are_used_but_hidden(upstream, gateway):
    script = Vllm()
    running = gateway(upstream(script, owned_by="vllm"), watchers=[load_monitor("arithmetic:remedy=repair")])
    post(running, {**ASK, "stream": True})
    script.tokenized.clear()
    text = post(running, {**ASK, "stream": True}).text
    assert script.tokenized == ["\n0"]
    assert not re.search(r'token_ids": ?\[', text)
    assert sse(text)[-2]["interwhen"]["result"]["resume"]["mode"] == "tokens"


def test_requested_token_ids_are_returned(upstream, gateway):
    script = Vllm()
    running = gateway(upstream(script, owned_by="vllm"), watchers=[load_monitor("arithmetic:remedy=repair")])
    *chunks, _ = sse(post(running, {**ASK, "stream": True, "return_token_ids": True}).text)
    ids = [number for chunk in chunks for choice in chunk["choices"] for number in choice.get("token_ids") or ()]
    assert text_of(ids).endswith("It is 60")


@pytest.mark.parametrize("kind", ["llamacpp", "sglang"])
def test_each_server_continues_reasoning_by_own_api(upstream, gateway, kind):
    script = {"llamacpp": LlamaCpp, "sglang": Sglang}[kind]()
    watchers = [load_monitor("arithmetic:remedy=repair")]
    running = gateway(upstream(script, owned_by=kind), watchers=watchers, resume="tokens")
    chunks = sse(post(running, {**ASK, "stream": True}).text)[:-1]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk.get("choices", ())]
    assert "".join(delta.get("content") or "" for delta in deltas) == "It is 60"
    assert chunks[-1]["interwhen"]["result"]["resume"]["mode"] == "tokens"
    assert [raw.partition("<think>")[2] for raw in script.continued] == ["59 + 1 = 60"]
