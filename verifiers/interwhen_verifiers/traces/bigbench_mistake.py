"""BIG-Bench Mistake: chains of thought of PaLM 2, in which people labelled the first wrong step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from interwhen.testing import LabelledTrace

from interwhen_verifiers.traces._records import records, stepwise


def bigbench_mistake(path: Path) -> Iterator[LabelledTrace]:
    """Yield the chains in the file or folder at *path*, one step on each line.

    A chain with a labelled mistake is ``wrong``. Without one, it is ``right`` if its answer is right, else ``unclear``.
    """
    for record in records(path):
        yield stepwise(record, "\n", "right" if record["final_correct"] else "unclear")
