"""``interwhen bench planner``: the fork planner against an oracle and against always reading anew, simulated."""

from __future__ import annotations

import sys

import msgspec
from rich.console import Console
from rich.table import Table

from interwhen._types.errors import UsageError
from interwhen.bench._console import show_tables
from interwhen.bench._planner import PlannerReport, measure


def planner(*, forks: int = 200, seed: int = 1, json: bool = False) -> None:
    """Simulate the fork planner on many servers, prefixes and sets of routes, also with rates that are wrong.

    A simulation: no model is asked. The servers' costs are of another kind than the planner's, and its rates come from
    three probes with their luck. What it takes is compared with an oracle that knows the true mean costs.

    Parameters
    ----------
    forks
        Forks in each cell of the grid.
    seed
        Seed of the prefixes and of the luck.
    json
        Print the report as one JSON object.
    """
    if forks < 1:
        raise UsageError(f"--forks {forks}: nothing can be simulated with less than one")
    console = Console(stderr=True)
    report = measure(forks=forks, seed=seed, say=lambda line: console.print(line, style="dim", highlight=False))
    if json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        show_tables(table(report))


def table(report: PlannerReport) -> Table:
    """Return *report* as a table."""
    title = (
        f"interwhen bench planner · SIMULATION · {len(report.cells)} cells of {report.forks} forks, seed {report.seed}"
    )
    shown = Table(title=title, title_justify="left")
    shown.add_column("what")
    shown.add_column("simulated", justify="right")
    shown.add_column("bar", justify="right")
    shown.add_row("regret over the grid", f"{report.regret:.1f} %", "≤ 10 %")
    shown.add_row("regret in the worst cell", f"{report.worst:.1f} %", "")
    shown.add_row("cheaper than always reading anew, all forks", f"{report.times_cheaper:.1f} times", "≥ 3 times")
    shown.add_row("  in the median cell", f"{report.times_cheaper_in_a_cell:.1f} times", "")
    for one in report.recoveries:
        shown.add_row(f"rates wrong ({one.wrong}): regret of forks 1 to 20", f"{one.first:.1f} %", "")
        shown.add_row("  behind those", f"{one.after:.1f} %", "≤ 10 %")
        shown.add_row("  behind those, worst server", f"{one.worst_after:.1f} %", "")
    return shown
