"""Measure how often a gate holds back runs that are right: ``python -m tests.measurements.measure_held DATA [--write PAGE]``.

DATA is a folder with the public sets, a folder each; a set that is absent is left out. Each right trace is streamed, in
random chunks, to a run whose monitor gates and has no remedy, so that whatever is held ends the run. A right answer may
have a wrong step on its way: read what a violation holds. What is held without one is an excused claim, or a fault.
``--only NAME`` measures one verifier, ``--limit N`` the first N right traces of each set. ``--write`` puts the table
between the marks in PAGE, which is ``docs/release.md``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import anyio
import interwhen
from interwhen.testing import End, LabelledTrace, ScriptedModel, Turn, read_traces, recut
from tests.measurements.judge_verifiers import PAIRS, Pair, placed

FATES = ("released, verified", "released, unverified", "held for a violation", "held without one")
SETS = (
    *(pair for pair in PAIRS if pair.verifier != "arithmetic"),
    Pair("provenance", "agentdojo", "agentdojo/workspace.jsonl.gz"),
    *(
        Pair("arithmetic", "", path)
        for path in (
            "gsm8k/*.jsonl.gz",
            "zeroeval/gsm*.jsonl.gz",
            "zeroeval/math*.jsonl.gz",
            "processbench/*.jsonl.gz",
            "mrben/*.jsonl.gz",
            "bigbench_mistake/*.jsonl.gz",
            "reasoning_gym_eval/*.jsonl.gz",
        )
    ),
)
"""A verifier and a set to judge it on. In the sets without a format, each record says whether its text is right."""


def right_traces(pair: Pair, data: Path) -> Iterator[LabelledTrace]:
    """Yield the right traces of a set."""
    if pair.format:
        yield from (trace for trace in read_traces(data / pair.path, pair.format) if trace.label == "right")
        return
    for path in sorted(data.glob(pair.path)):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, record in enumerate(map(json.loads, lines)):
                if text := right_text(path.parent.name, path.name, record):
                    yield LabelledTrace(
                        name=f"{path.name}:{number}", turns=(Turn(prompt="Q", text=text),), label="right"
                    )


def right_text(folder: str, file: str, record: dict[str, Any]) -> str | None:
    """Return the text of *record*, if the record says that it is right."""
    match folder:
        case "gsm8k" if "answer" in record and "model" not in file:
            return re.sub(r"<<[^<>]*>>", "", str(record["answer"])).partition("\n####")[0]
        case "zeroeval" if "wrong" not in file:
            return str(record.get("reasoning") or record.get("output") or "")
        case "reasoning_gym_eval" if record.get("right"):
            return str(record["output"])
        case "processbench" | "mrben" | "bigbench_mistake" if record.get("first_error") == -1:
            if folder == "bigbench_mistake" and not record.get("final_correct"):
                return None
            return "\n".join(map(str, record["steps"])) + "\n"
        case _:
            return None


def gating(spec: str) -> interwhen.Monitor:
    """Return the monitor of *spec* as a gate without a remedy."""
    monitor = interwhen.load_monitor(spec)
    delivery: Any = "gate_tools" if isinstance(monitor.trigger, interwhen.ToolCalls) else "gate"
    return replace(monitor, delivery=delivery, remedy=interwhen.remedies.Abstain())


async def fate(trace: LabelledTrace, monitor: interwhen.Monitor, workers: interwhen.Workers) -> str:
    """Return the result of *trace*: the worst of its turns."""
    worst = 0
    for number, turn in enumerate(trace.turns):
        steps = [*recut(turn.text, f"{trace.name}:{number}"), *turn.calls, End("tool_calls" if turn.calls else "stop")]
        starts: Any = "reasoning" if "</think>" in turn.text and "<think>" not in turn.text else "answer"
        model = ScriptedModel([steps])
        async with interwhen.run(model, turn.prompt, monitors=[monitor], starts_in=starts, workers=workers) as run:
            result = await run.drain()
        if any(record.interrupted for record in result.violations):
            worst = max(worst, 2)
        elif result.status in ("abstained", "failed"):
            worst = 3
        elif result.status != "verified":
            worst = max(worst, 1)
    return FATES[worst]


async def measure(pair: Pair, data: Path, limit: int | None = None) -> Counter[str]:
    """Count the results of the right traces of one set."""
    monitor = gating(pair.verifier.replace("{data}", str(data)))
    counts: Counter[str] = Counter()
    async with interwhen.Workers() as workers:
        for trace in islice(right_traces(pair, data), limit):
            counts[await fate(trace, monitor, workers)] += 1
    return counts


def table(rows: Sequence[tuple[Pair, Counter[str]]]) -> str:
    """Return *rows* as a table in Markdown."""
    lines = [f"| verifier and set | right traces | {' | '.join(FATES)} |", "|---|--:|--:|--:|--:|--:|"]
    for pair, counts in rows:
        path = pair.path.removesuffix(".jsonl.gz").removesuffix("/*").rstrip("*")
        name = f"`{pair.verifier.partition(':')[0]}` on {path}"
        lines.append(f"| {name} | {counts.total():,} | {' | '.join(f'{counts[fate]:,}' for fate in FATES)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Print the table, or write it into a page."""
    parser = argparse.ArgumentParser(prog="measure_held", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args(arguments)
    rows = []
    for pair in SETS:
        if given.only in (None, pair.verifier.partition(":")[0]) and any(given.data.glob(pair.path)):
            rows.append((pair, anyio.run(measure, pair, given.data, given.limit)))
            print(table(rows[-1:]).rpartition("\n")[2], file=sys.stderr)
    if given.write is None:
        print(table(rows))
    else:
        given.write.write_text(placed(given.write.read_text(encoding="utf-8"), table(rows)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
