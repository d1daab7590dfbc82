"""``interwhen run``: one supervised generation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import anyio
import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from interwhen._run import recheck
from interwhen._run import replay as run_again
from interwhen._run import resume as go_on
from interwhen._types.errors import UsageError
from interwhen._types.models import Model
from interwhen._types.segments import Phase
from interwhen.cli import _exits
from interwhen.cli._flags import BudgetFlags, ModelFlags, SamplingFlags, read_prompt
from interwhen.cli._supervise import closing, look_on, resume_hint, run_to_end, supervise
from interwhen.cli._text import json_safe, one_line, visible
from interwhen.cli._view import stdout_console, viewer_for
from interwhen.journal import Journal, read_journal
from interwhen.journal._reports import Recheck
from interwhen.registry import load_monitors

_MODEL, _SAMPLING, _BUDGETS = ModelFlags(), SamplingFlags(), BudgetFlags()


def run(
    prompt: str | None = None,
    /,
    *,
    prompt_file: Path | None = None,
    chat: Path | None = None,
    monitor: Annotated[tuple[str, ...], Parameter(alias="-m", negative="")] = (),
    starts_in: Phase = "answer",
    min_coverage: float = 0.0,
    journal: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    plain: Annotated[bool, Parameter(negative="")] = False,
    model: ModelFlags = _MODEL,
    sampling: SamplingFlags = _SAMPLING,
    budgets: BudgetFlags = _BUDGETS,
) -> int:
    """Generate from PROMPT while verifiers check the stream, and say what may be believed.

    Exit codes: 0 answer or steps verified, 3 unverified, 4 abstained, 5 failed, 2 wrong usage, 130 interrupted.

    Parameters
    ----------
    prompt
        The text to be continued.
    prompt_file
        A file with that text; "-" is stdin.
    chat
        A JSON file with chat messages: [{"role": "user", "content": "..."}].
    monitor
        What watches the run: NAME or NAME:OPTION=VALUE,OPTION=VALUE. May be given several times.
        See "interwhen verifiers list".
    starts_in
        "reasoning" for models whose chat template has opened the reasoning already.
    min_coverage
        The share of the text, from 0 to 1, that checked claims must cover; with less, the run ends unverified.
    journal
        A new file for the record of the run, from which "interwhen resume" can go on.
    json
        Write each event as one line of JSON, the last one with the result, and nothing else on stdout.
    plain
        Append lines instead of redrawing a picture, as is done anyway when stdout is no terminal.
    """
    given = read_prompt(prompt, prompt_file, chat)
    monitors = load_monitors(monitor)
    settings = sampling.value(), budgets.value()
    record = None
    if journal is not None:
        record = Journal(journal, close_seconds=0.5, model=model.reference(given), monitors=monitor)
    opened = model.open(given)

    async def main() -> int:
        viewer = viewer_for(stdout_console(), json=json, plain=plain)
        return await supervise(
            opened,
            given,
            viewer,
            monitors=monitors,
            sampling=settings[0],
            budgets=settings[1],
            starts_in=starts_in,
            min_coverage=min_coverage,
            journal=record,
        )

    return run_to_end(main, resume_hint(journal))


# ``interwhen resume``: go on with a run from its journal.

_RESUMED_MODEL = ModelFlags()


def resume(
    file: Path,
    /,
    *,
    monitor: Annotated[tuple[str, ...], Parameter(alias="-m", negative="")] = (),
    json: Annotated[bool, Parameter(negative="")] = False,
    plain: Annotated[bool, Parameter(negative="")] = False,
    model: ModelFlags = _RESUMED_MODEL,
) -> int:
    """Go on with the run that FILE is the journal of; a run that is over shows its result at once.

    Exit codes are those of "interwhen run".

    Parameters
    ----------
    file
        The journal: what "interwhen run --journal FILE" has written.
    monitor
        The monitors of that run; needed only where the journal does not say how they were made.
    json
        Write each event as one line of JSON, the last one with the result, and nothing else on stdout.
    plain
        Append lines instead of redrawing a picture, as is done anyway when stdout is no terminal.
    """
    prompt = read_journal(file).header.prompt

    async def main() -> int:
        viewer = viewer_for(stdout_console(), json=json, plain=plain)
        opened: Model | None = model.open(prompt) if model.is_given else None
        run = go_on(Journal(file, close_seconds=0.5), model=opened, monitors=monitor or None)
        if opened is None:
            result = await look_on(run, viewer)
        else:
            async with closing(opened):
                result = await look_on(run, viewer)
        return _exits.BY_STATUS[result.status]

    return run_to_end(main, resume_hint(file))


# ``interwhen replay``: a run from its journal, without a model.

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
        return _exits.BY_STATUS["unverified"] if found.findings else _exits.OK
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
        return _exits.BY_STATUS["unverified"]
    return _exits.BY_STATUS[again.result.status]


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
