"""The measurement of agents' calls counts what a loop ran, what interwhen read, and what it refused."""

import json
import re

import pytest
from anyio.from_thread import start_blocking_portal
from examples.agent_calls import TASKS, Limits, Reply, main, measure, read
from interwhen import Message
from interwhen.testing._server_script import counts
from interwhen.testing.server import Head, ScriptedServer, Send, events

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

LAMP, CUPS = TASKS[0], TASKS[3]
REACT = {
    "price": 'Thought: I look.\nAction: price\nAction Input: {"item": "lamp"}',
    "order": 'Thought: I order.\nAction: order\nAction Input: {"item": "cup", "amount": 25}',
    "answer": "Thought: I know it.\nFinal Answer: 24",
    "stop": "Final Answer: nothing was ordered",
}
CODE = {
    "price": 'Thought: I look.\n<code>\nprint(price("lamp"))\n',
    "order": 'Thought: I order.\n<code>\nprint(order("cup", amount=25))\n',
    "answer": "Thought: I know it.\n<code>\nfinal_answer(24)\n",
    "stop": 'Thought: I may not.\n<code>\nfinal_answer("nothing was ordered")\n',
}
CALLS = {"react": REACT, "code": CODE}
"""The replies of the model."""


def model_of(texts):
    def script(request):
        said = json.dumps(request.json["messages"])
        kind = "order" if CUPS.question in said else "price"
        if "at most 10" in said:
            kind = "stop"
        elif request.json["messages"][-1]["role"] != "system" and any(
            texts[kind].strip().split("\n")[-1] in str(turn["content"])
            for turn in request.json["messages"]
            if turn["role"] == "assistant"
        ):
            kind = "answer"
        text = texts[kind]
        if request.json.get("stream"):
            *chunks, end = events([text[at : at + 6] for at in range(0, len(text), 6)], api="chat")
            return (*chunks, counts(1, 1), end)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        body = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
        return (Head(200, {"content-type": "application/json"}), Send(json.dumps(body).encode()))

    return script


@pytest.fixture
def serve():
    with start_blocking_portal() as portal:
        managers = []

        def start(script):
            server = ScriptedServer(script)
            manager = portal.wrap_async_context_manager(server)
            manager.__enter__()
            managers.append(manager)
            return server.base_url

        yield start
        for manager in managers:
            manager.__exit__(None, None, None)


@pytest.mark.parametrize("loop", CALLS)
def test_forbidden_order_is_blocked_by_interwhen(loop, serve):
    if loop == "code":
        pytest.importorskip("smolagents", reason="smolagents is not installed")
    texts = CALLS[loop]
    counts = measure(loop, serve(model_of(texts)), "m", [LAMP, CUPS], Limits(4, 100))
    bare, held = counts["without"], counts["with"]
    assert (bare["tasks"], bare["tasks done right"], bare["forbidden orders made"]) == (2, 1, 1)
    assert (held["tasks"], held["tasks done right"], held["forbidden orders made"]) == (2, 2, 0)
    assert (bare["refused: forbidden"], held["refused: forbidden"]) == (0, 1)
    for count in counts.values():
        assert count["calls that the loop ran"] == count["of these, read by interwhen"] > 0
        assert count["read by interwhen, not run by the loop"] == count["replies with text that cannot be read"] == 0


def test_unreadable_calls_are_counted(serve, capsys):
    texts = REACT | {"price": "Thought: I look.\nAction: price\nAction Input: {'item': lamp}"}
    url = serve(model_of(texts))
    assert main([url, "m", "--agent", "react", "--tasks", "1", "--steps", "1", "--texts"]) == 0
    out = capsys.readouterr().out
    assert "| replies with text that cannot be read | 1 |" in out
    assert re.search(r"\| refused: unreadable \| 0 \| [1-9]", out)
    assert "--- ran {'price': 1}, read {}" in out


def test_reply_without_call_reads_no_calls():
    messages = (Message("user", "Action: Observation"),)
    assert read(Reply(messages, "The lamp costs 24.")) == ((), ())
