"""What the tests of the tiny monitors share: problems, replays without an engine, and runs with one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import anyio
import interwhen
from examples.tiny_monitors import monitors_for
from interwhen import Pass, Result, Segment, Span, Verdict, Violation
from interwhen.models import Request
from interwhen.testing import ScriptedModel
from interwhen.testing._models import Step
from tools.train_tiny.families import FAMILIES
from tools.train_tiny.tasks import Worked

SEEDS = 300
Script = Callable[[Request], Iterable[Step]]


def problems(family: str, *, hard: bool = False, seeds: int = SEEDS) -> Iterator[Worked]:
    for seed in range(seeds):
        yield FAMILIES[family](random.Random(f"{family} {hard} {seed}"), hard=hard)


def judge(family: str, prompt: str, lines: Sequence[str], answer: str | None = None) -> list[Verdict | None]:
    steps, answers = monitors_for(family, prompt)
    at, verdicts = 8, list[Verdict | None]()
    for monitor, text in [*((steps, line) for line in lines), *([(answers, answer)] if answer is not None else [])]:
        segment = Segment(text=text, span=Span(at, at + len(text)), phase="reasoning")
        claims: list[Any] = list(monitor.extractor(segment))  # type: ignore[operator]
        assert len(claims) <= 1
        verdicts.append(monitor.verifier.check(claims[0]) if claims else None)  # type: ignore[arg-type]
        at += len(text) + 1
    return verdicts


def last(family: str, prompt: str, lines: Sequence[str], answer: str | None = None) -> Verdict | None:
    return judge(family, prompt, lines, answer)[-1]


def refuted(verdict: Verdict | None, line: str) -> tuple[str, str, str, str | None]:
    assert isinstance(verdict, Violation), verdict
    where = verdict.where or Span(0, len(line))
    return line[where.start : where.end], verdict.why, verdict.witness, verdict.repair


def is_pass(verdict: Verdict | None) -> bool:
    return isinstance(verdict, Pass)


def trace_of(worked: Worked) -> str:
    lines = "".join(f"{step.text}\n" for step in worked.steps)
    return f"<think>\n{lines}</think>\n{worked.answer}"


def supervise(
    family: str, prompt: str, replies: Script | Sequence[str | Sequence[str]], *, size: int = 1, **options: Any
) -> Result:
    async def run() -> Result:
        model = ScriptedModel(replies, size=size)  # type: ignore[arg-type]
        async with interwhen.run(model, prompt, monitors=monitors_for(family, prompt, **options)) as run:
            return await run.drain()

    return anyio.run(run)


def chunked(rng: random.Random, text: str) -> list[str]:
    most, chunks = rng.choice((1, 6, 40, 400)), list[str]()
    while text:
        size = rng.randint(1, most)
        chunks.append(text[:size])
        text = text[size:]
    return chunks


def learner(rng: random.Random, worked: Worked, at: int, wrong: str) -> Script:
    lines = [step.text for step in worked.steps]
    closing = f"</think>\n{worked.answer}"

    def script(request: Request) -> list[str]:
        if not request.pieces:
            return chunked(rng, "<think>\n" + "\n".join([*lines[:at], wrong, *lines[at + 1 :], closing]))
        begun = request.prefix.rpartition("\n")[2]
        right = "\n".join([*lines[at:], closing])
        if right.startswith(begun):
            return chunked(rng, right[len(begun) :])
        # A list of numbers in another order: the line is whole.
        return chunked(rng, "\n".join(["", *lines[at + 1 :], closing]))

    return script
