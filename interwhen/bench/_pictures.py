"""Draws charts: as SVG in a self-contained HTML page, or as PNG, SVG or PDF by matplotlib."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from interwhen import UsageError
from interwhen.bench._report import Chart, Report, Series
from interwhen.toolkit import MissingExtraError

_COLORS = ("#2a78d6", "#d9622b", "#18794e", "#8e4ec6", "#ad7f58", "#0d74ce", "#c62a2f", "#60646c")


def draw(report: Report, path: Path) -> None:
    # The suffix of `path` selects the format (`.png`, `.svg`, `.pdf`).
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator, MaxNLocator
    except ModuleNotFoundError as error:
        raise MissingExtraError("--plot", "plots") from error
    rows = -(-len(report.charts) // 2)
    # Not pyplot: no window, no global state, no backend to choose.
    figure = Figure(figsize=(12.0, 4.5 * rows), layout="constrained")
    for number, chart in enumerate(report.charts, start=1):
        axes = figure.add_subplot(rows, min(len(report.charts), 2), number)
        for series in chart.series:
            _draw_series(axes, series)
        axes.set(xlabel=chart.x, ylabel=chart.y, title=chart.title)
        for axis, is_log, scale in (
            (axes.xaxis, chart.log_x, axes.set_xscale),
            (axes.yaxis, chart.log_y, axes.set_yscale),
        ):
            if is_log:
                scale("log")
                axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter("")
        if chart.is_whole:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if chart.zero:
            axes.axhline(0, color="gray", linewidth=0.8)
        axes.grid(visible=True, alpha=0.25)
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(report.heading, fontsize=10)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--plot must be a file that can be written, as PNG, SVG or PDF; got {str(path)!r} "
            f"({error}); choose another file"
        ) from error


def _draw_series(axes: Any, series: Series) -> None:
    xs, ys = [x for x, _ in series.points], [y for _, y in series.points]
    style = ("--" if series.dashed else "-") if series.joined else "none"
    spread = None
    if series.spread:
        pairs = list(zip(ys, series.spread, strict=True))
        spread = [[y - low for y, (low, _) in pairs], [high - y for y, (_, high) in pairs]]
    color = _COLORS[series.color % len(_COLORS)]
    marker = "" if series.joined and not series.spread else "o"
    axes.errorbar(
        xs, ys, yerr=spread, linestyle=style, marker=marker, markersize=4, color=color, capsize=2, label=series.label
    )


_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 16, 44


class _Axis(msgspec.Struct, frozen=True):
    """An axis that maps the values from *low* to *high* to the pixels from *start* to *end*."""

    # With `is_log` it is logarithmic, and all values must be positive. With `is_whole`, its labels are at least 1
    # apart.

    low: float
    high: float
    start: float
    end: float
    is_log: bool
    is_whole: bool = False

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, *, is_log: bool, is_whole: bool = False) -> _Axis:
        shown = [value for value in values if value > 0 or not is_log] or [1.0]
        low, high = min(shown), max(shown)
        if low == high:
            low, high = (low / 2, high * 2) if is_log else (low - 1, high + 1)
        return cls(low, high, start, end, is_log, is_whole)

    def place(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        if self.is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.is_log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            factors = (1,) if len(powers) > 4 else (1, 2, 5)
            every = [factor * 10.0**power for power in powers for factor in factors]
            return [tick for tick in every if self.low <= tick <= self.high]
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        step = max(step, 1.0) if self.is_whole else step
        return [number * step for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def svg(chart: Chart) -> str:
    # Screen readers get the title of the chart.
    points = [point for series in chart.series for point in (*series.points,)]
    heights = [y for _, y in points] + [end for series in chart.series for pair in series.spread for end in pair]
    x = _Axis.over([x for x, _ in points], _LEFT, _WIDTH - _RIGHT, is_log=chart.log_x, is_whole=chart.is_whole)
    y = _Axis.over([*heights, *([0.0] if chart.zero else [])], _HEIGHT - _BOTTOM, _TOP, is_log=chart.log_y)
    middle, centre = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(chart.title)}">']
    for tick in x.ticks():
        parts.append(f'<path class="grid" d="M{x.place(tick):.1f} {y.end}V{y.start}"/>')
        parts.append(_label(x.place(tick), y.start + 16, f"{tick:g}"))
    for tick in y.ticks():
        parts.append(f'<path class="grid" d="M{x.start} {y.place(tick):.1f}H{x.end}"/>')
        parts.append(_label(x.start - 6, y.place(tick) + 4, f"{tick:g}", "end"))
    parts.append(_label(middle, _HEIGHT - 6, chart.x))
    parts.append(_label(14, centre, chart.y, more=f'transform="rotate(-90 14 {centre})"'))
    keys = []
    for series in chart.series:
        color, dashes = _COLORS[series.color % len(_COLORS)], ' stroke-dasharray="5 4"' if series.dashed else ""
        shown = [(a, b) for a, b in series.points if (a > 0 or not chart.log_x) and (b > 0 or not chart.log_y)]
        places = [f"{x.place(a):.1f} {y.place(b):.1f}" for a, b in shown]
        if series.joined and places:
            parts.append(f'<path fill="none" stroke-width="2" stroke="{color}"{dashes} d="M{"L".join(places)}"/>')
        if not series.joined or series.spread:
            dots = "".join(f"M{place}h0" for place in places)
            parts.append(f'<path stroke-width="7" stroke-linecap="round" stroke="{color}" d="{dots}"/>')
        bars = (
            f"M{x.place(a):.1f} {y.place(low):.1f}V{y.place(high):.1f}"
            for (a, _), (low, high) in zip(series.points, series.spread, strict=False)
            if a > 0 or not chart.log_x
        )
        parts.append(f'<path stroke="{color}" d="{"".join(bars)}"/>')
        border = "dashed" if series.dashed else "solid"
        keys.append(f'<span style="border-top: 3px {border} {color}">{html.escape(series.label)}</span>')
    parts.append(f'</svg><div class="keys">{"".join(keys)}</div>')
    return f"<figure><figcaption>{html.escape(chart.title)}</figcaption>{''.join(parts)}</figure>"


def _label(x: float, y: float, text: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{html.escape(text)}</text>'


_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --dim: #60646c; --rule: #d9d9e0; --paper: #fff }
@media (prefers-color-scheme: dark) { :root { --ink: #edeef0; --dim: #b0b4ba; --rule: #363a3f; --paper: #111113 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1000px;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem } p { color: var(--dim) }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100% }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--rule) }
th:first-child, td:first-child { text-align: left } th { font-weight: 500; color: var(--dim) }
.wide { overflow-x: auto }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 1rem }
figure { margin: 0 } figcaption { font-weight: 500 } svg { width: 100%; height: auto }
svg text { fill: var(--dim); font-size: 12px } .grid { stroke: var(--rule); stroke-width: 1 }
.keys { display: flex; flex-wrap: wrap; gap: .3rem 1rem; color: var(--dim); font-size: .9em }
"""


def page(report: Report) -> str:
    title = html.escape(f"interwhen bench {report.benchmark}")
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>',
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style>',
        f"<h1>{title}</h1><p>{html.escape(report.heading)}</p>",
        *(f"<p>Warning: {html.escape(line)}</p>" for line in report.warnings),
        f'<div class="charts">{"".join(map(svg, report.charts))}</div>',
    ]
    for table in report.tables:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in table.columns)
        rows = ("".join(f"<td>{html.escape(text)}</td>" for text in row) for row in table.texts())
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        parts.append(f'<h2>{html.escape(table.title)}</h2><div class="wide"><table><tr>{head}</tr>{body}</table></div>')
        parts.append(f"<p>{html.escape(table.caption)}</p>")
    return "\n".join([*parts, "</html>"]) + "\n"
