"""``interwhen export``: training data from journals."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from interwhen._types.errors import UsageError
from interwhen.cli._text import console_for
from interwhen.training import Format, export_journals
from interwhen.training._decontamination import SIZE, read_texts


def export(
    journals: Annotated[list[Path], Parameter(negative="")],
    /,
    *,
    format: Format,  # noqa: A002  the option's name
    output: Annotated[Path, Parameter(alias="-o")],
    decontaminate: Annotated[tuple[Path, ...], Parameter(negative="")] = (),
    overlap: int = SIZE,
) -> int:
    """Make training data of recorded runs, one JSON object a line; TRL and datasets load it as it is.

    What is unknown is not taken for correct: whole traces are written only of runs whose answer is verified, a step is
    labelled only where a claim in it was judged, and a correction is preferred only where it passed. What interwhen
    wrote is marked by spans of characters, so that a loss can leave it out. What is left out is counted on stderr.

    Parameters
    ----------
    journals
        What "interwhen run --journal FILE" has written.
    format
        tpt (documents with their thinking), messages (chats), prm (steps with labels), preference (pairs).
    output
        The file to write.
    decontaminate
        A file of texts that must not be trained on: one a line, or all strings in each object of a .jsonl file. May be
        given several times.
    overlap
        How many words in a row a row may not share with them.
    """
    if output in journals:
        raise UsageError(f"--output {str(output)!r} is one of the journals: name another file")
    texts = [text for path in decontaminate for text in read_texts(path)]
    done = export_journals(journals, output, format=format, keep_out=texts, overlap=overlap)
    console = console_for(sys.stderr)
    console.print(f"{done.rows} rows from {done.journals} journals in {output}", highlight=False, markup=False)
    for why, count in done.left_out.items():
        console.print(f"  left out: {count} {why}", highlight=False, markup=False, style="dim")
    return 0
