"""``interwhen verifiers try``: what a verifier says of labelled traces, and what that comes to."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.console import Console

from interwhen.cli import exits
from interwhen.cli.escape import as_json
from interwhen.cli.flags import ModelFlags
from interwhen.cli.terminal import console_for, is_live
from interwhen.cli.trial_report import show_cases, show_score
from interwhen.cli.viewers import stdout_console
from interwhen.errors import UsageError
from interwhen.monitors import Fork
from interwhen.registry import load_monitor_or_path
from interwhen.testing.scores import Cases, Rate, Score, cases, score
from interwhen.testing.traces import read_traces
from interwhen.testing.trial import Tried, try_monitor_sync

_MODEL = ModelFlags()
_BETWEEN = 0.2
"""Seconds between two looks at the progress."""


class _Report(msgspec.Struct, frozen=True):
    """What ``--json`` prints."""

    score: Score
    cases: Cases
    broken: tuple[str, ...]


def try_(
    name: str,
    traces: Path,
    /,
    *,
    format: Annotated[str | None, Parameter(alias="-f")] = None,  # noqa: A002  # what the option is called
    limit: int | None = None,
    seed: int = 0,
    show: int = 3,
    json: Annotated[bool, Parameter(negative="")] = False,
    fail_above_false: float | None = None,
    fail_below_recall: float | None = None,
    fail_below_precision: float | None = None,
    model: ModelFlags = _MODEL,
) -> int:
    """Let the verifier NAME look at labelled TRACES: precision, recall, earliness, cost, and the cases to look at.

    It runs in the real engine, as an observer, over the recorded text; nothing is generated. Exit codes: 0 done,
    1 a bar (--fail-...) was missed, 2 wrong usage.

    Parameters
    ----------
    name
        NAME or NAME:OPTION=VALUE,OPTION=VALUE of an installed verifier, or MODULE:FACTORY, looked for in the working
        directory, too (with options: MODULE:FACTORY:OPTION=VALUE).
    traces
        A file with one labelled trace a line (docs/verifiers.md), or whatever --format reads.
    format
        The installed reader of another format: "interwhen verifiers formats" lists them.
    limit
        Stop after so many traces.
    seed
        Chooses the chunks in which the text arrives; what is said must not depend on it.
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
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: at least 1 trace is needed")
    if show < 0:
        raise UsageError(f"--show {show} is negative")
    monitor = load_monitor_or_path(name)
    if model.is_given and not isinstance(monitor.extractor, Fork):
        raise UsageError(f"a model answers forks, and {name!r} makes none: leave --model and --base-url out")
    found = islice(read_traces(traces, format), limit)
    forks = model.open() if model.is_given else None
    with _progress() as told:
        tried = try_monitor_sync(monitor, found, seed=seed, model=forks, told=told)
    if not tried:
        raise UsageError(f"there is no trace in {str(traces)!r}")
    return _tell(tried, (fail_above_false, fail_below_recall, fail_below_precision), show=show, json=json)


def _tell(tried: list[Tried], bars: tuple[float | None, float | None, float | None], *, show: int, json: bool) -> int:
    total, interesting = score(tried), cases(tried)
    broken = tuple(_broken(total, *bars))
    console = stdout_console()
    if json:
        console.file.write(as_json(_Report(total, interesting, broken)) + "\n")
    else:
        show_score(console, total)
        show_cases(console, interesting, show)
    errors = console_for(sys.stderr)
    for each in broken:
        errors.print(each, style="bold red")
    return exits.BROKEN if broken else exits.OK


def _broken(total: Score, false: float | None, recall: float | None, precision: float | None) -> Iterator[str]:
    if false is not None:
        yield from _missed("false interrupts", total.false_interrupts, most=false)
    if recall is not None:
        yield from _missed("recall", total.recall, least=recall)
    if precision is not None:
        yield from _missed("precision", total.precision, least=precision)
    if total.troubles and any(bar is not None for bar in (false, recall, precision)):
        yield f"{total.troubles} checks came to nothing: no bar is met by a verifier that does not work"


def _missed(what: str, rate: Rate, *, least: float = 0.0, most: float = 1.0) -> Iterator[str]:
    if rate.value is None:
        yield f"{what}: there are no such traces, so that the bar says nothing"
    elif rate.value < least:
        yield f"{what}: {rate.value:.2%} is below the bar of {least:.2%}"
    elif rate.value > most:
        yield f"{what}: {rate.value:.2%} is above the bar of {most:.2%}"


class _Progress:
    """Says now and then, on a terminal, how many traces were tried."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = is_live(console)
        self._count = self._flagged = 0
        self._next = self._begun = time.perf_counter()

    def __call__(self, tried: Tried) -> None:
        self._count += 1
        self._flagged += tried.is_flagged
        now = time.perf_counter()
        if self._live and now >= self._next:
            self._next = now + _BETWEEN
            rate = self._count / max(now - self._begun, 1e-9)
            self._console.print(f"\r{self._count} traces, {rate:.0f}/s, {self._flagged} flagged ", end="")

    def clear(self) -> None:
        """Leave the line as it was found."""
        if self._live and self._count:
            self._console.print("\r" + " " * 60 + "\r", end="")


@contextmanager
def _progress() -> Iterator[_Progress]:
    progress = _Progress(console_for(sys.stderr))
    try:
        yield progress
    finally:
        progress.clear()
