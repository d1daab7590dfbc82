"""Sequential revision: a whole text is judged, and asked for again with what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from interwhen.errors import ContextOverflow
from interwhen.feedback import FeedbackTemplate
from interwhen.models.base import Message, Prompt
from interwhen.strategies.base import Question, Solution
from interwhen.strategies.judging import Judgement
from interwhen.strategies.means import Means
from interwhen.strategies.tracing import Trace
from interwhen.verdicts import Violation

_ASK = "Work it out again from the start, and give the whole solution."
_MOST = 3
"""Violations that one feedback tells of."""


@dataclass(frozen=True, slots=True)
class Revision:
    """Generate, test, and say what is wrong, until there is an answer and nothing is refuted.

    (LLM-Modulo: Kambhampati et al. 2024, arXiv 2402.01817.) Feedback is worded as in a run, and gives away no more than
    the level of its monitor allows. With ``tell=False`` nothing is said and the question is asked again. Abstains where
    every text was refuted or came to no answer. The first text is greedy.
    """

    name: str = "revision"
    rounds: int = 16
    tell: bool = True
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, means: Means) -> Solution:
        """Answer with the first text that has an answer and is not refuted."""
        template = getattr(means.model, "feedback", None) or FeedbackTemplate()
        prompt, longest = question.prompt, 0
        trace, said = Trace(), tuple[str, ...]()
        for number in range(self.rounds):
            if number and not means.affords(longest):
                break
            sampling = means.sampled(number) if number else means.greedy
            try:
                trace = await means.write_to(prompt, sampling)
            except ContextOverflow as error:
                if not number:
                    raise
                return Solution(trace=trace, gave_up=str(error))
            longest = max(longest, trace.tokens)
            found = await means.judge(question, trace)
            if not found.refuted and trace.ended and question.answer(trace) is not None:
                return Solution(trace=trace, result=found.result, told=said)
            if self.tell:
                said = (*said, criticism(question, found, template))
                prompt = asked_again(question, trace, said[-1])
        return Solution(trace=trace, gave_up="each text was refuted, or came to no answer")


def criticism(question: Question, found: Judgement, template: FeedbackTemplate) -> str:
    """Return what is said of a text that was *found* wanting, no more of it than the levels of the monitors allow."""
    levels = {monitor.name: monitor.level for monitor in question.watchers(acting=False)}
    lines = [
        template.render(levels[one.monitor], Violation(why=one.why, witness=one.witness), one.quote)
        for one in found.result.violations[:_MOST]
    ]
    return "\n".join([*dict.fromkeys(lines), _ASK] if lines else ["There is no answer.", _ASK])


def asked_again(question: Question, trace: Trace, said: str) -> Prompt:
    """Return the question with the text of *trace* as an answer to it, and what was *said* of that."""
    if isinstance(question.prompt, str):
        return f"{question.prompt}{trace.text}\n\n{said}\n\n"
    return (*question.prompt, Message("assistant", trace.text), Message("user", said))
