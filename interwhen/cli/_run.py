"""``interwhen run`` and ``resume``: one supervised generation, and its journal."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from interwhen import UsageError
from interwhen._run.run import resume as resume_run
from interwhen._run.run import run as start
from interwhen._types.models import Model
from interwhen._types.segments import Phase
from interwhen.cli import _exits
from interwhen.cli._flags import BudgetFlags, ContextFlags, ModelFlags, SamplingFlags, read_prompt
from interwhen.cli._supervise import closing, resume_hint, run_to_end, show_run
from interwhen.cli._text import stdout_console
from interwhen.cli._view import viewer_for
from interwhen.journal._rebuilt_run import read_journal
from interwhen.journal._records import is_writable
from interwhen.journal._settings import Journal
from interwhen.registry import load_monitors

_MODEL, _SAMPLING, _BUDGETS, _CONTEXT = ModelFlags(), SamplingFlags(), BudgetFlags(), ContextFlags()


def run(
    prompt: str | None = None,
    /,
    *,
    prompt_file: Path | None = None,
    chat: Path | None = None,
    monitor: Annotated[tuple[str, ...], Parameter(alias="-m", negative="")] = (),
    starts_in: Phase = "answer",
    min_coverage: float = 0.0,
    workers: str = "",
    journal: Path | None = None,
    sign_with: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    plain: Annotated[bool, Parameter(negative="")] = False,
    model: ModelFlags = _MODEL,
    sampling: SamplingFlags = _SAMPLING,
    budgets: BudgetFlags = _BUDGETS,
    context: ContextFlags = _CONTEXT,
) -> int:
    """Generate from PROMPT while verifiers check the stream, and show what was verified.

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
        A monitor of the run: NAME or NAME:OPTION=VALUE,OPTION=VALUE. May be given several times.
        See "interwhen verifiers list".
    starts_in
        "reasoning" for models whose chat template has opened the reasoning already.
    min_coverage
        The share of the text, from 0 to 1, that passed claims must cover; with less, the result is not verified.
    workers
        A pool for the checks, by its name and options: "ray", "ray:actors=8". See docs/ray.md.
    journal
        A new file for the record of the run, with which "interwhen resume" can resume it.
    sign_with
        A file with a private Ed25519 key (PEM), which signs the journal.
    json
        Write each event as one line of JSON, the last one with the result, and nothing else on stdout.
    plain
        Append lines instead of redrawing a picture. Always so if stdout is not a terminal.
    """
    if sign_with is not None and journal is None:
        raise UsageError(f"--sign-with must be used with --journal, got {str(sign_with)!r} alone: add --journal FILE")
    given = read_prompt(prompt, prompt_file, chat)
    monitors = load_monitors(monitor)
    sampled, spent = sampling.value(), budgets.value()
    record = None
    if journal is not None:
        if not journal.parent.exists():
            raise UsageError(
                f"--journal must be in a folder that exists, got {str(journal)!r}: make it first: "
                f"mkdir -p {shlex.quote(str(journal.parent))}"
            )
        named = model.reference(given)
        record = Journal(journal, close_seconds=0.5, model=named, monitors=monitor, sign_with=sign_with or "")
    opened = model.open(given)

    async def main() -> int:
        async with closing(opened), context.open(opened) as prepared:
            supervised = start(
                opened,
                given,
                context=prepared,
                monitors=monitors,
                sampling=sampled,
                budgets=spent,
                starts_in=starts_in,
                min_coverage=min_coverage,
                workers=workers or None,
                journal=record,
            )
            result = await show_run(supervised, viewer_for(stdout_console(), json=json, plain=plain))
        return _exits.BY_STATUS[result.status]

    return run_to_end(main, resume_hint(journal, (*model.arguments(given), *_repeated(monitor, sign_with))))


def _repeated(monitors: Iterable[str], sign_with: Path | None) -> Iterator[str]:
    """Yield these options for a command to be shown. Options of a monitor with a secret are left out."""
    for spec in monitors:
        yield from ("-m", spec if is_writable(spec) else f"{spec.partition(':')[0]}:...")
    if sign_with is not None:
        yield from ("--sign-with", str(sign_with))


_RESUMED_MODEL = ModelFlags()


def resume(
    file: Path,
    /,
    *,
    monitor: Annotated[tuple[str, ...], Parameter(alias="-m", negative="")] = (),
    trust: Annotated[bool, Parameter(negative="")] = False,
    sign_with: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    plain: Annotated[bool, Parameter(negative="")] = False,
    model: ModelFlags = _RESUMED_MODEL,
) -> int:
    """Resume the run of the journal FILE; a run that is over shows its result at once.

    The options name the model, because the journal may come from anybody. Exit codes are those of "interwhen run".

    Parameters
    ----------
    file
        The journal that "interwhen run --journal FILE" wrote.
    monitor
        The monitors of that run; needed if the journal does not name them, or names some that run commands or code.
    trust
        Use the model and all monitors that the journal names. That model gets no key. Only for your own journals.
    sign_with
        The file with the private key with which the run began to sign its journal.
    json
        Write each event as one line of JSON, the last one with the result, and nothing else on stdout.
    plain
        Append lines instead of redrawing a picture. Always so if stdout is not a terminal.
    """
    prompt = read_journal(file).header.prompt

    async def main() -> int:
        viewer = viewer_for(stdout_console(), json=json, plain=plain)
        opened: Model | None = model.open(prompt) if model.is_given else None
        record = Journal(file, close_seconds=0.5, sign_with=sign_with or "")
        run = resume_run(record, model=opened, monitors=monitor or None, trust=trust)
        if opened is None:
            result = await show_run(run, viewer)
        else:
            async with closing(opened):
                result = await show_run(run, viewer)
        return _exits.BY_STATUS[result.status]

    again = model.arguments(prompt) if model.is_given else ()
    options = (*again, *_repeated(monitor, sign_with), *(("--trust",) * trust))
    return run_to_end(main, resume_hint(file, options))
