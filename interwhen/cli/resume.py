"""``interwhen resume``: go on with a run from its journal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from interwhen.cli import exits
from interwhen.cli.flags import ModelFlags
from interwhen.cli.interrupts import resume_hint, run_to_end
from interwhen.cli.supervise import closing, look_on
from interwhen.cli.viewers import stdout_console, viewer_for
from interwhen.journal import Journal, read_journal
from interwhen.models.base import Model
from interwhen.resuming import resume as go_on

_MODEL = ModelFlags()


def resume(
    file: Path,
    /,
    *,
    monitor: Annotated[tuple[str, ...], Parameter(alias="-m", negative="")] = (),
    json: Annotated[bool, Parameter(negative="")] = False,
    plain: Annotated[bool, Parameter(negative="")] = False,
    model: ModelFlags = _MODEL,
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
        return exits.BY_STATUS[result.status]

    return run_to_end(main, resume_hint(file))
