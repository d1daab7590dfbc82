"""Budget forcing: a model that is done too early is told to wait, and one that goes on too long to answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from interwhen.strategies.base import Question, Solution
from interwhen.strategies.means import Means
from interwhen.strategies.tracing import Trace


@dataclass(frozen=True, slots=True)
class BudgetForcing:
    """Budget forcing (Muennighoff et al. 2025, arXiv 2501.19393), at temperature 0.

    Where the thinking ends below ``minimum`` tokens, its end is taken away and ``wait`` is written, at most ``waits``
    times; where it comes to ``maximum`` tokens, it is closed and ``lead`` begins the answer. A model without a phase of
    thinking is taken to think in all of its text.
    """

    name: str = "budget-forcing"
    minimum: int | None = None
    """``None``: no thinking is long enough, it is told to wait ``waits`` times."""
    maximum: int | None = None
    """``None``: three quarters of what a trace may have, or of the budget if that is less."""
    waits: int = 2
    wait: str = "\nWait,"
    lead: str = "\nAnswer:"
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, means: Means) -> Solution:
        """Answer with the trace at its forced length."""
        await means.need_prefix(self.name)
        tags = (await means.model.capabilities()).think_tags
        closing = tags[1] if tags else ""
        maximum = self._maximum(means)
        thinking = replace(means.greedy, max_tokens=maximum)
        trace = Trace()
        for waited in range(self.waits + 1):
            trace = await means.write(question, thinking, trace, until=closing)
            if trace.tokens >= maximum or not means.affords(2):
                break
            if waited == self.waits or (self.minimum is not None and trace.tokens >= self.minimum):
                break
            trace = _thought(trace, closing).write(self.wait)
        return Solution(trace=await self._answered(question, means, trace, closing))

    async def _answered(self, question: Question, means: Means, trace: Trace, closing: str) -> Trace:
        """Bring *trace* to its answer."""
        if trace.finish_reason not in (None, "length") or not means.affords(1):
            return trace if trace.finish_reason is not None else Trace(trace.chunks, "length")
        if trace.finish_reason == "length":
            is_thinking = bool(closing) and closing not in trace.text and _has_thought(trace, question)
            trace = trace.write(f"\n{closing}{self.lead}" if is_thinking else self.lead)
        most = trace.tokens + means.model.left
        return await means.write(question, replace(means.greedy, max_tokens=most), trace)

    def _maximum(self, means: Means) -> int:
        if self.maximum is not None:
            return self.maximum
        whole = means.model.budget
        if means.sampling.max_tokens is not None:
            whole = min(whole, means.sampling.max_tokens)
        return max(whole * 3 // 4, 1)


def _thought(trace: Trace, closing: str) -> Trace:
    """Return *trace* without the end of its thinking and what came after it."""
    text = trace.text
    end = text.find(closing) if closing else -1
    if end < 0:
        end = _end_of_phase(trace)
    return trace.cut(len(text[:end].rstrip()))


def _end_of_phase(trace: Trace) -> int:
    """Return where reasoning in a field of its own ends; the length of the text where there is none."""
    end = reasoned = 0
    for chunk in trace.chunks:
        end += len(chunk.text)
        if chunk.phase == "reasoning":
            reasoned = end
    return reasoned or end


def _has_thought(trace: Trace, question: Question) -> bool:
    return question.starts_in == "reasoning" or "<think" in trace.text
