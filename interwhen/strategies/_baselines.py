"""Baseline strategies: greedy, best-of-N and voting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from interwhen.strategies._strategy import Judgement, Question, Solution, StrategyContext, merit
from interwhen.strategies._traces import Trace

MOST_SAMPLES = 64
"""The limit of options of the shipped strategies for samples and repeats."""


@dataclass(frozen=True, slots=True)
class Greedy:
    """The baseline strategy: it answers with one trace at temperature 0."""

    name: str = "greedy"
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        return Solution(trace=await context.write(question, context.greedy))


@dataclass(frozen=True, slots=True)
class BestOf:
    """Best-of-N: draws at most ``samples`` samples, and answers with the one that the verifiers rate best.

    A further sample is drawn only if the budget still has the tokens of the longest sample so far. With
    ``until_verified``, the strategy stops at the first sample with a verified answer.
    """

    name: str = "best-of-n"
    samples: int = MOST_SAMPLES
    until_verified: bool = False
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        return await best_sample(
            question, context, self.samples, lambda _number, _trace, judged: self.until_verified and judged.verified
        )


async def best_sample(
    question: Question, context: StrategyContext, most: int, judged: Callable[[int, Trace, Judgement], bool]
) -> Solution:
    """Draw and judge at most *most* samples, as the budget allows, and return the one that the verifiers rate best.

    *judged* is called with the number of each sample (from 0), its trace and its judgement. If it returns true, no
    further sample is drawn. Raises :class:`~interwhen.models.ModelError` if the model fails at the first sample; a
    later failure ends the drawing.
    """
    best: tuple[Trace, Judgement] | None = None
    longest = 0
    for number in range(most):
        if number and not context.affords(longest):
            break
        trace = await context.sample(question, number)
        if trace is None:
            break
        longest = max(longest, trace.tokens)
        judgement = await context.judge(question, trace)
        if best is None or merit(question, trace, judgement) > merit(question, *best):
            best = trace, judgement
        if judged(number, trace, judgement):
            break
    assert best is not None  # the first sample is always drawn
    return Solution(trace=best[0], result=best[1].result)


@dataclass(frozen=True, slots=True)
class Vote:
    """Voting: draws at most ``samples`` samples, as the budget allows, and gives the answer with the most votes.

    ``weighted="not"`` is self-consistency (Wang et al. 2022, arXiv 2203.11171). With ``"by verifiers"`` a sample with a
    verified answer weighs 2, and another one the estimated share of its checks that pass (:attr:`Judgement.share`), or
    a tenth of that if something was refuted (after Li et al. 2022, arXiv 2206.02336).
    """

    name: str = "self-consistency"
    samples: int = MOST_SAMPLES
    weighted: Literal["not", "by verifiers"] = "not"
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        drawn: list[_Voter] = []
        while len(drawn) < self.samples:
            if drawn and not context.affords(max(one.trace.tokens for one in drawn)):
                break
            trace = await context.sample(question, len(drawn))
            if trace is None:
                break
            judgement = await context.judge(question, trace) if self.weighted != "not" else None
            drawn.append(_Voter(trace, question.answer(trace), judgement))
        winner = elected(drawn)
        return Solution(trace=winner.trace, result=winner.judgement.result if winner.judgement else None)


@dataclass(frozen=True, slots=True)
class _Voter:
    trace: Trace
    answer: str | None
    judgement: Judgement | None

    @property
    def weight(self) -> float:
        if self.judgement is None:
            return 1.0
        if self.judgement.verified:
            return 2.0
        return self.judgement.share * (0.1 if self.judgement.refuted else 1.0)


def elected(voters: Sequence[_Voter]) -> _Voter:
    weights: defaultdict[str, float] = defaultdict(float)
    for one in voters:
        if one.answer is not None:
            weights[one.answer] += one.weight
    if not weights:
        return voters[0]
    most = max(weights.values())
    # If answers have equal weights, the first one wins, so that the result is the same on each machine.
    answer = next(one.answer for one in voters if one.answer is not None and weights[one.answer] == most)
    return max((one for one in voters if one.answer == answer), key=lambda one: one.weight)
