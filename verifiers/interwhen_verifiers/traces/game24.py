"""The outputs for the game of 24 that come with Tree of Thoughts (princeton-nlp/tree-of-thought-llm)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

from interwhen.testing import LabelledTrace, Turn

_PROMPTS = {
    "cot": (
        "Use numbers and basic arithmetic operations (+ - * /) to obtain 24. Each step, you are only allowed to choose "
        "two of the remaining numbers to obtain a new number.\nInput: {}\n"
    ),
    "standard": "Use numbers and basic arithmetic operations (+ - * /) to obtain 24.\nInput: {}\n",
}


def game24(path: Path) -> Iterator[LabelledTrace]:
    """Yield the outputs in *path*, a file or the folder with ``gpt4_outputs.jsonl.gz``, as ``right`` or ``wrong``."""
    file = path / "gpt4_outputs.jsonl.gz" if path.is_dir() else path
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            prompt = _PROMPTS[record["mode"]].format(" ".join(map(str, record["numbers"])))
            yield LabelledTrace(
                name=record["id"],
                turns=(Turn(prompt=prompt, text=record["output"]),),
                label="right" if record["correct"] else "wrong",
            )
