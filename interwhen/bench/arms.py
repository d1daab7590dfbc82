"""The arms of the overhead benchmark: the same stream read raw, decoded, and supervised."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import httpx2
import msgspec

from interwhen.bench.pacer import SentLog
from interwhen.claims import Claim
from interwhen.models.completions import CompletionsModel
from interwhen.models.transport import HttpRequest, Transport
from interwhen.monitors import Monitor
from interwhen.remedies import Stop
from interwhen.running import run
from interwhen.segments import Segment
from interwhen.triggers import EveryChars, Lines, Paragraphs, Sentences, Trigger
from interwhen.verdicts import Pass, Verdict, Violation
from interwhen.verifier import verifier

TransportName = Literal["httpx2", "fast"]

_MIXED: tuple[Trigger, ...] = (Lines(), Sentences(), Paragraphs(), EveryChars(400))


@contextmanager
def paced_server(module: str = "interwhen.bench.pacer", *arguments: str) -> Iterator[str]:
    """Run the load generator *module* with *arguments* in a process of its own; yield its base URL."""
    command = [sys.executable, "-m", module, *arguments]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603  (a module of ours)
    try:
        assert child.stdout is not None
        yield f"http://127.0.0.1:{int(child.stdout.readline())}/v1"
    finally:
        child.kill()
        child.communicate()


@contextmanager
def first_core() -> Iterator[None]:
    """Keep this process off the load generator's core, where the system allows it."""
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def open_transport(name: TransportName) -> Transport:
    """Return the transport called *name*."""
    if name == "fast":
        from interwhen.models.fast_transport import FastTransport

        return FastTransport()
    from interwhen.models.httpx2_transport import Httpx2Transport

    return Httpx2Transport()


def _extract(segment: Segment) -> Iterator[Claim]:
    at = segment.text.find(" = ")
    if at >= 0:
        yield Claim(key=segment.text, span=segment.at(max(at - 8, 0), min(at + 6, len(segment.text))))


@verifier(name="bench", worker="inline")
def _accept(_claim: Claim) -> Verdict:
    return Pass("accepted by the benchmark")


def armed(count: int, *, mixed: bool = True) -> list[Monitor]:
    """Return *count* monitors on lines, or on four kinds of segments; their own work is next to nothing."""
    return [
        Monitor(
            name=f"m{number}",
            verifier=_accept,
            extractor=_extract,
            trigger=_MIXED[number % len(_MIXED)] if mixed else Lines(),
        )
        for number in range(count)
    ]


async def read_raw(base_url: str, stream: str, transport: Transport) -> float:
    """Read the bytes of a stream and nothing else; return CPU seconds."""
    body = msgspec.json.encode({"model": stream, "prompt": "", "stream": True})
    request = HttpRequest(
        "POST", f"{base_url}/completions", {"content-type": "application/json", "accept": "text/event-stream"}, body
    )
    begun = time.process_time()
    response = await transport.send(request, connect_timeout=10.0)
    while await response.receive():
        pass
    await response.aclose()
    return time.process_time() - begun


async def read_decoded(base_url: str, stream: str, transport: Transport) -> float:
    """Read a stream as chunks of a model, unsupervised; return CPU seconds."""
    from interwhen.models.base import Request

    model = CompletionsModel(base_url, stream, transport=transport)
    begun = time.process_time()
    opened = await model.stream(Request(""))
    while await opened.receive():
        pass
    await opened.aclose()
    return time.process_time() - begun


async def read_supervised(base_url: str, stream: str, transport: Transport, watchers: Sequence[Monitor]) -> float:
    """Read a stream through a run with armed monitors; return CPU seconds."""
    model = CompletionsModel(base_url, stream, transport=transport)
    begun = time.process_time()
    async with run(model, "", monitors=watchers) as supervised:
        async for _ in supervised:
            pass
    return time.process_time() - begun


class Close(msgspec.Struct, frozen=True):
    """One interrupt: seconds from the verdict to the closed connection, and chunks sent in between."""

    seconds: float
    wasted: int


async def interrupt_once(base_url: str, rate: float, delay: float, transport: Transport) -> Close:
    """Let a verifier refute the first line after *delay* seconds; see when the server saw us go."""
    import anyio

    found = 0.0

    @verifier(name="refute", worker="async")
    async def refute(_claim: Claim) -> Verdict:
        nonlocal found
        await anyio.sleep(delay)
        found = time.monotonic()
        return Violation(why="refuted by the benchmark")

    monitor = Monitor(name="refute", verifier=refute, extractor=_extract, remedy=Stop())
    model = CompletionsModel(base_url, f"4000@{rate:g}", transport=transport)
    async with run(model, "", monitors=[monitor]) as supervised:
        await supervised.drain()
    async with httpx2.AsyncClient() as client:
        log = msgspec.json.decode((await client.get(f"{base_url}/log")).content, type=SentLog)
    assert log.closed is not None
    return Close(log.closed - found, sum(found < sent <= log.closed for sent in log.sent))
