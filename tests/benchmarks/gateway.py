"""``python -m tests.benchmarks gateway``: measures the time that the gateway adds, and how many streams one process handles."""

from __future__ import annotations

import functools
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import Annotated, Any, TypeAlias
from urllib.parse import urlsplit

import anyio
import msgspec
from cyclopts import Parameter
from interwhen import Monitor, UsageError, wrap
from interwhen._types.vetting import Above, Positive, vetted
from interwhen.bench._experiment import Experiment, command_of, observations, say
from interwhen.bench._overhead import armed
from interwhen.bench._processes import Helper, TransportName, child, cpu_seconds_of, memory_of, open_transport, pinned
from interwhen.bench._report import Report, Row, Table
from interwhen.bench._statistics import Estimate, estimate
from interwhen.clients import supervision_info
from interwhen.registry import load_monitors
from interwhen.testing._paced_server import LoadTally, loopback_process, paced_server
from interwhen.testing._scores import percentile
from tests.benchmarks.crowd import (
    Crowd,
    Reading,
    StreamReader,
    ask_generator,
    httpx2_crowd,
    judge,
    openai_crowd,
    read_crowd,
    run_crowd,
    transport_crowd,
)

GENERATOR_LATE_MS = 2.0
"""The report warns if the 99th percentile of the load generator's own lateness is above this."""
# With many streams, it waits in whole milliseconds, as epoll does, so it is late by up to a millisecond.
_SERVE = "import sys; from interwhen.cli._main import main; sys.exit(main())"
_SDK_CHUNKS, _SDK_RATE = 1000, 1000.0
"""One second of a very fast stream: the number of chunks, and chunks per second."""
_ReadCrowd: TypeAlias = Callable[[str, int, int, float], Awaitable[list[Reading]]]


class CrowdPair(msgspec.Struct, frozen=True):
    """Two measurements of many streams at once: by a client or through the gateway, and just before, as the baseline.

    The baseline is read by a bare protocol directly from the generator.
    """

    rate: float
    """Chunks per second of each stream."""
    floor: Crowd
    """The streams as the bare protocol read them directly."""
    crowd: Crowd
    """The streams as the client read them, or as the bare protocol read them through the gateway."""
    generator: LoadTally
    """The tally of the generator while the crowd was read."""
    cpu_microseconds: float | None = None
    """CPU time per chunk: in the gateway process, or in this process if it reads the chunks itself; ``None``:
    unknown."""
    floor_cpu_microseconds: float | None = None
    """CPU time per chunk of the bare protocol, if it ran in the measured process."""
    memory_kb: float | None = None
    """Resident memory per stream in the gateway process, in KiB; ``None`` if it was not measured."""

    @property
    def added_p99_ms(self) -> float:
        # How much later the chunks of `crowd` come than those of `floor`, in milliseconds. This is the difference
        # between their 99th percentiles of lateness.
        return self.crowd.late_p99_ms - self.floor.late_p99_ms


def middle_of(rounds: Sequence[CrowdPair]) -> CrowdPair:
    middle = sorted(rounds, key=lambda each: each.added_p99_ms)[len(rounds) // 2]
    crowds = [each.crowd for each in rounds]
    lost, delivered = max(crowd.lost for crowd in crowds), min(crowd.delivered for crowd in crowds)
    return msgspec.structs.replace(middle, crowd=msgspec.structs.replace(middle.crowd, lost=lost, delivered=delivered))


@contextmanager
def serving(monitor: Sequence[str], upstream: str, **environment: str) -> Iterator[Helper]:
    """Run a gateway with the monitors named in *monitor* until the end of the block, and yield its process and URL.

    *upstream* is the URL of the model server. *environment* is added to the environment of the process.
    """
    watching = (word for name in monitor for word in ("-m", name))
    command = [sys.executable, "-c", _SERVE, "serve", "--port", "0", *watching, "--upstream", upstream]
    with child(command, r"serving (http://\S+)", **environment) as helper:
        yield helper


@vetted("--")
async def gateway(
    *,
    pairs: Positive = 200,
    streams: Positive = 500,
    seconds: float = 20.0,
    gateway_rate: float = 20.0,
    run_rate: float = 50.0,
    run_pairs: Positive = 3,
    sdk_pairs: Positive = 15,
    monitor: Annotated[tuple[str, ...], Parameter(alias="-m")] = ("arithmetic",),
    transport: TransportName = "fast",
    seed: int = 0,
    minutes: Above | None = None,
) -> Report:
    """Measure what the gateway adds at one stream, how many streams one process carries, and what wrapping costs.

    A load generator in a separate process sends the streams over loopback. First they are read as bytes, directly,
    through the gateway, and through a bare relay. Then they are read in this process through interwhen.run, its
    transport alone, httpx2 and the openai SDK; just before each of these, a bare protocol reads them as the baseline.
    Finally they are read through the openai SDK, bare and wrapped. The lateness of a chunk is relative to the schedule
    of the generator.

    Parameters
    ----------
    pairs
        How many rounds of single streams are measured, after two that warm up. A round reads a stream directly, through
        a relay, and through the gateway.
    streams
        How many streams are read at once in the other parts.
    seconds
        How many seconds each of these streams takes.
    gateway_rate
        The rate of each stream through the gateway, in chunks per second.
    run_rate
        The rate of each stream through interwhen.run and through other clients, in chunks per second.
    run_pairs
        How many rounds of streams are read through interwhen.run. The round with the median lateness is shown.
    sdk_pairs
        How many pairs of streams through the openai SDK, bare and wrapped, are measured, after two that warm up.
    monitor
        A monitor that watches: NAME or NAME:OPTION=VALUE. May be given several times. With --empty-monitor, no monitor
        watches in the gateway, which then passes on bytes; elsewhere one that does almost no work takes its place.
    transport
        The HTTP library that interwhen.run uses.
    seed
        The seed of the order within each pair.
    minutes
        Begin no further round of one part after this many minutes of that part, but measure at least one.
    """
    if seconds * min(gateway_rate, run_rate) < 2:
        raise UsageError(
            f"--seconds must give each stream at least two chunks, got {seconds:g}; give more seconds or a higher rate"
        )
    monitors = load_monitors(monitor) if monitor else tuple(armed(1))
    gc.collect()
    gc.freeze()  # objects from before the measurement are no work for the collector while chunks are timed
    gc.set_threshold(1_000, 10, 100)  # as docs/transports.md advises for many streams
    # The helpers are started before this process keeps to one core: they would inherit that.
    relay = "tests.benchmarks.relay"
    with paced_server(stamped=True) as url, loopback_process(relay, str(urlsplit(url).port)) as relay_url:
        with (
            pinned(),
            serving(monitor, url) as (process, gateway_url),
            pinned(last=True),
        ):
            say(f"added time: {pairs} rounds at 1 stream: direct, through a bare relay, and through the gateway")
            ways = {"direct": url, "relay": relay_url, "gateway": gateway_url}
            added = await read_ways(ways, Experiment(tuple(ways), pairs, seed, warm_up=2, minutes=minutes))
            chunks = max(int(seconds * gateway_rate), 2)
            say(f"{streams} streams at {gateway_rate:g} chunks/s, as bytes and through one gateway process")
            carried = {"gateway": await _carried(url, gateway_url, streams, chunks, gateway_rate, process.pid)}
        with pinned():
            bench = _Crowds(url, streams, max(int(seconds * run_rate), 2), run_rate, minutes)
            async with AsyncExitStack() as stack:
                way = open_transport(transport)
                stack.push_async_callback(way.aclose)
                watched = functools.partial(run_crowd, transport=way, monitors=monitors)
                unwatched = functools.partial(run_crowd, transport=way, monitors=())
                carried["interwhen.run"] = await bench.read("interwhen.run", watched, run_pairs)
                carried["interwhen.run, no monitor"] = await bench.read(
                    "interwhen.run, no monitor", unwatched, run_pairs
                )
                alone = functools.partial(transport_crowd, transport=way)
                carried[f"transport {transport}, raw bytes"] = await bench.read(f"transport {transport} alone", alone)
            carried["httpx2, raw bytes"] = await bench.read("httpx2", httpx2_crowd)
            carried["openai SDK"] = await bench.read("the openai SDK", openai_crowd)
            say(f"the openai SDK bare and wrapped: {sdk_pairs} rounds at 1 stream")
            experiment = Experiment(("bare", "wrapped"), sdk_pairs, seed, warm_up=2, minutes=minutes)
            cost = await sdk_cost(url, monitors, experiment, chunks=_SDK_CHUNKS, rate=_SDK_RATE)
    return report_of(added, carried, cost, ", ".join(monitor) or "none")


def report_of(
    added: Mapping[str, Sequence[Reading]],
    carried: Mapping[str, CrowdPair],
    cost: Mapping[str, Sequence[float]],
    monitors: str,
) -> Report:
    """Return the report of the benchmark, with one table for each part.

    *added* has the streams that were read one at a time, *carried* many streams at once, and *cost* the CPU time per
    chunk.
    """
    crowds = [row for name, part in carried.items() for row in _crowd_rows(name, part)]
    wrapping = [after - before for before, after in zip(cost["bare"], cost["wrapped"], strict=True)]
    sdk: list[Row] = [
        {"what": "bare: CPU per chunk", "measured": estimate(cost["bare"], "µs")},
        {"what": "wrapped and watched: CPU per chunk", "measured": estimate(cost["wrapped"], "µs")},
        {"what": "wrapping adds, within pairs", "measured": estimate(wrapping, "µs", limit=0.0)},
    ]
    return Report(
        benchmark="gateway",
        subject=f"monitors: {monitors}",
        tables=(
            Table("One stream", tuple(_added_rows(added))),
            Table("Many streams at once", tuple(crowds)),
            Table("The openai SDK at one stream", tuple(sdk)),
        ),
        warnings=tuple(_warnings(carried)),
        observations=observations({**{name: [each.first for each in reads] for name, reads in added.items()}, **cost}),
    )


def _added_rows(by_way: Mapping[str, Sequence[Reading]]) -> Iterator[Row]:
    # `by_way` has the readings by way.
    first = {name: [each.first * 1e3 for each in readings] for name, readings in by_way.items()}
    gaps = {name: percentile([gap for each in all_ for gap in each.gaps], 0.99) * 1e3 for name, all_ in by_way.items()}
    yield {"what": "time to first token, direct, p50", "measured": Estimate(percentile(first["direct"], 0.5), "ms")}
    for name, what, limits in (("gateway", "the gateway", (2.0, 8.0)), ("relay", "a bare relay", (None, None))):
        added = [after - before for before, after in zip(first["direct"], first[name], strict=True)]
        for q, limit in zip((0.5, 0.99), limits, strict=True):
            label = f"time to first token, added by {what}, p{q * 100:.0f}"
            yield {"what": label, "measured": Estimate(percentile(added, q), "ms", n=len(added), limit=limit)}
    meant = 1e3 / _ONE_RATE
    yield {"what": "gap over the meant one, direct, p99", "measured": Estimate(gaps["direct"] - meant, "ms")}
    yield {
        "what": "gap, added by the gateway, p99",
        "measured": Estimate(gaps["gateway"] - gaps["direct"], "ms", limit=5.0),
    }


def _crowd_rows(name: str, part: CrowdPair) -> Iterator[Row]:
    crowd, floor = part.crowd, part.floor
    ours = name.startswith(("gateway", "interwhen.run"))
    late = 3.0 if name.startswith("interwhen.run") else None
    load = f"{name}: {crowd.streams} streams at {part.rate:g}/s, share of the offered rate"
    share = Estimate(crowd.delivered * 100, "%", limit=99.0 if ours else None, at_least=True)
    yield {"what": load, "measured": share, "floor": Estimate(floor.delivered * 100, "%")}
    yield {
        "what": f"{name}: streams lost",
        "measured": Estimate(crowd.lost, limit=0 if ours else None),
        "floor": floor.lost,
    }
    for q in ("p50", "p99"):
        both = [Estimate(getattr(each, f"late_{q}_ms"), "ms") for each in (crowd, floor)]
        yield {"what": f"{name}: lateness of chunks, {q}", "measured": both[0], "floor": both[1]}
    yield {"what": f"{name}: added lateness, p99", "measured": Estimate(part.added_p99_ms, "ms", limit=late)}
    if part.cpu_microseconds is not None:
        cost = part.floor_cpu_microseconds
        floor_cost = None if cost is None else Estimate(cost, "µs")
        yield {"what": f"{name}: CPU per chunk", "measured": Estimate(part.cpu_microseconds, "µs"), "floor": floor_cost}
    if part.memory_kb is not None:
        yield {"what": f"{name}: memory per stream", "measured": Estimate(part.memory_kb, "KB", limit=300.0)}


def _warnings(carried: Mapping[str, CrowdPair]) -> Iterator[str]:
    for name, part in carried.items():
        generator = part.generator
        if generator.late_p99_ms > GENERATOR_LATE_MS:
            yield (
                f"{name}: the load generator itself was late (p99 {generator.late_p99_ms:.1f} ms, its core "
                f"{generator.busy:.0%} busy), so it limits what this part shows"
            )
        if part.floor.delivered < 0.99:
            yield f"{name}: even the bytes came at {part.floor.delivered:.1%} of the offered rate"


async def sdk_cost(
    base_url: str, monitors: Sequence[Monitor], experiment: Experiment[str], *, chunks: int, rate: float
) -> dict[str, list[float]]:
    # Read the same stream through a bare and a wrapped openai client. Return the CPU microseconds per chunk of each
    # round, for `bare` and for `wrapped`. The stream has `chunks` chunks, at `rate` a second.
    import openai

    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as bare:
        clients = {"bare": bare, "wrapped": wrap(bare, monitors)}

        async def spent(arm: str, _number: int) -> float:
            return await _read_sdk(clients[arm], f"{chunks}@{rate:g}", chunks, watched=arm == "wrapped") / chunks * 1e6

        return await experiment.run(spent)


async def _read_sdk(client: Any, stream: str, chunks: int, *, watched: bool) -> float:
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
        raise UsageError(
            f"a stream must bring {chunks} chunks and, with monitors, a check; got {texts} chunks and "
            f"{checks} checks; choose a monitor that checks"
        )
    return spent


class _Crowds:
    """Reads the same streams with several clients, and with a bare protocol before each client, as the baseline."""

    def __init__(self, url: str, streams: int, chunks: int, rate: float, minutes: float | None) -> None:
        self._load = url, streams, chunks, rate
        self._minutes = minutes

    async def read(self, name: str, crowd: _ReadCrowd, pairs: int = 1) -> CrowdPair:
        """Read *pairs* rounds with the client *crowd*, and return :func:`middle_of` the rounds.

        *name* is shown as progress.
        """
        url, streams, chunks, rate = self._load
        say(f"{streams} streams at {rate:g} chunks/s, by a bare protocol and through {name} in this process")
        # A short crowd first, so that the process has the memory that it needs.
        await crowd(url, streams, max(chunks // 20, 2), rate)
        rounds = await Experiment((name,), pairs, warm_up=0, minutes=self._minutes).run(lambda *_: self._round(crowd))
        return middle_of(rounds[name])

    async def _round(self, crowd: _ReadCrowd) -> CrowdPair:
        url, _, chunks, rate = self._load
        bare, floor_cost = await self._timed(read_crowd)
        await ask_generator(url)
        readings, cost = await self._timed(crowd)
        tally = await ask_generator(url)
        return CrowdPair(rate, judge(bare, chunks, rate), judge(readings, chunks, rate), tally, cost, floor_cost)

    async def _timed(self, crowd: _ReadCrowd) -> tuple[list[Reading], float]:
        _, streams, chunks, _ = self._load
        begun = time.process_time()
        readings = await crowd(*self._load)
        return readings, (time.process_time() - begun) / (streams * chunks) * 1e6


async def _carried(url: str, gateway_url: str, streams: int, chunks: int, rate: float, process: int) -> CrowdPair:
    """Read *streams* streams at once, first directly from *url* and then through the gateway, and compare them.

    *process* is the process id of the gateway, whose memory and CPU time are measured, too.
    """
    direct = judge(await read_crowd(url, streams, chunks, rate), chunks, rate)
    await ask_generator(url)
    idle, before = memory_of(process).resident, cpu_seconds_of(process)
    peak = idle or 0.0

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, memory_of(process).resident or 0.0)
            await anyio.sleep(0.2)

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        crowd = judge(await read_crowd(gateway_url, streams, chunks, rate), chunks, rate)
        group.cancel_scope.cancel()
    after = cpu_seconds_of(process)
    cost = None if before is None or after is None else (after - before) / (streams * chunks) * 1e6
    memory = None if idle is None else (peak - idle) * 1e6 / 1024 / streams
    return CrowdPair(rate, direct, crowd, await ask_generator(url), cost, memory_kb=memory)


_ONE_RATE, _ONE_CHUNKS = 50.0, 25
"""Chunks per second and number of chunks of the single stream for which the added time is measured."""


async def read_ways(ways: Mapping[str, str], experiment: Experiment[str]) -> dict[str, list[Reading]]:
    readers = {name: StreamReader(url) for name, url in ways.items()}

    async def once(name: str, _number: int) -> Reading:
        reading = await readers[name].read(f"{_ONE_CHUNKS}@{_ONE_RATE:g}")
        if not reading.ended:
            raise UsageError(
                f"each stream must come to its end to be measured, and one ({name}) ended early; look at "
                "the output of the gateway"
            )
        return reading

    readings = await experiment.run(once)
    for reader in readers.values():
        reader.close()
    return readings


command = command_of(gateway, needs=("starlette", "uvicorn", "openai"), uvloop=True)
