"""``interwhen run``: one supervised generation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from interwhen.cli.flags import BudgetFlags, ModelFlags, SamplingFlags, read_prompt
from interwhen.cli.interrupts import resume_hint, run_to_end
from interwhen.cli.supervise import supervise
from interwhen.cli.viewers import stdout_console, viewer_for
from interwhen.journal import Journal
from interwhen.registry import load_monitors
from interwhen.segments import Phase

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
