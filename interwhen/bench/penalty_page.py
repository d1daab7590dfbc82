"""A penalty as a page that needs no other file."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from interwhen.bench.charts import Axis, Line, chart
from interwhen.bench.paired import Paired
from interwhen.bench.penalty_bars import bars
from interwhen.bench.penalty_pictures import Bin, Curves
from interwhen.bench.penalty_report import Penalty
from interwhen.bench.penalty_sweeps import Sweep
from interwhen.bench.penalty_tables import LABELS, SWEPT, fork_rows, slope_of, sweep_cells

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
