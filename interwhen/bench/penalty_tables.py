"""A penalty as tables for a terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from interwhen.bench.paired import Paired
from interwhen.bench.penalty_bars import Bar, bars
from interwhen.bench.penalty_report import ForkReport, Penalty
from interwhen.bench.penalty_sweeps import Sweep, SweepRow

LABELS = {
    "first": "time to first text",
    "gap p50": "gap, p50",
    "gap p99": "gap, p99",
    "gap max": "gap, largest",
    "last": "until the last text",
    "total": "total",
    "a token": "total by tokens",
}


def tables(report: Penalty) -> list[Table]:
    """Return *report* as tables."""
    found = [_differences(report), _costs(report)]
    if report.forks is not None:
        found.append(_forks(report.forks))
    if report.others:
        found.append(_others(report))
    return found


def _differences(report: Penalty) -> Table:
    crowd = f", {report.concurrency} at a time" if report.concurrency > 1 else ""
    shown = Table(
        title=f"interwhen bench penalty · {escape(report.source)}{crowd} · {report.machine}\n"
        f"{report.correct} correct pairs of {report.pairs}, {report.same_text} with equal text, "
        f"{report.tokens.mean:.0f} tokens; monitors: {escape(', '.join(report.monitors)) or 'none'}",
        title_justify="left",
        caption="Intervals are 95 % bootstraps over pairs; added is a mean, the others are medians.",
        caption_justify="left",
    )
    for column in ("what", "bare", "supervised", "added", "added, %", "bar", "met"):
        shown.add_column(column, justify="left" if column == "what" else "right", no_wrap=column == "what")
    wanted: dict[str, Bar] = {bar.metric: bar for bar in bars(report)}
    noise = {each.name: each for each in report.control}
    for each in report.differences:
        bar = wanted.get(each.name)
        said = ("", "") if bar is None else (f"≤ {bar.bar:g} {bar.unit}", "yes" if bar.is_met else "NO")
        shown.add_row(LABELS[each.name], *_values(each), *said)
        if each.name in noise:
            shown.add_row("  bare, once more", "", *_values(noise[each.name])[1:], "", "", style="dim")
    shown.add_row("tail: waiting for open checks", "", f"{report.tail_ms} ms", "", "", "", "")
    if report.chunk_added_p99_ms is not None:
        shown.add_row("added to one gap, p99 of all", "", "", f"{report.chunk_added_p99_ms:.3g} ms", "", "", "")
    return shown


def _values(each: Paired) -> tuple[str, str, str, str]:
    return (
        f"{each.before.median:.4g} {each.unit}",
        f"{each.after.median:.4g} {each.unit}",
        f"{each.added} {each.unit}",
        f"{each.percent}",
    )


def _costs(report: Penalty) -> Table:
    shown = Table(title="Which monitor: means a run", title_justify="left")
    names = ["monitor", "checks", "left open", "checking, ms", "on the loop, ms", "held, ms", "tail, ms"]
    has_saved = any(row.saved_ms is not None for row in report.costs)
    for column in [*names, *(["total without it, saved ms"] if has_saved else [])]:
        shown.add_column(column, justify="left" if column == "monitor" else "right")
    for row in report.costs:
        cells = [f"{row.checks.mean:.1f}", f"{row.open.mean:.1f}"]
        cells += [f"{value.mean:.3g}" for value in (row.checking_ms, row.on_loop_ms, row.held_ms, row.tail_ms)]
        shown.add_row(escape(row.monitor), *cells, *([str(row.saved_ms)] if has_saved else []))
    return shown


def _forks(forks: ForkReport) -> Table:
    shown = Table(title="What forks do to the stream beside them", title_justify="left")
    shown.add_column("what")
    shown.add_column("measured", justify="right")
    for what, measured in fork_rows(forks):
        shown.add_row(what, measured)
    return shown


def fork_rows(forks: ForkReport) -> list[tuple[str, str]]:
    """Return what there is to say of *forks*, and how much it is."""
    return [
        ("forks a run", f"{forks.forks}"),
        ("tokens of forks a run", f"{forks.tokens}"),
        ("prompt tokens of forks a run", f"{forks.prompt_tokens}"),
        ("share of the stream's time beside a fork", f"{forks.share} %"),
        ("mean gap, no fork running", f"{forks.gap_apart_ms} ms"),
        ("mean gap, beside a fork", f"{forks.gap_beside_ms} ms"),
        ("p99 of gaps, no fork running", f"{forks.p99_apart_ms:.3g} ms"),
        ("p99 of gaps, beside a fork", f"{forks.p99_beside_ms:.3g} ms"),
    ]


def _others(report: Penalty) -> Table:
    shown = Table(title="Pairs that are not counted", title_justify="left")
    for column in ("pair", "why", "bare, s", "supervised, s"):
        shown.add_column(column, justify="left" if column == "why" else "right")
    for other in report.others:
        shown.add_row(
            f"{other.pair + 1}", escape(other.why), f"{other.bare_seconds:.3f}", f"{other.supervised_seconds:.3f}"
        )
    return shown


SWEPT = ("pairs", "bare, s", "total, added ms", "added, %", "first text, ms", "gap p99, ms", "tail, ms")
"""What is told of each value of a sweep."""


def sweep_table(report: Sweep) -> Table:
    """Return the report of a sweep as a table."""
    shown = Table(
        title=f"interwhen bench penalty --sweep {report.axis} · {escape(report.source)} · {report.machine}",
        title_justify="left",
        caption=slope_of(report),
        caption_justify="left",
    )
    for column in (report.unit, *SWEPT):
        shown.add_column(column, justify="right")
    for row in report.rows:
        shown.add_row(*sweep_cells(row))
    return shown


def sweep_cells(row: SweepRow) -> tuple[str, ...]:
    """Return *row* as the columns of ``SWEPT`` have it, its value first."""
    measured = (row.total_added_ms, row.total_percent, row.first_added_ms, row.gap_p99_added_ms, row.tail_ms)
    return (f"{row.value}", f"{row.correct}", f"{row.bare_seconds:.3f}", *map(str, measured))


def slope_of(report: Sweep) -> str:
    """Say how the total grows along the axis of *report*; empty where there is but one value."""
    if report.slope is None:
        return ""
    return f"By least squares, the total grows by {report.slope:.3g} ms for each step of one along {report.axis}."
