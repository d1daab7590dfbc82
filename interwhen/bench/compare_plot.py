"""The plot of a comparison: right answers over tokens, and what no other strategy beats."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from interwhen.bench.compare_report import Comparison, front
from interwhen.errors import MissingExtraError, UsageError

_MARKERS = "osD^vP*Xd<>h8p"


def plot(report: Comparison, path: Path) -> None:
    """Draw *report* into *path*, whose ending says the format (``.png``, ``.svg``, ``.pdf``).

    Raises :class:`~interwhen.errors.MissingExtraError` without matplotlib, and
    :class:`~interwhen.errors.UsageError` where the file cannot be written.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError("a plot", "plots")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    figure = Figure(figsize=(11, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names = sorted({cell.strategy for cell in report.cells})
    for at, name in enumerate(names):
        mine = sorted((cell for cell in report.cells if cell.strategy == name), key=lambda cell: cell.budget)
        values = [100 * (cell.accuracy.value or 0.0) for cell in mine]
        below = [value - 100 * cell.accuracy.low for value, cell in zip(values, mine, strict=True)]
        above = [100 * cell.accuracy.high - value for value, cell in zip(values, mine, strict=True)]
        axes.errorbar(
            [cell.tokens for cell in mine],
            values,
            yerr=(below, above),
            marker=_MARKERS[at % len(_MARKERS)],
            linewidth=0.8,
            elinewidth=0.4,
            capsize=2,
            label=name,
        )
    best = front(report.cells)
    axes.plot(
        [cell.tokens for cell in best],
        [100 * (cell.accuracy.value or 0.0) for cell in best],
        color="black",
        linestyle="--",
        linewidth=1.2,
        label="not beaten by any",
        zorder=0,
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(ScalarFormatter())
    axes.tick_params(axis="x", which="both", labelsize=7)
    axes.set_xlabel("generated tokens of an attempt (mean): kept, discarded, forks, offline")
    axes.set_ylabel("right answers, % (bars: 95 %)")
    axes.set_title(f"{report.task} · {report.model} · {report.exercises} exercises", fontsize=10)
    axes.grid(visible=True, which="both", linewidth=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise UsageError(f"the plot {str(path)!r} cannot be written: {error}") from error
