"""``interwhen view``: recorded runs as a page, in one file or served on this machine, or in the terminal."""

from __future__ import annotations

import secrets
import socket
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import anyio
from cyclopts import Parameter
from msgspec import Meta
from rich.console import Console
from rich.text import Text

from interwhen._run.consent import monitors_given
from interwhen._run.recheck import recheck as check_recorded
from interwhen._run.recheck import replay
from interwhen._types.errors import MissingExtraError, UsageError
from interwhen._types.vetting import vetted
from interwhen.cli import _exits
from interwhen.cli._progress import ProgressLine, each, is_quiet
from interwhen.cli._text import as_json, one_line, stdout_console, table, visible
from interwhen.cli._view import viewer_for
from interwhen.journal._reports import Recheck
from interwhen.registry import load_monitors
from interwhen.view._page import render_page
from interwhen.view._recheck import recheck_form, rechecked_id, rechecked_row
from interwhen.view._runs import RunFolder, RunRow, run_id

_Port = Annotated[int, Meta(ge=0, le=65_535)]
_HALVES = 2
"""The most runs that are shown side by side."""


@vetted("--")
def view(
    places: Annotated[list[Path], Parameter(negative="")],
    /,
    *,
    recheck: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    html: Annotated[Path | None, Parameter(alias="-o")] = None,
    plain: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    port: _Port = 0,
) -> int:
    """Show recorded runs: what was cut, on what evidence, and what it cost.

    Without --html, --plain and --json, the page is served on this machine alone, at an address that is printed; Ctrl-C
    ends it. Runs that have not ended are then shown as they grow.

    Parameters
    ----------
    places
        Journals, or folders with journals.
    recheck
        Another monitor for the recorded text of one run: NAME or NAME:OPTION=VALUE. No model is asked. The page opens
        with the recorded run beside it; given twice, with the two monitors side by side. With --plain, what the
        monitors would have found is printed.
    html
        Write the page as one file, which needs no network, and exit.
    plain
        Show the runs in the terminal: one run from its records, several as a table. Exit codes for one run: its own, 3
        if it is not over, 2 if its records do not give its result; with --recheck 0 if nothing was found, else 3.
    json
        Write a line of JSON for each run, and nothing else on stdout; with --plain and one run, for each event or
        finding.
    port
        The port to listen on; default: a free one.
    """
    if html is not None and (plain or json):
        raise UsageError("--html must be used without --plain and --json, got both: leave one out")
    if port and (html is not None or plain or json):
        raise UsageError(f"--port must be used without --html, --plain and --json, got {port}: leave it out")
    folder = RunFolder(places)
    paths = folder.paths()
    if recheck and json and not plain:
        raise UsageError("--recheck must be used with the page or --plain, got it with --json alone: add --plain")
    if recheck and (len(paths) != 1 or (len(recheck) > _HALVES and not plain)):
        raise UsageError(
            f"--recheck must be used with one journal and at most {_HALVES} monitors, got {len(paths)} journals and "
            f"{len(recheck)} monitors: name one journal"
        )
    if plain and len(paths) == 1:
        return _replay(paths[0], recheck, json=json)
    if plain or json or html is not None:
        journals = [(path, folder.row(path)) for path in each(paths, "runs")]
        if html is not None:
            _write(folder, journals, html, recheck)
        else:
            _print([row for _, row in journals], json=json)
        return _exits.OK
    load_monitors(recheck)  # report a wrong name here, not in the browser
    return _serve(folder, port, recheck)


def _start(folder: RunFolder, recheck: tuple[str, ...]) -> str:
    """Return the end of the page's address, from ``#`` on, that shows two runs side by side, if any."""
    if not recheck:
        return ""
    run = run_id(folder.paths()[0])
    halves = [rechecked_id(run, monitor) for monitor in recheck]
    return "#/" + "/".join(["compare", *(quote(half, safe="") for half in [run, *halves][-_HALVES:])])


def _write(folder: RunFolder, journals: list[tuple[Path, RunRow]], html: Path, recheck: tuple[str, ...]) -> None:
    readable = [(path, row) for path, row in journals if not row.error]
    if not readable:
        why = next((row.error for _, row in journals), "")
        raise UsageError(f"there must be at least one readable journal, got none{f': {why}' if why else ''}")
    if html.exists() and any(html.samefile(path) for path, _ in readable):
        raise UsageError(
            f"--html must not be one of the journals that are shown, got {str(html)!r}: choose another path"
        )
    runs = {row.id: folder.form(path) for path, row in each(readable, "runs")}
    rows = [row for _, row in journals]
    for monitor in each(recheck, "monitors"):
        [(path, row)] = journals
        name = rechecked_id(row.id, monitor)
        runs[name] = anyio.run(recheck_form, path, monitors_given(monitor), monitor)
        rows.append(rechecked_row(row, name, monitor, runs[name]))
    page = render_page(runs, rows, config={"start": _start(folder, recheck)}).encode("utf-8", "backslashreplace")
    try:
        html.write_bytes(page)
    except OSError as error:
        raise UsageError(
            f"--html must be a file that can be written, got {str(html)!r} ({error.strerror}): choose another path"
        ) from error
    if not is_quiet():
        left_out = len(journals) - len(readable)
        more = f"; {left_out} cannot be read" if left_out else ""
        print(f"{visible(str(html))}: {len(readable)} runs, {len(page):,} bytes{more}", file=sys.stderr)


def _print(rows: list[RunRow], *, json: bool) -> None:
    console = stdout_console()
    if json:
        for row in rows:
            console.file.write(as_json(row) + "\n")
        return
    shown = table("run", "status", "model", "violations", "tokens", "discarded", "seconds")
    for row in rows:
        status = "unreadable" if row.error else row.label or "not over"
        took = "" if row.seconds is None else f"{row.seconds:.1f}"
        numbers = (str(row.violations), str(row.tokens or ""), str(row.discarded), took)
        shown.add_row(*(Text(one_line(cell)) for cell in (row.path, status, row.model, *numbers)))
    console.print(shown)


def _serve(folder: RunFolder, port: int, recheck: tuple[str, ...]) -> int:
    try:
        from interwhen.view._server import serve_pages
    except ModuleNotFoundError as error:
        raise MissingExtraError("interwhen view without --html or --plain", "gateway") from error
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise UsageError(
            f"--port must be free to listen on, got {port} ({error.strerror}): choose another one"
        ) from error
    # Other users of this machine can reach the port, too; only the reader of the address knows this word.
    word = secrets.token_urlsafe(16)
    start = _start(folder, recheck)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/{word}/"

    def ready() -> None:
        print(f"serving {address}{start} (Ctrl-C ends it)", file=sys.stderr, flush=True)

    with listener:
        anyio.run(serve_pages, folder, listener, word, ready, recheck)
    return _exits.OK


# One run in the terminal, from its journal, without a model.

_CAVEAT = (
    "Observed on the recorded text, without interrupts. A run with these monitors would have had another\n"
    "text after its first interrupt: the findings after it are hints only."
)


def _replay(file: Path, monitor: tuple[str, ...], *, json: bool) -> int:
    """Print the recorded run, or what each *monitor* finds in its text, without a model."""
    console = stdout_console()
    if monitor:
        with ProgressLine("checked characters:") as progress:
            rechecked = anyio.run(lambda: check_recorded(file, monitor, on_progress=progress.of))
        _print_findings(rechecked, console, json=json)
        return _exits.BY_STATUS["unverified"] if rechecked.findings else _exits.OK
    again = replay(file)
    # Append lines: a picture that is redrawn is for running runs.
    with viewer_for(console, json=json, plain=True) as viewer:
        for event in again.events:
            viewer.show(event)
    if again.differences:
        names = ", ".join(again.differences)
        raise UsageError(
            f"the replay of {str(file)!r} must give the recorded result, and {names} differ in this version "
            "of interwhen: replay it with the version that wrote it"
        )
    if again.result is None:
        if not json:
            left = again.journaled.left_out
            torn = f" ({left} torn bytes at the end of the file were left out)" if left else ""
            console.print(Text(f"\n not over: {len(again.text)} characters{torn}\n to resume: interwhen resume FILE"))
        return _exits.BY_STATUS["unverified"]
    return _exits.BY_STATUS[again.result.status]


def _print_findings(rechecked: Recheck, console: Console, *, json: bool) -> None:
    if json:
        for finding in rechecked.findings:
            console.file.write(as_json(finding) + "\n")
        return
    console.print(Text(f"{_CAVEAT}\n", style="dim"))
    for finding in rechecked.findings:
        violation = finding.violation
        said = one_line(violation.witness or violation.why)
        act = "would have acted" if finding.would_act else "would have observed"
        console.print(
            Text(
                f" request {finding.request}, {violation.span.start}-{violation.span.end}  "
                f"{visible(violation.monitor)} {act}: {one_line(violation.quote)}  ({said})"
            ),
            soft_wrap=True,
        )
    requests = len(rechecked.traces)
    console.print(
        Text(
            f" {len(rechecked.findings)} found in the text of {requests} requests; "
            f"{len(rechecked.unproven)} without a verdict"
        )
    )
