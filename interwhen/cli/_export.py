"""``interwhen export``: training data from journals."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from interwhen._types.errors import UsageError
from interwhen.cli._progress import each, is_quiet
from interwhen.cli._text import console_for
from interwhen.training import export_journals
from interwhen.training._decontamination import SIZE, read_texts
from interwhen.training._export import Format


def export(
    journals: Annotated[list[Path], Parameter(negative="")],
    /,
    *,
    format: Format,  # noqa: A002  the option's name
    output: Annotated[Path, Parameter(alias="-o")],
    decontaminate: Annotated[tuple[Path, ...], Parameter(negative="")] = (),
    overlap: int = SIZE,
    keep_refuted: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Make training data from recorded runs, as one JSON object a line, which TRL and datasets can load.

    Unknown text does not count as correct: whole traces are written only for runs with a verified answer, a step is
    labelled only if a claim that touches it was judged, and a correction is preferred only if it passed. Text of
    interwhen is marked by spans of characters, so that a loss can leave it out. Without --quiet, left out rows are
    counted on stderr.

    Parameters
    ----------
    journals
        Journals that "interwhen run --journal FILE" wrote.
    format
        tpt (documents with their thinking), messages (chats), prm (steps with labels), preference (pairs).
    output
        The file to write.
    decontaminate
        A file of test data: one text a line, or the strings in the values of a .jsonl file. Rows that overlap with it
        are left out. May be given several times.
    overlap
        The number of consecutive words that count as an overlap.
    keep_refuted
        For tpt and messages: write traces, too, in which a line was refuted and nothing corrected it, as where the
        monitor only observes. The line is marked as refuted.
    """
    if any(output.exists() and path.exists() and output.samefile(path) for path in decontaminate):
        raise UsageError(f"--output must not be a file of --decontaminate, got {str(output)!r}; name another file")
    texts = [text for path in decontaminate for text in read_texts(path)]
    done = export_journals(
        each(journals, "journals"), output, format=format, keep_out=texts, overlap=overlap, keep_refuted=keep_refuted
    )
    if is_quiet():
        return 0
    console = console_for(sys.stderr)
    console.print(f"{done.rows} rows from {done.journals} journals in {output}", highlight=False, markup=False)
    for why, count in done.left_out.items():
        console.print(f"  left out: {count} {why}", highlight=False, markup=False, style="dim")
    return 0
