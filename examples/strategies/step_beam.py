"""Beam search over steps: several texts grow line by line, and the verifiers choose which of them continue.

Source: Snell, Lee, Xu and Kumar 2024, "Scaling LLM test-time compute optimally", arXiv 2408.03314.

    interwhen bench compare --task countdown --strategies greedy,step_beam:StepBeam:width=3
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import ClassVar

from interwhen import UsageError
from interwhen.strategies import Judgement, Question, Solution, StrategyContext, Trace


@dataclass(frozen=True, slots=True)
class StepBeam:
    """Samples ``expansions`` next lines for each unfinished text, and keeps the ``width`` texts that are rated best."""

    name: str = "step-beam"
    width: int = 2
    expansions: int = 2
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """Grow the texts, and answer with the best one that ended, also if it is refuted."""
        if await context.model.resume_mode() == "turn":
            raise UsageError(f"strategy {self.name!r} needs a model that continues a partial text")
        numbers = count()
        reserve = context.model.budget // 4  # for the end of the best text
        beams: list[tuple[Trace, Judgement | None]] = [(Trace(), None)] * self.width
        while any(trace.finish_reason is None for trace, _ in beams) and context.affords(reserve):
            # A dictionary, because two beams with the same text would be one beam that costs twice.
            grown = {trace.text: (trace, judgement) for trace, judgement in beams if trace.finish_reason is not None}
            for trace, _ in beams:
                for _ in range(self.expansions if trace.finish_reason is None else 0):
                    if context.affords(1):
                        step = await context.write(question, context.sampled(next(numbers)), trace, until="\n")
                        judgement = await context.judge(question, step, partial=step.finish_reason is None)
                        grown.setdefault(step.text, (step, judgement))
            beams = sorted(grown.values(), key=lambda beam: beam[1].rank if beam[1] else (), reverse=True)[: self.width]
        ended = [beam for beam in beams if beam[0].finish_reason is not None]
        if not ended:
            trace = beams[0][0]
            if context.affords(1):
                trace = await context.write(question, context.greedy, trace)
            ended = [(trace, await context.judge(question, trace))]
        rated = [
            (judgement.verified, question.answer(trace) is not None, judgement.rank, trace, judgement.result)
            for trace, judgement in ended
            if judgement is not None
        ]
        best = max(rated, key=lambda one: one[:3])
        return Solution(trace=best[3], result=best[4])
