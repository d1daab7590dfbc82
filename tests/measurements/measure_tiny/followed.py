"""Whether feedback is followed: how often the line that the model writes after it is right."""

from __future__ import annotations

from typing import NamedTuple

import interwhen
from examples.tiny_monitors import monitors_for
from interwhen import Budgets, Feedback, Repair, Resample, Result, Sampling
from interwhen.models import Model
from interwhen.toolkit import Level
from tools.train_tiny.tasks import Problem

from .arms import GREEDY, ask, sampled
from .graders import is_right, judge
from .records import split_trace

LEVELS: tuple[Level, ...] = ("flag", "locate", "explain", "witness")
_ONE = Budgets(remedies=1)


class Way(NamedTuple):
    """One way to react to a mistake."""

    name: str
    remedy: Feedback | Repair | Resample
    level: Level
    sampling: Sampling


WAYS = (
    *(
        Way(f"{level}, {'appended' if place == 'append' else 'rewound'}", Feedback(place=place), level, GREEDY)
        for place in ("append", "rewind")
        for level in LEVELS
    ),
    Way("nothing said, sampled again", Resample(), "witness", sampled(1)),
    Way("repaired in place", Repair(otherwise=Feedback(place="rewind")), "witness", GREEDY),
)


async def follow(model: Model, problem: Problem, way: Way) -> bool | None:
    """Remedy one mistake in *way*; return whether the next step is right, ``None`` if there was no mistake."""
    monitors = monitors_for(problem.family, problem.prompt, remedy=way.remedy, level=way.level)
    async with interwhen.run(model, ask(problem), monitors=monitors, sampling=way.sampling, budgets=_ONE) as run:
        result = await run.drain()
    first = next((one for one in result.violations if one.interrupted), None)
    if first is None or first.remedy is None or first.cut is None:
        return None
    return _next_is_right(problem, result, first.cut, first.inserted)


def _next_is_right(problem: Problem, result: Result, cut: int, inserted: str) -> bool:
    """Judge the line at *cut*, with what was *inserted* there: all of it, if a value was repaired in it."""
    before = result.text[:cut]
    if inserted.endswith("\n"):
        line = result.text[cut + len(inserted) :].split("\n", 1)[0]
        before = _without_last_line(before) if inserted.startswith("\n") else before
    else:
        start = before.rfind("\n") + 1
        line = result.text[start:].split("\n", 1)[0]
        before = before[:start]
    if "</think>" in before:
        return is_right(problem.family, problem.facts, line)
    lines = [*split_trace(before)[0], line]
    return line != "" and judge(problem.family, problem.facts, lines)[-1]


def _without_last_line(text: str) -> str:
    """Return *text* without the wrong line, which stands before appended feedback."""
    return text[: text.rfind("\n") + 1]
