"""Shared parts of the readers of stepwise data sets: compressed records, and steps joined to one text."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from interwhen import Span


def records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a gzipped JSONL file, or of all such files in a folder, sorted by name."""
    for file in sorted(path.glob("*.jsonl.gz")) if path.is_dir() else [path]:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)


def joined(steps: Sequence[str], between: str) -> tuple[str, list[Span]]:
    """Return the text of *steps*, joined by *between*, and the span of each step in it."""
    spans, at = [], 0
    for step in steps:
        spans.append(Span(at, at + len(step)))
        at += len(step) + len(between)
    return between.join(steps), spans
