"""``interwhen bench journals``: measures what a gateway that writes journals costs beside one that does not."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, TypeAlias

import anyio
from cyclopts import Parameter

from interwhen import UsageError
from interwhen.bench._crowd import Crowd, Reading, judge, read_crowd
from interwhen.bench._experiment import Experiment, command_of, observations, require_positive, say
from interwhen.bench._gateway import read_ways, serving
from interwhen.bench._processes import Helper, cpu_seconds_of
from interwhen.bench._report import Report, Row, Table
from interwhen.bench._statistics import Estimate, estimate, percentile
from interwhen.testing._paced_server import paced_server

Arm: TypeAlias = Literal["off", "on"]

_ARMS: tuple[Arm, ...] = ("off", "on")
_FLUSHED_SECONDS = 6.0
"""How long after its last stream a gateway has written all journals. This work is counted, too."""


class Round(NamedTuple):
    """The streams of one gateway in one round."""

    microseconds: float
    """The CPU time of the gateway process for each chunk."""
    crowd: Crowd


async def journals(
    *,
    pairs: int = 90,
    streams: int = 500,
    seconds: float = 10.0,
    rate: float = 20.0,
    rounds: int = 6,
    monitor: Annotated[tuple[str, ...], Parameter(alias="-m")] = ("arithmetic",),
    text: Literal["full", "redacted"] = "full",
    seed: int = 0,
    minutes: float | None = None,
) -> Report:
    """Measure what journals cost: two gateways, one without and one with journals, get the same streams in turn.

    First the streams come one at a time, and the times of their first chunks are compared. Then many come at once, and
    the CPU time of the gateway processes is compared. A load generator in a separate process sends the streams over
    loopback. The journals are written to a directory for temporary files, and deleted at the end.

    Parameters
    ----------
    pairs
        How many pairs of single streams are read.
    streams
        How many streams are read at once.
    seconds
        How many seconds each of these streams takes.
    rate
        The rate of each stream, in chunks per second.
    rounds
        How many pairs of many streams are read.
    monitor
        A monitor that watches: NAME or NAME:OPTION=VALUE. May be given several times.
    text
        What the journals hold: "full", or "redacted" for lengths, hashes and verdicts only.
    seed
        The seed of the order within each pair.
    minutes
        Begin no further round of one part after this many minutes.
    """
    require_positive(streams=streams, seconds=seconds, rate=rate, rounds=rounds)
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

            found = await experiment.run(measure)
        kept = len(os.listdir(folder + "/journals"))  # noqa: PTH208  (only their number)
    return report_of(single, found, kept, ", ".join(monitor))


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


def report_of(
    single: Mapping[str, Sequence[Reading]], rounds: Mapping[Arm, Sequence[Round]], kept: int, monitors: str
) -> Report:
    """Return the report of the benchmark.

    *single* has the streams that were read one at a time, and *rounds* those that were read many at once, each for both
    gateways. *kept* is the number of journals at the end, and *monitors* names the monitors.
    """
    first = {name: [reading.first * 1e3 for reading in found] for name, found in single.items()}
    later = [after - before for before, after in zip(first["off"], first["on"], strict=True)]
    cost = {arm: [each.microseconds for each in found] for arm, found in rounds.items()}
    more = [after - before for before, after in zip(cost["off"], cost["on"], strict=True)]
    share = {arm: min(each.crowd.delivered for each in found) * 100 for arm, found in rounds.items()}
    lost = {arm: sum(each.crowd.lost for each in found) for arm, found in rounds.items()}
    rows: tuple[Row, ...] = (
        {"what": "first chunk, without journals, p50", "measured": Estimate(percentile(first["off"], 0.5), "ms")},
        {"what": "first chunk, journals add, p50 within pairs", "measured": estimate(later, "ms", limit=0.1)},
        {"what": "CPU per chunk, without journals", "measured": estimate(cost["off"], "µs")},
        {"what": "CPU per chunk, with journals", "measured": estimate(cost["on"], "µs")},
        {"what": "CPU per chunk, journals add, within pairs", "measured": estimate(more, "µs", limit=2.0)},
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
        observations=observations({**{f"first chunk, {arm}": values for arm, values in first.items()}, **cost}),
    )


command = command_of(journals, needs=("starlette", "uvicorn"), uvloop=True)
