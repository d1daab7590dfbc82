"""``interwhen verifiers``: list, describe and try the installed verifiers, and create one."""

from __future__ import annotations

import keyword
import multiprocessing
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from importlib.resources import files
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from string import Template
from tempfile import mkdtemp
from typing import Annotated

import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.text import Text

from interwhen import Fork, Monitor, PluginError, Span, UsageError, registry
from interwhen._version import __version__
from interwhen.cli import _exits
from interwhen.cli._flags import ModelFlags
from interwhen.cli._progress import ProgressLine
from interwhen.cli._text import (
    STYLES,
    as_json,
    console_for,
    joined,
    one_line,
    signs_for,
    stdout_console,
    table,
    visible,
)
from interwhen.registry import load_monitor_or_path
from interwhen.testing._scores import Cases, Rate, Score, Spread, cases, score
from interwhen.testing._traces import read_traces
from interwhen.testing._trials import TrialResult, try_monitor_sync

app = App(name="verifiers", help="List, describe and try the installed verifiers, or create one.")
# Imported when they are called, so that they do not slow down the others.
app.command(
    "interwhen.cli._verifiers:try_",
    name="try",
    help="Measure a verifier on labelled traces (exit code 1: a bar was missed).",
)
app.command("interwhen.cli._verifiers:new", name="new", help="Create a verifier: a package that works.")


@app.command(name="list")
def list_(*, load: Annotated[bool, Parameter(negative="")] = False) -> int:
    """List the installed verifiers, and the scope of each: the answer to the task, or steps on the way.

    The scope is "?" if a verifier does not load. The list waits at most 5 seconds for each.

    Parameters
    ----------
    load
        Show whether each one loads even if all do. Exit code 5 if one does not.
    """
    plugins = _tried(registry.verifiers())
    console = stdout_console()
    failed = any(plugin.error for plugin, _ in plugins)

    def cells(plugin: registry.Plugin, scope: str) -> dict[str, Text]:
        found = {"name": Text(joined(plugin.name), style="bold"), "scope": Text(scope), **_origin(plugin)}
        return {**found, "loads": _loads(plugin, console)} if load or failed else found

    _print_plugins(console, "no verifiers are installed", [cells(*each) for each in plugins])
    return _exits.FAILED if load and failed else _exits.OK


# The list imports the plug-ins in a process of its own, because a module may wait for ever, or end its process.

_IMPORT_SECONDS = 5.0
"""How long the list waits for the import of one plug-in."""
_START_SECONDS = 60.0
"""How long it waits for the start of the process, on a busy machine."""


def _tried(plugins: list[registry.Plugin]) -> list[tuple[registry.Plugin, str]]:
    """Return each of *plugins* with ``loaded`` and ``error``, and its scope; ``?`` if it cannot be imported."""
    found: list[tuple[registry.Plugin, str]] = []
    while rest := plugins[len(found) :]:
        names = [f"{each.distribution}/{each.name}" if each.distribution else each.name for each in rest]
        for plugin, (scope, error) in zip(rest, _imported(names), strict=False):
            found.append((msgspec.structs.replace(plugin, loaded=not error, error=error), scope or "?"))
    return found


def _imported(names: list[str]) -> Iterator[tuple[str, str]]:
    """Import the verifiers *names* in another process; yield the scope of each, or an empty one and why it has none.

    If an import stops or ends the process, it is the last one.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_import_each, args=(names, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        if ours.poll(_START_SECONDS):
            ours.recv()
        while ours.poll(_IMPORT_SECONDS):
            yield ours.recv()
        yield "", f"its import took more than {_IMPORT_SECONDS:g} s"
    except EOFError:
        process.join()
        yield "", f"its import ended the process (exit code {process.exitcode})"
    finally:
        process.kill()
        process.join()
        ours.close()


def _import_each(names: list[str], results: Connection) -> None:
    results.send("ready")
    for name in names:
        try:
            results.send((registry.scope_of(name), ""))
        except PluginError as error:
            results.send(("", error.reason))


def _origin(plugin: registry.Plugin) -> dict[str, Text]:
    found = {"from": plugin.distribution, "version": plugin.version, "target": plugin.target}
    return {header: Text(joined(text)) for header, text in found.items()}


def _print_plugins(console: Console, nothing: str, rows: list[dict[str, Text]]) -> None:
    """Print a table of plug-ins. If there are none, print the text *nothing*."""
    if not rows:
        console.print(nothing)
        return
    shown = table(*rows[0])
    for row in rows:
        shown.add_row(*row.values())
    console.print(shown)


@app.command
def formats() -> int:
    """List the installed readers of labelled traces, for "interwhen verifiers try --format"."""
    rows = [{"name": Text(joined(plugin.name), style="bold"), **_origin(plugin)} for plugin in registry.trace_formats()]
    _print_plugins(stdout_console(), "no readers of traces are installed", rows)
    return _exits.OK


@app.command
def show(name: str) -> int:
    """Describe a verifier: what it checks, its options, and its defaults.

    Parameters
    ----------
    name
        Its name, as "interwhen verifiers list" shows it.
    """
    report = registry.describe(name)
    plugin = report.plugin
    console = stdout_console()
    origin = joined(f"  {plugin.distribution} {plugin.version}  {plugin.target}")
    title = Text.assemble((joined(plugin.name), "bold"), origin)
    console.print(title)
    console.print(Text(visible(f"\n{report.summary}\n" if report.summary else "")))
    _section(console, "options", report.options or ("none of its own",))
    _section(console, "options of every monitor", (", ".join(report.generic),))
    _section(console, "in a file of somebody else", (_FROM_DATA[report.safe_from_data],))
    if not report.monitors:
        console.print(Text("It needs options before it makes a monitor.", style="dim"))
    for monitor in report.monitors:
        of = f" ({joined(monitor.name)})" if len(report.monitors) > 1 else ""
        _section(console, f"without options{of}", _facts(monitor))
    return _exits.OK


_SCOPES = {
    "answer": "answer: it can judge the answer itself",
    "steps": "steps: a pass does not say that the answer is right",
}
_FROM_DATA = {
    True: "used without a question: it is declared safe for any options and any text",
    False: "used only with your consent: -m or --trust",
}
_UNREAD = {
    True: "recognized: text that looks like a claim and cannot be read leaves the run unverified",
    False: "not recognized: text that it cannot read counts as text without claims",
}


def _facts(monitor: Monitor) -> tuple[str, ...]:
    verifier = monitor.verifier
    return (
        f"trigger   {monitor.trigger}",
        f"delivery  {monitor.delivery}",
        f"remedy    {monitor.remedy}",
        f"level     {monitor.level}",
        f"phase     {monitor.phase}",
        f"scope     {_SCOPES[monitor.scope]}",
        f"unread    {_UNREAD[monitor.recognizer is not None]}",
        f"verifier  {verifier.name} {verifier.version}, {verifier.worker}, deadline {verifier.deadline:g} s",
    )


@app.command(name="why-failed")
def why_failed(name: str) -> int:
    """Show why a verifier does not load or work without options, with the place in its code, or that it works.

    Exit codes: 0 (also if it does not work), or 2 if no such verifier is installed.

    Parameters
    ----------
    name
        Its name, as "interwhen verifiers list" shows it.
    """
    stdout_console().print(Text(visible(registry.why_failed(name))), soft_wrap=True)
    plugins = registry.verifiers()
    installed = {plugin.name for plugin in plugins} | {f"{plugin.distribution}/{plugin.name}" for plugin in plugins}
    return _exits.OK if name.partition(":")[0].strip() in installed else _exits.USAGE


def _loads(plugin: registry.Plugin, console: Console) -> Text:
    signs = signs_for(console.encoding)
    if plugin.loaded:
        return Text(signs.passed, style=STYLES["passed"])
    return Text(f"{signs.violated} {joined(plugin.error)}", style=STYLES["violated"])


def _section(console: Console, title: str, lines: tuple[str, ...]) -> None:
    console.print(Text(title, style="dim"))
    for line in lines:
        console.print(Text(f"  {visible(line)}"))
    console.print()


# The tables of ``interwhen verifiers try``.

_AROUND = 60
"""Characters of the text that are shown on each side of what is quoted."""
_EACH = 2
"""How many violations or failed checks of one case are shown."""


def show_score(console: Console, total: Score) -> None:
    """Print the numbers of a trial on labelled traces: precision, recall, false alarms, times."""
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


def show_cases(console: Console, found: Cases, most: int) -> None:
    """Print up to *most* cases of each kind: false alarms, early flags, misses, failed checks."""
    for title, those in (
        ("false alarms: right, and flagged", found.false_alarms),
        ("flagged before the labelled mistake", found.early),
        ("misses: wrong, and not flagged", found.misses),
        ("checks that failed", found.troubled),
    ):
        if those and most:
            console.print(Text(f"\n{title} ({min(most, len(those))} of {len(those)})", style="bold"))
            for tried in those[:most]:
                _show_case(console, tried, troubled=those is found.troubled)


def _show_case(console: Console, tried: TrialResult, *, troubled: bool) -> None:
    console.print(Text(joined(tried.trace.name), style="dim"), soft_wrap=True)
    if troubled:
        for trouble in tried.troubles[:_EACH]:
            console.print(Text(f"  {one_line(trouble.what, 300)}"), soft_wrap=True)
            _show_text(console, tried, trouble.turn, trouble.span)
        return
    for found in tried.found[:_EACH]:
        said = found.why + (f" ({found.witness})" if found.witness else "")
        console.print(Text(f"  turn {found.turn}, {found.span.start}: {one_line(said, 300)}"), soft_wrap=True)
        _show_text(console, tried, found.turn, found.span)
    mistake = tried.trace.mistake
    if mistake is not None:
        console.print(Text(f"  labelled, turn {mistake.turn}:", style="dim"))
        _show_text(console, tried, mistake.turn, mistake.span)
    elif not tried.found:
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
    """What ``interwhen verifiers try --json`` prints: the scores, the cases to read, and the bars that were missed."""

    score: Score
    cases: Cases
    broken: tuple[str, ...]
    """A message for each bar that was missed."""


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
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, got {limit}: leave it out for all traces")
    if show < 0:
        raise UsageError(f"--show must be at least 0, got {show}: use 0 for no cases")
    for bar, share in (
        ("--fail-above-false", fail_above_false),
        ("--fail-below-recall", fail_below_recall),
        ("--fail-below-precision", fail_below_precision),
    ):
        if share is not None and not 0 <= share <= 1:
            raise UsageError(f"{bar} must be a share from 0 to 1, got {share}: correct it")
    monitor = load_monitor_or_path(name)
    if model.is_given and not isinstance(monitor.extractor, Fork):
        raise UsageError(
            f"--model and --base-url must be used with a monitor that asks forks, got {name!r:.80}, which "
            "asks none: leave them out"
        )
    found = list(islice(read_traces(traces, format), limit))
    forks = model.open() if model.is_given else None
    flagged = 0

    def counted(one: TrialResult) -> None:
        nonlocal flagged
        flagged += one.is_flagged
        progress.advance(f"{flagged} flagged")

    with ProgressLine("traces", len(found)) as progress:
        tried = try_monitor_sync(monitor, found, seed=seed, model=forks, on_trial=counted)
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


# ``interwhen verifiers new``: a plug-in package that works at once.

_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_LONGEST = 30
_PREFIX = "interwhen-"
_FOLDERS = {"src": "src/$module", "tests": "tests", "root": "."}


def new(name: str, /, *, directory: Path | None = None) -> int:
    """Create a verifier: a package that installs, passes its tests, and already checks something.

    Parameters
    ----------
    name
        The name that users write: --monitor NAME. Small letters, digits and underscores.
    directory
        The folder of the package; it must not exist yet. Default: interwhen-NAME in the working directory.
    """
    _vet(name)
    where = directory or Path(_PREFIX + name.replace("_", "-"))
    written = _write(name, where)
    console = stdout_console()
    for path in written:
        console.print(Text(f"  {visible(str(where / path))}"), soft_wrap=True)
    steps = (
        f"cd {shlex.quote(str(where))}",
        "pip install -e '.[test]'",
        "pytest",
        f"interwhen verifiers try {name} tests/traces.jsonl",
    )
    console.print("\nNow:")
    for step in steps:
        console.print(Text(f"  {visible(step)}"), soft_wrap=True)
    return _exits.OK


def _vet(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise UsageError(
            f"NAME must be small letters, digits and single underscores, a letter first, at most {_LONGEST} "
            f"of them, got {name[:80]!r}: choose such a name"
        )
    module = f"interwhen_{name}"
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or name in sys.stdlib_module_names:
        raise UsageError(f"NAME must not be a keyword or a module of Python, got {name!r}: choose another name")
    if module in {"interwhen_launcher", "interwhen_pytest", "interwhen_verifiers"}:
        raise UsageError(
            f"NAME must not be that of a package of interwhen, got {name!r} for {module!r}: choose another name"
        )
    for plugin in registry.verifiers():
        if plugin.name == name:
            raise UsageError(
                f"NAME must be new, got {name!r}, which is a verifier of {plugin.distribution}: choose another name"
            )


def _write(name: str, where: Path) -> list[Path]:
    """Write the files of the new package to the folder *where*, and return their paths in it.

    Raises :class:`UsageError` if the folder exists or cannot be written.
    """
    if where.exists():
        raise UsageError(f"the new folder must not exist yet, got {str(where)!r}, which does: give another --directory")
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(prefix=f".{where.name}-", dir=where.parent))
        try:
            written = _fill(name, draft)
            draft.chmod(0o755)
            draft.rename(where)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        why = error.strerror or error
        raise UsageError(
            f"the new folder must be writable, got {str(where)!r} ({why}): give another --directory"
        ) from error
    return written


def _fill(name: str, root: Path) -> list[Path]:
    words = {
        "name": name,
        "module": f"interwhen_{name}",
        "distribution": _PREFIX + name.replace("_", "-"),
        "title": "".join(part.capitalize() for part in name.split("_")),
        "version": __version__,
    }
    written = []
    templates = files("interwhen.cli") / "_scaffold"
    for folder, target in _FOLDERS.items():
        for template in (templates / folder).iterdir():
            text = template.read_text(encoding="utf-8")
            # The suffix .txt keeps tools from treating a template as Python.
            named = template.name.removesuffix(".txt").replace("NAME", name)
            path = Path(Template(target).substitute(words)) / named
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(Template(text).substitute(words), encoding="utf-8")
            written.append(path)
    return sorted(written)
