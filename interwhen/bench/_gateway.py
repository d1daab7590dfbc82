"""What the gateway adds to a stream, and how many streams one process carries, measured as pairs in one run."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import platform
import random
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import msgspec

from interwhen._types.errors import MissingExtraError, UsageError
from interwhen._types.monitors import Monitor
from interwhen.bench._crowd import (
    Crowd,
    Reader,
    Reading,
    ask_generator,
    httpx2_crowd,
    judge,
    openai_crowd,
    read_crowd,
    run_crowd,
    transport_crowd,
)
from interwhen.bench._overhead import TransportName, armed, open_transport
from interwhen.bench._statistics import Estimate, estimate, percentile
from interwhen.clients import supervision_info, wrap
from interwhen.registry import load_monitors
from interwhen.testing._paced_server import LoadTally, loopback_process, paced_server

# What ``interwhen bench gateway`` found, and what of it had to be how good.

GENERATOR_LATE_MS = 2.0
"""From which lateness of its own on (99 % of its chunks) the load generator limits what can be measured.

It waits in whole milliseconds, as epoll does, so that one of them is always there, at the floor as well."""
UNWATCHED = "interwhen.run, no monitor"
"""The name of what reading costs, without the work of whatever watches."""
_LATE_MS = 3.0


class Bar(msgspec.Struct, frozen=True):
    """One number, and how good it has to be."""

    what: str
    value: float
    unit: str
    bar: float | None = None
    """``None``: the number is for comparison."""
    is_least: bool = False
    """Whether the bar is what it has to be at least; otherwise it is the most."""
    met: bool | None = None


class Added(msgspec.Struct, frozen=True):
    """What is slower through the gateway than without it, at one stream, in milliseconds."""

    first_direct_p50_ms: float
    first_p50_ms: float
    """Of the differences of time to first token, within pairs."""
    first_p99_ms: float
    relay_p50_ms: float
    """The same of a bare relay, which passes bytes on and does nothing else: what a process between costs at least."""
    relay_p99_ms: float
    gap_direct_p99_ms: float
    """99 % of the gaps between chunks are no longer than this, less the gap that is meant to be."""
    gap_p99_ms: float
    """What the gateway adds to that."""


class Carried(msgspec.Struct, frozen=True):
    """A crowd read in one way, and just before it by a bare protocol that only notes when bytes come: the floor."""

    rate: float
    direct: Crowd
    """The floor."""
    crowd: Crowd
    generator: LoadTally
    """What the generator says of itself while the crowd was read."""
    cpu_microseconds: float | None = None
    """CPU that each chunk took: in the gateway, or in this process for reading it."""
    direct_cpu_microseconds: float | None = None
    """CPU that each chunk took the bare protocol, where it was read in the process that was measured."""
    memory_kb: float | None = None
    """Resident memory that each stream took, in the gateway."""

    @property
    def added_p99_ms(self) -> float:
        """How much later chunks come than at the floor, both against the generator's schedule."""
        return self.crowd.late_p99_ms - self.direct.late_p99_ms


def middle_of(rounds: Sequence[Carried]) -> Carried:
    """Return the one of *rounds* with the median lateness, with the worst rate and the most losses of any."""
    middle = sorted(rounds, key=lambda each: each.added_p99_ms)[len(rounds) // 2]
    crowds = [each.crowd for each in rounds]
    lost, delivered = max(crowd.lost for crowd in crowds), min(crowd.delivered for crowd in crowds)
    return msgspec.structs.replace(middle, crowd=msgspec.structs.replace(middle.crowd, lost=lost, delivered=delivered))


class SdkCost(msgspec.Struct, frozen=True):
    """CPU per chunk of one paced stream, in microseconds, through a client of the SDK."""

    chunks: int
    rate: float
    bare: Estimate
    wrapped: Estimate
    added: Estimate
    """The differences, within pairs."""


class GatewayReport(msgspec.Struct, frozen=True):
    """The whole report."""

    machine: str
    monitors: str
    uvloop: bool
    pairs: int
    seconds: float
    run_rounds: int
    """Of so many rounds through interwhen.run, what is reported is the one with the median lateness."""
    added: Added
    gateway: Carried
    run: Carried
    beside: dict[str, Carried]
    """The same crowd through other clients."""
    sdk: SdkCost
    bars: list[Bar] = []
    warnings: list[str] = []


def judged(report: GatewayReport) -> GatewayReport:
    """Return *report* with its bars and warnings."""
    return msgspec.structs.replace(report, bars=list(_bars(report)), warnings=list(_warnings(report)))


def _bars(report: GatewayReport) -> Iterator[Bar]:
    added, sdk = report.added, report.sdk
    yield _for_comparison("1 stream: time to first token, direct, p50", added.first_direct_p50_ms, "ms")
    yield _at_most("1 stream: time to first token, added by the gateway, p50", added.first_p50_ms, "ms", 2.0)
    yield _at_most("1 stream: time to first token, added by the gateway, p99", added.first_p99_ms, "ms", 8.0)
    yield _for_comparison("1 stream: time to first token, added by a bare relay, p50", added.relay_p50_ms, "ms")
    yield _for_comparison("1 stream: time to first token, added by a bare relay, p99", added.relay_p99_ms, "ms")
    yield _for_comparison("1 stream: gap over the meant one, direct, p99", added.gap_direct_p99_ms, "ms")
    yield _at_most("1 stream: gap, added by the gateway, p99", added.gap_p99_ms, "ms", 5.0)
    yield from _crowd("gateway", report.gateway)
    if report.gateway.memory_kb is not None:
        yield _at_most("gateway: memory per stream", report.gateway.memory_kb, "KB", 300.0)
    yield from _crowd("interwhen.run", report.run, late=_LATE_MS)
    for name, part in report.beside.items():
        if name == UNWATCHED:
            yield from _crowd(name, part, late=_LATE_MS)
            continue
        yield _for_comparison(f"{name}: share of the offered rate", part.crowd.delivered * 100, "%")
        yield _for_comparison(f"{name}: lateness of chunks, p99", part.crowd.late_p99_ms, "ms")
        yield _for_comparison(f"{name}: added lateness, p99", part.added_p99_ms, "ms")
        yield _for_comparison(f"{name}: CPU per chunk", part.cpu_microseconds or 0.0, "µs")
    yield _for_comparison("SDK, bare: CPU per chunk", sdk.bare.median, "µs")
    yield _for_comparison("SDK, wrapped and watched: CPU per chunk", sdk.wrapped.median, "µs")
    yield _at_most("SDK: wrapping adds, within pairs", sdk.added.median, "µs", 0.0)


def _crowd(name: str, part: Carried, *, late: float | None = None) -> Iterator[Bar]:
    crowd = part.crowd
    load = f"{name}: {crowd.streams} streams at {part.rate:g}/s"
    share = crowd.delivered * 100
    yield Bar(f"{load}, share of the offered rate", share, "%", 99.0, is_least=True, met=share >= 99.0)
    yield _for_comparison(f"{name}: the same by a bare protocol, the floor", part.direct.delivered * 100, "%")
    yield _at_most(f"{name}: streams lost", crowd.lost, "", 0.0)
    yield _for_comparison(f"{name}: lateness of chunks, p50", crowd.late_p50_ms, "ms")
    yield _for_comparison(f"{name}: lateness of chunks, p50, at the floor", part.direct.late_p50_ms, "ms")
    yield _for_comparison(f"{name}: lateness of chunks, p99", crowd.late_p99_ms, "ms")
    yield _for_comparison(f"{name}: lateness of chunks, p99, at the floor", part.direct.late_p99_ms, "ms")
    if late is None:
        yield _for_comparison(f"{name}: added lateness, p99", part.added_p99_ms, "ms")
    else:
        yield _at_most(f"{name}: added lateness, p99", part.added_p99_ms, "ms", late)
    if part.cpu_microseconds is not None:
        yield _for_comparison(f"{name}: CPU per chunk", part.cpu_microseconds, "µs")
    if part.direct_cpu_microseconds is not None:
        yield _for_comparison(f"{name}: CPU per chunk at the floor", part.direct_cpu_microseconds, "µs")


def _at_most(what: str, value: float, unit: str, bar: float) -> Bar:
    return Bar(what, value, unit, bar, met=value <= bar)


def _for_comparison(what: str, value: float, unit: str) -> Bar:
    return Bar(what, value, unit)


def _warnings(report: GatewayReport) -> Iterator[str]:
    parts = {"gateway": report.gateway, "interwhen.run": report.run, **report.beside}
    for name, part in parts.items():
        generator = part.generator
        if generator.late_p99_ms > GENERATOR_LATE_MS:
            yield (
                f"{name}: the load generator itself was late (p99 {generator.late_p99_ms:.1f} ms, its core "
                f"{generator.busy:.0%} busy), so it limits what this part shows"
            )
        if part.direct.delivered < 0.99:
            yield f"{name}: even the bytes came at {part.direct.delivered:.1%} of the offered rate"


# What a chunk costs through a client of the `openai` package, bare and wrapped, as pairs in one run.

_WARM_UP = 2
"""Rounds that are not counted."""


async def sdk_cost(
    base_url: str, monitors: Sequence[Monitor], *, rounds: int, chunks: int, rate: float, seed: int
) -> SdkCost:
    """Read the same paced stream through both clients, in random order within each round.

    Each chunk comes in a packet of its own, as a model's do: read as fast as can be, many would come at once, and
    what it costs to wake up for one would not be seen.
    """
    try:
        import openai
    except ModuleNotFoundError as error:
        raise MissingExtraError("interwhen bench gateway", "openai") from error
    rng = random.Random(seed)  # noqa: S311  an order, not a secret
    found: dict[str, list[float]] = {"bare": [], "wrapped": []}
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as bare:
        clients = {"bare": bare, "wrapped": wrap(bare, monitors)}
        for number in range(rounds + _WARM_UP):
            order = list(clients)
            rng.shuffle(order)
            for name in order:
                spent = await _read(clients[name], f"{chunks}@{rate:g}", chunks, watched=name == "wrapped")
                if number >= _WARM_UP:
                    found[name].append(spent / chunks * 1e6)
    added = [wrapped - plain for plain, wrapped in zip(found["bare"], found["wrapped"], strict=True)]
    return SdkCost(chunks, rate, estimate(found["bare"], seed), estimate(found["wrapped"], seed), estimate(added, seed))


async def _read(client: Any, stream: str, chunks: int, *, watched: bool) -> float:
    """Read one stream to its end; return the CPU seconds."""
    begun = time.process_time()
    texts, last = 0, None
    messages = [{"role": "user", "content": "How many apples are left?"}]
    async for last in await client.chat.completions.create(model=stream, messages=messages, stream=True):
        if last.choices and last.choices[0].delta.content:
            texts += 1
    spent = time.process_time() - begun
    info = supervision_info(last)
    checks = len(info.result.checks) if info is not None and info.result is not None else 0
    if texts != chunks or (watched and not checks):
        raise UsageError(f"a stream brought {texts} of {chunks} chunks and {checks} checks: nothing can be measured so")
    return spent


_SDK_CHUNKS, _SDK_RATE = 1000, 1000.0
"""One second of a stream that is as fast as streams get."""
_Crowd: TypeAlias = Callable[[str, int, int, float], Awaitable[list[Reading]]]
_SERVE = "import sys; from interwhen.cli._main import main; sys.exit(main())"


async def measure(
    *,
    pairs: int = 200,
    streams: int = 500,
    seconds: float = 20.0,
    gateway_rate: float = 20.0,
    run_rate: float = 50.0,
    run_rounds: int = 3,
    sdk_rounds: int = 15,
    monitor: str = "arithmetic",
    transport: TransportName = "fast",
    seed: int = 0,
    say: Callable[[str], None] = lambda _line: None,
) -> GatewayReport:
    """Run the benchmark: the generator and the readers of bytes on the last core, what is measured on the first."""
    if min(pairs, streams, run_rounds, sdk_rounds) < 1 or seconds * min(gateway_rate, run_rate) < 2:
        raise UsageError("at least one pair, stream and round, and two chunks a stream, are needed to measure anything")
    monitors = load_monitors([monitor] if monitor else []) or tuple(armed(1))
    gc.collect()
    gc.freeze()  # what is there now is no work for the collector while chunks are timed
    gc.set_threshold(1_000, 10, 100)  # as docs/transports.md has it for many streams
    with paced_server(stamped=True) as url:
        with _gateway(url, monitor) as (process, gateway_url), _cores(last=True):
            say(f"added time: {pairs} rounds at 1 stream: direct, through a bare relay, and through the gateway")
            with _relay(url) as relay_url:
                ways = {"direct": url, "relay": relay_url, "gateway": gateway_url}
                added = await _added(ways, pairs, random.Random(seed))  # noqa: S311
            chunks = max(int(seconds * gateway_rate), 2)
            say(f"{streams} streams at {gateway_rate:g} chunks/s, as bytes and through one gateway process")
            carried = await _carried(url, gateway_url, streams, chunks, gateway_rate, process)
        with _cores(last=False):
            bench = _Crowds(url, streams, max(int(seconds * run_rate), 2), run_rate, say)
            way = open_transport(transport)
            try:
                crowd = functools.partial(run_crowd, transport=way, monitors=monitors)
                supervised = await bench.read("interwhen.run", crowd, rounds=run_rounds)
                unwatched = await bench.read(
                    "interwhen.run without a monitor",
                    functools.partial(run_crowd, transport=way, monitors=()),
                    rounds=run_rounds,
                )
                raw = await bench.read(
                    f"transport {transport} alone", functools.partial(transport_crowd, transport=way)
                )
            finally:
                await way.aclose()
            beside = {
                UNWATCHED: unwatched,
                f"transport {transport}, raw bytes": raw,
                "httpx2, raw bytes": await bench.read("httpx2", httpx2_crowd),
                "openai SDK": await bench.read("the openai SDK", openai_crowd),
            }
            say(f"the openai SDK bare and wrapped: {sdk_rounds} rounds at 1 stream")
            cost = await sdk_cost(url, monitors, rounds=sdk_rounds, chunks=_SDK_CHUNKS, rate=_SDK_RATE, seed=seed)
    return judged(
        GatewayReport(
            machine=f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            monitors=monitor or "none",
            uvloop=type(asyncio.get_running_loop()).__module__.startswith("uvloop"),
            pairs=pairs,
            seconds=seconds,
            run_rounds=run_rounds,
            added=added,
            gateway=carried,
            run=supervised,
            beside=beside,
            sdk=cost,
        )
    )


class _Crowds:
    """Reads one crowd in several ways, each time just after the same crowd at the floor.

    A short crowd goes before: from then on the process has the memory that it needs, as one that has run for a while.
    """

    def __init__(self, url: str, streams: int, chunks: int, rate: float, say: Callable[[str], None]) -> None:
        self._load = url, streams, chunks, rate
        self._say = say

    async def read(self, name: str, crowd: _Crowd, *, rounds: int = 1) -> Carried:
        """Return what the round with the median lateness found, with all streams that any round lost."""
        url, streams, chunks, rate = self._load
        self._say(f"{streams} streams at {rate:g} chunks/s, by a bare protocol and through {name} in this process")
        await crowd(url, streams, max(chunks // 20, 2), rate)
        found = [await self._round(crowd) for _ in range(rounds)]
        return middle_of(found)

    async def _round(self, crowd: _Crowd) -> Carried:
        url, _, chunks, rate = self._load
        bare, floor = await self._timed(read_crowd)
        await ask_generator(url)
        found, cost = await self._timed(crowd)
        tally = await ask_generator(url)
        return Carried(rate, judge(bare, chunks, rate), judge(found, chunks, rate), tally, cost, floor)

    async def _timed(self, crowd: _Crowd) -> tuple[list[Reading], float]:
        """Read the crowd; return what came, and the CPU that each chunk took in this process, in microseconds."""
        _, streams, chunks, _ = self._load
        begun = time.process_time()
        found = await crowd(*self._load)
        return found, (time.process_time() - begun) / (streams * chunks) * 1e6


async def _carried(url: str, gateway_url: str, streams: int, chunks: int, rate: float, process: int) -> Carried:
    """Read a crowd as bytes, and through the gateway."""
    direct = judge(await read_crowd(url, streams, chunks, rate), chunks, rate)
    await ask_generator(url)
    idle = _resident_kb(process)
    peak, before = _Peak(process), _cpu_seconds(process)
    async with peak:
        crowd = judge(await read_crowd(gateway_url, streams, chunks, rate), chunks, rate)
    after = _cpu_seconds(process)
    cost = None if before is None or after is None else (after - before) / (streams * chunks) * 1e6
    memory = None if idle is None else (peak.kb - idle) / streams
    return Carried(rate, direct, crowd, await ask_generator(url), cost, memory_kb=memory)


async def _added(ways: Mapping[str, str], pairs: int, rng: random.Random) -> Added:
    """Read the same streams in all ways (by their base URLs), in random order within each round."""
    readers = {name: Reader(url) for name, url in ways.items()}
    found: dict[str, list[Reading]] = {name: [] for name in readers}
    rate, chunks = 50.0, 25
    for number in range(pairs + 2):
        order = list(readers)
        rng.shuffle(order)
        for name in order:
            reading = await readers[name].read(f"{chunks}@{rate:g}")
            if not reading.ended:
                raise UsageError(f"a stream {name} did not come to its end; nothing can be measured like this")
            if number > 1:  # the first ones warm up
                found[name].append(reading)
    for reader in readers.values():
        reader.close()
    first, relay = (
        [b.first - a.first for a, b in zip(found["direct"], found[name], strict=True)] for name in ("gateway", "relay")
    )
    gaps = {name: percentile([gap for each in many for gap in each.gaps], 0.99) for name, many in found.items()}
    return Added(
        first_direct_p50_ms=percentile([each.first for each in found["direct"]], 0.5) * 1e3,
        first_p50_ms=percentile(first, 0.5) * 1e3,
        first_p99_ms=percentile(first, 0.99) * 1e3,
        relay_p50_ms=percentile(relay, 0.5) * 1e3,
        relay_p99_ms=percentile(relay, 0.99) * 1e3,
        gap_direct_p99_ms=(gaps["direct"] - 1 / rate) * 1e3,
        gap_p99_ms=(gaps["gateway"] - gaps["direct"]) * 1e3,
    )


class _Peak:
    """Watches the resident memory of a process."""

    def __init__(self, process: int) -> None:
        self._process = process
        self.kb = 0.0

    async def __aenter__(self) -> None:
        import anyio

        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._watch)

    async def __aexit__(self, *exc_info: object) -> None:
        self._group.cancel_scope.cancel()
        await self._group.__aexit__(None, None, None)

    async def _watch(self) -> None:
        import anyio

        while True:
            self.kb = max(self.kb, _resident_kb(self._process) or 0.0)
            await anyio.sleep(0.2)


def _cpu_seconds(process: int) -> float | None:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_kb(process: int) -> float | None:
    try:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return None
    return float(found[1]) if found else None


@contextmanager
def _gateway(url: str, monitor: str) -> Iterator[tuple[int, str]]:
    """Run a gateway as users do, on the first core; yield its process and its address."""
    command = [sys.executable, "-c", _SERVE, "serve", "--upstream", url, "--port", "0"]
    command += ["--monitor", monitor] if monitor else []
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603
    try:
        assert child.stderr is not None
        line = child.stderr.readline()
        if (found := re.search(r"serving (http://\S+)", line)) is None:
            raise UsageError(f"the gateway did not start: {line.strip()}")
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(child.pid, {min(os.sched_getaffinity(0))})
        yield child.pid, found[1]
    finally:
        child.kill()
        child.communicate()


@contextmanager
def _relay(url: str) -> Iterator[str]:
    """Run a bare relay to *url*, on the first core as the gateway; yield its address."""
    with loopback_process("interwhen.bench._relay", str(urlsplit(url).port)) as relay_url:
        yield relay_url


@contextmanager
def _cores(*, last: bool) -> Iterator[None]:
    """Keep this process on the last core, or on the first, where the system allows it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before) if last else min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
