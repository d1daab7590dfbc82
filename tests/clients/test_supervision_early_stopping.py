"""A reasoning that is ended early, behind a wrapped client: the reader gets its end and the answer."""

import json

import openai
import pytest
from interwhen import wrap
from interwhen.testing.server import Send, Sleep, chunk, data, events, reply

from interwhen_verifiers.early_stopping import early_stopping

pytestmark = pytest.mark.anyio
THOUGHTS = ("It is 42.\n\n", "I am sure.\n\n", "Really.\n\n", "Yes.\n\n", "Yes.\n\n")


def is_probe(body):
    return not body.get("stream")


async def test_completions_with_tags(serve, clients):
    def script(request):
        body = request.json
        if is_probe(body):
            return reply(200, json.dumps({"choices": [{"text": "42}", "finish_reason": "stop"}]}).encode())
        if "</think>" in body["prompt"]:
            return events(["It is ", "42."])
        return [
            *(step for text in ("<think>", *THOUGHTS) for step in (Send(data(chunk("completions", text))), Sleep(0.2))),
            *events(["</think>Not", " yet."]),
        ]

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


async def test_a_chat_that_goes_on_by_turns_is_asked(serve, clients):
    def part(**delta):
        return Send(data({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}))

    def script(request):
        body = request.json
        if is_probe(body):
            answer = {"message": {"role": "assistant", "content": "42}"}, "finish_reason": "stop"}
            return reply(200, json.dumps({"choices": [answer]}).encode())
        if len(body["messages"]) > 1:
            return events(["It is ", "42."], api="chat")
        thoughts = [step for text in THOUGHTS for step in (part(reasoning_content=text), Sleep(0.2))]
        return [*thoughts, *events(["Not yet."], api="chat")]

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
