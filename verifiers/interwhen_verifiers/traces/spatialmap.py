"""Questions about maps from SpatialEval. Each trace gives an answer, or states one step of reasoning.

An answer other than the gold one is ``wrong`` where the set says that only one option is possible, else ``unclear``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interwhen.testing import Label, LabelledTrace, Turn

from interwhen_verifiers.traces._records import records

_CONTRARY = {"Northeast": "Southwest", "Southwest": "Northeast", "Northwest": "Southeast", "Southeast": "Northwest"}
_RELATION = re.compile(r"([^.]+?) is to the (Northeast|Northwest|Southeast|Southwest) of ([^.]+?)\.")


def spatialmap(path: Path) -> Iterator[LabelledTrace]:
    """Yield labelled traces for the questions in *path*, a file or the folder with ``questions.jsonl.gz``."""
    for record in records(path, "questions.jsonl.gz"):
        yield from _answers(record)
        yield from _steps(record)


def _answers(record: dict[str, Any]) -> Iterator[LabelledTrace]:
    gold, is_sure = record["gold_option"], record["relabel_option"] == record["gold_option"]
    for letter in "ABCD":
        wrong: Label = "wrong" if is_sure and record["qtype"] == "direction" else "unclear"
        yield _trace(record, letter, f"Answer: {letter}", "right" if letter == gold else wrong)
    yield _trace(record, "text", f"The answer is {record['gold_answer']}.", "right")


def _steps(record: dict[str, Any]) -> Iterator[LabelledTrace]:
    for number, (one, way, other) in enumerate(_RELATION.findall(record["text"])):
        first, second = one.split("\n")[-1].strip(), other.strip()
        back = _CONTRARY[way]
        yield _trace(record, f"step{number}", f"So {second} is to the {back} of {first}.", "right")
        yield _trace(record, f"slip{number}", f"So {second} is to the {way} of {first}.", "wrong")


def _trace(record: dict[str, Any], name: str, text: str, label: Label) -> LabelledTrace:
    return LabelledTrace(name=f"{record['id']}-{name}", turns=(Turn(prompt=record["text"], text=text),), label=label)
