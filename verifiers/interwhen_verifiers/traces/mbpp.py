"""MBPP (Austin et al., 2021) with recorded completions: a task and its tests, and what a model answered."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interwhen.testing.traces import LabelledTrace, Turn


def mbpp(path: Path) -> Iterator[LabelledTrace]:
    """Yield a trace for each completion at *path*: ``right`` where it passed the tests of its task."""
    file = path / "completions.jsonl.gz" if path.is_dir() else path
    with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if line.strip():
                yield _trace(json.loads(line), number)


def _trace(record: dict[str, Any], number: int) -> LabelledTrace:
    prompt = (
        f"Complete this function.\n\n```python\n{record['prompt']}\n```\n\nThese tests must pass:\n\n"
        f"```python\n{record['test']}\n```\n"
    )
    text = f"```python\n{record['completion']}\n```\n"
    solved = record["is_solved"]
    return LabelledTrace(
        name=f"{record['run']}/{record['task_id']}/{number}",
        turns=(Turn(prompt=prompt, text=text),),
        label="unclear" if solved is None else "right" if solved else "wrong",
    )
