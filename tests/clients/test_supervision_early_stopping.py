"""A reasoning that is ended early, behind a wrapped client: the reader gets its end and the answer."""

import json

import openai
import pytest
from interwhen import wrap
from interwhen.testing._server_script import chunk, data
from interwhen.testing.server import Send, Sleep, events, reply

from interwhen_verifiers.early_stopping import early_stopping

pytestmark = pytest.mark.anyio
THOUGHTS = ("It is 42.\n\n", "I am sure.\n\n", "Really.\n\n", "Yes.\n\n", "Yes.\n\n")


def is_probe(body):
    return not body.get("stream")


class Thinking:
    """Scripts of a server that thinks on until the client leaves, once it has answered two probes."""

    def __init__(self):
        self.probes = 0

    def answered(self, choice):
        self.probes += 1
        return reply(200, json.dumps({"choices": [{**choice, "finish_reason": "stop"}]}).encode())

    def thoughts(self, part, *first):
        for text in (*first, *THOUGHTS[:2]):
            yield part(text)
        while self.probes < 2:
            yield Sleep(0.02)
        for text in THOUGHTS[2:]:
            yield Sleep(30)
            yield part(text)


async def test_completions_with_tags(serve, clients):
    thinking = Thinking()

    def script(request):
        body = request.json
        if is_probe(body):
            return thinking.answered({"text": "42}"})
        if "</think>" in body["prompt"]:
            return events(["It is ", "42."])
        return thinking.thoughts(lambda text: Send(data(chunk("completions", text))), "<think>")

    server = serve(script)
    client = wrap(clients(openai.AsyncOpenAI, server), [early_stopping(times=2)])
    stream = await client.completions.create(model="m", prompt="Q? ", stream=True)
    text, result = "", None
    async for part in stream:
        info = part.interwhen
        if info.start is not None:
            text = text[: info.start]
        text += part.choices[0].text if part.choices else ""
        result = info.result or result
    assert result.status == "unverified"
    assert result.text == text == "<think>It is 42.\n\nI am sure.\n</think>\n\nIt is 42."
    assert [post.json["prompt"] for post in server.posts if post.json.get("stream")] == [
        "Q? ",
        "Q? <think>It is 42.\n\nI am sure.\n</think>\n\n",
    ]


async def test_early_stopping_requests_answers_in_a_new_turn(serve, clients):
    thinking = Thinking()

    def part(text):
        delta = {"reasoning_content": text}
        return Send(data({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}))

    def script(request):
        body = request.json
        if is_probe(body):
            return thinking.answered({"message": {"role": "assistant", "content": "42}"}})
        if len(body["messages"]) > 1:
            return events(["It is ", "42."], api="chat")
        return thinking.thoughts(part)

    server = serve(script)
    client = wrap(clients(openai.AsyncOpenAI, server), [early_stopping(times=2)])
    stream = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Q?"}], stream=True)
    result = None
    async for part_ in stream:
        result = part_.interwhen.result or result
    assert (result.status, result.reasoning) == ("unverified", "It is 42.\n\nI am sure.")
    assert result.answer.strip() == "It is 42."
    asked = [post.json["messages"] for post in server.posts if post.json.get("stream")][-1]
    assert asked[1:] == [
        {"role": "assistant", "content": "It is 42.\n\nI am sure."},
        {"role": "user", "content": "That is enough thinking. Give the final answer now."},
    ]
