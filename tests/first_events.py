"""``python -m tests.first_events WAY URL FOLDER EVENT...``: what is imported and compiled while streams are read.

Prints for each kind of event a line with how its stream ended, and then, indented, each module that was imported and
each pattern and source that was compiled, in the thread of the event loop, for the first time in the process. *WAY* is
a kind of transport and a backend, where this counts from the first text to the end of the stream; or ``gateway``, where
it counts from the moment when the gateway was entered; or ``wrap``, a wrapped client of the openai package. The server at *URL* is that of ``test_first_events.py``.

This module imports nothing that streams might need.
"""

import re._compiler
import sys
from _thread import get_ident

_thread = get_ident()


class _Seen:
    found = None
    """The list for what is imported and compiled; ``None``: nothing counts now."""


def _note(what):
    if _Seen.found is None or get_ident() != _thread:
        return
    frame, where = sys._getframe(2), []
    while frame is not None and len(where) < 3:
        if "importlib" not in frame.f_code.co_filename and "/re/" not in frame.f_code.co_filename:
            where.append(f"{frame.f_code.co_filename[-40:]}:{frame.f_lineno}")
        frame = frame.f_back
    _Seen.found.append(f"{what}, by {' < '.join(where)}")


def _listen():
    def hear(event, values):
        if event == "import":
            _note(f"import {values[0]}")
        elif event == "compile":
            _note("compile a source")

    def compiled(pattern, flags=0):
        _note(f"compile the pattern {pattern!r:.60}")
        return original(pattern, flags)

    sys.addaudithook(hear)
    original, re._compiler.compile = re._compiler.compile, compiled


def _claims(segment):
    from interwhen import Claim

    return [Claim(key=segment.text, span=segment.span)]


def _monitor(name, worker, **options):
    from interwhen import Monitor, Violation, verifier

    @verifier(name=name, worker=worker)
    def check(claim):
        if name == "fails":
            raise RuntimeError("on purpose")
        return Violation(why="no line is right")

    return Monitor(name=name, verifier=check, extractor=_claims, **options)


def warning():
    return _monitor("fails", "thread")


def error():
    from interwhen.registry import load_monitors

    return load_monitors(["arithmetic"])[0]


repair = journal = error


def refusal():
    return _monitor("refuses", "inline", delivery="gate")


def call():
    from interwhen import Monitor, ToolCalls, Violation, verifier

    @verifier(name="calls", worker="inline")
    def check(claim):
        return Violation(why="no call is right")

    return Monitor(name="calls", verifier=check, extractor=_calls, trigger=ToolCalls(), delivery="gate_tools")


def _calls(segment):
    from interwhen import Claim

    return [Claim(key=str(called.values()), span=segment.span) for called in segment.calls]


def process():
    from interwhen.registry import load_monitors

    return load_monitors([{"name": "regex", "patterns": r"(x)\1"}])[0]


async def _run(transport, url, folder, event):
    import interwhen
    import interwhen.clients
    from interwhen import models

    if transport == "Httpx2Transport":
        from interwhen.models._httpx2_transport import Httpx2Transport

        made = Httpx2Transport()
    else:
        made = models.FastTransport()
    model = models.CompletionsModel(url, event, api_key="", transport=made, retries=models.Retries(base=0.001))
    journal = f"{folder}/one.journal" if event == "journal" else None
    notes = []
    async with interwhen.run(model, "Q", monitors=[globals()[event]()], journal=journal) as run:
        async for _ in run:
            _Seen.found = notes
        _Seen.found = None
    await model.aclose()
    return str(run.result), notes


async def _call(url, folder, event):
    import msgspec
    from interwhen.gateway import Config, _monitor_choice, make_app
    from interwhen.gateway._gateway import Gateway

    journal = {"path": f"{folder}/journals"} if event == "journal" else {}
    _monitor_choice.load_monitors = lambda name: (globals()[name](),)
    config = {"upstreams": [url], "journal": journal, "monitors": [event]}
    gateway = Gateway(msgspec.convert(config, Config))
    app = make_app(gateway)
    body = b'{"model":"%b","stream":true,"messages":[{"role":"user","content":"Q"}]}' % event.encode()
    async with gateway:
        _Seen.found = notes = []
        sent = await send_call(app, body)
        _Seen.found = None
    return sent.replace("\n", " "), notes


async def _wrapped(url, folder, event):
    import interwhen
    import openai

    client = openai.AsyncOpenAI(base_url=url, api_key="none")
    journal = f"{folder}/journals" if event == "journal" else None
    wrapped = interwhen.wrap(client, monitors=[globals()[event]()], journal=journal)
    notes = []
    ended = ""
    try:
        asked = {"model": event, "messages": [{"role": "user", "content": "Q"}]}
        async for chunk in await wrapped.chat.completions.create(**asked, stream=True):
            _Seen.found = notes
            ended = str(chunk.interwhen) if hasattr(chunk, "interwhen") else ended
    except (openai.APIError, interwhen.clients.Refused) as failure:
        ended = f"failed: {failure!r}"
    _Seen.found = None
    await client.close()
    return ended, notes


async def send_call(app, body):
    import anyio

    parts = [{"type": "http.request", "body": body, "more_body": False}]
    sent = []

    async def receive():
        return parts.pop() if parts else await anyio.sleep_forever()

    async def send(message):
        sent.append(message.get("body", b""))

    path = "/v1/chat/completions"
    headers = [(b"content-type", b"application/json"), (b"host", b"localhost")]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    await app({**scope, "headers": headers, "http_version": "1.1", "scheme": "http"}, receive, send)
    return b"".join(sent).decode()


async def _main(way, url, folder, events):
    for event in events:
        if way == "gateway":
            ended, notes = await _call(url, folder, event)
        elif way == "wrap":
            ended, notes = await _wrapped(url, folder, event)
        else:
            ended, notes = await _run(way, url, folder, event)
        sys.stdout.write("\n    ".join([f"{event} {ended}", *notes]) + "\n")


if __name__ == "__main__":
    import anyio

    _listen()
    _way, _, _backend = sys.argv[1].partition("-")
    anyio.run(_main, _way, sys.argv[2], sys.argv[3], sys.argv[4:], backend=_backend or "asyncio")
