"""Budget forcing: a model that ends its thinking early is made to think longer, and long thinking is ended.

Source: Muennighoff et al. 2025, "s1: Simple test-time scaling", arXiv 2501.19393.

    interwhen bench compare --task countdown --strategies greedy,budget_forcing:BudgetForcing:waits=1
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from interwhen import UsageError
from interwhen.strategies import Question, Solution, StrategyContext, Trace


@dataclass(frozen=True, slots=True)
class BudgetForcing:
    """Replaces the end of the thinking by ``wait``, at most ``waits`` times, and ends it at ``maximum`` tokens.

    For a model without thinking tags, all of its text counts as thinking.
    """

    name: str = "budget-forcing"
    waits: int = 2
    maximum: int | None = None
    """``None``: three quarters of the token limit of a text, or of the budget if that is less."""
    wait: str = "\nWait,"
    lead: str = "\nAnswer:"
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """Let the model think at temperature 0, as long as it must, and then answer."""
        model = context.model
        if await model.resume_mode() == "turn":
            raise UsageError(f"strategy {self.name!r} needs a model that continues a partial text")
        tags = (await model.capabilities()).think_tags
        closing = tags[1] if tags else ""
        most = self.maximum or max(min(model.budget, context.sampling.max_tokens or model.budget) * 3 // 4, 1)
        thinking = replace(context.greedy, max_tokens=most)
        trace = await context.write(question, thinking, until=closing)
        for _ in range(self.waits):
            if trace.tokens >= most or not context.affords(2):
                break
            trace = _thought(trace, closing).write(self.wait)
            trace = await context.write(question, thinking, trace, until=closing)
        if trace.finish_reason in (None, "length") and context.affords(1):
            if trace.finish_reason == "length":
                is_thinking = "<think" in trace.text or question.starts_in == "reasoning"
                open_thought = bool(closing) and closing not in trace.text and is_thinking
                trace = trace.write(f"\n{closing}{self.lead}" if open_thought else self.lead)
            trace = await context.write(question, replace(context.greedy, max_tokens=trace.tokens + model.left), trace)
        return Solution(trace=trace)


def _thought(trace: Trace, closing: str) -> Trace:
    """Return *trace* without the end of its thinking: a tag, or the answer after a phase that the server marks."""
    text = "".join(chunk.text for chunk in trace.chunks if chunk.phase == "reasoning") or trace.text
    return trace.cut(len((text.partition(closing)[0] if closing else text).rstrip()))
