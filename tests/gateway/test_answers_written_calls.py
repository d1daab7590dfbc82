"""Tool calls that are written as text, through a gateway."""

import json

import pytest
from helpers import ASK, post, sse
from interwhen.testing.server import events
from tests.core.call_texts import TEXTS, UNREADABLE, WEATHER
from watchers import no_call_with


def answering(first):
    def script(request):
        text = first if request.number == 0 else "I may not."
        return events([text[at : at + 7] for at in range(0, len(text), 7)], api="chat")

    return script


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("name", ["hermes, qwen 2.5", "mistral v11", "llama 3.1, json", "gpt-oss", "glm 4.5"])
def test_refuted_call_is_not_released(name, streamed, upstream, gateway):
    running = gateway(upstream(answering(TEXTS[name].text)), watchers=[no_call_with("Paris")])
    answer = post(running, {**ASK, "tools": [WEATHER], "stream": streamed}).text
    text = _text(answer) if streamed else json.loads(answer)["choices"][0]["message"]["content"]
    assert "get_weather" not in text
    assert text.endswith("I may not.")


@pytest.mark.parametrize("tools", [[WEATHER], None])
def test_unreadable_call_is_not_released(tools, upstream, gateway):
    bad = UNREADABLE["hermes, no JSON"].text
    running = gateway(upstream(lambda _: events([bad], api="chat")), watchers=[no_call_with()])
    body = {**ASK, "stream": True} | ({"tools": tools} if tools else {})
    assert "{city}" not in _text(post(running, body).text)


def _text(answer):
    return "".join(
        choice["delta"].get("content") or ""
        for chunk in sse(answer)
        if chunk != "[DONE]"
        for choice in chunk.get("choices") or ()
    )
