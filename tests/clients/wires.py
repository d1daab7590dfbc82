"""A transport without a server: the bodies of responses are scripted, in memory."""

import json

import anyio
from interwhen.clients._calls import make_settings, read_call
from interwhen.clients._supervision import supervise
from interwhen.clients._upstream import ModelEndpoint
from interwhen.models import StreamClosed


class Body:
    status = 200

    def __init__(self, pieces):
        self.headers = {"content-type": "text/event-stream"}
        self.pieces = list(pieces)
        self.closed = False

    async def receive(self):
        await anyio.lowlevel.checkpoint()
        if self.closed:
            raise StreamClosed
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def aclose(self):
        self.closed = True


class MemoryWire:
    """Answers each streamed request with what *script* returns for its number and body."""

    # That is a list of bytes and exceptions, or an exception, which the request then raises.

    host = "memory"
    is_cancellable = True

    def __init__(self, script, models=b'{"data": []}'):
        self.script = script
        self.bodies = []
        self.sent = []
        self.list = models
        self.model_lists = 0

    async def open(self, body, place="call"):
        self.bodies.append(body)
        answer = self.script(len(self.bodies) - 1, body)
        if isinstance(answer, Exception):
            raise answer
        self.sent.append(Body(answer))
        return self.sent[-1]

    async def ask(self, body, place="call"):
        if place != "/apply-template":
            raise NotImplementedError
        last = body["messages"][-1]
        return json.dumps({"prompt": last.get("reasoning_content", "") + last["content"]}).encode()

    async def get(self, facts):
        if facts != "models":
            return b"{}"
        self.model_lists += 1
        return self.list


def event(body):
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def said(fields, finish=None, number=0):
    choice = {"index": 0, "delta": fields, "finish_reason": finish}
    return event(
        {"id": f"r{number}", "object": "chat.completion.chunk", "created": number, "model": "m", "choices": [choice]}
    )


def texts(pieces, finish="stop", field="content", number=0):
    return [*(said({field: piece}, number=number) for piece in pieces), said({}, finish, number), b"data: [DONE]\n\n"]


async def collect(transport, monitors, *, stream=True, tools=None, settings=None, **body):
    body = {"model": "m", "messages": [{"role": "user", "content": "q"}], "stream": stream, **body}
    if tools:
        body["tools"] = tools
    call = read_call("chat", body)
    supervised = await supervise(call, make_settings(monitors, settings or {}), transport, ModelEndpoint())
    all_parts = []
    try:
        while parts := await supervised.parts():
            all_parts += parts
    finally:
        await supervised.aclose()
    return all_parts, supervised.result


def text_of(part):
    delta = (part.chunk()["choices"] or [{}])[0].get("delta", {})
    return (delta.get("reasoning_content") or "") + (delta.get("content") or "")


def spelled(parts):
    trace = ""
    for part in parts:
        if part.info.start is not None:
            trace = trace[: part.info.start] + text_of(part)[part.info.lead :]
    return trace


def read_naively(parts):
    return "".join(map(text_of, parts))
