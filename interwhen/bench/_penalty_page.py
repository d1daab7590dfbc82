"""A penalty as a page that needs no other file."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from interwhen._types.errors import MissingExtraError
from interwhen.bench._penalty import Sweep, SweepRow
from interwhen.bench._penalty_report import Bar, Bin, Curves, ForkReport, Penalty, bars
from interwhen.bench._statistics import Paired

# A penalty as a picture (PNG), by matplotlib.

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


# A penalty as tables for a terminal.

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
    found = [_difference_table(report), _cost_table(report)]
    if report.forks is not None:
        found.append(_fork_table(report.forks))
    if report.others:
        found.append(_other_table(report))
    return found


def _difference_table(report: Penalty) -> Table:
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


def _cost_table(report: Penalty) -> Table:
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


def _fork_table(forks: ForkReport) -> Table:
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


def _other_table(report: Penalty) -> Table:
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


# Line charts as SVG, for pages that need no other file.

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 16, 44

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One series. *kind* is a class of the page's style: what it stands for, such as ``bare``."""

    label: str
    kind: str
    points: tuple[Point, ...]
    is_dashed: bool = False
    has_dots: bool = False
    is_joined: bool = True


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis. On a logarithmic one only positive values are drawn."""

    label: str
    is_log: bool = False
    low: float | None = None
    """Where it begins at the latest; ``None``: at the least value."""
    high: float | None = None
    is_whole: bool = False
    """Whether only whole numbers mean anything on it."""

    def span(self, values: Sequence[float]) -> tuple[float, float]:
        """Return where the axis begins and ends."""
        shown = [value for value in values if value > 0 or not self.is_log] or [1.0]
        low, high = min(shown), max(shown)
        low = low if self.low is None else min(low, self.low)
        high = high if self.high is None else max(high, self.high)
        if high > low:
            return low, high
        return (low / 2, high * 2) if self.is_log else (low - 1, high + 1)

    def place(self, value: float, span: tuple[float, float]) -> float:
        """Return where *value* lies between the ends of *span*, from 0 to 1."""
        low, high = span
        if self.is_log:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    def ticks(self, span: tuple[float, float]) -> list[float]:
        """Return round values inside *span*."""
        low, high = span
        if self.is_log:
            powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            factors = (1,) if len(powers) > 4 else (1, 2, 5)
            return [tick for power in powers for factor in factors if low <= (tick := factor * 10.0**power) <= high]
        rough = (high - low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        step = max(step, 1.0) if self.is_whole else step
        return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def chart(lines: Sequence[Line], x: Axis, y: Axis, *, title: str) -> str:
    """Return *lines* over *x* and *y* as an SVG element; *title* is read to those who cannot see it."""
    drawn = [[(a, b) for a, b in line.points if (a > 0 or not x.is_log) and (b > 0 or not y.is_log)] for line in lines]
    across = x.span([a for points in drawn for a, _ in points])
    up = y.span([b for points in drawn for _, b in points])

    def at(point: Point) -> Point:
        return (
            _LEFT + x.place(point[0], across) * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - y.place(point[1], up) * (_HEIGHT - _TOP - _BOTTOM),
        )

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)}">',
        *_grid(x, y, across, up, at),
    ]
    for line, points in zip(lines, drawn, strict=True):
        parts.append(_line(line, [at(point) for point in points]))
    parts.append("</svg>")
    keys = "".join(
        f'<span class="key {line.kind}{" dashed" if line.is_dashed else ""}">{html.escape(line.label)}</span>'
        for line in lines
    )
    return (
        f'<figure><figcaption>{html.escape(title)}</figcaption>{"".join(parts)}<div class="keys">{keys}</div></figure>'
    )


def _grid(
    x: Axis, y: Axis, across: tuple[float, float], up: tuple[float, float], at: Callable[[Point], Point]
) -> list[str]:
    parts = []
    bottom, left, right = _HEIGHT - _BOTTOM, _LEFT, _WIDTH - _RIGHT
    for tick in x.ticks(across):
        place, _ = at((tick, up[0]))
        parts.append(f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{place:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    for tick in y.ticks(up):
        _, place = at((across[0], tick))
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{place:.1f}" y2="{place:.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{place + 4:.1f}" text-anchor="end">{tick:g}</text>')
    middle = (left + right) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{html.escape(x.label)}</text>')
    height = (_TOP + bottom) / 2
    turned = f'text-anchor="middle" transform="rotate(-90 14 {height})"'
    parts.append(f'<text x="14" y="{height}" {turned}>{html.escape(y.label)}</text>')
    return parts


def _line(line: Line, points: Sequence[Point]) -> str:
    parts = []
    if line.is_joined and points:
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        dashed = " dashed" if line.is_dashed else ""
        parts.append(f'<polyline class="line {line.kind}{dashed}" points="{path}"/>')
    if line.has_dots:
        parts.extend(f'<circle class="dot {line.kind}" cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>' for a, b in points)
    return "".join(parts)


_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --dim: #60646c; --rule: #d9d9e0; --paper: #fff;
  --bare: #2a78d6; --supervised: #d9622b; --good: #18794e; --bad: #c62a2f }
@media (prefers-color-scheme: dark) { :root { --ink: #edeef0; --dim: #b0b4ba; --rule: #363a3f; --paper: #111113;
  --bare: #70b8ff; --supervised: #ffa057; --good: #3dd68c; --bad: #ff9592 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1000px;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem } p, .dim { color: var(--dim) }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100% }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--rule) }
th:first-child, td:first-child { text-align: left } th { font-weight: 500; color: var(--dim) }
.yes { color: var(--good) } .no { color: var(--bad); font-weight: 600 }
.wide { overflow-x: auto }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 1rem }
figure { margin: 0 } figcaption { font-weight: 500 } svg { width: 100%; height: auto }
svg text { fill: var(--dim); font-size: 12px } .grid { stroke: var(--rule); stroke-width: 1 }
.faint { opacity: .45 } .line { fill: none; stroke-width: 2 } .line.dashed { stroke-dasharray: 5 4 }
.line.bare { stroke: var(--bare) } .line.supervised { stroke: var(--supervised) }
.dot.bare { fill: var(--bare) } .dot.supervised { fill: var(--supervised) }
.keys { display: flex; flex-wrap: wrap; gap: .3rem 1rem; color: var(--dim); font-size: .9em }
.key::before { content: ""; display: inline-block; width: 1.2em; margin-right: .4em; vertical-align: middle;
  border-top: 3px solid var(--bare) }
.key.supervised::before { border-top-color: var(--supervised) } .key.dashed::before { border-top-style: dashed }
"""


def page_of(report: Penalty) -> str:
    """Return *report* as HTML."""
    crowd = f", {report.concurrency} at a time" if report.concurrency > 1 else ""
    facts = (
        f"{report.source}{crowd}. {report.correct} correct pairs of {report.pairs}, "
        f"{report.same_text} of them with equal text; "
        f"{report.tokens.mean:.0f} tokens a run. Monitors: {', '.join(report.monitors) or 'none'}. {report.machine}."
    )
    return _whole(
        "The penalty on correct runs",
        f"<p>{html.escape(facts)} Intervals are 95 % bootstraps over pairs.</p>",
        _bars(report),
        f'<div class="charts">{"".join(_charts(report.curves))}</div>',
        "<h2>Bare and supervised</h2>",
        _differences(report.differences),
        f"<p>The tail, the wait for open checks behind the end of the stream, is {report.tail_ms} ms of the total.</p>",
        *(
            ["<h2>Noise: bare, and bare once more</h2>", _differences(report.control, "bare once more")]
            if report.control
            else []
        ),
        "<h2>Which monitor</h2>",
        _costs(report),
        *_forks(report),
        *_others(report),
    )


def sweep_page_of(report: Sweep) -> str:
    """Return the report of a sweep as HTML."""
    return _whole(
        f"The penalty over {report.axis}",
        f"<p>{html.escape(f'{report.source}. {report.machine}. {slope_of(report)}')}</p>",
        f'<div class="charts">{_swept(report)}</div>',
        _table((report.unit, *SWEPT), [sweep_cells(row) for row in report.rows]),
    )


def _whole(title: str, *parts: str) -> str:
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
    view = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    body = "\n".join(parts)
    return f"{head}{view}<style>{_STYLE}</style>\n<h1>{html.escape(title)}</h1>\n{body}\n</html>\n"


def _bars(report: Penalty) -> str:
    rows = [
        (
            f"{LABELS[bar.metric]}: added, upper end",
            f"{bar.upper:.3g} {bar.unit}",
            f"≤ {bar.bar:g} {bar.unit}",
            '<span class="yes">met</span>' if bar.is_met else '<span class="no">not met</span>',
        )
        for bar in bars(report)
    ]
    return _table(("promise", "measured", "bar", ""), rows, is_marked_up=True)


def _charts(curves: Curves) -> Iterable[str]:
    left = [1 - q for q in curves.quantiles]
    yield chart(
        [
            # The shortest gaps are those of chunks that came in one read: nobody waits for them.
            Line("bare", "bare", tuple(zip(curves.bare_gaps, left, strict=True))[10:]),
            Line(
                "supervised", "supervised", tuple(zip(curves.supervised_gaps, left, strict=True))[10:], is_dashed=True
            ),
        ],
        Axis("gap, ms", is_log=True),
        Axis("share of gaps that are longer", is_log=True),
        title="How long readers wait for the next text",
    )
    yield chart(
        [
            Line("bare, p50", "bare", _middles(curves.bare_bins, "p50")),
            Line("supervised, p50", "supervised", _middles(curves.supervised_bins, "p50"), is_dashed=True),
            Line("bare, p99", "bare faint", _middles(curves.bare_bins, "p99")),
            Line("supervised, p99", "supervised faint", _middles(curves.supervised_bins, "p99"), is_dashed=True),
        ],
        Axis("seconds into the stream", low=0.0),
        Axis("gap, ms", is_log=True),
        title="Gaps over the time of the stream",
    )
    totals = [
        tuple((float(number), seconds) for number, seconds in enumerate(values, start=1))
        for values in (curves.bare_totals, curves.supervised_totals)
    ]
    yield chart(
        [
            Line("bare", "bare", totals[0], has_dots=True, is_joined=False),
            Line("supervised", "supervised", totals[1], has_dots=True, is_joined=False),
        ],
        Axis("run", is_whole=True),
        Axis("total, s", low=0.0),
        title="Total time of each run, from zero",
    )
    added = tuple(
        (float(number), (late - early) * 1e3)
        for number, (early, late) in enumerate(zip(curves.bare_totals, curves.supervised_totals, strict=True), start=1)
    )
    yield chart(
        [Line("supervised less bare", "supervised", added, has_dots=True, is_joined=False)],
        Axis("run", is_whole=True),
        Axis("added to the total, ms", low=0.0, high=0.0),
        title="What supervision added, run by run",
    )


def _middles(bins: Sequence[Bin], name: str) -> tuple[tuple[float, float], ...]:
    return tuple(((each.start + each.end) / 2, float(getattr(each, name))) for each in bins)


def _swept(report: Sweep) -> str:
    def points(of: str) -> tuple[tuple[float, float], ...]:
        return tuple((float(row.value), float(getattr(row, of).mean)) for row in report.rows)

    added = Line("total, added", "supervised", points("total_added_ms"), has_dots=True)
    tail = Line("tail", "bare", points("tail_ms"), is_dashed=True, has_dots=True)
    first = Line("first text, added", "bare", points("first_added_ms"), has_dots=True)
    gap = Line("gap p99, added", "supervised", points("gap_p99_added_ms"), has_dots=True)
    x = Axis(report.unit, is_whole=True)
    return chart([added, tail], x, Axis("ms", low=0.0, high=0.0), title="Added to the total") + chart(
        [first, gap], x, Axis("ms", low=0.0, high=0.0), title="Added to the first text and to the gaps"
    )


def _differences(rows: Sequence[Paired], other: str = "supervised") -> str:
    cells = [
        (
            LABELS[each.name],
            f"{each.before} {each.unit}",
            f"{each.after} {each.unit}",
            f"{each.added} {each.unit}",
            f"{each.percent}",
        )
        for each in rows
    ]
    return _table(("what", "bare, median", f"{other}, median", "added, mean", "added, %"), cells)


def _costs(report: Penalty) -> str:
    names = ("monitor", "checks", "left open", "checking, ms", "on the loop, ms", "held, ms", "tail, ms", "saved, ms")
    rows = [
        (
            row.monitor,
            f"{row.checks.mean:.1f}",
            f"{row.open.mean:.1f}",
            *(f"{value.mean:.3g}" for value in (row.checking_ms, row.on_loop_ms, row.held_ms, row.tail_ms)),
            "not left out" if row.saved_ms is None else str(row.saved_ms),
        )
        for row in report.costs
    ]
    return _table(names, rows)


def _forks(report: Penalty) -> list[str]:
    if report.forks is None:
        return []
    table = _table(("what", "measured"), fork_rows(report.forks))
    return ["<h2>What forks do to the stream beside them</h2>", table]


def _others(report: Penalty) -> list[str]:
    if not report.others:
        return []
    rows = [
        (f"{other.pair + 1}: {other.why}", f"{other.bare_seconds:.3f}", f"{other.supervised_seconds:.3f}")
        for other in report.others
    ]
    return ["<h2>Pairs that are not counted</h2>", _table(("pair", "bare, s", "supervised, s"), rows)]


def _table(names: Sequence[str], rows: Iterable[Sequence[str]], *, is_marked_up: bool = False) -> str:
    def cell(text: str) -> str:
        return text if is_marked_up else html.escape(text)

    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{cell(text)}</td>' for text in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'
