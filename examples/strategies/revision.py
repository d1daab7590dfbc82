"""Revision: the verifiers test a whole text, and the model writes it again with feedback on what they refuted.

Source: Kambhampati et al. 2024, "LLMs can't plan, but can help planning in LLM-Modulo frameworks", arXiv 2402.01817.

    interwhen bench compare --task countdown --strategies greedy,revision:Revision:rounds=4
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from interwhen import Message, Violation
from interwhen.remedies import FeedbackTemplate
from interwhen.strategies import Judgement, Question, Solution, StrategyContext, Trace

ASK = "Work it out again from the start, and give the whole solution."


@dataclass(frozen=True, slots=True)
class Revision:
    """Asks again with feedback until a text is finished, has an answer and is not refuted; at most ``rounds`` texts."""

    name: str = "revision"
    rounds: int = 16
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """Write, test and criticize texts, the first one at temperature 0; give up if none passes within the budget."""
        trace, longest, asked, said = Trace(), 0, question, tuple[str, ...]()
        for number in range(self.rounds):
            if number and not context.affords(longest):
                break
            trace = await context.write(asked, context.sampled(number) if number else context.greedy)
            longest = max(longest, trace.tokens)
            judgement = await context.judge(question, trace)
            if trace.ended and question.answer(trace) is not None and not judgement.refuted:
                return Solution(trace=trace, result=judgement.result, given=said)
            said = (*said, _criticism(question, judgement))  # `given` shows whether feedback told the model the answer
            if isinstance(question.prompt, str):
                asked = replace(question, prompt=f"{question.prompt}{trace.text}\n\n{said[-1]}\n\n")
            else:
                turns = (Message("assistant", trace.text), Message("user", said[-1]))
                asked = replace(question, prompt=(*question.prompt, *turns))
        return Solution(trace=trace, gave_up="each text was refuted, or gave no answer")


def _criticism(question: Question, judgement: Judgement) -> str:
    """Return feedback on the first three violations. The level of a monitor limits what its feedback reveals."""
    levels = {monitor.name: monitor.level for monitor in question.watchers(acting=False)}
    lines = [
        FeedbackTemplate().render(levels[one.monitor], Violation(why=one.why, witness=one.witness), one.quote)
        for one in judgement.result.violations[:3]
    ]
    return "\n".join([*(lines or ["There is no answer."]), ASK])
