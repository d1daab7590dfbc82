"""Measures what "steps verified" says about right and wrong solutions: ``python -m tests.measurements.coverage [--show]``.

INTERWHEN_DATA is a folder with the sets ``processbench`` and ``zeroeval``, as gzipped JSON lines. Each solution is the
text of a run with the monitor ``arithmetic`` and the problem as its prompt. A solution of ProcessBench is right if no
step is labelled as the first error, and one of ZeroEval if its final answer is right.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import interwhen
from interwhen.testing import ScriptedModel


class Solution(NamedTuple):
    """A solution and its label."""

    name: str
    prompt: str
    text: str
    right: bool


def records(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def solutions(data: Path) -> dict[str, list[Solution]]:
    """Return the solutions of each set."""
    return {
        "ProcessBench GSM8K": [
            Solution(each["id"], each["problem"], "\n".join(each["steps"]), each["first_error"] == -1)
            for each in records(data / "processbench" / "gsm8k.jsonl.gz")
        ],
        "ZeroEval GSM8K": list(_answers(data, "gsm")),
        "ZeroEval MATH": list(_answers(data, "math_l5")),
    }


def _answers(data: Path, name: str) -> Iterator[Solution]:
    for kind in ("right", "wrong"):
        for each in records(data / "zeroeval" / f"{name}_{kind}.jsonl.gz"):
            yield Solution(each["id"], each["question"], each["reasoning"], kind == "right")


async def judged(solution: Solution) -> interwhen.Result:
    monitor = interwhen.load_monitor("arithmetic:delivery=observe")
    async with interwhen.run(ScriptedModel([solution.text], size=10_000), solution.prompt, monitors=[monitor]) as run:
        return await run.drain()


async def main(data: Path, *, show: bool) -> None:
    """Print the share with a label among right and among wrong solutions, and what would be interrupted."""
    for name, numbers in solutions(data).items():
        labelled = {True: 0, False: 0}
        flagged = {True: 0, False: 0}
        repaired = 0
        for solution in numbers:
            result = await judged(solution)
            labelled[solution.right] += result.status == "verified"
            flagged[solution.right] += bool(result.violations)
            for check in result.checks:
                verdict = getattr(check.outcome, "verdict", None)
                if isinstance(verdict, interwhen.Violation):
                    repaired += verdict.repair is not None
                    if show and solution.right:
                        print(f"  {solution.name}: {verdict.witness or verdict.why} -> {verdict.repair}")
        count = {right: sum(each.right is right for each in numbers) for right in (True, False)}
        share = {right: labelled[right] / count[right] for right in (True, False)}
        print(
            f"{name}: label {labelled[True]} of {count[True]} right ({share[True]:.1%}), "
            f"{labelled[False]} of {count[False]} wrong ({share[False]:.1%}), ratio {share[True] / share[False]:.2f}; "
            f"interrupted {flagged[True]} right, {flagged[False]} wrong; {repaired} repairs"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="coverage", description=__doc__)
    parser.add_argument("--show", action="store_true", help="print each refuted equation of a right solution")
    given = parser.parse_args()
    if not os.environ.get("INTERWHEN_DATA"):
        sys.exit("INTERWHEN_DATA must name the folder with the sets, and is not set")
    anyio.run(lambda: main(Path(os.environ["INTERWHEN_DATA"]), show=given.show))
