"""One attempt: a strategy, a question and a budget become an outcome; the meter counts, and the engine judges."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from interwhen.errors import UpstreamError, UsageError
from interwhen.feedback import holds
from interwhen.models.base import Model, Sampling
from interwhen.results import Verified
from interwhen.strategies.base import Checks, Claimed, Outcome, Question, Solution, Strategy
from interwhen.strategies.judging import needs_tokens
from interwhen.strategies.means import Means
from interwhen.strategies.spending import BudgetSpent, Meter
from interwhen.verdicts import Scope
from interwhen.worker_pool import WorkerPool

_SEEDS = 2**31 - 2**20
"""Seeds leave room for a million samples below what servers take."""


def seed_of(seed: int, question: str) -> int:
    """Return the seed of *question* in a comparison with *seed*: the same for every strategy and budget."""
    return random.Random(f"{seed} {question}").randrange(_SEEDS)  # noqa: S311  (sampling, not secrets)


async def attempt(
    strategy: Strategy,
    model: Model,
    question: Question,
    *,
    budget: int,
    seed: int = 0,
    sampling: Sampling | None = None,
    workers: WorkerPool | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Outcome:
    """Let *strategy* answer *question* with at most *budget* generated tokens of *model*.

    A text that the strategy did not have judged is judged at the end where that costs no tokens, so that what is
    claimed means the same for all. Raises :class:`~interwhen.errors.ModelError` where the model cannot be reached; an
    error that it answers with makes the outcome ``failed``.
    """
    if budget < 1:
        raise UsageError(f"budget={budget!r}: an attempt needs at least one token")
    meter = Meter(model, budget)
    drawn = sampling or Sampling(temperature=0.7)
    means = Means(model=meter, sampling=drawn, seed=seed_of(seed, question.name), workers=workers)
    begun = clock()
    solution = await _solved(strategy, question, means)
    if _is_to_be_judged(solution, question):
        solution = replace(solution, result=(await means.judge(question, solution.trace)).result)
    text = solution.trace.text
    answer = None if solution.gave_up or solution.failed else question.answer(solution.trace)
    status, scope, why = _claimed(solution, answer)
    tally = means.tally
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
        checks=Checks(tally.passed, tally.refuted, tally.open),
        uncounted=meter.uncounted,
        handed=_is_handed(solution, answer),
        why=why,
        scope=scope,
    )


async def _solved(strategy: Strategy, question: Question, means: Means) -> Solution:
    try:
        return await strategy.solve(question, means)
    except BudgetSpent as error:
        return Solution(gave_up=str(error))
    except UpstreamError as error:
        return Solution(failed=f"{type(error).__name__}: {error}")


def _is_to_be_judged(solution: Solution, question: Question) -> bool:
    if solution.result is not None or solution.gave_up or solution.failed or not question.monitors:
        return False
    return not needs_tokens(question.watchers(acting=False))


def _is_handed(solution: Solution, answer: str | None) -> bool:
    written = tuple(one.inserted for one in solution.result.violations) if solution.result else ()
    return answer is not None and any(holds(text, answer) for text in (*solution.told, *written))


class _Claim(NamedTuple):
    status: Claimed
    scope: Scope | None = None
    why: str = ""


def _claimed(solution: Solution, answer: str | None) -> _Claim:
    """Return what may be claimed, and why it is no more."""
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
