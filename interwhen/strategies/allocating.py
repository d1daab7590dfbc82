"""Samples until an answer is verified, or none is worth its tokens any more: learnt from question to question."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from interwhen.allocation import AdaptiveAllocator, Classify, by_length
from interwhen.strategies.base import Question, Solution
from interwhen.strategies.judging import Judgement, merit
from interwhen.strategies.means import Means
from interwhen.strategies.tracing import Trace
from interwhen.tasks import Task

SHARE = 0.5
"""The mean of tokens that is aimed at, as a part of what one question may take at most."""


@dataclass(frozen=True, slots=True)
class Adaptive:
    """Samples until an answer is verified; an allocator says how often at most, and meets a mean over all questions.

    It learns from one question to the next, so that what it does depends on their order. An object serves one task: it
    keeps an allocator for each budget it was given. *share* is the mean that is aimed at, as a part of that budget.
    """

    name: str = "adaptive"
    share: float = SHARE
    classify: Classify = by_length
    meets_model: ClassVar[bool] = False
    _allocators: dict[int, AdaptiveAllocator] = field(default_factory=dict, compare=False, repr=False)

    async def solve(self, question: Question, means: Means) -> Solution:
        """Answer with the verified sample, or the best one there was."""
        allocator = self._allocator(means.model.left)
        key = allocator.key(Task(question.prompt))
        best: tuple[Trace, Judgement] | None = None
        longest = 0
        for number, step in enumerate(allocator.begin(key)):
            if number and not means.affords(longest):
                break
            trace = await means.write(question, means.sampled(number))
            longest = max(longest, trace.tokens)
            found = await means.judge(question, trace)
            allocator.saw(key, step.action, number, worked=found.verified, tokens=trace.tokens)
            if best is None or merit(question, trace, found) > merit(question, *best):
                best = trace, found
            if found.verified:
                break
        allocator.ended()
        assert best is not None  # an allocator makes the first try at any price
        return Solution(trace=best[0], result=best[1].result)

    def _allocator(self, budget: int) -> AdaptiveAllocator:
        if budget not in self._allocators:
            self._allocators[budget] = AdaptiveAllocator(
                budget=self.share * budget, classify=self.classify, after=("sample",), most=32
            )
        return self._allocators[budget]


def adaptive(*, share: float = SHARE) -> Adaptive:
    """Make the strategy whose samples are allocated."""
    return Adaptive(share=share)
