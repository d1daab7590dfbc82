"""``interwhen doctor --sandbox``: the guarantees of sandboxes for untrusted code on this machine."""

from __future__ import annotations

import shutil
from importlib.util import find_spec

from rich.text import Text

from interwhen.cli import _exits
from interwhen.cli._progress import each
from interwhen.cli._text import STYLES, LineKind, as_json, one_line, signs_for, stdout_console, table
from interwhen.sandbox import MontySandbox, ProcessSandbox
from interwhen.sandbox._sandbox import Guarantees


def show_guarantees(*, json: bool) -> int:
    """List the guarantees of each sandbox on this machine, with the mechanisms that enforce them."""
    sandboxes: list[ProcessSandbox | MontySandbox] = [ProcessSandbox()]
    if shutil.which("bwrap") is not None:
        sandboxes.append(ProcessSandbox(isolation="bubblewrap"))
    if find_spec("pydantic_monty") is not None:
        sandboxes.append(MontySandbox())
    reports = [one.probe() for one in each(sandboxes, "sandboxes")]
    if json:
        print(as_json(reports))
    else:
        _show(reports)
    return _exits.FAILED if any(report.missing for report in reports) else _exits.OK


def _show(reports: list[Guarantees]) -> None:
    console = stdout_console()
    signs = signs_for(console.encoding)
    listed = table("", "sandbox", "guarantee", "enforced by, or why not")
    for report in reports:
        for finding in report.findings:
            kind: LineKind = "passed" if finding.enforced else "violated"
            reason = ", ".join(finding.by) or finding.missing
            cells = (report.sandbox, finding.guarantee, one_line(reason))
            listed.add_row(Text(signs.of(kind), style=STYLES[kind]), *map(Text, cells))
    console.print(listed)
    if not any(report.sandbox == "monty" for report in reports):
        console.print(Text("The monty sandbox is not installed: pip install 'interwhen[sandbox]'", style="dim"))
