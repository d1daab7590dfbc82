"""Strategies that draw whole traces and choose: the likeliest one, the best of many, what most of them say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from interwhen.strategies.base import Question, Solution
from interwhen.strategies.judging import Judgement, merit
from interwhen.strategies.means import Means
from interwhen.strategies.tracing import Trace

MOST_SAMPLES = 64
"""Samples of one question, whatever the budget."""


@dataclass(frozen=True, slots=True)
class Greedy:
    """One trace at temperature 0: the baseline."""

    name: str = "greedy"
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, means: Means) -> Solution:
        """Answer with the likeliest trace."""
        return Solution(trace=await means.write(question, means.greedy))


@dataclass(frozen=True, slots=True)
class BestOf:
    """As many samples as the budget holds; answers with the one that the verifiers like best (best-of-N).

    With ``until_verified`` it stops at the first one whose answer is verified. It never abstains: a best one that is
    refuted is answered as unverified.
    """

    name: str = "best-of-n"
    samples: int = MOST_SAMPLES
    until_verified: bool = False
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, means: Means) -> Solution:
        """Answer with the best sample, the first one of equals."""
        best: tuple[Trace, Judgement] | None = None
        longest = 0
        for number in range(self.samples):
            if number and not means.affords(longest):
                break
            trace = await means.write(question, means.sampled(number))
            longest = max(longest, trace.tokens)
            found = await means.judge(question, trace)
            if best is None or merit(question, trace, found) > merit(question, *best):
                best = trace, found
            if self.until_verified and found.verified:
                break
        assert best is not None
        return Solution(trace=best[0], result=best[1].result)


@dataclass(frozen=True, slots=True)
class Vote:
    """As many samples as the budget holds; answers with what most of them say.

    ``weighted="not"`` is self-consistency (Wang et al. 2022, arXiv 2203.11171), ``"by verifiers"`` lets a sample count
    for the share of its checks that passed, a tenth of that where something was refuted, and twice where its
    answer is verified (after Li et al. 2022, arXiv 2206.02336).
    """

    name: str = "self-consistency"
    samples: int = MOST_SAMPLES
    weighted: Literal["not", "by verifiers"] = "not"
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, means: Means) -> Solution:
        """Answer with a sample that gives the answer with the most votes: the best one of them, or else the first."""
        drawn: list[_Voter] = []
        while len(drawn) < self.samples:
            if drawn and not means.affords(max(one.trace.tokens for one in drawn)):
                break
            trace = await means.write(question, means.sampled(len(drawn)))
            found = await means.judge(question, trace) if self.weighted != "not" else None
            drawn.append(_Voter(trace, question.answer(trace), found))
        winner = elected(drawn)
        return Solution(trace=winner.trace, result=winner.found.result if winner.found else None)


@dataclass(frozen=True, slots=True)
class _Voter:
    trace: Trace
    answer: str | None
    found: Judgement | None

    @property
    def weight(self) -> float:
        if self.found is None:
            return 1.0
        if self.found.verified:
            return 2.0
        return self.found.share * (0.1 if self.found.refuted else 1.0)


def elected(voters: Sequence[_Voter]) -> _Voter:
    """Return the first heaviest of those who give the answer of the most weight; the first of all if none gives one."""
    weights: defaultdict[str, float] = defaultdict(float)
    for one in voters:
        if one.answer is not None:
            weights[one.answer] += one.weight
    if not weights:
        return voters[0]
    most = max(weights.values())
    # The first one among equals, so that the same votes elect the same answer on each machine.
    answer = next(one.answer for one in voters if one.answer is not None and weights[one.answer] == most)
    return max((one for one in voters if one.answer == answer), key=lambda one: one.weight)
