"""``python -m tests.benchmarks journals``: measures what a gateway that writes journals costs beside one that does not."""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import anyio
import anyio.to_thread
import msgspec
from cyclopts import Parameter
from interwhen import UsageError
from interwhen._types.vetting import Above, Positive, vetted
from interwhen.bench._experiment import Experiment, command_of, observations, say
from interwhen.bench._processes import Helper, cpu_seconds_of
from interwhen.bench._report import Report, Row, Table
from interwhen.bench._statistics import Estimate, estimate
from interwhen.journal._directory import BUSY_SECONDS
from interwhen.models._transport import HttpRequest
from interwhen.testing._paced_server import paced_server, stream_events
from interwhen.testing._scores import percentile
from tests.benchmarks.crowd import Crowd, Reading, judge, read_crowd
from tests.benchmarks.gateway import read_ways, serving

Arm: TypeAlias = Literal["off", "on"]

_ARMS: tuple[Arm, ...] = ("off", "on")
_FLUSHED_SECONDS = 6.0
"""The wait after the last stream, in which a gateway writes the last journals. This work is counted, too."""


class Round(NamedTuple):
    """The streams of one gateway in one round."""

    microseconds: float
    """The CPU time of the gateway process for each chunk."""
    crowd: Crowd


class RoundWork(NamedTuple):
    """The CPU time of one round without sockets, in microseconds for each chunk."""

    loop: float
    """The thread of the event loop."""
    others: float
    """All other threads: the one that writes journals, and those that every gateway has."""


@vetted("--")
async def journals(
    *,
    pairs: Positive = 90,
    streams: Positive = 500,
    seconds: Above = 10.0,
    rate: Above = 20.0,
    rounds: Positive = 2,
    repeats: Positive = 24,
    monitor: Annotated[tuple[str, ...], Parameter(alias="-m")] = ("arithmetic",),
    text: Literal["full", "redacted"] = "full",
    seed: int = 0,
    minutes: Above | None = None,
) -> Report:
    """Measure what journals cost: two gateways, one without and one with journals, get the same streams in turn.

    First the streams come one at a time, and the times of their first chunks are compared. Then many come at once from
    a load generator, and the CPU time of the gateway processes is compared. Last, the two gateways run in this process,
    without sockets, where each chunk arrives alone. The journals are deleted at the end.

    Parameters
    ----------
    pairs
        How many pairs of single streams are measured, after five pairs that warm up.
    streams
        How many streams are read at once.
    seconds
        How many seconds each of these streams takes.
    rate
        The rate of each stream, in chunks per second.
    rounds
        How many pairs of many streams through the gateway processes are measured, after one that warms up.
    repeats
        How many pairs of many streams without sockets are measured, after one that warms up.
    monitor
        A monitor that watches: NAME or NAME:OPTION=VALUE. May be given several times.
    text
        What the journals hold: "full", or "redacted" for lengths, hashes and verdicts only.
    seed
        The seed of the order within each pair.
    minutes
        Begin no further round of one part after this many minutes of that part, but measure at least one.
    """
    chunks = int(seconds * rate)
    if chunks < 2:
        raise UsageError(
            f"--seconds must give each stream at least two chunks, got {seconds:g}; give more seconds or a higher rate"
        )
    if not monitor:
        raise UsageError("--monitor must name a monitor, got none: a call without monitors has no journal")
    with tempfile.TemporaryDirectory() as folder, paced_server(stamped=True) as url:
        on = {"INTERWHEN_JOURNAL_PATH": f"{folder}/journals", "INTERWHEN_JOURNAL_TEXT": text}
        with serving(monitor, url, INTERWHEN_JOURNAL_PATH="") as bare, serving(monitor, url, **on) as keeping:
            gateways: dict[Arm, Helper] = {"off": bare, "on": keeping}
            say(f"first chunks: {pairs} pairs of single streams")
            ways = {str(name): helper.url for name, helper in gateways.items()}
            single = await read_ways(ways, Experiment(tuple(ways), pairs, seed, warm_up=5, minutes=minutes))
            say(f"{rounds} pairs of {streams} streams at {rate:g} chunks/s")
            experiment = Experiment(_ARMS, rounds, seed, warm_up=1, minutes=minutes)

            async def measure(arm: Arm, _number: int) -> Round:
                return await _round(gateways[arm], streams, chunks, rate)

            by_arm = await experiment.run(measure)
        kept = len(os.listdir(folder + "/journals"))  # noqa: PTH208  (only their number)
        say(f"{repeats} pairs of {streams} streams without sockets")
        work = await _without_sockets(
            monitor,
            {"path": f"{folder}/inside", "text": text},
            streams,
            chunks,
            rate,
            Experiment(_ARMS, repeats, seed, minutes=minutes),
        )
    return report_of(single, by_arm, work, kept, ", ".join(monitor))


async def _round(gateway: Helper, streams: int, chunks: int, rate: float) -> Round:
    before = cpu_seconds_of(gateway.process.pid)
    crowd = judge(await read_crowd(gateway.url, streams, chunks, rate), chunks, rate)
    await anyio.sleep(_FLUSHED_SECONDS)
    after = cpu_seconds_of(gateway.process.pid)
    if before is None or after is None:
        raise UsageError(
            "the system must report the CPU time of a process in /proc, and does not: measure on a Linux system"
        )
    return Round((after - before) / (streams * chunks) * 1e6, crowd)


# The gateways in this process. They differ in nothing else: not in the memory or the hash seed of their process, nor in
# how many chunks a read brings.


class _TickingUpstream:
    """A transport that answers each request with *events*. Each read waits for the next tick and gets one event."""

    def __init__(self, events: Sequence[bytes]) -> None:
        self.events = events
        self.ticks = 0
        """How many ticks have come for which an answer waited."""
        self._waiting: list[asyncio.Future[None]] = []

    async def send(self, _request: HttpRequest, *, connect_timeout: float | None) -> _TickedAnswer:
        return _TickedAnswer(self)

    async def aclose(self) -> None:
        """Do nothing."""

    async def tick(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    async def run(self, every: int, flush: Callable[[], None]) -> None:
        # Call `flush` after each `every` ticks for which an answer waited.
        while True:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                if not each.done():
                    each.set_result(None)
            if waiting:
                self.ticks += 1
                if self.ticks % every == 0:
                    flush()
            await asyncio.sleep(0)


class _TickedAnswer:
    status = 200
    headers: Mapping[str, str] = {"content-type": "text/event-stream"}

    def __init__(self, upstream: _TickingUpstream) -> None:
        self._upstream = upstream
        self._left = iter(upstream.events)

    async def receive(self) -> bytes:
        await self._upstream.tick()
        return next(self._left, b"")

    async def aclose(self) -> None:
        self._left = iter(())


_BODY = msgspec.json.encode({"model": "paced", "prompt": "", "stream": True})
_SCOPE: Mapping[str, Any] = {
    "type": "http",
    "method": "POST",
    "path": "/v1/completions",
    "raw_path": b"/v1/completions",
    "query_string": b"",
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())],
}


async def _call(app: Any) -> int:
    asked = iter([{"type": "http.request", "body": _BODY, "more_body": False}])
    is_over = asyncio.Event()
    sent = 0

    async def receive() -> Mapping[str, Any]:
        for message in asked:
            return message
        await is_over.wait()
        return {"type": "http.disconnect"}

    async def send(_message: Mapping[str, Any]) -> None:
        nonlocal sent
        sent += 1

    await app(dict(_SCOPE), receive, send)
    is_over.set()
    return sent


async def _without_sockets(
    monitors: Sequence[str],
    journal: Mapping[str, Any],
    streams: int,
    chunks: int,
    rate: float,
    experiment: Experiment[Arm],
) -> dict[Arm, list[RoundWork]]:
    # One of the two gateways has the settings `journal`. The streams run as fast as they can.
    upstream = _TickingUpstream(stream_events(chunks))
    async with _inside(monitors, upstream, {}) as off, _inside(monitors, upstream, journal) as on:
        gateways: dict[Arm, Any] = {"off": off, "on": on}
        gc.collect()
        gc.freeze()  # as the gateway process does
        before = gc.get_threshold()
        gc.set_threshold(1_000, 10, 100)
        assert on[0].journals is not None
        every = max(int(BUSY_SECONDS * rate), 1)  # as many chunks as at *rate* come between two writes of a journal
        ticks = asyncio.get_running_loop().create_task(upstream.run(every, on[0].journals.hurry))

        async def measure(arm: Arm, _number: int) -> RoundWork:
            gateway, app = gateways[arm]
            gc.collect()
            upstream.ticks = 0
            loop, whole = time.thread_time(), time.process_time()
            sent = await asyncio.gather(*[_call(app) for _ in range(streams)])
            if gateway.journals is not None:
                await anyio.to_thread.run_sync(gateway.journals.close)
            loop, whole = time.thread_time() - loop, time.process_time() - whole
            assert min(sent) > chunks, f"each answer must have {chunks} chunks, got {min(sent)} messages"
            return RoundWork(*(seconds / (streams * chunks) * 1e6 for seconds in (loop, whole - loop)))

        try:
            return await experiment.run(measure)
        finally:
            ticks.cancel()
            gc.set_threshold(*before)
            gc.unfreeze()


@asynccontextmanager
async def _inside(
    monitors: Sequence[str], upstream: _TickingUpstream, journal: Mapping[str, Any]
) -> AsyncIterator[Any]:
    from interwhen.gateway import Config, make_app
    from interwhen.gateway._gateway import Gateway

    config = {"upstreams": ["http://127.0.0.1:1/v1"], "monitors": list(monitors), "journal": journal}
    async with Gateway(msgspec.convert(config, Config), transport=upstream) as gateway:
        yield gateway, make_app(gateway)


def report_of(
    single: Mapping[str, Sequence[Reading]],
    rounds: Mapping[Arm, Sequence[Round]],
    work: Mapping[Arm, Sequence[RoundWork]],
    kept: int,
    monitors: str,
) -> Report:
    """Return the report of the benchmark.

    *single* has the streams that were read one at a time, *rounds* those that were read many at once, and *work* those
    without sockets, each for both gateways. *kept* is the number of journals at the end.
    """
    first = {name: [reading.first * 1e3 for reading in readings] for name, readings in single.items()}
    later = [after - before for before, after in zip(first["off"], first["on"], strict=True)]
    cost = {arm: [each.microseconds for each in arm_rounds] for arm, arm_rounds in rounds.items()}
    more = [after - before for before, after in zip(cost["off"], cost["on"], strict=True)]
    share = {arm: min(each.crowd.delivered for each in arm_rounds) * 100 for arm, arm_rounds in rounds.items()}
    lost = {arm: sum(each.crowd.lost for each in arm_rounds) for arm, arm_rounds in rounds.items()}
    inside = {arm: [sum(each) for each in arm_work] for arm, arm_work in work.items()}
    added = [
        RoundWork(after.loop - before.loop, after.others - before.others)
        for before, after in zip(work["off"], work["on"], strict=True)
    ]
    rows: tuple[Row, ...] = (
        {"what": "first chunk, without journals, p50", "measured": Estimate(percentile(first["off"], 0.5), "ms")},
        {"what": "first chunk, journals add, p50 within pairs", "measured": estimate(later, "ms", limit=0.1)},
        {"what": "CPU per chunk, without journals", "measured": estimate(cost["off"], "µs")},
        {"what": "CPU per chunk, with journals", "measured": estimate(cost["on"], "µs")},
        {"what": "CPU per chunk, journals add, within pairs", "measured": estimate(more, "µs")},
        {"what": "without sockets: CPU per chunk, without journals", "measured": estimate(inside["off"], "µs")},
        {
            "what": "without sockets: CPU per chunk, journals add, within pairs",
            "measured": estimate([sum(each) for each in added], "µs", limit=2.0),
        },
        {"what": "of this, on the event loop", "measured": estimate([each.loop for each in added], "µs")},
        {"what": "of this, on other threads", "measured": estimate([each.others for each in added], "µs")},
        {"what": "share of the offered rate, without journals, least", "measured": Estimate(share["off"], "%")},
        {
            "what": "share of the offered rate, with journals, least",
            "measured": Estimate(share["on"], "%", limit=99.0, at_least=True),
        },
        {"what": "streams lost, without journals", "measured": Estimate(lost["off"])},
        {"what": "streams lost, with journals", "measured": Estimate(lost["on"], limit=0)},
        {"what": "journals at the end", "measured": Estimate(kept)},
    )
    return Report(
        benchmark="journals",
        subject=f"monitors: {monitors}",
        tables=(Table("A gateway with journals beside one without", rows),),
        observations=observations(
            {
                **{f"first chunk, {arm}": values for arm, values in first.items()},
                **cost,
                **{f"without sockets, {arm}": values for arm, values in inside.items()},
            }
        ),
    )


command = command_of(journals, needs=("starlette", "uvicorn"), uvloop=True)
