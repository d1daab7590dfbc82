"""The commands ``interwhen plan measure`` and ``interwhen plan capacity``."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import anyio
import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from interwhen import UsageError
from interwhen.bench._experiment import check_files
from interwhen.bench.capacity._capacity import BUSY, LATE_MS, Capacity, Needs, read_capacity
from interwhen.bench.capacity._costs import Measured, Point, load_of_results, read_measured
from interwhen.cli import _exits
from interwhen.cli._progress import ProgressLine
from interwhen.cli._text import stdout_console

STREAMS = (10_000, 100_000, 1_000_000, 10_000_000)
MOST_ERROR = 0.15
"""The largest error at a checked point with which the model is called valid on this machine."""


_NEEDS: dict[str, Callable[[Needs], str]] = {
    "processes": lambda need: f"{need.loop_processes:,}",
    "worker cores": lambda need: f"{need.worker_cores:,.1f}",
    "machines": lambda need: f"{need.machines:,}",
    "memory, GB": lambda need: f"{need.memory_mb / 1e3:,.1f}",
    "tokens/s": lambda need: f"{need.tokens_per_second:,.0f}",
    "fork tokens/s": lambda need: f"{need.fork_tokens_per_second:,.0f}",
    "journals, GB/day": lambda need: f"{need.journal_gb_per_day:,.0f}",
}


def measure(
    out: Path,
    *,
    monitor: Annotated[tuple[str, ...], Parameter(alias="-m", negative="")] = ("arithmetic",),
    results: Path | None = None,
    rounds: int = 5,
    seconds: float = 3.0,
) -> int:
    """Measure what tokens, checks, forks and remedies cost on this machine, for `interwhen plan capacity`.

    The capacity model takes all its inputs from this file. The command also measures the points at which the model is
    checked. It needs an otherwise idle machine, and by default about five minutes.

    Parameters
    ----------
    out
        The JSON file to write.
    monitor
        A monitor that watches the streams: NAME or NAME:OPTION=VALUE. May be given several times.
    results
        A folder of `interwhen eval`: its mean answer is the load. Without it, the load is one recorded answer, which
        has no remedies.
    rounds
        How often most costs are measured. The median counts.
    seconds
        The length of the streams that are read at the same time.
    """
    if rounds < 1 or not 1 <= seconds < math.inf:
        raise UsageError(f"--rounds and --seconds must be at least 1, got {rounds} and {seconds:g}; give larger ones")
    check_files(out=out)
    from interwhen.bench.capacity import _measurement

    load = None if results is None else load_of_results(results)
    with ProgressLine("measurements", _measurement.steps_of(rounds)) as progress:
        found: Measured = anyio.run(
            lambda: _measurement.measure(monitor, rounds=rounds, seconds=seconds, load=load, on_progress=progress.of)
        )
    out.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    console = stdout_console()
    _show_points(console, found.points)
    console.print(f"written to {out}: read it with  interwhen plan capacity {out}", highlight=False, markup=False)
    return _exits.OK


def capacity(
    measured: Path,
    *,
    streams: tuple[int, ...] = STREAMS,
    seed: int = 0,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Say what many simultaneous streams need, and what breaks first. This is a model, not a measurement.

    A simulation of queues takes its inputs from a file of `interwhen plan measure`. It is compared with the points that
    were measured there.

    Parameters
    ----------
    measured
        The file of `interwhen plan measure`.
    streams
        The numbers of simultaneous streams.
    seed
        The seed of the simulation.
    json
        Print one JSON object.
    """
    if not streams or min(streams) < 1:
        raise UsageError(f"--streams must be numbers of at least 1, got {streams}; leave it out for 10^4 to 10^7")
    given = read_measured(measured)
    # How many simulations there will be is not known before the last one.
    with ProgressLine("simulations") as progress:
        found = read_capacity(
            given, streams, seed=seed, on_simulated=lambda each: progress.advance(f"{each:,} streams on a core")
        )
    if json:
        said = {"is_model": True, "valid": is_valid(given), "capacity": found, "measured": given}
        sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
    else:
        _show(stdout_console(), given, found)
    return _exits.OK


def is_valid(measured: Measured) -> bool:
    """Return whether the model was checked, and has an error of at most :data:`MOST_ERROR` at each point."""
    return bool(measured.points) and all(point.error <= MOST_ERROR for point in measured.points)


def _show(console: Console, given: Measured, found: Capacity) -> None:
    console.print("A model, not a measurement: queues simulated with costs that were measured.", style="bold")
    console.print(f"One answer: {given.load.source}.", highlight=False, markup=False)
    _show_points(console, given.points)
    one = Table(title="One answer, one core", title_justify="left", show_header=False)
    limit = f"busy for at most {BUSY:.0%}, tokens late by at most {LATE_MS:g} ms (p99)"
    one.add_row("streams a core", f"{found.streams_per_core:,} ({limit})")
    busy, late = found.at.loop_busy, found.at.late_p99_ms
    one.add_row("  simulated", f"busy for {busy:.0%}, tokens late by {late:.1f} ms (p99)")
    one.add_row("workers a thousand streams", f"{found.workers_per_thousand:.1f}")
    one.add_row("fork tokens an answer", f"{found.fork_tokens_per_answer:,.0f} for {given.load.tokens:,.0f} tokens")
    one.add_row("journal of an answer", f"{found.journal_bytes_per_answer / 1e3:,.1f} kB")
    console.print(one)
    table = Table(title="What simultaneous streams need", title_justify="left")
    table.add_column("streams")
    for need in found.needs:
        table.add_column(f"{need.streams:,}", justify="right")
    for name, shown in _NEEDS.items():
        table.add_row(name, *map(shown, found.needs))
    console.print(table)
    limits = Table(title="What breaks first", title_justify="left")
    for heading in ("used up", "at streams", "then"):
        limits.add_column(heading, justify="right" if heading == "at streams" else "left")
    for each in found.limits:
        limits.add_row(each.what, f"{each.streams:,}", each.then)
    console.print(limits)


def _show_points(console: Console, points: tuple[Point, ...]) -> None:
    table = Table(title="The model against measurements that it was not fitted to", title_justify="left")
    for heading in ("point", "measured", "model", "error"):
        table.add_column(heading, justify="left" if heading == "point" else "right")
    for point in points:
        measured, predicted = f"{point.measured:,.4g} {point.unit}", f"{point.predicted:,.4g} {point.unit}"
        table.add_row(point.what, measured, predicted, f"{point.error:.1%}")
    console.print(table)
    wrong = [point for point in points if point.error > MOST_ERROR]
    if wrong or not points:
        console.print(
            f"The model is not valid on this machine: {len(wrong)} of {len(points)} points differ by more than "
            f"{MOST_ERROR:.0%}. Measure again on an idle machine.",
            style="red",
            highlight=False,
        )
