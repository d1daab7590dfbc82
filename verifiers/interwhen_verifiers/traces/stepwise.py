"""Readers of chains of thought and solutions to problems: BIG-Bench Mistake, GSM8K and ProcessBench."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interwhen.testing import Label, LabelledTrace

from interwhen_verifiers.traces._records import joined, one_turn, records

_NOTE = re.compile(r"<<[^<>]*+>>")


def bigbench_mistake(path: Path) -> Iterator[LabelledTrace]:
    """Yield the chains. One without a labelled mistake is ``right`` if its answer is right, else ``unclear``."""
    for record in records(path):
        yield _steps(record, "\n", "right" if record["final_correct"] else "unclear")


def gsm8k(path: Path) -> Iterator[LabelledTrace]:
    """Yield the solutions of people and models, without calculator annotations and "####" lines."""
    for record in records(path):
        human = "answer" in record
        label: Label = "right" if human or record["final_correct"] else "unclear"
        yield one_turn(record["id"], record["question" if human else "problem"], _text(record), label)


def processbench(path: Path) -> Iterator[LabelledTrace]:
    """Yield the solutions. The mistake of a trace is its first wrong step."""
    return (_steps(record, "\n\n", "right") for record in records(path))


def _steps(record: dict[str, Any], between: str, sound: Label) -> LabelledTrace:
    text, spans = joined(record["steps"], between)
    first = record["first_error"]  # -1: none
    if first < 0:
        return one_turn(record["id"], record["problem"], text, sound)
    return one_turn(record["id"], record["problem"], text, "wrong", spans[first])


def _text(record: dict[str, Any]) -> str:
    lines = record["answer"].splitlines() if "answer" in record else record["steps"]
    return "\n".join(_NOTE.sub("", line) for line in lines if not line.startswith("####"))
