"""A penalty as a picture (PNG), by matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from interwhen.bench.penalty_pictures import Bin
from interwhen.bench.penalty_report import Penalty
from interwhen.bench.penalty_sweeps import Sweep
from interwhen.errors import MissingExtraError

_BARE, _SUPERVISED = "#2a78d6", "#d9622b"
_DASHED: dict[str, Any] = {"color": _SUPERVISED, "linestyle": "--"}


def draw(report: Penalty, path: Path) -> None:
    """Draw *report* into the file at *path*. Raises :class:`MissingExtraError` without matplotlib."""
    figure = _figure(11.0, 7.5)
    (gaps, over_time), (totals, added) = figure.subplots(2, 2)
    curves = report.curves
    left = [1 - q for q in curves.quantiles]
    gaps.plot(curves.bare_gaps, left, color=_BARE, label="bare")
    gaps.plot(curves.supervised_gaps, left, label="supervised", **_DASHED)
    gaps.set(xscale="log", yscale="log", xlabel="gap, ms", ylabel="share of gaps that are longer")
    gaps.set_title("How long readers wait for the next text")
    _over_time(over_time, curves.bare_bins, "bare", {"color": _BARE})
    _over_time(over_time, curves.supervised_bins, "supervised", _DASHED)
    over_time.set(
        yscale="log", xlabel="seconds into the stream", ylabel="gap, ms", title="Gaps, p50 and p99, over time"
    )
    runs = range(1, len(curves.bare_totals) + 1)
    totals.plot(runs, curves.bare_totals, "o", color=_BARE, label="bare")
    totals.plot(runs, curves.supervised_totals, "o", color=_SUPERVISED, label="supervised", markersize=4)
    totals.set(xlabel="run", ylabel="total, s", title="Total time of each run, from zero")
    totals.set_ylim(0, 1.1 * max(*curves.bare_totals, *curves.supervised_totals))
    mean = report.difference("total").added
    more = [(late - early) * 1e3 for early, late in zip(curves.bare_totals, curves.supervised_totals, strict=True)]
    added.plot(runs, more, "o", color=_SUPERVISED, label="each run")
    added.axhspan(mean.low * 1e3, mean.high * 1e3, color=_SUPERVISED, alpha=0.2, label="mean, 95 % interval")
    added.axhline(0, color="gray", linewidth=0.8)
    added.set(xlabel="run", ylabel="added to the total, ms", title="What supervision added")
    # The shortest gaps are those of chunks that came in one read: nobody waits for them.
    gaps.set_xlim(left=max(min(curves.bare_gaps[10], curves.supervised_gaps[10]) / 2, 1e-3))
    for axis in (gaps.xaxis, over_time.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:g}")
    for axes in (totals, added):
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in (gaps, over_time, totals, added):
        axes.legend(frameon=False, fontsize=8)
        axes.grid(visible=True, alpha=0.25)
    figure.suptitle(_headline(report), fontsize=11)
    figure.savefig(path, dpi=130, format="png")


def draw_sweep(report: Sweep, path: Path) -> None:
    """Draw the report of a sweep; raises as :func:`draw` does."""
    figure = _figure(11.0, 4.2)
    left, right = figure.subplots(1, 2)
    values = [row.value for row in report.rows]
    for axes, name, label, color in (
        (left, "total_added_ms", "total, added", _SUPERVISED),
        (left, "tail_ms", "tail", _BARE),
        (right, "first_added_ms", "first text, added", _BARE),
        (right, "gap_p99_added_ms", "gap p99, added", _SUPERVISED),
    ):
        means = [getattr(row, name) for row in report.rows]
        spread = [[each.mean - each.low for each in means], [each.high - each.mean for each in means]]
        axes.errorbar(
            values, [each.mean for each in means], yerr=spread, color=color, label=label, marker="o", capsize=3
        )
        axes.set(xlabel=report.unit, ylabel="ms")
        axes.axhline(0, color="gray", linewidth=0.8)
        axes.grid(visible=True, alpha=0.25)
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(f"The penalty over {report.axis} · {report.source}", fontsize=11)
    figure.savefig(path, dpi=130, format="png")


def _headline(report: Penalty) -> str:
    total = report.difference("total")
    return (
        f"The penalty on correct runs · {report.source} · {len(report.monitors)} monitors\n"
        f"total +{total.percent} %, {report.correct} correct pairs of {report.pairs}"
    )


def _over_time(axes: Any, bins: tuple[Bin, ...], label: str, style: dict[str, Any]) -> None:
    at = [(each.start + each.end) / 2 for each in bins]
    axes.plot(at, [each.p50 for each in bins], label=f"{label}, p50", **style)
    axes.plot(at, [each.p99 for each in bins], label=f"{label}, p99", alpha=0.55, **style)


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("--plot", "plots") from error
    # Not pyplot: no window, no global state, no backend to choose.
    return Figure(figsize=(width, height), layout="constrained")
