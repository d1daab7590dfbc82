"""The tables of ``interwhen verifiers try``."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from interwhen.cli.escape import joined, one_line
from interwhen.spans import Span
from interwhen.testing.scores import Cases, Rate, Score, Spread
from interwhen.testing.trial import Found, Tried

_AROUND = 60
"""Characters of the text that are shown on each side of what is quoted."""
_EACH = 2
"""Violations or troubles of one case that are shown."""


def show_score(console: Console, total: Score) -> None:
    """Print what a trial came to."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, cell in _rows(total):
        table.add_row(label, cell)
    console.print(table)


def _rows(total: Score) -> list[tuple[str, str]]:
    quiet = f"{total.silent} without a claim, {total.aside} no problem of its kind"
    rows = [
        ("traces", f"{total.traces}, {quiet}"),
        ("precision", str(total.precision)),
        ("recall", str(total.recall)),
        ("false interrupts", str(total.false_interrupts)),
        ("right, and verified", str(total.verified)),
    ]
    if total.unclear.of:
        rows.append(("unclear, flagged", str(total.unclear)))
    if total.located.of:
        rows.append(("at the label", f"{_rate(total.located)}, {total.before} before it"))
        rows.append(("known after", f"{_spread(total.delay, '.0f')} characters from the start of the mistake"))
    if total.remaining.n:
        rows.append(("still to come then", f"{total.remaining.p50:.0%} of the trace in the median flagged one"))
    rows.append(("claims", f"{total.claims}: {total.passed} right, {total.violated} refuted, {total.unknown} unknown"))
    if total.troubles:
        rows.append(("came to nothing", f"{total.troubles} checks: see below"))
    rows.append(("a check takes", f"{_spread(total.check_ms)} ms"))
    rows.append(("extraction", f"{_spread(total.extract_ms)} ms for 1,000 characters"))
    if total.prepare_ms.n:
        rows.append(("preparation", f"{_spread(total.prepare_ms)} ms"))
    return rows


def _rate(rate: Rate) -> str:
    return "none" if rate.value is None else f"{rate.value:.2%} ({rate.hits} of {rate.of})"


def _spread(spread: Spread, form: str = ".3g") -> str:
    if not spread.n:
        return "none"
    return f"{spread.p50:{form}} (median), {spread.p99:{form}} (99 %)"


def show_cases(console: Console, found: Cases, most: int) -> None:
    """Print up to *most* cases of each kind."""
    for title, those in (
        ("false alarms: right, and flagged", found.false_alarms),
        ("flagged before the labelled mistake", found.early),
        ("misses: wrong, and not flagged", found.misses),
        ("checks that came to nothing", found.troubled),
    ):
        if those and most:
            console.print(Text(f"\n{title} ({min(most, len(those))} of {len(those)})", style="bold"))
            for tried in those[:most]:
                _show_case(console, tried, troubled=those is found.troubled)


def _show_case(console: Console, tried: Tried, *, troubled: bool) -> None:
    console.print(Text(joined(tried.trace.name), style="dim"), soft_wrap=True)
    if troubled:
        for trouble in tried.troubles[:_EACH]:
            console.print(Text(f"  {one_line(trouble.what, 300)}"), soft_wrap=True)
            _show_text(console, tried, trouble.turn, trouble.span)
        return
    for each in tried.found[:_EACH]:
        _show_found(console, tried, each)
    mistake = tried.trace.mistake
    if mistake is not None:
        console.print(Text(f"  labelled, turn {mistake.turn}:", style="dim"))
        _show_text(console, tried, mistake.turn, mistake.span)
    elif not tried.found:
        _show_text(console, tried, 0, Span(0, 0))
        reasons = f"; unknown: {one_line(tried.reasons[0])}" if tried.reasons else ""
        console.print(Text(f"  {tried.claims} claims{reasons}"), soft_wrap=True)


def _show_found(console: Console, tried: Tried, found: Found) -> None:
    said = found.why + (f" ({found.witness})" if found.witness else "")
    console.print(Text(f"  turn {found.turn}, {found.span.start}: {one_line(said, 300)}"), soft_wrap=True)
    _show_text(console, tried, found.turn, found.span)


def _show_text(console: Console, tried: Tried, turn: int, span: Span | None) -> None:
    if span is None:
        return
    text = tried.trace.turns[turn].trace
    middle = text[span.start : span.end] if span.end > span.start else ""
    line = Text("    ")
    line.append(one_line(text[max(span.start - _AROUND, 0) : span.start]), style="dim")
    line.append(one_line(middle, 300), style="bold")
    line.append(one_line(text[span.end : span.end + _AROUND]), style="dim")
    console.print(line, soft_wrap=True)
