"""ProcessBench: solutions of models to problems of mathematics, in which people labelled the first wrong step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from interwhen.testing import LabelledTrace

from interwhen_verifiers.traces._records import records, stepwise


def processbench(path: Path) -> Iterator[LabelledTrace]:
    """Yield the solutions in the file or folder at *path*. The mistake of a trace is its first wrong step.

    A trace without a wrong step is ``right``.
    """
    return (stepwise(record, "\n\n", "right") for record in records(path))
