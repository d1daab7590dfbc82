"""What supervision costs in CPU, memory and time to close, measured as pairs in one run."""

from __future__ import annotations

import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import anyio
import httpx2
import msgspec

from interwhen._run import run
from interwhen._types.claims import Claim
from interwhen._types.monitors import Monitor
from interwhen._types.remedies import Stop
from interwhen._types.segments import Segment
from interwhen._types.triggers import EveryChars, Lines, Paragraphs, Sentences, Trigger
from interwhen._types.verdicts import Pass, Verdict, Violation
from interwhen._types.verifiers import verifier
from interwhen.bench._statistics import Estimate, estimate, growth_exponent, percentile
from interwhen.models._openai_api import CompletionsModel
from interwhen.models._transport import HttpRequest, Transport
from interwhen.testing._paced_server import SentLog, paced_server

# The arms of the overhead benchmark: the same stream read raw, decoded, and supervised.

TransportName = Literal["httpx2", "fast"]

_MIXED: tuple[Trigger, ...] = (Lines(), Sentences(), Paragraphs(), EveryChars(400))


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
        from interwhen.models._fast_transport import FastTransport

        return FastTransport()
    from interwhen.models._httpx2_transport import Httpx2Transport

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
    from interwhen._types.models import Request

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


SIZES = (1024, 4096, 16384, 65536)
"""Trace lengths, in chunks, for the growth of CPU; memory is taken at the last."""
_MICRO = 1e6


class CpuRow(msgspec.Struct, frozen=True):
    """CPU that an arm adds to another one, in microseconds a chunk."""

    arm: str
    over: str
    microseconds: Estimate


class GrowthRow(msgspec.Struct, frozen=True):
    """CPU of one supervised run, less that of reading its stream decoded, in seconds."""

    chunks: int
    seconds: float


class Overhead(msgspec.Struct, frozen=True):
    """The whole report."""

    machine: str
    transport: TransportName
    chunks: int
    per_second: float
    raw_microseconds: Estimate
    cpu: tuple[CpuRow, ...]
    growth: tuple[GrowthRow, ...]
    growth_exponent: float
    memory_mb: dict[str, float]
    close_p50_ms: float
    close_p99_ms: float
    wasted_tokens: float
    closes: int


async def measure(
    *,
    transport: TransportName = "httpx2",
    chunks: int = 20000,
    per_second: float = 0.0,
    rounds: int = 15,
    closes: int = 200,
    seed: int = 0,
    sizes: Sequence[int] = SIZES,
    say: Callable[[str], None] = lambda _line: None,
) -> Overhead:
    """Run the benchmark against a load generator in its own process, on its own core."""
    with paced_server() as url, first_core():
        say(f"CPU per chunk: {rounds} rounds of 6 arms, {chunks} chunks at {per_second:g}/s (0: as they can be read)")
        costs = await _cpu(url, f"{chunks}@{per_second:g}", transport, rounds, random.Random(seed))  # noqa: S311
        say(f"growth with trace length: {sizes[0]:,} to {sizes[-1]:,} chunks, as fast as they come")
        growth = await _growth(url, transport, sizes)
        say(f"time to close: {closes} interrupts at 200 chunks/s")
        way = open_transport(transport)
        # The delay is random so that verdicts fall anywhere between two chunks.
        rng = random.Random(seed)  # noqa: S311
        found = [await interrupt_once(url, 200.0, rng.uniform(0.002, 0.02), way) for _ in range(closes)]
        await way.aclose()
        say(f"peak memory at {sizes[-1]:,} chunks: raw and supervised, a process each")
        memory = {arm: _peak_mb(url, arm, transport, sizes[-1]) for arm in ("raw", "supervised")}
    micro = {arm: [cost / chunks * _MICRO for cost in values] for arm, values in costs.items()}
    pairs = [
        ("decoded", "raw"),
        ("no monitor", "decoded"),
        ("3 monitors", "decoded"),
        ("3 mixed monitors", "decoded"),
        ("10 mixed monitors", "decoded"),
        ("3 monitors", "raw"),
        ("10 mixed monitors", "raw"),
    ]
    return Overhead(
        machine=f"{platform.machine()}, Python {platform.python_version()}, {platform.system()}",
        transport=transport,
        chunks=chunks,
        per_second=per_second,
        raw_microseconds=estimate(micro["raw"]),
        cpu=tuple(
            CpuRow(arm, over, estimate([b - a for a, b in zip(micro[over], micro[arm], strict=True)]))
            for arm, over in pairs
        ),
        growth=tuple(growth),
        growth_exponent=growth_exponent([row.chunks for row in growth], [row.seconds for row in growth]),
        memory_mb=memory,
        close_p50_ms=percentile([close.seconds for close in found], 0.5) * 1e3,
        close_p99_ms=percentile([close.seconds for close in found], 0.99) * 1e3,
        wasted_tokens=sum(close.wasted for close in found) / len(found),
        closes=closes,
    )


async def _cpu(
    url: str, stream: str, transport: TransportName, rounds: int, rng: random.Random
) -> dict[str, list[float]]:
    way = open_transport(transport)
    arms: dict[str, Callable[[], Awaitable[float]]] = {
        "raw": partial(read_raw, url, stream, way),
        "decoded": partial(read_decoded, url, stream, way),
        "no monitor": partial(read_supervised, url, stream, way, ()),
        "3 monitors": partial(read_supervised, url, stream, way, armed(3, mixed=False)),
        "3 mixed monitors": partial(read_supervised, url, stream, way, armed(3)),
        "10 mixed monitors": partial(read_supervised, url, stream, way, armed(10)),
    }
    costs: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        order = list(arms)
        rng.shuffle(order)
        for name in order:
            cost = await arms[name]()
            if number:  # the first round warms up
                costs[name].append(cost)
    await way.aclose()
    return costs


async def _growth(url: str, transport: TransportName, sizes: Sequence[int]) -> list[GrowthRow]:
    way = open_transport(transport)
    rows = []
    for chunks in sizes:
        stream = f"{chunks}@0"
        tries = [
            await read_supervised(url, stream, way, armed(3)) - await read_decoded(url, stream, way)
            for _ in range(max(3, min(16384 // chunks, 9)))
        ]
        rows.append(GrowthRow(chunks, percentile(tries, 0.5)))
    await way.aclose()
    return rows


def _peak_mb(url: str, arm: str, transport: TransportName, chunks: int) -> float:
    code = f"import interwhen.bench._overhead as o; o.print_peak({url!r}, {arm!r}, {transport!r}, {chunks})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    return float(done.stdout)


def print_peak(url: str, arm: str, transport: TransportName, chunks: int) -> None:
    """Read *chunks* chunks in one way and write the peak resident memory in MB to standard output."""
    import resource

    async def once() -> None:
        way = open_transport(transport)
        if arm == "raw":
            await read_raw(url, f"{chunks}@0", way)
        else:
            await read_supervised(url, f"{chunks}@0", way, armed(3))
        await way.aclose()

    anyio.run(once)
    try:
        # getrusage() would show the peak of the process that started this one, if that was higher.
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
    except OSError:
        scale = 1 if platform.system() == "Darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    sys.stdout.write(f"{peak / 1e6}\n")
