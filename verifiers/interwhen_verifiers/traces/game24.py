"""The outputs for the game of 24 that come with Tree of Thoughts (princeton-nlp/tree-of-thought-llm)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from interwhen.testing import LabelledTrace, Turn

from interwhen_verifiers.traces._records import records

_PROMPTS = {
    "cot": (
        "Use numbers and basic arithmetic operations (+ - * /) to obtain 24. Each step, you are only allowed to choose "
        "two of the remaining numbers to obtain a new number.\nInput: {}\n"
    ),
    "standard": "Use numbers and basic arithmetic operations (+ - * /) to obtain 24.\nInput: {}\n",
}


def game24(path: Path) -> Iterator[LabelledTrace]:
    """Yield the outputs in *path*, a file or the folder with ``gpt4_outputs.jsonl.gz``, as ``right`` or ``wrong``."""
    for record in records(path, "gpt4_outputs.jsonl.gz"):
        prompt = _PROMPTS[record["mode"]].format(" ".join(map(str, record["numbers"])))
        yield LabelledTrace(
            name=record["id"],
            turns=(Turn(prompt=prompt, text=record["output"]),),
            label="right" if record["correct"] else "wrong",
        )
