"""Search problems for ``interwhen demo``: ``python -m tools.train_tiny.pick_demo`` in the root of the source.

Each problem is run greedily as each supervised scene of the demo would run it. Printed are those that end as the scene
says and with the right answer, the surest first: by the least probability that the model gave to any token it chose.
The lower it is, the sooner another processor with other rounding chooses otherwise.
"""

from __future__ import annotations

import argparse
import math
import random
from contextlib import aclosing
from dataclasses import replace
from typing import NamedTuple

import anyio
import interwhen
from interwhen import Abstained, Result
from interwhen.cli._demo import MODEL, SAMPLING, SCENES, Scene
from interwhen.models import Model, RecordingModel

from .families.totals import totals
from .tasks import Worked, draw


class Found(NamedTuple):
    """A problem that a scene could show."""

    surety: float
    interrupts: int
    lines: int
    problem: str


async def perform(model: Model, scene: Scene, worked: Worked) -> tuple[Result, float]:
    posed = replace(scene, problem=worked.problem.prompt)
    watched = RecordingModel(model)
    async with interwhen.run(
        watched,
        posed.prompt,
        monitors=(posed.monitor,),
        sampling=replace(SAMPLING, logprobs=True),
        budgets=posed.budgets,
    ) as run:
        result = await run.drain()
    chunks = [arrival.chunk for recording in watched.recordings for arrival in recording.arrivals]
    return result, math.exp(min((chunk.logprob for chunk in chunks if chunk.logprob is not None), default=-math.inf))


def suits(scene: Scene, worked: Worked, result: Result) -> bool:
    interrupts = sum(violation.interrupted for violation in result.violations)
    least, most = scene.interrupts
    if result.status != scene.ends or not least <= interrupts <= most:
        return False
    if isinstance(result, Abstained):
        return "remedies is spent" in result.reason
    return result.answer.strip() == worked.answer


async def search(scene: Scene, tries: int, seed: int) -> list[Found]:
    rng = random.Random(f"{seed} {SCENES.index(scene)}")
    candidates = list[Found]()
    async with aclosing(interwhen.registry.load_model(MODEL)) as model:
        for _ in range(tries):
            worked = draw(totals, rng, "hard" if scene.ends == "abstained" else "test")
            if len(worked.steps) < 3:
                continue
            result, surety = await perform(model, scene, worked)
            if suits(scene, worked, result):
                interrupts = sum(violation.interrupted for violation in result.violations)
                candidates.append(Found(surety, interrupts, result.text.count("\n"), worked.problem.prompt))
    return sorted(candidates, reverse=True)


async def main(tries: int, show: int, seed: int) -> None:
    for number, scene in enumerate(SCENES, start=1):
        if scene.monitor is None:
            continue
        candidates = await search(scene, tries, seed)
        print(f"\nRun {number} ({scene.monitor}): {len(candidates)} of {tries} problems end {scene.ends} as wanted")
        for surety, interrupts, lines, problem in candidates[:show]:
            print(f"  least probability {surety:.3f}, {interrupts} interrupts, {lines} lines: {problem}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.train_tiny.pick_demo", description=__doc__)
    parser.add_argument("--tries", type=int, default=300, help="problems for each scene")
    parser.add_argument("--show", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    anyio.run(main, given.tries, given.show, given.seed)
