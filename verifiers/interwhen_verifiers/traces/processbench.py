"""ProcessBench: solutions of models to problems of mathematics, in which people labelled the first wrong step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from interwhen.testing import LabelledTrace, Mistake, Turn

from interwhen_verifiers.traces._stepwise import joined, records

_NONE = -1


def processbench(path: Path) -> Iterator[LabelledTrace]:
    """Yield the solutions in the file or folder at *path*. The mistake of a trace is its first wrong step.

    A trace without a wrong step is ``right``.
    """
    for record in records(path):
        text, spans = joined(record["steps"], "\n\n")
        first = record["first_error"]
        yield LabelledTrace(
            name=record["id"],
            turns=(Turn(prompt=record["problem"], text=text),),
            label="right" if first == _NONE else "wrong",
            mistake=None if first == _NONE else Mistake(turn=0, span=spans[first]),
        )
