"""``interwhen replay``: a run from its journal, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import anyio
import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from interwhen.cli import exits
from interwhen.cli.escape import json_safe, one_line, visible
from interwhen.cli.viewers import stdout_console, viewer_for
from interwhen.errors import UsageError
from interwhen.rechecking import Recheck, recheck
from interwhen.replaying import replay as run_again

_CAVEAT = (
    "Observed on the recorded text, and nothing was acted upon. A run with these monitors would have gone\n"
    "another way from its first interrupt on: take what follows that as a hint."
)


def replay(
    file: Path,
    /,
    *,
    monitor: Annotated[tuple[str, ...], Parameter(alias="-m", negative="")] = (),
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Show the run that FILE is the journal of, made anew from its facts; no model or verifier is asked.

    With monitors: say what these would have found in the text that the model wrote. Exit codes: those of the run;
    with monitors, 0 where they found nothing, else 3. A run that is not over: 3.

    Parameters
    ----------
    file
        The journal: what "interwhen run --journal FILE" has written.
    monitor
        Other monitors, to look at the recorded text: NAME or NAME:OPTION=VALUE,OPTION=VALUE.
    json
        Write events, or findings, as lines of JSON.
    """
    console = stdout_console()
    if monitor:
        found = anyio.run(recheck, file, monitor)
        _print_findings(found, console, json=json)
        return exits.BY_STATUS["unverified"] if found.findings else exits.OK
    again = run_again(file)
    # Lines that are appended: a picture that is redrawn shows what happens, and here all has happened.
    with viewer_for(console, json=json, plain=True) as viewer:
        for event in again.events:
            viewer.show(event)
    if again.differences:
        names = ", ".join(again.differences)
        raise UsageError(f"this version of interwhen makes another result of the record: {names} differ")
    if again.result is None:
        if not json:
            left = again.journaled.left_out
            torn = f" ({left} torn bytes at the end of the file were left out)" if left else ""
            console.print(Text(f"\n not over: {len(again.text)} characters stand{torn}\n go on: interwhen resume FILE"))
        return exits.BY_STATUS["unverified"]
    return exits.BY_STATUS[again.result.status]


def _print_findings(found: Recheck, console: Console, *, json: bool) -> None:
    if json:
        for finding in found.findings:
            console.file.write(json_safe(msgspec.json.encode(finding).decode()) + "\n")
        return
    console.print(Text(f"{_CAVEAT}\n", style="dim"))
    for finding in found.findings:
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
    requests = len(found.traces)
    console.print(
        Text(f" {len(found.findings)} found in the text of {requests} requests; {len(found.unproven)} left open")
    )
