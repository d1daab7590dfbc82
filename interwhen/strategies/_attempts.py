"""Runs one attempt: a strategy answers a question within a budget, and the engine judges."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

from interwhen._types.errors import InterwhenError, OutOfTokens, PluginError, UpstreamError, UsageError
from interwhen._types.extensions import WorkerPool
from interwhen._types.models import WARM, Model, Sampling
from interwhen._types.remedies import holds
from interwhen._types.results import Verified
from interwhen._types.verdicts import Scope
from interwhen._types.vetting import Positive, require, require_distinct
from interwhen.models._metered import MeteredModel
from interwhen.registry import TASKS, make
from interwhen.strategies._strategy import (
    Claimed,
    Outcome,
    Question,
    Solution,
    Strategy,
    StrategyContext,
    needs_tokens,
)

_SEEDS = 2**31 - 2**20
"""Keeps the seeds of a million samples below 2**31, as servers need."""


def seed_of(seed: int, question: str) -> int:
    """Derive the seed for *question* from *seed*, the seed of a comparison."""
    return random.Random(f"{seed} {question}").randrange(_SEEDS)  # noqa: S311  (sampling, not secrets)


async def attempt(
    strategy: Strategy,
    model: Model,
    question: Question,
    *,
    budget: int,
    seed: int = 0,
    sampling: Sampling | None = None,
    counts_prompts: bool = False,
    workers: WorkerPool | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Outcome:
    """Let *strategy* answer *question* with at most *budget* generated tokens of *model*, and return the outcome.

    Forks can exceed the budget, if the server ignores their limit or does not count their tokens. With
    *counts_prompts*, prompt tokens use up the budget, too, and can exceed it. A text that the strategy did not let the
    monitors judge is judged at the end, unless that costs tokens. *seed* is the seed of the comparison, and *sampling*
    has the options of samples (default: temperature 0.7). *clock* gives the time in seconds.

    If the budget is spent before there is an answer, the outcome is ``abstained``. If the server sends an error, or the
    model fails in a supervised run, it is ``failed``. Raises :class:`~interwhen.UsageError` for a *budget* below 1 or a
    model that the strategy cannot use, and :class:`~interwhen.models.ModelError` if the model fails in another way.
    """
    require("budget", budget, Positive, "give a number of tokens")
    meter = MeteredModel(model, budget, counts_prompts=counts_prompts)
    drawn = sampling or Sampling(temperature=WARM)
    context = StrategyContext(model=meter, sampling=drawn, seed=seed_of(seed, question.name), workers=workers)
    begun = clock()
    solution = await _solved(strategy, question, context)
    if _is_to_be_judged(solution, question):
        solution = replace(solution, result=(await context.judge(question, solution.trace)).result)
    text = solution.trace.text
    answer = None if solution.gave_up or solution.failed else question.answer(solution.trace)
    status, scope, why = _claimed(solution, answer)
    return Outcome(
        strategy=strategy.name,
        question=question.name,
        budget=budget,
        seed=seed,
        status=status,
        answer=answer,
        text=text,
        ledger=meter.ledger(
            solution.trace.tokens,
            remedies=solution.remedies,
            inserted_chars=sum(len(one.span) for one in solution.result.insertions) if solution.result else 0,
        ),
        seconds=clock() - begun,
        checks=context.tally,
        uncounted=meter.uncounted,
        warm=meter.warm_tokens,
        handed=_is_handed(solution, answer),
        why=why,
        scope=scope,
    )


async def _solved(strategy: Strategy, question: Question, context: StrategyContext) -> Solution:
    try:
        return await strategy.solve(question, context)
    except OutOfTokens as error:
        return Solution(gave_up=str(error))
    except UpstreamError as error:
        return Solution(failed=f"{type(error).__name__}: {error}")


def _is_to_be_judged(solution: Solution, question: Question) -> bool:
    if solution.result is not None or solution.gave_up or solution.failed or not question.monitors:
        return False
    return not needs_tokens(question.watchers(acting=False))


def _is_handed(solution: Solution, answer: str | None) -> bool:
    written = tuple(one.inserted for one in solution.result.violations) if solution.result else ()
    return answer is not None and any(holds(text, answer) for text in (*solution.given, *written))


class _Claim(NamedTuple):
    status: Claimed
    scope: Scope | None = None
    why: str = ""


def _claimed(solution: Solution, answer: str | None) -> _Claim:
    if solution.failed:
        return _Claim("failed", why=solution.failed)
    if solution.gave_up:
        return _Claim("abstained", why=solution.gave_up)
    if answer is None:
        return _Claim("abstained", why="the text gives no answer")
    result = solution.result
    if isinstance(result, Verified) and result.certificate.matches(solution.trace.text):
        return _Claim("verified", result.certificate.scope)
    return _Claim("unverified")


# Exercises: a question with a grader that no strategy sees.


@dataclass(frozen=True, slots=True)
class Exercise:
    """A question with a function that grades answers. The grading does not use verifiers."""

    question: Question
    grade: Callable[[str], bool]
    """Tells whether an answer is right."""


def load_exercises(
    spec: str, *, count: int, seed: int, shipped: Mapping[str, Callable[..., Any]]
) -> tuple[Exercise, ...]:
    """Return *count* exercises of the task that *spec* describes: ``name:option=value`` or ``module:factory``.

    *shipped* are the factories of this package by name. Raises :class:`~interwhen.registry.PluginError` if the task is
    missing or broken, or if an option is wrong, and :class:`~interwhen.UsageError` if *count* is below 1, or the task
    has fewer exercises, or two with the same name.
    """
    require(f"task {spec!r}: the number of problems", count, Positive)
    made = make(TASKS, spec, shipped, count=count, seed=seed)
    if not isinstance(made, Iterable):
        raise PluginError(
            spec, f"its factory must return an iterable of Exercise, got {made!r:.200}; correct the factory"
        )
    try:
        exercises = tuple(islice(made, count))
    except InterwhenError:
        raise
    except Exception as error:
        # A task may raise anything.
        raise PluginError(
            spec, (f"its factory must make exercises, got {type(error).__name__}: {error}; correct the factory")
        ) from error
    for number, one in enumerate(exercises, start=1):
        if not isinstance(one, Exercise):
            raise PluginError(
                spec,
                (f"its factory must make Exercise objects, got {one!r:.200} as exercise {number}; correct the factory"),
            )
    if len(exercises) < count:
        raise UsageError(
            f"task {spec!r} must have the {count} exercises that were asked for, got {len(exercises)}; ask for fewer"
        )
    names = [one.question.name for one in exercises]
    require_distinct(f"task {spec!r}: the names of exercises", names, "correct its factory")
    return exercises
