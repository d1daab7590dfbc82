"""Measures the inputs of the capacity model on this machine, and the points at which the model is checked.

Costs of the event loop are CPU times of this process. The points are measured at other loads than the costs.
"""

from __future__ import annotations

import itertools
import math
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio

from interwhen import (
    Claim,
    Delta,
    Fork,
    Lines,
    Monitor,
    Pass,
    Segment,
    UsageError,
    Verdict,
    Verifier,
    Violation,
    Workers,
    run,
    verifier,
)
from interwhen._types.extensions import OnProgress
from interwhen._version import __version__
from interwhen.bench._crowd import Reading, run_crowd
from interwhen.bench._experiment import say
from interwhen.bench._processes import memory_of, open_transport, pinned
from interwhen.bench._statistics import percentile
from interwhen.bench._streams import ReplayedFile, open_source, read_supervised
from interwhen.bench.capacity._costs import AnswerLoad, Costs, Machine, Measured, Point
from interwhen.bench.capacity._simulation import environment, queue_waits, simulate
from interwhen.models import CompletionsModel, Transport
from interwhen.registry import load_monitors
from interwhen.testing._paced_server import paced_server

CHECK_SECONDS = 0.02
"""How long the checks of the measured points occupy a worker. They sleep, so that other processes change it little."""
_CHECKS_OF_WORKER = 200
_LOADS = ((10, 20.0), (40, 20.0), (100, 20.0), (200, 30.0), (300, 42.0))
"""Streams and tokens a second of each, at which the costs of a token are measured.

One core should carry each of them.
"""
# A loop that is overloaded reads larger batches, which costs less.
_CHECKED = ((60, 20.0), (200, 20.0), (300, 35.0))
"""Streams and tokens a second of each, for the points at which the model is checked."""
_JOURNALS = ((100, False), (400, False), (400, True))
"""The chunks of the journals that are measured, and whether they have checks."""
_SHARED = (20, 40)
"""How many streams share one worker at the points at which the model is checked."""
_LINE, _LINES = 60, 700
"""Chunks of streams with some lines and with many, for the costs of remedies, checks and forks."""
_MEMORY_STREAMS = 600
_SILENT_STREAMS = 200
_SILENT_RATE = 0.05
"""Tokens a second of streams that are to be silent: after the first token, none comes for 20 seconds."""
_SETTLE_SECONDS = 1.0
"""The time between the first tokens of all streams and the measurement of what open streams cost."""
_PLATEAU = 0.3, 0.95
"""The part of the time of streams that are read at once in which all of them send. (They begin within 0.25 of it.)"""
_JOURNAL_RATE = 400.0
_STEPS = tuple(0.1 * 1.1**number for number in range(60))
"""The steps in milliseconds that a fit tries: 0.1 to 28."""
_ENDLESS = 1e6
"""The seconds of an answer that does not end while it is simulated."""
_SPEED = 40.0
"""How much faster the recorded answer is replayed to see which checks and forks it asks for."""


def _extract(segment: Segment) -> Iterator[Claim]:
    if segment.text.strip():
        # The key contains the offset, so that no check is answered from the cache.
        yield Claim(key=f"{segment.span.start} {segment.text}", span=segment.span)


@verifier(name="occupy", version="1", worker="process", deadline=10.0)
def occupy(_claim: Claim) -> Verdict:
    """Sleep in a worker process for :data:`CHECK_SECONDS` seconds, and then pass the claim."""
    time.sleep(CHECK_SECONDS)
    return Pass("accepted by the measurement")


@verifier(name="at_once", version="1", worker="process", deadline=10.0)
def at_once(_claim: Claim) -> Verdict:
    """Pass each claim without any work. Such checks show what a worker process itself costs."""
    return Pass("accepted by the measurement")


def _watching(judge: Verifier, *, claims: bool = True) -> Monitor:
    return Monitor(name="checks", verifier=judge, extractor=_extract if claims else _no_claims, trigger=Lines())


def _no_claims(_segment: Segment) -> tuple[Claim, ...]:
    return ()


def _no_claims_of_reply(_reply: str, _segment: Segment) -> tuple[Claim, ...]:
    return ()


def _forking() -> Monitor:
    extractor = Fork(prompt="\nState so far:", parse=_no_claims_of_reply, max_tokens=16)
    return Monitor(name="forks", verifier=at_once, extractor=extractor, trigger=Lines())


def _refuting(count: int) -> Monitor:
    """Return a monitor that refutes every second claim, until it has refuted *count* of them."""
    seen = 0

    @verifier(name="refute", version="1", worker="inline")
    def refute(_claim: Claim) -> Verdict:
        nonlocal seen
        seen += 1
        # The lines between two refuted ones pass, since a run gives up where the same place is refuted again and again.
        if seen % 2 == 0 and seen <= 2 * count:
            return Violation(why="refuted by the measurement")
        return Pass("accepted by the measurement")

    return _watching(refute)


class _RunCosts(NamedTuple):
    """What some runs cost this process: CPU time in seconds, and the counts of their work."""

    seconds: float
    """CPU time."""
    checks: int
    forks: int
    remedies: int
    tokens: int


class _CostReader:
    """Reads streams of the load generator in supervised runs, and measures their CPU time."""

    def __init__(self, url: str, crowd_url: str, transport: Transport, workers: Workers) -> None:
        self._url, self._crowd_url = url, crowd_url
        self._transport, self.workers = transport, workers
        self.on_step: Callable[[], None] = lambda: None
        """To be called after each measurement."""

    async def runs(
        self, count: int, chunks: int, monitors: Sequence[Monitor], *, rate: float = 0.0, journal: Path | None = None
    ) -> _RunCosts:
        """Make *count* runs, one after the other, on streams of *chunks* chunks, and return what they cost together.

        *rate* is in chunks per second; 0 sends as fast as possible. *journal* is the file of the journal of a single
        run.
        """
        model = CompletionsModel(self._url, f"{chunks}@{rate:g}", api_key="", transport=self._transport)
        checks = forks = remedies = tokens = 0
        begun = time.process_time()
        for _ in range(count):
            async with run(model, "", monitors=monitors, workers=self.workers, journal=journal) as supervised:
                await supervised.drain()
            result = supervised.result
            checks += len(result.checks)
            forks += result.ledger.forks
            remedies += result.ledger.remedies
            tokens += result.ledger.kept + result.ledger.discarded
        return _RunCosts(time.process_time() - begun, checks, forks, remedies, tokens)

    async def crowd(self, streams: int, rate: float, seconds: float, monitors: Sequence[Monitor]) -> float:
        """Read *streams* streams of about *seconds* at once, at *rate* chunks per second each.

        Return the CPU time of this process per chunk, in microseconds.
        """
        chunks = max(2, int(seconds * rate))
        readings: list[Reading] = []

        async def read() -> None:
            readings.extend(await run_crowd(self._crowd_url, streams, chunks, rate, self._transport, monitors))

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await anyio.sleep(_PLATEAU[0] * chunks / rate)
            first, begun = time.process_time(), time.monotonic()
            await anyio.sleep((_PLATEAU[1] - _PLATEAU[0]) * chunks / rate)
            last, ended = time.process_time(), time.monotonic()
        # Counted, not computed from the rate: on a busy machine chunks are late.
        arrived = sum(begun < arrival <= ended for reading in readings for arrival in reading.arrivals)
        if not arrived:
            lost = sum(not reading.ended for reading in readings)
            raise UsageError(
                f"the streams of the load generator must arrive, got none in time ({lost} of {streams} lost); measure "
                "again on an idle machine"
            )
        return (last - first) / arrived * 1e6

    async def silent(self, streams: int, seconds: float, monitors: Sequence[Monitor]) -> float:
        """Return the CPU microseconds of this process in one second while *streams* open streams send nothing.

        *seconds* is how long this is measured, well below 20.
        """
        model = CompletionsModel(self._url, f"2@{_SILENT_RATE:g}", api_key="", transport=self._transport)
        silent = anyio.Semaphore(0)

        async def one() -> None:
            async with run(model, "", monitors=monitors) as supervised:
                async for event in supervised:
                    if isinstance(event, Delta):
                        silent.release()

        async with anyio.create_task_group() as group:
            for _ in range(streams):
                group.start_soon(one)
            for _ in range(streams):
                await silent.acquire()
            await anyio.sleep(_SETTLE_SECONDS)
            first, begun = time.process_time(), time.monotonic()
            await anyio.sleep(seconds)
            spent = (time.process_time() - first) / (time.monotonic() - begun)
            group.cancel_scope.cancel()
        return spent * 1e6


async def _median(reader: _CostReader, rounds: int, measure: Callable[[], Awaitable[float]]) -> float:
    found = []
    for _ in range(rounds):
        found.append(await measure())
        reader.on_step()
    return percentile(found, 0.5)


def steps_of(rounds: int) -> int:
    """Return how many measurements :func:`measure` reports as progress with *rounds* rounds."""
    single = ("a run", "few remedies", "more remedies", "most remedies", "checks", "forks", "a silent stream", "many")
    repeated = (*single, *_LOADS, *_CHECKED)
    return rounds * len(repeated) + len(_JOURNALS) + len(_SHARED) + len(("the longest journal", "workers", "memory"))


async def measure(
    monitors: Sequence[str] = (),
    *,
    rounds: int = 5,
    seconds: float = 3.0,
    load: AnswerLoad | None = None,
    on_progress: OnProgress | None = None,
) -> Measured:
    """Measure all inputs and the points of the check, with the parameters of ``interwhen plan measure``.

    Without *load*, a recorded answer is the load. *on_progress* is called after most measurements, with their number so
    far and the number of all.
    """
    environment()  # without simpy, the points could not be computed after the minutes of measurement
    watching = load_monitors(tuple(monitors))
    transport = open_transport("httpx2")
    async with Workers(processes=1, blocked_loop_after=None) as workers:
        # Streams with a time in their first chunk are for crowds: they are sent on time only, never all at once.
        with paced_server(stamped=True) as crowd_url, paced_server() as url, pinned():
            reader = _CostReader(url, crowd_url, transport, workers)
            done, steps = itertools.count(1), steps_of(rounds)
            if on_progress is not None:
                reader.on_step = lambda: on_progress(next(done), steps)
            crowds = await _crowds(reader, watching, rounds, seconds)
            costs, points = await _costs(reader, watching, crowds, rounds, seconds)
            points += _loop_points(crowds, costs)
            with tempfile.TemporaryDirectory(prefix="interwhen-measure-") as folder:
                points.append(await _journal_point(reader, costs, Path(folder)))
                reader.on_step()
            say("the points of the check: streams that share one worker")
            for streams in _SHARED:
                points.append(await _check_point(url, transport, costs, streams, 4 * seconds))
                reader.on_step()
    await transport.aclose()
    return Measured(
        costs=costs,
        load=load or await recorded_load(monitors),
        machine=Machine.here(),
        points=tuple(points),
        monitors=tuple(monitors),
        interwhen=__version__,
    )


async def recorded_load(monitors: Sequence[str]) -> AnswerLoad:
    """Replay a recorded answer under *monitors*, and return its tokens, its forks, and its checks in workers."""
    async with open_source(ReplayedFile(speed=_SPEED)) as source:
        model, request = source.pair(0)
        watching = load_monitors(tuple(monitors))
        flow = await read_supervised(model, request, watching)
    in_workers = {one.name for one in watching if one.verifier.worker in ("thread", "process")}
    worked = [cost for cost in flow.costs if cost.monitor in in_workers]
    checks = sum(cost.checks for cost in worked)
    return AnswerLoad(
        source=f"the recorded stream of interwhen bench, watched by {', '.join(monitors) or 'no monitor'}",
        tokens=flow.tokens,
        seconds=flow.arrivals[-1] * _SPEED,
        checks=checks,
        check_ms=1e3 * sum(cost.checking for cost in worked) / checks if checks else 0.0,
        forks=flow.forks,
        fork_tokens=flow.fork_tokens,
        fork_prompt_tokens=flow.fork_prompt_tokens,
    )


# The costs.


async def _crowds(
    reader: _CostReader, watching: Sequence[Monitor], rounds: int, seconds: float
) -> dict[tuple[int, float], float]:
    """Return the median CPU time of a token in microseconds, for each number of streams and rate that is measured."""
    # Each round measures both the loads from which the costs follow and those at which the model is checked, so that a
    # slow minute of the machine changes both alike.
    found: dict[tuple[int, float], list[float]] = {load: [] for load in (*_LOADS, *_CHECKED)}
    await reader.crowd(*_LOADS[0], 1.0, watching)  # modules are imported
    for number in range(rounds):
        say(f"streams on one event loop: round {number + 1} of {rounds}")
        for (streams, rate), costs in found.items():
            try:
                cost = await reader.crowd(streams, rate, seconds, watching)
            except UsageError as error:
                # One crowd that was disturbed should not throw away the minutes before it.
                say(f"again: {error}")
                cost = await reader.crowd(streams, rate, seconds, watching)
            costs.append(cost)
            reader.on_step()
    return {load: percentile(costs, 0.5) for load, costs in found.items()}


async def _costs(
    reader: _CostReader,
    watching: Sequence[Monitor],
    crowds: Mapping[tuple[int, float], float],
    rounds: int,
    seconds: float,
) -> tuple[Costs, list[Point]]:
    say("the event loop: silent streams, runs, checks, forks and remedies")
    await reader.runs(3, 50, [_watching(at_once)])  # the worker process starts, and modules are imported

    async def cpu_us(count: int, chunks: int, monitors: Sequence[Monitor]) -> float:
        return (await reader.runs(count, chunks, monitors)).seconds / count * 1e6

    async def each(kind: str, monitor: Monitor) -> float:
        without = (await reader.runs(4, _LINES, [_watching(at_once, claims=False)])).seconds
        spent = await reader.runs(4, _LINES, [monitor])
        units: int = getattr(spent, kind)
        return (spent.seconds - without) / units * 1e6

    async def remedies(count: int) -> float:
        return percentile([await cpu_us(1, _LINE, [_refuting(count)]) for _ in range(10)], 0.5)

    start = await _median(reader, rounds, lambda: cpu_us(40, 2, watching))
    quiet = (partial(reader.silent, streams, seconds, watching) for streams in (1, _SILENT_STREAMS))
    one, many = [await _median(reader, rounds, each_quiet) for each_quiet in quiet]
    stream = max((many - one) / (_SILENT_STREAMS - 1), 0.0)
    process = max(one - stream, 0.0)
    tokens = fit_tokens([(n * rate, crowds[n, rate] - (process + n * stream) / (n * rate)) for n, rate in _LOADS])
    few, more, most = [await _median(reader, rounds, partial(remedies, count)) for count in (1, 4, 10)]
    remedy = (more - few) / 3
    point = Point(
        what="CPU of a run with 10 remedies", unit="ms", measured=most / 1e3, predicted=(few + 9 * remedy) / 1e3
    )
    say("memory and the journal")
    with tempfile.TemporaryDirectory(prefix="interwhen-measure-") as folder:
        journal = []
        for chunks, has_checks in _JOURNALS:
            journal.append(await _journal_bytes(reader, Path(folder), chunks, has_checks))
            reader.on_step()
    bytes_of_token = (journal[1].size - journal[0].size) / 300
    costs = Costs(
        process_us=process,
        stream_us=stream,
        **tokens._asdict(),
        run_us=start,
        check_us=await _median(reader, rounds, lambda: each("checks", _watching(at_once))),
        worker_us=await _worker_us(reader),
        fork_us=await _median(reader, rounds, lambda: each("forks", _forking())),
        remedy_us=remedy,
        stream_kb=await _stream_kb(reader, watching),
        journal_run_bytes=journal[0].size - 100 * bytes_of_token,
        journal_token_bytes=bytes_of_token,
        journal_check_bytes=(journal[2].size - journal[1].size) / journal[2].checks,
    )
    return costs, [point]


class TokenCosts(NamedTuple):
    """The costs of the event loop for tokens; the fields are explained at :class:`Costs`."""

    wake_us: float
    token_us: float
    batch_ms: float


def fit_tokens(costs: Sequence[tuple[float, float]]) -> TokenCosts:
    """Find the costs of a token and of a wake-up of the event loop that fit the measured points *costs* best.

    Each point has a rate in tokens a second, and the CPU time of one token at this rate, in microseconds. If no fit has
    usable costs, the costs in the result are 0.
    """
    # At a higher rate, more tokens share one wake-up, so a token is cheaper.
    best, least = TokenCosts(0.0, 0.0, _STEPS[0]), math.inf
    for step in _STEPS:
        shares = [wakes_of_a_token(rate, step) for rate, _ in costs]
        wake, token = _line(shares, [cost for _, cost in costs])
        # The error counts as a share: otherwise the expensive tokens of few streams would decide alone.
        error = sum(((token + wake * share - cost) / cost) ** 2 for share, (_, cost) in zip(shares, costs, strict=True))
        if wake >= 0 and token > 0 and error < least:
            best, least = TokenCosts(wake, token, step), error
    return best


def wakes_of_a_token(rate: float, batch_ms: float) -> float:
    """Return how often the loop wakes up for each token, if *rate* tokens a second come at random.

    It wakes up at the end of each step of *batch_ms* milliseconds in which a token came.
    """
    mean = rate * batch_ms / 1e3
    return (1 - math.exp(-mean)) / mean


def _line(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Return slope and intercept of the line that fits the points (*xs*, *ys*) by least squares.

    The errors are weighed as shares of *ys*.
    """
    weights = [1 / y**2 for y in ys]
    whole = sum(weights)
    x_mean = sum(w * x for w, x in zip(weights, xs, strict=True)) / whole
    y_mean = sum(w * y for w, y in zip(weights, ys, strict=True)) / whole
    spread = sum(w * (x - x_mean) ** 2 for w, x in zip(weights, xs, strict=True))
    both = sum(w * (x - x_mean) * (y - y_mean) for w, x, y in zip(weights, xs, ys, strict=True))
    slope = both / spread if spread else 0.0
    return slope, y_mean - slope * x_mean


async def _worker_us(reader: _CostReader) -> float:
    """Return how long a check that does nothing takes in a process of the pool, in microseconds."""
    seconds = await _seconds_of_check(reader.workers, at_once, _CHECKS_OF_WORKER)
    reader.on_step()
    return 1e6 * seconds


async def _seconds_of_check(workers: Workers, judge: Verifier, count: int) -> float:
    """Make *count* checks with *judge* in *workers*, after one more to start it; return their mean time in seconds."""
    claim, total = Claim(key="k", span=None), 0.0
    for number in range(count + 1):
        begun = time.perf_counter()
        with anyio.CancelScope() as scope:
            await workers.check(judge, claim, scope)
        if number:  # the first one starts the process
            total += time.perf_counter() - begun
    return total / count


async def _stream_kb(reader: _CostReader, watching: Sequence[Monitor]) -> float:
    """Return the resident memory of an open supervised stream in KiB: the mean of 600 streams; 0 if it is not known."""
    idle = memory_of().resident or 0.0
    peak = idle

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, memory_of().resident or 0.0)
            await anyio.sleep(0.1)

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        await reader.crowd(_MEMORY_STREAMS, 10.0, 3.0, watching)
        group.cancel_scope.cancel()
    reader.on_step()
    return (peak - idle) * 1e6 / 1024 / _MEMORY_STREAMS


class _JournalSize(NamedTuple):
    size: int
    checks: int
    tokens: int


async def _journal_bytes(reader: _CostReader, folder: Path, chunks: int, has_checks: bool) -> _JournalSize:  # noqa: FBT001
    """Write the journal of one run of *chunks* chunks into *folder*, and return its size in bytes and what it has."""
    path = folder / f"{chunks}-{has_checks}.journal"
    spent = await reader.runs(1, chunks, [_watching(at_once, claims=has_checks)], rate=_JOURNAL_RATE, journal=path)
    return _JournalSize(path.stat().st_size, spent.checks, spent.tokens)


# The points of the check.


def _loop_points(crowds: Mapping[tuple[int, float], float], costs: Costs) -> list[Point]:
    points = []
    for streams, rate in _CHECKED:
        # Streams without an end, since only their tokens were measured.
        load = AnswerLoad(source="", tokens=rate * _ENDLESS, seconds=_ENDLESS)
        busy = simulate(costs, load, streams=streams).loop_busy
        what = f"CPU of a token, {streams} streams at {rate:g} tokens/s"
        predicted = busy / (streams * rate) * 1e6
        points.append(Point(what=what, unit="µs", measured=crowds[streams, rate], predicted=predicted))
    return points


async def _journal_point(reader: _CostReader, costs: Costs, folder: Path) -> Point:
    found = await _journal_bytes(reader, folder, 700, has_checks=True)
    predicted = (
        costs.journal_run_bytes + costs.journal_token_bytes * found.tokens + costs.journal_check_bytes * found.checks
    )
    return Point(what="journal of 700 tokens with checks", unit="bytes", measured=found.size, predicted=predicted)


async def _check_point(url: str, transport: Transport, costs: Costs, streams: int, seconds: float) -> Point:
    """Measure the mean time of checks when *streams* streams share one worker process, and compare it with the model.

    Each stream lasts *seconds*.
    """
    # The queue of the model gets the checks at the times at which they really came: so chance, which makes some of a
    # few hundred checks meet, does not count as an error of the model. (Law, "Simulation Modeling and Analysis", calls
    # this the correlated inspection approach.)
    rate, times, came = 20.0, list[float](), list[float]()
    chunks = int(seconds * rate)
    model = CompletionsModel(url, f"{chunks}@{rate:g}", api_key="", transport=transport)
    rng = random.Random(streams)  # noqa: S311  (a simulation's phases)

    def extract(segment: Segment) -> Iterator[Claim]:
        for claim in _extract(segment):
            came.append(time.monotonic())
            yield claim

    monitor = replace(_watching(occupy), extractor=extract)

    async def one(wait: float) -> None:
        await anyio.sleep(wait)
        async with run(model, "", monitors=[monitor], workers=workers) as supervised:
            await supervised.drain()
        times.extend(check.seconds for check in supervised.result.checks)

    async with Workers(processes=1, blocked_loop_after=None) as workers:
        alone = await _seconds_of_check(workers, occupy, 30)
        async with anyio.create_task_group() as group:
            for _ in range(streams):
                group.start_soon(one, rng.uniform(0, seconds / 4))
    gaps = iter([0.0, *(later - earlier for earlier, later in itertools.pairwise(came))])
    waits = queue_waits(lambda: next(gaps), lambda: alone, servers=1, jobs=len(came))
    return Point(
        what=f"time of a check, {streams} streams on one worker",
        unit="ms",
        measured=sum(times) / len(times) * 1e3,
        predicted=(sum(waits) / len(waits) + alone) * 1e3 + costs.check_us / 1e3,
    )
