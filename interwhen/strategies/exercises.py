"""An exercise: a question with a grader beside it, which no strategy sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from interwhen.errors import InterwhenError, PluginError, UsageError
from interwhen.registry import TASKS, make
from interwhen.strategies.base import Question


@dataclass(frozen=True, slots=True)
class Exercise:
    """A question, and what tells whether an answer to it is right. The grader knows nothing of verifiers."""

    question: Question
    grade: Callable[[str], bool]
    """From an answer, as ``question.read`` returns it, to whether it is right."""


def load_exercises(
    spec: str, *, count: int, seed: int, shipped: Mapping[str, Callable[..., Any]]
) -> tuple[Exercise, ...]:
    """Return *count* exercises of the task that *spec* describes: ``name:option=value`` or ``module:factory``.

    An equal *seed* gives equal exercises. Raises :class:`~interwhen.errors.PluginError` where the task is missing or
    broken, and :class:`~interwhen.errors.UsageError` where it has fewer exercises, or two of one name.
    """
    if count < 1:
        raise UsageError(f"{count} problems of task {spec!r}: at least one is needed")
    made = make(TASKS, spec, shipped, count=count, seed=seed)
    if not isinstance(made, Iterable):
        raise PluginError(spec, f"its factory returned {made!r:.200}, which is no iterable of exercises")
    try:
        found = tuple(islice(made, count))
    except InterwhenError:
        raise
    except Exception as error:
        # A task may raise anything; it is named, and the original stays attached.
        raise PluginError(spec, f"making its exercises raised {type(error).__name__}: {error}") from error
    for number, one in enumerate(found, start=1):
        if not isinstance(one, Exercise):
            raise PluginError(spec, f"its exercise {number} is {one!r:.200}, which is no Exercise")
    if len(found) < count:
        raise UsageError(f"task {spec!r} has {len(found)} exercises only, {count} were asked for")
    names = [one.question.name for one in found]
    if len(set(names)) < count:
        raise UsageError(f"task {spec!r} has two exercises of one name")
    return found
