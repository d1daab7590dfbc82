"""``interwhen bench idle``: what work ahead of time costs the runs that somebody waits for."""

from __future__ import annotations

import sys

import anyio
import msgspec
from rich.console import Console
from rich.table import Table

from interwhen.bench._console import show_tables
from interwhen.bench._idle import BAR, IdleReport, measure_idle
from interwhen.registry import load_model


def idle(
    *,
    model: str = "local",
    base_url: str | None = None,
    pairs: int = 60,
    tokens: int = 64,
    slice_tokens: int = 48,
    gap: float = 0.3,
    debounce: float = 0.02,
    seed: int = 0,
    json: bool = False,
) -> int:
    """Time runs alone and with a worker that is at work until they begin; exit code 1 unless p95 is within 5 %.

    Parameters
    ----------
    model
        An installed model ("local", the tiny model that comes with interwhen); with --base-url, its name there.
    base_url
        An OpenAI-compatible server (completions).
    pairs
        Pairs of runs, in random order.
    tokens
        Tokens of each run.
    slice_tokens
        Tokens of each slice of work ahead of time.
    gap
        Seconds before each run, in the mean.
    debounce
        Seconds of quiet after which work begins.
    seed
        Seed of the order and the pauses.
    json
        Print the report as one JSON object.
    """
    console = Console(stderr=True)

    async def once() -> IdleReport:
        adapter = load_model(model) if base_url is None else load_model(base_url, name=model)
        try:
            return await measure_idle(
                adapter,
                pairs=pairs,
                tokens=tokens,
                slice_tokens=slice_tokens,
                gap=gap,
                debounce=debounce,
                seed=seed,
                say=lambda line: console.print(line, style="dim", highlight=False),
            )
        finally:
            await adapter.aclose()

    report = anyio.run(once)
    if json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        show_tables(idle_table(report))
    return 0 if report.met else 1


def idle_table(report: IdleReport) -> Table:
    """Return *report* as a table."""
    title = f"interwhen bench idle · {report.model} · {report.pairs} pairs · {report.machine}"
    shown = Table(title=title, title_justify="left")
    for header in ("95th percentile", "alone", "beside", "ratio", "bar"):
        shown.add_column(header, justify="left" if header == "95th percentile" else "right")
    shown.add_row(
        "a run, ms", f"{report.alone_p95:.1f}", f"{report.beside_p95:.1f}", str(report.ratio_p95), f"≤ {BAR:g}"
    )
    first = (report.first_alone_p95, report.first_beside_p95)
    shown.add_row("its first text, ms", *(f"{each:.1f}" for each in first), str(report.first_ratio_p95), "")
    shown.add_row("slices of work done", "", str(report.slices), "", "")
    shown.add_row("slices that a run called off", "", str(report.preempted), "", "")
    shown.add_row("arrivals with a slice still open", "", str(report.beside_at_steps), "", "0")
    return shown
