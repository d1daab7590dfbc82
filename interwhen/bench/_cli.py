"""``interwhen bench …``: measure what supervision costs, here and now."""

from __future__ import annotations

import sys
from typing import Literal

import anyio
import cyclopts
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from interwhen._types.errors import UsageError
from interwhen.bench._console import show_tables
from interwhen.bench._extras import loop_options, require
from interwhen.bench._gateway import GatewayReport
from interwhen.bench._gateway import measure as measure_gateway
from interwhen.bench._local import LocalReport
from interwhen.bench._local import measure as measure_local
from interwhen.bench._overhead import Overhead, measure
from interwhen.bench._soak import SoakReport
from interwhen.bench._soak import soak as run_soak

# A command that is loaded when it is run has no docstring yet for the list of commands.
_ALLOCATION = "Simulate the allocator beside best-of-N and stop-on-verified."
_COMPARE = "Compare strategies: the same exercises, model and verifiers, at equal budgets."
_LEDGER = "Hold the ledgers of many runs against what their endpoint counted."
_PENALTY = "Measure what verifiers add to correct runs, as pairs."
_PLANNER = "Simulate the fork planner on many servers, prefixes and sets of routes."

app = cyclopts.App(name="bench", help="Measure supervision and the local model, as pairs in one run.")
app.command("interwhen.bench._allocation_cli:allocation", name="allocation", help=_ALLOCATION)
app.command("interwhen.bench._planner_cli:planner", name="planner", help=_PLANNER)
app.command("interwhen.bench._idle_cli:idle", name="idle", help="Measure what work ahead of time costs runs.")
app.command(
    "interwhen.bench._precompute_cli:precompute",
    name="precompute",
    help="Measure what work ahead of time saves, and what the productivity gate decides.",
)
app.command("interwhen.bench._compare_cli:run_compare", name="compare", help=_COMPARE)
app.command("interwhen.bench._ledger_cli:ledger", help=_LEDGER)
app.command("interwhen.bench._penalty_cli:penalty", help=_PENALTY)


@app.command
def overhead(
    *,
    transport: Literal["httpx2", "fast"] = "httpx2",
    chunks: int = 20000,
    per_second: float = 0.0,
    rounds: int = 15,
    closes: int = 200,
    seed: int = 0,
    uvloop: bool = False,
    json: bool = False,
) -> None:
    """Measure CPU per chunk, growth with length, memory and time to close, over a loopback stream.

    The stream comes from a load generator in a process of its own; where the system allows it, generator and
    reader run on different cores. No model is involved: this measures interwhen.

    Parameters
    ----------
    transport
        The HTTP library that reads the stream.
    chunks
        Chunks in each measured stream.
    per_second
        Rate of the stream, each chunk in a packet of its own; 0 sends as fast as it is read, which shows the
        work of the code without the cost of waking up.
    rounds
        Rounds of all arms, in random order; differences are taken within a round.
    closes
        Interrupts whose closing is timed.
    seed
        Seed of the order of the arms and of the verifiers' delays.
    uvloop
        Run on uvloop (extra ``fast``).
    json
        Print the report as one JSON object.
    """
    require("interwhen bench overhead", *(["httptools"] if transport == "fast" else []))
    options = loop_options("interwhen bench overhead", uvloop=uvloop)
    console = Console(stderr=True)

    async def once() -> Overhead:
        return await measure(
            transport=transport,
            chunks=chunks,
            per_second=per_second,
            rounds=rounds,
            closes=closes,
            seed=seed,
            say=lambda line: console.print(line, style="dim", highlight=False),
        )

    report = anyio.run(once, backend_options=options)
    _show(report, table(report), json=json)


@app.command
def local(
    *,
    model: str = "local",
    threads: int | None = None,
    rounds: int = 12,
    starts: int = 5,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Measure the local model: start, speed of one stream, what forks do to its gaps, and memory.

    A round streams 400 tokens with no fork, with one and with two at a time, in random order.

    Parameters
    ----------
    model
        "local" (the tiny model that comes with interwhen) or "local:PATH.gguf".
    threads
        Threads of the server; by default one fewer than there are cores.
    rounds
        Rounds of all numbers of forks; differences are taken within a round.
    starts
        Starts of the server that are timed.
    seed
        Seed of the order within a round.
    json
        Print the report as one JSON object.
    """
    kind, _, spec = model.partition(":")
    if kind != "local":
        raise UsageError(f"--model {model!r}: only a local model can be measured, such as 'local' or 'local:PATH.gguf'")
    if rounds < 1 or starts < 1:
        raise UsageError(f"--rounds {rounds} and --starts {starts}: nothing can be measured in less than one")
    console = Console(stderr=True)

    async def once() -> LocalReport:
        return await measure_local(
            spec,
            threads=threads,
            rounds=rounds,
            starts=starts,
            seed=seed,
            say=lambda line: console.print(line, style="dim", highlight=False),
        )

    report = anyio.run(once)
    _show(report, local_table(report), json=json)


def local_table(report: LocalReport) -> Table:
    """Return *report* as a table."""
    shown = Table(title=f"interwhen bench local · {report.model} · {report.machine}", title_justify="left")
    shown.add_column("what")
    shown.add_column("measured", justify="right")
    shown.add_column("bar for tiny", justify="right")
    shown.add_row("from start to first token", f"{report.first_token_seconds} s", "≤ 2 s")
    shown.add_row(f"one stream ({report.tokens:,} tokens)", f"{report.tokens_per_second} tokens/s", "≥ 800 tokens/s")
    for row in report.rows:
        beside = f"{row.forks} fork{'' if row.forks == 1 else 's'} at a time"
        for name, value, added in (
            ("p50", row.p50, row.added_p50),
            ("p99", row.p99, row.added_p99),
            ("largest", row.largest, row.added_largest),
        ):
            shown.add_row(f"{beside}: gap, {name}", f"{value} ms", "")
            if row.forks:
                shown.add_row("  over no fork", f"{added} ms", "")
        if row.forks:
            shown.add_row(f"{beside}: answered, a stream", f"{row.answered:.1f}", "")
    for name, size in (("at the end", report.resident_mb), ("at its peak", report.peak_mb)):
        shown.add_row(f"memory of the server {name}", "unknown" if size is None else f"{size:.0f} MB", "≤ 200 MB")
    return shown


def table(report: Overhead) -> Table:
    """Return *report* as a table."""
    shown = Table(title=f"interwhen bench overhead · {report.transport} · {report.machine}", title_justify="left")
    shown.add_column("what")
    shown.add_column("measured", justify="right")
    shown.add_column("bar", justify="right")
    shown.add_row("raw reading, CPU per chunk", f"{report.raw_microseconds} µs", "")
    bars = {("3 monitors", "decoded"): "≤ 4 µs", ("10 mixed monitors", "decoded"): "≤ 10 µs"}
    for row in report.cpu:
        shown.add_row(f"{row.arm} over {row.over}", f"{row.microseconds} µs", bars.get((row.arm, row.over), ""))
    for growth in report.growth:
        shown.add_row(f"added CPU of {growth.chunks:,} chunks", f"{growth.seconds * 1e3:.1f} ms", "")
    shown.add_row("growth exponent", f"{report.growth_exponent:.3f}", "≤ 1.05")
    added = report.memory_mb["supervised"] - report.memory_mb["raw"]
    shown.add_row(f"peak memory at {report.growth[-1].chunks:,} chunks, added", f"{added:.1f} MB", "≤ 40 MB")
    shown.add_row("violation to closed, p50", f"{report.close_p50_ms:.2f} ms", "≤ 1 ms")
    shown.add_row("violation to closed, p99", f"{report.close_p99_ms:.2f} ms", "≤ 5 ms")
    shown.add_row("tokens sent meanwhile, mean", f"{report.wasted_tokens:.2f}", "≤ 0.3")
    return shown


@app.command
def gateway(
    *,
    pairs: int = 200,
    streams: int = 500,
    seconds: float = 20.0,
    gateway_rate: float = 20.0,
    run_rate: float = 50.0,
    run_rounds: int = 3,
    sdk_rounds: int = 15,
    monitor: str = "arithmetic",
    transport: Literal["httpx2", "fast"] = "fast",
    seed: int = 0,
    uvloop: bool = True,
    json: bool = False,
) -> None:
    """Measure what the gateway adds at one stream, how many streams one process carries, and what wrapping costs.

    The streams come from a load generator in a process of its own, over loopback, and are read as bytes, with and
    without the gateway (or a bare relay) between; then through interwhen.run in this process, beside its transport
    alone, httpx2 and the openai SDK, each just after a bare protocol that only notes when bytes come: the floor for
    any reader in Python on this machine. At last they are read through the openai SDK, bare and wrapped. Chunks are
    late against the schedule of the generator, which says itself how well it kept that.

    Parameters
    ----------
    pairs
        Rounds of streams, direct, through a relay and through the gateway, for what is added at one stream.
    streams
        Streams at once, for the other parts.
    seconds
        How long each of these streams is.
    gateway_rate
        Chunks a second of each stream through the gateway.
    run_rate
        Chunks a second of each stream through interwhen.run, and through other clients.
    run_rounds
        Rounds of the streams through interwhen.run; the one with the median lateness is shown.
    sdk_rounds
        Pairs of streams through the openai SDK, bare and wrapped.
    monitor
        What watches; empty: nothing, and the gateway passes on bytes.
    transport
        The HTTP library of interwhen.run.
    seed
        Seed of the orders within pairs.
    uvloop
        Run on uvloop (extra ``fast``).
    json
        Print the report as one JSON object.
    """
    needed = ["httptools"] * (transport == "fast") + ["uvloop"] * uvloop
    require("interwhen bench gateway", "starlette", "uvicorn", "openai", *needed)
    options = loop_options("interwhen bench gateway", uvloop=uvloop)
    console = Console(stderr=True)

    async def once() -> GatewayReport:
        return await measure_gateway(
            pairs=pairs,
            streams=streams,
            seconds=seconds,
            gateway_rate=gateway_rate,
            run_rate=run_rate,
            run_rounds=run_rounds,
            sdk_rounds=sdk_rounds,
            monitor=monitor,
            transport=transport,
            seed=seed,
            say=lambda line: console.print(line, style="dim", highlight=False),
        )

    report = anyio.run(once, backend_options=options)
    _show(report, gateway_table(report), json=json)


def gateway_table(report: GatewayReport) -> Table:
    """Return *report* as a table."""
    loop = "uvloop" if report.uvloop else "asyncio"
    title = f"interwhen bench gateway · monitors: {report.monitors} · {loop} · {report.machine}"
    shown = Table(title=title, title_justify="left")
    shown.add_column("what")
    shown.add_column("measured", justify="right")
    shown.add_column("bar", justify="right")
    shown.add_column("met", justify="right")
    for bar in report.bars:
        sign = "≥" if bar.is_least else "≤"
        wanted = "" if bar.bar is None else f"{sign} {bar.bar:g} {bar.unit}".rstrip()
        met = "" if bar.met is None else "yes" if bar.met else "NO"
        shown.add_row(bar.what, f"{bar.value:,.2f} {bar.unit}".rstrip(), wanted, met)
    shown.caption = "\n".join(report.warnings) or None
    return shown


@app.command
def soak(
    *,
    minutes: float = 60.0,
    streams: int = 200,
    rate: float = 8.0,
    transport: Literal["httpx2", "fast"] = "fast",
    seed: int = 1,
    uvloop: bool = True,
    json: bool = False,
) -> int:
    """Supervise many streams for a long time against a server that breaks at random; ends with 1 unless it is clean.

    A server in a process of its own tells stories, with wrong sums among them, and meets a third of the requests
    with a fault of the wire. One verifier puts the sums right, another one raises, dawdles and talks nonsense, some
    readers leave early. Each run is held against its story: nothing may be lost, nothing claimed that is not true,
    and no task, socket or memory left behind.

    Parameters
    ----------
    minutes
        For how long.
    streams
        Streams at once, each a run after the other.
    rate
        Chunks a second of each stream.
    transport
        The HTTP library that reads the streams.
    seed
        Seed of the stories and of what breaks.
    uvloop
        Run on uvloop (extra ``fast``).
    json
        Print the report as one JSON object.
    """
    require("interwhen bench soak", *(["httptools"] if transport == "fast" else []))
    options = loop_options("interwhen bench soak", uvloop=uvloop)
    console = Console(stderr=True)

    async def once() -> SoakReport:
        return await run_soak(
            minutes=minutes,
            streams=streams,
            rate=rate,
            transport=transport,
            seed=seed,
            say=lambda line: console.print(line, style="dim", highlight=False),
        )

    report = anyio.run(once, backend_options=options)
    _show(report, soak_table(report), json=json)
    return 0 if report.is_clean else 1


def soak_table(report: SoakReport) -> Table:
    """Return *report* as a table."""
    title = f"interwhen bench soak · {report.minutes:g} min, {report.streams} streams · {report.machine}"
    shown = Table(title=title, title_justify="left")
    shown.add_column("what")
    shown.add_column("measured", justify="right")
    shown.add_column("bar", justify="right")
    shown.add_row("runs", f"{report.runs}", "")
    for status, count in sorted(report.statuses.items()):
        shown.add_row(f"  {status}", f"{count}", "")
    shown.add_row("  left early by their reader", f"{report.left_early}", "")
    shown.add_row("requests that met a fault", f"{sum(report.injected.values())}", "")
    shown.add_row("checks that failed", f"{sum(report.verifier_faults.values())}", "")
    shown.add_row("streams taken up again", f"{report.reconnects}", "")
    shown.add_row("wrong sums put right", f"{report.remedies}", "")
    shown.add_row("lost", f"{len(report.lost)}", "0")
    shown.add_row("wrong", f"{len(report.wrong)}", "0")
    shown.add_row("tasks left", f"{report.tasks_left}", "0")
    shown.add_row("sockets left", "unknown" if report.sockets_left is None else f"{report.sockets_left}", "0")
    if report.first is not None and report.last is not None:
        held = f"{report.first.mb:.1f}, {report.last.mb:.1f} MB"
        blocks = f"{report.first.blocks:,.0f}, {report.last.blocks:,.0f}"
        shown.add_row("memory after warming up, at the end", held, "")
        shown.add_row("blocks in use after warming up, at the end", blocks, "")
    if report.mb is not None and report.blocks is not None:
        growth = f"{report.mb.per_hour:.2f} [{report.mb.low:.2f}, {report.mb.high:.2f}] MB/h"
        blocks = f"{report.blocks.per_hour:,.0f} [{report.blocks.low:,.0f}, {report.blocks.high:,.0f}] /h"
        shown.add_row("growth of memory", growth, "0 within noise")
        shown.add_row("growth of blocks in use", blocks, "0 within noise")
    for flaw in (*report.lost, *report.wrong):
        shown.add_row(escape(flaw), "", "")
    return shown


def _show(report: object, picture: Table, *, json: bool) -> None:
    """Print *report* as JSON, or its *picture*."""
    if json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        show_tables(picture)
