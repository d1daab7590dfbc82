"""Measure supervision on the tiny model: ``python -m tests.measurements.measure_tiny --out build/measured``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import anyio
import msgspec
from interwhen.models import Model, open_local
from tools.train_tiny.families import FAMILIES
from tools.train_tiny.tasks import Problem, Split

from . import arms, followed, forked, tables
from .problems import problems, worked
from .records import Try, grade_result, grade_text

T = TypeVar("T")
SPLITS: tuple[Split, ...] = ("test", "hard")
BARE = {"greedy": "bare, greedy", "sampled": "bare, sampled"}
OURS = {"greedy": "supervised, greedy", "sampled": "supervised, sampled"}
EQUAL = ("bare, sampled", "best of 4", "vote of 4", "generate, test", "supervised, same tokens")


async def each(items: Sequence[T], do: Callable[[int, T], Awaitable[None]], slots: int) -> None:
    """Process every item, *slots* of them at a time."""
    limiter = anyio.Semaphore(slots)

    async def one(number: int, item: T) -> None:
        async with limiter:
            await do(number, item)

    async with anyio.create_task_group() as group:
        for number, item in enumerate(items):
            group.start_soon(one, number, item)


async def compare(model: Model, family: str, split: Split, chosen: argparse.Namespace, keep: list[Try]) -> None:
    """Run every arm on every problem of *family* and *split*."""

    async def do(number: int, problem: Problem) -> None:
        kinds = (("greedy", arms.GREEDY), ("sampled", arms.sampled(number)))
        for kind, sampling in kinds[:1] if chosen.greedy else kinds:
            if kind == "greedy":
                text, tokens, read = await arms.bare(model, problem, sampling)
                keep.append(grade_text(BARE[kind], problem, split, number, text, tokens, read))
            result = await arms.supervised(model, problem, sampling)
            keep.append(grade_result(OURS[kind], problem, split, number, result))
        if chosen.greedy:
            return
        samples = [await arms.sample(model, problem, 1000 * number + at) for at in range(arms.SAMPLES)]
        first = samples[0]
        keep.append(grade_text(BARE["sampled"], problem, split, number, first.text, first.tokens, first.prompt_tokens))
        keep.extend(arm(problem, split, number, samples) for arm in (arms.best_of, arms.vote, arms.generate_test))
        budget = sum(one.tokens for one in samples)
        keep.append(await arms.supervised_within(model, problem, split, number, result, budget))

    await each(problems(family, split, chosen.problems, chosen.seed), do, chosen.slots)


async def follow(model: Model, family: str, chosen: argparse.Namespace) -> list[tuple[str, ...]]:
    """Find problems with a mistake in the greedy run, and react to it in every way."""
    counts = {way.name: [0, 0] for way in followed.WAYS}
    pool = [one for split in SPLITS for one in problems(family, split, chosen.problems, chosen.seed)]

    async def do(_: int, problem: Problem) -> None:
        for way in followed.WAYS:
            if counts[way.name][1] >= chosen.mistakes:
                continue
            right = await followed.follow(model, problem, way)
            if right is None:
                return
            counts[way.name][0] += right
            counts[way.name][1] += 1

    await each(pool, do, chosen.slots)
    return [
        (f"{family}: {name}", str(seen), tables.percent(right, seen)) for name, (right, seen) in counts.items() if seen
    ]


async def know(model: Model, family: str, chosen: argparse.Namespace) -> tuple[str, ...]:
    """Ask for the state in the middle of right solutions."""
    row = [family]
    for split in SPLITS:
        known: list[bool] = []

        async def do(number: int, one: object, known: list[bool] = known) -> None:
            known.append(await forked.knows(model, one, number))  # type: ignore[arg-type]

        await each(worked(family, split, chosen.forks, chosen.seed), do, chosen.slots)
        row.append(tables.percent(sum(known), len(known)))
    return tuple(row)


async def measure(chosen: argparse.Namespace) -> None:
    """Measure, and write the records and the tables."""
    chosen.out.mkdir(parents=True, exist_ok=True)
    tries: list[Try] = []
    follows, knowing = list[tuple[str, ...]](), list[tuple[str, ...]]()
    async with open_local(chosen.model, slots=chosen.slots, context=1024, threads=chosen.threads) as model:
        for family in chosen.family:
            for split in SPLITS:
                begun = time.monotonic()
                await compare(model, family, split, chosen, tries)
                print(f"{family}, {split}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
            if not chosen.greedy:
                follows += await follow(model, family, chosen)
                knowing.append(await know(model, family, chosen))
            (chosen.out / "tries.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(tries))
    cells = tables.cells(tries)
    report = [
        f"{chosen.problems} problems a family and split, seed {chosen.seed}.",
        f"At most {arms.LIMIT} tokens a trace, and {arms.BUDGETS.remedies} remedies a run.",
        "## Greedy",
        tables.effect(cells, BARE["greedy"], OURS["greedy"]),
    ]
    if not chosen.greedy:
        report += (
            f"## Sampled at temperature {arms.TEMPERATURE}",
            tables.effect(cells, BARE["sampled"], OURS["sampled"]),
            f"## At most the tokens of {arms.SAMPLES} samples",
            tables.budgets(cells, EQUAL, BARE["sampled"]),
            "## Feedback followed",
            tables.table(("family: reaction", "mistakes", "next step right %"), follows),
            "## State known",
            tables.table(("family", *(f"{split} %" for split in SPLITS)), knowing),
        )
    (chosen.out / "report.md").write_text("\n\n".join(report) + "\n")
    print("\n\n".join(report))


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(prog="python -m tests.measurements.measure_tiny", description=__doc__)
    parser.add_argument("--model", default="", help="a GGUF file; by default the model that interwhen brings")
    parser.add_argument("--family", action="append", choices=tuple(FAMILIES), help="again for more; by default all")
    parser.add_argument("--greedy", action="store_true", help="only bare against supervised, greedy")
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--mistakes", type=int, default=100, help="how many mistakes each kind of feedback is tried on")
    parser.add_argument("--forks", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build/measured"))
    chosen = parser.parse_args()
    chosen.family = chosen.family or list(FAMILIES)
    anyio.run(measure, chosen)


if __name__ == "__main__":
    main()
