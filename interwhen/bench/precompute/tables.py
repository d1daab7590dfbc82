"""The report of ``interwhen bench precompute`` as tables."""

from __future__ import annotations

from rich.table import Table

from interwhen.bench.precompute.local import LocalPrecompute
from interwhen.bench.precompute.report import PrecomputeReport

_SIMULATED = "SIMULATED model: slips in {step:.0%} of its lines and {fact:.0%} of its proposals; {vague:.0%} are vague"


def tables(report: PrecomputeReport) -> list[Table]:
    """Return *report* as tables."""
    return [_costs(report), _curve(report), _gate(report), _errors(report), _solvers(report)]


def local_table(report: LocalPrecompute) -> Table:
    """Return the run with the local model as a table."""
    shown = _table(f"interwhen bench precompute · {report.model} · running totals", "what", "nothing", "precomputed")
    shown.add_row("right", f"{report.right_before:.0%}", f"{report.right_after:.0%}")
    shown.add_row("tokens a query", f"{report.generated_before:.1f}", f"{report.generated_after:.1f}")
    shown.add_row("answers stored", "", f"{report.answers_stored} of {report.problems}")
    shown.add_row("  of them wrong", "", f"{report.wrong_stored}")
    shown.add_row("facts stored", "", f"{report.facts_stored}")
    shown.add_row("tokens ahead of time, a context", "", f"{report.offline:.1f}")
    shown.add_row("cost a query at 10 queries, t = 10", "1", f"{report.cost_10:.2f}")
    shown.add_row("cost a query at 10 queries, t = 1", "1", f"{report.cost_1:.2f}")
    return shown


def _costs(report: PrecomputeReport) -> Table:
    shown = _table(
        f"interwhen bench precompute · {report.contexts} contexts of {report.questions} questions · {report.machine}",
        "family",
        "foreseen",
        "prepared",
        "tokens a query",
        "times fewer",
        "right",
        "ahead of time",
        "cost t=10",
        "cost t=1",
        "t=10, reading",
        "breaks even at",
    )
    for row in report.costs:
        shown.add_row(
            row.family,
            f"{row.predictable:.0%}",
            row.arm,
            f"{row.generated:.1f}",
            "none left" if row.fewer is None else f"{row.fewer:.1f}",
            f"{row.right:.1%}",
            f"{row.offline:.0f}",
            *(f"{row.cost[key]:.2f}" for key in ("10", "1", "10, reading")),
            "never" if row.break_even is None else f"{row.break_even:.1f} queries",
        )
    shown.caption = _SIMULATED.format(**report.rates)
    return shown


def _curve(report: PrecomputeReport) -> Table:
    shown = _table(
        "Passes, read by a model that nobody watches", "family", "notes", "passes", "right", "notes", "wrong"
    )
    for point in report.curve:
        row = (f"{point.accuracy:.1%}", f"{point.facts:.1f}", f"{point.wrong:.1%}")
        shown.add_row(point.family, point.arm, f"{point.passes}", *row)
    return shown


def _gate(report: PrecomputeReport) -> Table:
    shown = _table("The gate (simulated items)", "a run with it", "t", "cost over the better", "kept", "dropped")
    for row in report.gate:
        shares = (f"{row.kept:.0%}", f"{row.dropped:.0%}")
        shown.add_row(f"{row.ratio:.2f} times", f"{row.weight:g}", f"{row.cost:.3f}", *shares)
    return shown


def _errors(report: PrecomputeReport) -> Table:
    shown = _table("Items that make no difference, looked at after each pair", "item", "kept", "dropped", "bar")
    for row in report.errors:
        shown.add_row(row.item, f"{row.kept:.1%}", f"{row.dropped:.1%}", "≤ 5 % together")
    return shown


def _solvers(report: PrecomputeReport) -> Table:
    shown = _table(
        "Z3, a question",
        "conditions",
        "reasons",
        "cold",
        "warm",
        "times cheaper",
        "cold, ms",
        "warm, ms",
        "times faster",
    )
    for row in report.solvers:
        shown.add_row(
            f"{row.conditions}",
            "minimal" if row.minimal else "any",
            f"{row.cold_spent:,.0f}",
            f"{row.warm_spent:,.0f}",
            f"{row.cold_spent / row.warm_spent:.1f}",
            f"{row.cold_ms:.1f}",
            f"{row.warm_ms:.1f}",
            f"{row.cold_ms / row.warm_ms:.1f}",
        )
    shown.caption = "cold and warm in Z3's own count (rlimit count)"
    return shown


def _table(title: str, first: str, *others: str) -> Table:
    shown = Table(title=title, title_justify="left")
    shown.add_column(first)
    for name in others:
        shown.add_column(name, justify="right")
    return shown
