"""``interwhen bench ledger``: whether ledgers are what endpoints count."""

from __future__ import annotations

import sys

import msgspec
from rich.console import Console
from rich.table import Table

from interwhen._types.errors import UsageError
from interwhen.bench._console import show_tables
from interwhen.bench._ledger import LedgerReport, check


def ledger(*, runs: int = 1000, seed: int = 0, json: bool = False) -> int:
    """Hold the ledgers of many runs against what their endpoint counted; ends with 1 where one counter differs.

    Each run is made from its seed and played in virtual time: a scripted endpoint that slips, breaks, and keeps books
    of its own; forks, rewinds, reconnects. Compared are the requests, the tokens of the main stream and of forks, and
    the prompt and cached tokens that the endpoint told of.

    Parameters
    ----------
    runs
        How many runs.
    seed
        The first seed; the others follow it.
    json
        Print the report as one JSON object.
    """
    if runs < 1:
        raise UsageError(f"--runs {runs}: nothing can be checked in less than one")
    console = Console(stderr=True)
    report = check(runs, first_seed=seed, say=lambda line: console.print(line, style="dim", highlight=False))
    if json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        show_tables(ledger_table(report))
    return 0 if report.is_clean else 1


def ledger_table(report: LedgerReport) -> Table:
    """Return *report* as a table."""
    last = report.first_seed + report.runs - 1
    shown = Table(title=f"interwhen bench ledger · seeds {report.first_seed} to {last}", title_justify="left")
    shown.add_column("what")
    shown.add_column("counted", justify="right")
    shown.add_column("bar", justify="right")
    shown.add_row("runs", f"{report.runs:,}", "")
    for status, count in sorted(report.statuses.items()):
        shown.add_row(f"  {status}", f"{count:,}", "")
    shown.add_row("requests of main streams", f"{report.requests:,}", "")
    shown.add_row("tokens of main streams", f"{report.tokens:,}", "")
    shown.add_row("rewinds and insertions", f"{report.remedies:,}", "")
    shown.add_row("streams taken up again", f"{report.reconnects:,}", "")
    shown.add_row("forks, and their tokens", f"{report.forks:,}, {report.fork_tokens:,}", "")
    for name, count in report.faults.items():
        shown.add_row("requests that went well" if name == "none" else f"  that met {name}", f"{count:,}", "")
    shown.add_row("counters that differ", f"{len(report.mismatches)}", "0")
    for mismatch in report.mismatches[:10]:
        shown.add_row(str(mismatch), "", "")
    if report.missing:
        shown.caption = f"Never happened, so nothing is shown of it: {', '.join(report.missing)}"
    return shown
