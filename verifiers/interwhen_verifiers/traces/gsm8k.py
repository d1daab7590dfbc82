"""GSM8K: word problems of primary school, with solutions of people and of models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interwhen.testing import Label, LabelledTrace, Turn

from interwhen_verifiers.traces._records import records

_NOTE = re.compile(r"<<[^<>]*+>>")


def gsm8k(path: Path) -> Iterator[LabelledTrace]:
    """Yield the solutions in the file or folder at *path*, without calculator annotations and "####" lines.

    Solutions of people, and solutions of models with the right answer, are ``right``. Others are ``unclear``.
    """
    for record in records(path):
        human = "answer" in record
        label: Label = "right" if human or record["final_correct"] else "unclear"
        turn = Turn(prompt=record["question"] if human else record["problem"], text=_text(record))
        yield LabelledTrace(name=record["id"], turns=(turn,), label=label)


def _text(record: dict[str, Any]) -> str:
    lines = record["answer"].splitlines() if "answer" in record else record["steps"]
    return "\n".join(_NOTE.sub("", line) for line in lines if not line.startswith("####"))
