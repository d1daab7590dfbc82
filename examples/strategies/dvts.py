"""Diverse verifier tree search: independent trees grow one text each, line by line, and the verifiers choose the lines.

Source: Beeching, Tunstall and Rush 2024, "Scaling test-time compute with open models" (Hugging Face).

    interwhen bench compare --task countdown --strategies greedy,dvts:TreeSearch:trees=4
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import ClassVar

from interwhen import UsageError
from interwhen.strategies import Question, Solution, StrategyContext, Trace


@dataclass(frozen=True, slots=True)
class TreeSearch:
    """In each of ``trees`` trees, samples ``expansions`` next lines and keeps the one that the verifiers rate best."""

    name: str = "dvts"
    trees: int = 2
    expansions: int = 2
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """Grow the trees one after the other, and answer with the best text."""
        if await context.model.resume_mode() == "turn":
            raise UsageError(f"strategy {self.name!r} needs a model that continues a partial text")
        numbers = count()
        # Each tree may spend an equal share of the budget. The last quarter of it is kept for the end of the text.
        share = context.model.budget // self.trees
        grown = []
        for tree in reversed(range(self.trees)):
            trace = Trace()
            while trace.finish_reason is None and context.affords(share * tree + share // 4):
                steps = []
                for _ in range(self.expansions):
                    if context.affords(1):
                        step = await context.write(question, context.sampled(next(numbers)), trace, until="\n")
                        judgement = await context.judge(question, step, partial=step.finish_reason is None)
                        steps.append((judgement.rank, step))
                trace = max(steps, key=lambda one: one[0])[1]
            if trace.finish_reason is None and context.affords(1):
                trace = await context.write(question, context.greedy, trace)
            judgement = await context.judge(question, trace)
            grown.append(
                (judgement.verified, question.answer(trace) is not None, judgement.rank, trace, judgement.result)
            )
        best = max(grown, key=lambda one: one[:3])
        return Solution(trace=best[3], result=best[4])
