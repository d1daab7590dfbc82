"""Tasks for the tiny model: ``interwhen bench compare --task tests.measurements.tiny_tasks:totals --model local``.

Its families of problems, held out from its training; the monitors are those of ``examples.tiny_monitors``, and the
graders know neither them nor the worked solutions. ``hard`` asks for longer and larger problems.
"""

from __future__ import annotations

from collections.abc import Iterator

from examples.tiny_monitors import monitors_for
from interwhen import Message, Monitor
from interwhen.strategies import Exercise, Question
from tests.measurements.measure_tiny.graders import is_right
from tests.measurements.measure_tiny.problems import problems
from tests.measurements.measure_tiny.records import split_trace
from tools.train_tiny.tasks import Problem


def read(text: str) -> str | None:
    """Return the answer after the reasoning."""
    return split_trace(text)[1]


def totals(*, count: int, seed: int, hard: bool = False) -> Iterator[Exercise]:
    """Generate running totals."""
    return _exercises("totals", count, seed, hard=hard)


def countdown(*, count: int, seed: int, hard: bool = False) -> Iterator[Exercise]:
    """Generate targets to be made from numbers."""
    return _exercises("countdown", count, seed, hard=hard)


def maze(*, count: int, seed: int, hard: bool = False) -> Iterator[Exercise]:
    """Generate ways through doors."""
    return _exercises("maze", count, seed, hard=hard)


def ordering(*, count: int, seed: int, hard: bool = False) -> Iterator[Exercise]:
    """Generate people to be ordered."""
    return _exercises("ordering", count, seed, hard=hard)


def stock(*, count: int, seed: int, hard: bool = False) -> Iterator[Exercise]:
    """Generate orders under a policy."""
    return _exercises("stock", count, seed, hard=hard)


def _exercises(family: str, count: int, seed: int, *, hard: bool) -> Iterator[Exercise]:
    for number, problem in enumerate(problems(family, "hard" if hard else "test", count, seed)):
        yield _exercise(problem, f"{family}-{seed}-{number}")


def _exercise(problem: Problem, name: str) -> Exercise:
    def watch(acting: bool) -> tuple[Monitor, ...]:  # noqa: FBT001  (one argument, of the framework's choice)
        return monitors_for(problem.family, problem.prompt, delivery="interrupt" if acting else "observe")

    def grade(answer: str) -> bool:
        return is_right(problem.family, problem.facts, answer)

    prompt = (Message("user", problem.prompt),)
    return Exercise(Question(name=name, prompt=prompt, read=read, monitors=watch), grade)
