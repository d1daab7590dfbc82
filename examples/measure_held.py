"""Measure how often a gate holds back runs that are right: ``python examples/measure_held.py DATA [MONITOR]``.

DATA is a folder with the public sets that ``docs/release.md`` names; a set that is absent is skipped. Each right text
is streamed line by line to a run whose monitor gates and has no remedy, so that whatever is held ends the run. A right
answer may have a wrong step on its way: read what a violation holds; what a failure holds is a fault.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import interwhen
from interwhen.testing import ScriptedModel


def records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a gzipped JSONL file; none where it is absent."""
    if path.is_file():
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def texts(data: Path) -> Iterator[tuple[str, str]]:
    """Yield the right texts, each with the name of its set."""
    for path in sorted(data.glob("*/*.jsonl.gz")):
        name = f"{path.parent.name}/{path.name.removesuffix('.jsonl.gz')}"
        for record in records(path):
            text = right_text(path.parent.name, path.name, record)
            if text:
                yield name, text


def right_text(folder: str, file: str, record: dict[str, Any]) -> str | None:
    """Return the text of *record*, if the record says that it is right."""
    match folder:
        case "gsm8k" if "answer" in record and "model" not in file:
            return re.sub(r"<<[^<>]*>>", "", str(record["answer"])).partition("\n####")[0]
        case "zeroeval":
            return str(record.get("reasoning") or record.get("output") or "")
        case "processbench" | "mrben" | "bigbench_mistake" if record.get("first_error") == -1:
            if folder == "bigbench_mistake" and not record.get("final_correct"):
                return None
            return "\n".join(map(str, record["steps"]))
        case _:
            return None


async def fate(text: str, monitor: interwhen.Monitor) -> str:
    """Return what becomes of *text*: released (verified or not), or what it is held for."""
    model = ScriptedModel([[f"{line}\n" for line in text.splitlines()]])
    async with interwhen.run(model, "Q", monitors=[monitor]) as run:
        result = await run.drain()
    if any(record.interrupted for record in result.violations):
        return "held: a violation"
    return "held: a failure" if result.status in ("abstained", "failed") else f"released, {result.status}"


async def main(data: Path, name: str) -> None:
    """Print one line for each set."""
    spec = {"name": name, "delivery": "gate", "remedy": "abstain"}
    monitor = interwhen.load_monitor(spec)
    counts: dict[str, Counter[str]] = {}
    for place, text in texts(data):
        counts.setdefault(place, Counter())[await fate(text, monitor)] += 1
    for place, found in counts.items():
        shown = ", ".join(f"{count:,} {what}" for what, count in sorted(found.items()))
        print(f"{place}: {found.total():,} right texts: {shown}")


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "arithmetic")
