"""A call through the gateway continues inside the reasoning, by token ids."""

from helpers import ASK, post, sse
from interwhen import load_monitor
from tests.token_server import Vllm


def test_a_streamed_call_continues_inside_the_reasoning(upstream, gateway):
    script = Vllm()
    running = gateway(upstream(script, owned_by="vllm"), watchers=[load_monitor("arithmetic:remedy=repair")])
    *chunks, end = sse(post(running, {**ASK, "stream": True}).text)
    assert end == "[DONE]"
    assert [raw.partition("<think>")[2] for raw in script.continued] == ["59 + 1 = 60"]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk.get("choices", ())]
    assert "".join(delta.get("content") or "" for delta in deltas) == "It is 60"
    assert chunks[-1]["interwhen"]["result"]["resume"] == "tokens"
