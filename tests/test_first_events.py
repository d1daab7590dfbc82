"""Nothing is imported or compiled for the first time on the event loop while it reads streams."""

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ENDS = {
    "warning": "RuntimeError: on purpose",
    "error": "steps verified|upstream_unreachable|APIConnectionError",
    "repair": "steps verified",
    "refusal": "abstained",
    "call": "abstained",
    "process": "steps verified",
    "journal": "steps verified",
}
"""The kinds of events, and what the stream with each of them says at its end."""
TEXTS = ["One line.\n", "17 * 24 = 408\n", "The answer is 408.\n"]
CALL = '<tool_call>{"name": "send", "arguments": {"to": "all"}}</tool_call>'
HEAD = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\nconnection: close\r\n\r\n"
BUSY = (
    "HTTP/1.1 503 Busy\r\nretry-after: Wed, 21 Oct 2015 07:28:00 GMT\r\n"
    'content-type: application/json\r\ncontent-length: 34\r\n\r\n{"error":{"message":"overloaded"}}'
)


def streamed(texts, chat):
    for text in texts:
        part = {"delta": {"content": text}} if chat else {"text": text}
        if text == CALL and chat:
            called = {"name": "send", "arguments": '{"to": "all"}'}
            part = {"delta": {"tool_calls": [{"index": 0, "id": "1", "type": "function", "function": called}]}}
        yield f"data: {json.dumps({'choices': [{'index': 0, **part}]})}\n\n"
    end = {"delta": {}} if chat else {"text": ""}
    yield f"data: {json.dumps({'choices': [{'index': 0, **end, 'finish_reason': 'stop'}]})}\n\ndata: [DONE]\n\n"


def answer(asked, number):
    name = asked.get("model")
    texts = list(TEXTS)
    if name == "repair":
        texts = [TEXTS[0], "17 * 24 = 418\n"] if number == 1 else TEXTS[1:]
    elif name == "error" and number > 1:
        texts = TEXTS[1:]
    elif name == "call":
        texts.append(CALL)
    if name == "error" and number == 2:
        return BUSY
    parts = list(streamed(texts, "messages" in asked))
    if name == "error" and number == 1:
        return HEAD.format(10_000) + parts[0]
    return HEAD.format(sum(map(len, parts))) + "".join(parts)


def serve(listener):
    seen = {}
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client, client.makefile("rb") as sent:
            size, line = 0, b"?"
            while line.strip():
                line = sent.readline()
                if line.lower().startswith(b"content-length:"):
                    size = int(line.split(b":")[1])
            asked = json.loads(sent.read(size) or b"{}")
            name = asked.get("model")
            seen[name] = seen.get(name, 0) + 1
            client.sendall(answer(asked, seen[name]).encode())


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    reports = {}

    def make(way):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=serve, args=(listener,), daemon=True).start()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
            command = [sys.executable, "-m", "tests.first_events", way, url, str(tmp_path_factory.mktemp(way)), *ENDS]
            done = subprocess.run(
                command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=110, check=True
            )
            listener.shutdown(socket.SHUT_RDWR)
        events = {}
        for line in done.stdout.splitlines():
            if line[0] != " ":
                event, _, ended = line.partition(" ")
                events[event] = (ended, [])
            else:
                events[event][1].append(line.strip())
        return events

    return lambda way: reports.get(way) or reports.setdefault(way, make(way))


@pytest.mark.fault(
    "H13", injected="the first warning, error, repair, refusal and journal", happens="nothing is imported or compiled"
)
@pytest.mark.parametrize("event", ENDS)
@pytest.mark.parametrize("way", ["FastTransport", "Httpx2Transport-trio", "wrap", "gateway"])
def test_first_event_imports_and_compiles_no_module(way, event, report):
    if way in ("gateway", "wrap"):
        pytest.importorskip({"gateway": "starlette", "wrap": "openai"}[way], reason="an extra is not installed")
    ended, notes = report(way)[event]
    assert any(words in ended for words in ENDS[event].split("|")), ended
    assert not notes, "\n".join(notes)
