"""``interwhen bench allocation``: the allocator against uniform spending, in simulated worlds."""

from __future__ import annotations

import sys

import msgspec
from rich.console import Console
from rich.table import Table

from interwhen._types.errors import UsageError
from interwhen.bench._allocation import AllocationReport, measure
from interwhen.bench._console import show_tables


def allocation(*, tasks: int = 1500, seeds: int = 5, seed: int = 0, json: bool = False) -> None:
    """Simulate the allocator beside best-of-N and stop-on-verified, on the same tasks with the same luck.

    A simulation: no model is asked. The tasks have difficulties of their own, lengths and verifier errors of another
    kind than what the allocator believes; it starts without any data, and what it tries while it learns is counted.

    Parameters
    ----------
    tasks
        Tasks of a world; the allocator meets them one after the other.
    seeds
        Draws of each world.
    seed
        The first of their seeds.
    json
        Print the report as one JSON object.
    """
    if tasks < 1 or seeds < 1:
        raise UsageError(f"--tasks {tasks} and --seeds {seeds}: nothing can be simulated with less than one")
    console = Console(stderr=True)
    report = measure(
        tasks=tasks, seeds=seeds, seed=seed, say=lambda line: console.print(line, style="dim", highlight=False)
    )
    if json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        show_tables(table(report))


def table(report: AllocationReport) -> Table:
    """Return *report* as a table."""
    title = f"interwhen bench allocation · SIMULATION · {report.seeds} times {report.tasks:,} tasks, seed {report.seed}"
    shown = Table(title=title, title_justify="left")
    shown.add_column("world, what is allocated")
    for name in (
        "N",
        "accuracy",
        "times fewer than best-of-N",
        "% saved over stopping",
        "worst % off budget",
        "worst points over best-of-N",
        "points over stopping",
    ):
        shown.add_column(name, justify="right")
    for row in report.rows:
        shown.add_row(
            f"{row.world}: {row.arm}",
            f"{row.depth}",
            f"{row.accuracy.median:.1f} %",
            f"{row.times_fewer}",
            f"{row.saved}",
            f"{row.worst_off_budget:.2f}",
            f"{row.worst_over_uniform:+.1f}",
            f"{row.over_stopping}",
        )
    shown.caption = (
        "Medians over the draws with 95 % intervals. N: the budget is what stop-on-verified with N samples takes. "
        "Fewer and saved are at equal accuracy, points at equal tokens."
    )
    return shown
