"""``interwhen bench overhead``: what supervision costs in CPU time, memory and time to close a stream."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Annotated

import anyio
import httpx2
import msgspec
from cyclopts import Parameter

from interwhen import (
    Claim,
    Lines,
    Monitor,
    Paragraphs,
    Pass,
    Segment,
    Sentences,
    Verdict,
    Violation,
    run,
    verifier,
)
from interwhen._types.remedies import Stop
from interwhen._types.triggers import EveryChars, Trigger
from interwhen._types.vetting import Above, Positive, vetted
from interwhen.bench._experiment import Experiment, command_of, observations, say
from interwhen.bench._processes import TransportName, memory_of, open_transport, pinned
from interwhen.bench._report import Chart, Report, Series, Table, lines
from interwhen.bench._statistics import Estimate, estimate, growth_exponent
from interwhen.models import CompletionsModel, Request
from interwhen.models._transport import HttpRequest, Transport
from interwhen.testing._paced_server import SentLog, paced_server
from interwhen.testing._scores import percentile

_MIXED: tuple[Trigger, ...] = (Lines(), Sentences(), Paragraphs(), EveryChars(400))
SIZES = (1024, 4096, 16384, 65536)
"""Lengths of traces, in chunks. Memory is measured at the last one."""


def _extract(segment: Segment) -> Iterator[Claim]:
    at = segment.text.find(" = ")
    if at >= 0:
        yield Claim(key=segment.text, span=segment.at(max(at - 8, 0), min(at + 6, len(segment.text))))


@verifier(name="bench", worker="inline")
def _accept(_claim: Claim) -> Verdict:
    return Pass("accepted by the benchmark")


def armed(count: int, *, mixed: bool = True) -> list[Monitor]:
    # The monitors pass everything almost without work, so that the cost of the supervision itself is measured.
    triggers = _MIXED if mixed else (Lines(),)
    return [
        Monitor(name=f"m{number}", verifier=_accept, extractor=_extract, trigger=triggers[number % len(triggers)])
        for number in range(count)
    ]


async def read_raw(base_url: str, stream: str, transport: Transport) -> float:
    # Without decoding, as the baseline of the other ways to read. Returns CPU seconds.
    body = msgspec.json.encode({"model": stream, "prompt": "", "stream": True})
    headers = {"content-type": "application/json", "accept": "text/event-stream"}
    begun = time.process_time()
    response = await transport.send(HttpRequest("POST", f"{base_url}/completions", headers, body), connect_timeout=10.0)
    while await response.receive():
        pass
    await response.aclose()
    return time.process_time() - begun


async def read_decoded(base_url: str, stream: str, transport: Transport) -> float:
    # Decoded to chunks, without supervision. Returns CPU seconds.
    model = CompletionsModel(base_url, stream, transport=transport)
    begun = time.process_time()
    opened = await model.stream(Request(""))
    while await opened.receive():
        pass
    await opened.aclose()
    return time.process_time() - begun


async def read_supervised(base_url: str, stream: str, transport: Transport, monitors: Sequence[Monitor]) -> float:
    # Returns CPU seconds.
    model = CompletionsModel(base_url, stream, transport=transport)
    begun = time.process_time()
    async with run(model, "", monitors=monitors) as supervised:
        async for _ in supervised:
            pass
    return time.process_time() - begun


@vetted("--")
async def overhead(
    *,
    transport: TransportName = "httpx2",
    chunks: Positive = 20000,
    per_second: float = 0.0,
    pairs: Positive = 15,
    closes: Positive = 200,
    sizes: Annotated[tuple[int, ...], Parameter(parse=False)] = SIZES,
    seed: int = 0,
    minutes: Above | None = None,
) -> Report:
    """Measure CPU per chunk, growth with length, memory and time to close, over a loopback stream.

    The stream comes from a load generator in a process of its own; where the system allows it, generator and reader run
    on different cores.

    Parameters
    ----------
    transport
        The HTTP library that reads the stream.
    chunks
        How many chunks a stream of the rounds has. Growth, memory and interrupts are measured with other streams.
    per_second
        The rate of these streams in chunks per second, each chunk in a packet of its own. 0 sends as fast as the reader
        reads, which shows the work of the code without the cost of waking up.
    pairs
        How many rounds are measured, after one that warms up. A round runs all arms in random order; differences are
        taken within a round.
    closes
        How many interrupts are timed until the stream is closed.
    seed
        The seed of the order of the arms and of the delays of the verifiers.
    minutes
        Begin no further round of the arms after this many minutes, but measure at least one.
    """
    with paced_server() as url, pinned():
        way = open_transport(transport)
        read = partial(read_supervised, url, f"{chunks}@{per_second:g}", way)
        arms: dict[str, Callable[[], Awaitable[float]]] = {
            "raw": partial(read_raw, url, f"{chunks}@{per_second:g}", way),
            "decoded": partial(read_decoded, url, f"{chunks}@{per_second:g}", way),
            "no monitor": partial(read, ()),
            "3 monitors": partial(read, armed(3, mixed=False)),
            "3 mixed monitors": partial(read, armed(3)),
            "10 mixed monitors": partial(read, armed(10)),
        }
        say(f"CPU per chunk: {pairs} rounds of 6 arms, {chunks} chunks at {per_second:g}/s (0: as they can be read)")
        experiment = Experiment(tuple(arms), pairs, seed, minutes=minutes)
        costs = await experiment.run(lambda arm, _: arms[arm]())
        say(f"growth with trace length: {sizes[0]:,} to {sizes[-1]:,} chunks, as fast as they come")
        growth = [(size, await _added_seconds(url, way, size)) for size in sizes]
        say(f"time to close: {closes} interrupts at 200 chunks/s")
        # The delay is random so that verdicts fall anywhere between two chunks.
        rng = random.Random(seed)  # noqa: S311  (not a secret)
        closed = [await interrupt_once(url, 200.0, rng.uniform(0.002, 0.02), way) for _ in range(closes)]
        await way.aclose()
        say(f"peak memory at {sizes[-1]:,} chunks: raw and supervised, a process each")
        raw_mb, supervised_mb = (_peak_mb(url, arm, transport, sizes[-1]) for arm in ("raw", "supervised"))
    micro = {arm: [cost / chunks * 1e6 for cost in values] for arm, values in costs.items()}
    rows = lines({"raw reading, CPU per chunk": estimate(micro["raw"], "µs")})
    for arm, over, limit in (
        ("decoded", "raw", None),
        ("no monitor", "decoded", None),
        ("3 monitors", "decoded", 4.0),
        ("3 mixed monitors", "decoded", None),
        ("10 mixed monitors", "decoded", 10.0),
        ("3 monitors", "raw", None),
        ("10 mixed monitors", "raw", None),
    ):
        added = [after - before for before, after in zip(micro[over], micro[arm], strict=True)]
        rows += lines({f"{arm} over {over}": estimate(added, "µs", limit=limit)})
    seconds = [close.seconds * 1e3 for close in closed]
    rows += lines(
        {
            **{f"added CPU of {size:,} chunks": Estimate(added * 1e3, "ms") for size, added in growth},
            "growth exponent": Estimate(growth_exponent(sizes, [added for _, added in growth]), limit=1.05),
            f"peak memory at {sizes[-1]:,} chunks, raw": Estimate(raw_mb, "MB"),
            f"peak memory at {sizes[-1]:,} chunks, added": Estimate(supervised_mb - raw_mb, "MB", limit=40),
            "violation to closed, p50": Estimate(percentile(seconds, 0.5), "ms", n=closes, limit=1),
            "violation to closed, p99": Estimate(percentile(seconds, 0.99), "ms", n=closes, limit=5),
            "tokens sent meanwhile, mean": Estimate(
                sum(close.wasted for close in closed) / closes, n=closes, limit=0.3
            ),
        }
    )
    added_cpu = Series("supervised less decoded", tuple((float(size), added * 1e3) for size, added in growth))
    chart = Chart("Added CPU over the length of the trace", "chunks", "ms", (added_cpu,), log_x=True, log_y=True)
    table = Table("What supervision costs", tuple(rows), "Medians with 95 % bootstrap intervals over rounds.")
    return Report(
        benchmark="overhead", subject=transport, tables=(table,), charts=(chart,), observations=observations(costs)
    )


async def _added_seconds(url: str, transport: Transport, chunks: int) -> float:
    stream = f"{chunks}@0"
    tries = [
        await read_supervised(url, stream, transport, armed(3)) - await read_decoded(url, stream, transport)
        for _ in range(max(3, min(16384 // chunks, 9)))
    ]
    return percentile(tries, 0.5)


class CloseTiming(msgspec.Struct, frozen=True):
    """The seconds from a verdict to the closed connection, and the number of chunks sent in between."""

    seconds: float
    wasted: int


async def interrupt_once(base_url: str, rate: float, delay: float, transport: Transport) -> CloseTiming:
    # `rate` is in chunks a second, and `delay` in seconds.
    refuted_at = 0.0

    @verifier(name="refute", worker="async")
    async def refute(_claim: Claim) -> Verdict:
        nonlocal refuted_at
        await anyio.sleep(delay)
        refuted_at = time.monotonic()
        return Violation(why="refuted by the benchmark")

    monitor = Monitor(name="refute", verifier=refute, extractor=_extract, remedy=Stop())
    model = CompletionsModel(base_url, f"4000@{rate:g}", transport=transport)
    async with run(model, "", monitors=[monitor]) as supervised:
        await supervised.drain()
    async with httpx2.AsyncClient() as client:
        log = msgspec.json.decode((await client.get(base_url.replace("/v1", "/log"))).content, type=SentLog)
    assert log.closed is not None
    return CloseTiming(log.closed - refuted_at, sum(refuted_at < sent <= log.closed for sent in log.sent))


def _peak_mb(url: str, arm: str, transport: TransportName, chunks: int) -> float:
    code = f"import interwhen.bench._overhead as o; o.print_peak({url!r}, {arm!r}, {transport!r}, {chunks})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    return float(done.stdout)


def print_peak(url: str, arm: str, transport: TransportName, chunks: int) -> None:
    # Runs in a process of its own (`_peak_mb`), so that the peak is that of one arm.
    import resource

    async def once() -> None:
        way = open_transport(transport)
        if arm == "raw":
            await read_raw(url, f"{chunks}@0", way)
        else:
            await read_supervised(url, f"{chunks}@0", way, armed(3))
        await way.aclose()

    anyio.run(once)
    # getrusage() would report the peak of the parent process if that peak was higher.
    peak = memory_of().peak
    if peak is None:
        scale = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6
    sys.stdout.write(f"{peak}\n")


command = command_of(overhead, uvloop=False, has_charts=True)
