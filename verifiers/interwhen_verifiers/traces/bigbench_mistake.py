"""BIG-Bench Mistake: chains of thought of PaLM 2, in which people labelled the first wrong step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from interwhen.testing import Label, LabelledTrace, Mistake, Turn

from interwhen_verifiers.traces._stepwise import joined, records

_NONE = -1


def bigbench_mistake(path: Path) -> Iterator[LabelledTrace]:
    """Yield the chains in the file or folder at *path*, one step on each line.

    A chain with a labelled mistake is ``wrong``. Without one, it is ``right`` if its answer is right, else ``unclear``.
    """
    for record in records(path):
        text, spans = joined(record["steps"], "\n")
        first = record["first_error"]
        sound: Label = "right" if record["final_correct"] else "unclear"
        yield LabelledTrace(
            name=record["id"],
            turns=(Turn(prompt=record["problem"], text=text),),
            label=sound if first == _NONE else "wrong",
            mistake=None if first == _NONE else Mistake(turn=0, span=spans[first]),
        )
