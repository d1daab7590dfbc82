"""Measure what stopping early saves and costs on the tiny model: ``python -m tests.measurements.measure_tiny.early``."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import anyio
import interwhen
from interwhen import Monitor
from interwhen.models import Chunk, Completion, Model, Request, Stream, open_local
from interwhen.models._wrapper import ModelWrapper
from tools.train_tiny.families import FAMILIES
from tools.train_tiny.tasks import Problem, Split

from interwhen_verifiers.early_stopping import early_stopping

from . import arms, tables
from .graders import is_right
from .problems import problems
from .records import split_trace

PROBE = "\n</think>\nAnswer: "
SPLITS: tuple[Split, ...] = ("test", "hard")


class Patient(ModelWrapper):
    """A model whose stream waits while a fork is answered, as on a machine where a probe takes less than a token."""

    def __init__(self, inner: Model) -> None:
        super().__init__(inner)
        self._forks = 0
        self._idle = anyio.Condition()

    async def stream(self, request: Request) -> Stream:
        """Open the stream."""
        return _Waiting(await self._model.stream(request), self)

    async def complete(self, request: Request) -> Completion:
        """Answer a fork, and let the stream wait meanwhile."""
        self._forks += 1
        try:
            return await self._model.complete(request)
        finally:
            self._forks -= 1
            async with self._idle:
                self._idle.notify_all()

    async def idle(self) -> None:
        """Wait until no fork is being answered."""
        await anyio.lowlevel.checkpoint()  # lets a fork begin that was requested just now
        async with self._idle:
            while self._forks:
                await self._idle.wait()
        await anyio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Do nothing: the model belongs to the caller."""


class _Waiting:
    def __init__(self, inner: Stream, model: Patient) -> None:
        self._inner = inner
        self._model = model
        self._left: list[Chunk] = []

    async def receive(self) -> Sequence[Chunk]:
        await self._model.idle()
        if not self._left:
            self._left = list(await self._inner.receive())
        # One at a time: each may complete a segment.
        return [self._left.pop(0)] if self._left else []

    async def aclose(self) -> None:
        await self._inner.aclose()


class Cell(NamedTuple):
    """The result of one arm on one problem."""

    right: bool
    kept: int
    discarded: int
    forked: int
    probes: int
    stopped: bool


def rules() -> dict[str, dict[str, Any]]:
    """Return the options of each arm."""
    shared: dict[str, Any] = {"at": "lines", "lead": "\n", "probe": PROBE, "tokens": 60}
    return {
        "stable, 2 times": {**shared, "rule": "stable", "times": 2},
        "stable, 3 times": {**shared, "rule": "stable", "times": 3},
        "confident, 0.95": {**shared, "rule": "confident", "threshold": 0.95},
        "confident, 0.999": {**shared, "rule": "confident", "threshold": 0.999},
        "entropy, 0.001": {**shared, "rule": "entropy", "threshold": 0.001},
    }


async def one(model: Model, problem: Problem, monitors: Sequence[Monitor]) -> Cell:
    """Run *problem* under *monitors*."""
    run = interwhen.run(Patient(model), arms.ask(problem), monitors=monitors, sampling=arms.GREEDY)
    async with run:
        result = await run.drain()
    answer = split_trace(result.text)[1]
    right = answer is not None and is_right(problem.family, problem.facts, answer)
    stopped = any(violation.remedy == "conclude" for violation in result.violations)
    ledger = result.ledger
    return Cell(right, ledger.kept, ledger.discarded, ledger.fork_tokens, ledger.forks, stopped)


def row(name: str, base: Sequence[Cell], cells: Sequence[Cell]) -> tuple[str, ...]:
    """Return the row of one arm."""
    count = len(cells)

    def mean(values: Sequence[int]) -> float:
        return sum(values) / count

    before = mean([cell.kept for cell in base])
    main = mean([cell.kept + cell.discarded for cell in cells])
    probed = mean([cell.forked for cell in cells])
    fixed = sum(after.right > bare.right for bare, after in zip(base, cells, strict=True))
    broken = sum(after.right < bare.right for bare, after in zip(base, cells, strict=True))
    right = mean([cell.right for cell in cells])
    spread = 1.96 * math.sqrt(right * (1 - right) / count)
    return (
        name,
        f"{100 * right:.1f} ± {100 * spread:.1f}",
        f"{fixed} / {broken}",
        tables.percent(sum(cell.stopped for cell in cells), count),
        f"{main:.0f}",
        f"{probed:.0f}",
        f"{100 * (1 - main / before):.0f}",
        f"{100 * (1 - (main + probed) / before):.0f}",
    )


HEAD = ("family, split: rule", "right %", "fixed / broken", "stopped %", "tokens", "of probes", "saved %", "probes too")


async def measure(chosen: argparse.Namespace) -> None:
    """Measure, and print the table."""
    rows = []
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(open_local("", slots=2, context=1024, threads=1))
        for family in chosen.family or [name for name in FAMILIES if name != "stock"]:
            for split in SPLITS:
                tasks = problems(family, split, chosen.problems, chosen.seed)
                base = [await one(model, problem, ()) for problem in tasks]
                rows.append(row(f"{family}, {split}: bare", base, base))
                for name, options in rules().items():
                    cells = [await one(model, problem, [early_stopping(**options)]) for problem in tasks]
                    rows.append(row(f"{family}, {split}: {name}", base, cells))
                    print(" | ".join(rows[-1]), flush=True)
    print(tables.table(HEAD, rows))


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(prog="python -m tests.measurements.measure_tiny.early", description=__doc__)
    parser.add_argument("--family", action="append", choices=tuple(FAMILIES), help="again for more")
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    anyio.run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
