"""``interwhen recheck``: repeat the checks of a recorded result offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import anyio
from cyclopts import Parameter
from rich.text import Text

from interwhen import UsageError
from interwhen._run.recheck import RepeatedCheck, check_again
from interwhen.cli import _exits
from interwhen.cli._flags import read_prompt
from interwhen.cli._progress import ProgressLine
from interwhen.cli._text import STYLES, LineKind, as_json, one_line, signs_for, stdout_console


def recheck(
    file: Path,
    /,
    *,
    monitor: Annotated[tuple[str, ...], Parameter(alias="-m", negative="")] = (),
    trust: Annotated[bool, Parameter(negative="")] = False,
    prompt: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Check the result in FILE again with the installed verifiers; no model is asked.

    FILE is a journal, or a result as JSON, and may come from anybody: only monitors that are safe for that are used,
    and the others are named. Its hashes are compared first: a record that contradicts them is refused.
    Exit codes: 0 if there are checks that passed and all of them pass again, 2 wrong usage or a refused record, else 3.

    Parameters
    ----------
    file
        The journal that "interwhen run --journal FILE" wrote, or the result of a run as JSON.
    monitor
        The monitors of the run: NAME or NAME:OPTION=VALUE,OPTION=VALUE. A journal names its own.
    trust
        Use all monitors that the journal names, also those that run commands or code. Only for your own journals.
    prompt
        A file with the prompt, for a result as JSON whose monitors read the problem; "-" is stdin.
    json
        Write a line of JSON for each check.
    """
    try:
        file.open("rb").close()
    except OSError as error:
        raise UsageError(
            f"FILE must be a readable journal or result, got {str(file)!r} ({error.strerror or error}): name another "
            "file"
        ) from error
    text = None if prompt is None else read_prompt(None, prompt, None)
    with ProgressLine("checks") as progress:
        result, repeats = anyio.run(
            lambda: check_again(file, monitor or None, trust=trust, prompt=text, on_progress=progress.of)
        )
    console = stdout_console()
    signs = signs_for(console.encoding)
    for repeated in repeats:
        if json:
            console.file.write(as_json(_row(repeated)) + "\n")
            continue
        check = repeated.check
        where = "nowhere" if check.span is None else f"{check.span.start}-{check.span.end}"
        kind: LineKind = "unproven" if repeated.left_out else "passed" if repeated.passes else "violated"
        words = "" if check.span is None else one_line(result.text[check.span.start : check.span.end], 60)
        notes = "; ".join(filter(None, (one_line(repeated.why, 240), repeated.changed)))
        line = f" {signs.of(kind)} {one_line(check.monitor, 60)} {where}  {words}" + (f"  ({notes})" if notes else "")
        console.print(Text(line, style=STYLES[kind]), soft_wrap=True)
    passing = sum(repeated.passes for repeated in repeats)
    left_out = sum(repeated.left_out for repeated in repeats)
    if not json:
        more = f"; {left_out} were not repeated" if left_out else ""
        console.print(
            Text(f" {passing} of {len(repeats)} checks that passed pass again{more}; the run was {result.label}")
        )
    return _exits.OK if passing == len(repeats) and repeats else _exits.BY_STATUS["unverified"]


def _row(repeated: RepeatedCheck) -> dict[str, object]:
    check = repeated.check
    span = None if check.span is None else (check.span.start, check.span.end)
    return {
        "monitor": check.monitor,
        "verifier": check.verifier,
        "key": check.key,
        "span": span,
        "passes": repeated.passes,
        "why": repeated.why,
        "changed": repeated.changed,
        "left_out": repeated.left_out,
    }
