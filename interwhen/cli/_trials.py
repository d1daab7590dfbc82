"""``interwhen verifiers try``: measures a verifier on labelled traces."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from interwhen import Fork, Span, UsageError
from interwhen._types.vetting import Count, Positive, Share, vetted
from interwhen.cli import _exits
from interwhen.cli._flags import ModelFlags
from interwhen.cli._progress import ProgressLine
from interwhen.cli._text import (
    as_json,
    console_for,
    joined,
    one_line,
    stdout_console,
    table,
)
from interwhen.registry import load_monitor_or_path
from interwhen.testing._scores import Cases, Rate, Score, Spread, cases, score
from interwhen.testing._traces import read_traces
from interwhen.testing._trials import TrialResult, try_monitor_sync

# The tables of ``interwhen verifiers try``.

_AROUND = 60
"""Characters on each side of what is quoted."""
_EACH = 2
"""Violations or failed checks of one case that are shown."""


def show_score(console: Console, total: Score) -> None:
    shown = table("", "")
    shown.show_header = False
    shown.columns[0].style, shown.columns[0].no_wrap = "dim", True
    quiet = f"{total.silent} without a claim, {total.aside} no problem of its kind"
    rows: tuple[tuple[str, str, object], ...] = (
        # Label, cell, and whether there is anything to show.
        ("traces", f"{total.traces}, {quiet}", True),
        ("precision", str(total.precision), True),
        ("recall", str(total.recall), True),
        ("false interrupts", str(total.false_interrupts), True),
        ("right, and verified", str(total.verified), True),
        ("unclear, flagged", str(total.unclear), total.unclear.of),
        ("at the label", f"{_rate(total.located)}, {total.before} before it", total.located.of),
        ("known after", f"{_spread(total.delay, '.0f')} characters from the start of the mistake", total.located.of),
        ("still to come", f"{total.remaining.p50:.0%} of the trace in the median flagged one", total.remaining.n),
        ("claims", f"{total.claims}: {total.passed} right, {total.violated} refuted, {total.unknown} unknown", True),
        ("failed", f"{total.troubles} checks: see below", total.troubles),
        ("a check takes", f"{_spread(total.check_ms)} ms", True),
        ("extraction", f"{_spread(total.extract_ms)} ms for 1,000 characters", True),
        ("preparation", f"{_spread(total.prepare_ms)} ms", total.prepare_ms.n),
    )
    for label, cell, is_shown in rows:
        if is_shown:
            shown.add_row(label, cell)
    console.print(shown)


def _rate(rate: Rate) -> str:
    return "none" if rate.value is None else f"{rate.value:.2%} ({rate.hits} of {rate.of})"


def _spread(spread: Spread, form: str = ".3g") -> str:
    if not spread.n:
        return "none"
    return f"{spread.p50:{form}} (median), {spread.p99:{form}} (99 %)"


def show_cases(console: Console, case_lists: Cases, most: int) -> None:
    for title, those in (
        ("false alarms: right, and flagged", case_lists.false_alarms),
        ("flagged before the labelled mistake", case_lists.early),
        ("misses: wrong, and not flagged", case_lists.misses),
        ("checks that failed", case_lists.troubled),
    ):
        if those and most:
            console.print(Text(f"\n{title} ({min(most, len(those))} of {len(those)})", style="bold"))
            for tried in those[:most]:
                _show_case(console, tried, troubled=those is case_lists.troubled)


def _show_case(console: Console, tried: TrialResult, *, troubled: bool) -> None:
    console.print(Text(joined(tried.trace.name), style="dim"), soft_wrap=True)
    if troubled:
        for trouble in tried.troubles[:_EACH]:
            console.print(Text(f"  {one_line(trouble.what, 300)}"), soft_wrap=True)
            _show_text(console, tried, trouble.turn, trouble.span)
        return
    for violation in tried.violations[:_EACH]:
        said = violation.why + (f" ({violation.witness})" if violation.witness else "")
        console.print(Text(f"  turn {violation.turn}, {violation.span.start}: {one_line(said, 300)}"), soft_wrap=True)
        _show_text(console, tried, violation.turn, violation.span)
    mistake = tried.trace.mistake
    if mistake is not None:
        console.print(Text(f"  labelled, turn {mistake.turn}:", style="dim"))
        _show_text(console, tried, mistake.turn, mistake.span)
    elif not tried.violations:
        _show_text(console, tried, 0, Span(0, 0))
        reasons = f"; unknown: {one_line(tried.reasons[0])}" if tried.reasons else ""
        console.print(Text(f"  {tried.claims} claims{reasons}"), soft_wrap=True)


def _show_text(console: Console, tried: TrialResult, turn: int, span: Span | None) -> None:
    if span is None:
        return
    text = tried.trace.turns[turn].trace
    before, after = text[max(span.start - _AROUND, 0) : span.start], text[span.end : span.end + _AROUND]
    middle = (one_line(text[span.start : span.end], 300), "bold")
    console.print(Text.assemble("    ", (one_line(before), "dim"), middle, (one_line(after), "dim")), soft_wrap=True)


# ``interwhen verifiers try``: a verifier on labelled traces.

_MODEL = ModelFlags()


class _TrialReport(msgspec.Struct, frozen=True):
    score: Score
    cases: Cases
    broken: tuple[str, ...]
    """A message for each bar that was missed."""


@vetted("--")
def try_(
    name: str,
    traces: Path,
    /,
    *,
    format: Annotated[str | None, Parameter(alias="-f")] = None,  # noqa: A002  # what the option is called
    limit: Positive | None = None,
    seed: int = 0,
    show: Count = 3,
    json: Annotated[bool, Parameter(negative="")] = False,
    fail_above_false: Share | None = None,
    fail_below_recall: Share | None = None,
    fail_below_precision: Share | None = None,
    model: ModelFlags = _MODEL,
) -> int:
    """Run the verifier NAME on labelled TRACES: precision, recall, earliness, cost, and the cases to read.

    It runs in the real engine, as an observer, over the recorded text, which is not generated again. Exit codes: 0
    done, 1 a bar (--fail-...) was missed or could not be measured, or a check failed and there is a bar, 2 wrong usage.

    Parameters
    ----------
    name
        NAME or NAME:OPTION=VALUE,OPTION=VALUE of an installed verifier, or MODULE:FACTORY, also from the working
        directory (with options: MODULE:FACTORY:OPTION=VALUE).
    traces
        A file with one labelled trace a line (docs/verifiers.md), or in another --format.
    format
        The installed reader of another format: "interwhen verifiers formats" lists them.
    limit
        Stop after so many traces.
    seed
        Seed of the chunks in which the text arrives; the verdicts must not depend on it.
    show
        How many cases of each kind are shown.
    json
        Write everything as one JSON object, all cases included, and nothing else on stdout.
    fail_above_false
        Exit with 1 if more than this share of the right traces is flagged.
    fail_below_recall
        Exit with 1 if less than this share of the wrong traces is flagged.
    fail_below_precision
        Exit with 1 if less than this share of the flagged traces is wrong.
    """
    monitor = load_monitor_or_path(name)
    if model.is_given and not isinstance(monitor.extractor, Fork):
        raise UsageError(
            f"--model and --base-url must be used with a monitor that asks forks, got {name!r:.80}, which "
            "asks none: leave them out"
        )
    labelled = list(islice(read_traces(traces, format), limit))
    forks = model.open() if model.is_given else None
    flagged = 0

    def counted(one: TrialResult) -> None:
        nonlocal flagged
        flagged += one.is_flagged
        progress.advance(f"{flagged} flagged")

    with ProgressLine("traces", len(labelled)) as progress:
        tried = try_monitor_sync(monitor, labelled, seed=seed, model=forks, on_trial=counted)
    if not tried:
        raise UsageError(
            f"TRACES must hold at least one labelled trace, got {str(traces)!r} without any: name another file"
        )
    total, interesting = score(tried), cases(tried)
    broken = tuple(_broken(total, fail_above_false, fail_below_recall, fail_below_precision))
    console = stdout_console()
    if json:
        console.file.write(as_json(_TrialReport(total, interesting, broken)) + "\n")
    else:
        show_score(console, total)
        show_cases(console, interesting, show)
    errors = console_for(sys.stderr)
    for each in broken:
        errors.print(each, style="bold red")
    return _exits.BROKEN if broken else _exits.OK


def _broken(total: Score, false: float | None, recall: float | None, precision: float | None) -> Iterator[str]:
    if false is not None:
        yield from _missed("false interrupts", total.false_interrupts, most=false)
    if recall is not None:
        yield from _missed("recall", total.recall, least=recall)
    if precision is not None:
        yield from _missed("precision", total.precision, least=precision)
    if total.troubles and any(bar is not None for bar in (false, recall, precision)):
        yield f"all checks must end with a verdict to meet a bar, and {total.troubles} failed: correct the verifier"


def _missed(what: str, rate: Rate, *, least: float = 0.0, most: float = 1.0) -> Iterator[str]:
    if rate.value is None:
        yield (
            f"{what} must be measured on at least one such trace, got none: give traces of this kind, or leave "
            "the bar out"
        )
    elif rate.value < least:
        yield f"{what}: {rate.value:.2%} is below the bar of {least:.2%}"
    elif rate.value > most:
        yield f"{what}: {rate.value:.2%} is above the bar of {most:.2%}"
