"""Generate and test: the model writes texts until the verifiers refute nothing in one of them.

Source: Kambhampati et al. 2024, "LLMs can't plan, but can help planning in LLM-Modulo frameworks", arXiv 2402.01817,
here without feedback; `revision.py` has it.

    interwhen bench compare --task countdown --strategies greedy,generate_test:GenerateTest:rounds=4
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from interwhen.strategies import Question, Solution, StrategyContext, Trace


@dataclass(frozen=True, slots=True)
class GenerateTest:
    """Answers with the first of at most ``rounds`` texts that is finished, has an answer and is not refuted."""

    name: str = "generate-test"
    rounds: int = 16
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """Write and test texts, the first one at temperature 0, and give up if none passes within the budget."""
        trace, longest = Trace(), 0
        for number in range(self.rounds):
            # A text that must be cut short would be waste: begin one only if the longest so far fits once more.
            if number and not context.affords(longest):
                break
            trace = await context.write(question, context.sampled(number) if number else context.greedy)
            longest = max(longest, trace.tokens)
            judgement = await context.judge(question, trace)
            if trace.ended and question.answer(trace) is not None and not judgement.refuted:
                return Solution(trace=trace, result=judgement.result)
        return Solution(trace=trace, gave_up="each text was refuted, or gave no answer")
