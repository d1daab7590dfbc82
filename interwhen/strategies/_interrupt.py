"""The strategy of interwhen: a supervised run, in which verifiers interrupt the stream."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, assert_never

from interwhen._run.run import run
from interwhen._types.models import Chunk
from interwhen._types.monitors import Monitor
from interwhen._types.remedies import Conclude, Feedback, Remedy, Repair, Resample
from interwhen._types.results import Abstained, Failed, Result, Unverified, Verified
from interwhen.strategies._strategy import Question, Solution, StrategyContext, judgement
from interwhen.strategies._traces import Trace


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Runs the model under the monitors of the question, which may interrupt it.

    Each monitor uses its own remedy, or *remedy*, if given (see :meth:`remedied`). If a run gives up or has no answer,
    another run with a new seed follows, at most ``restarts`` times, and if the budget has at least the tokens of the
    longest trace so far. The first run has temperature 0, unless *remedy* is to resample.
    """

    name: str = "interrupt"
    remedy: Remedy | None = None
    restarts: int = 16
    meets_model: ClassVar[bool] = True

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """If the model fails, the solution says so in ``failed``, or in ``gave_up`` if the budget is spent."""
        remedies = longest = 0
        number = 0
        while True:
            result = await self._run(question, context, number)
            context.tally.add(judgement(result))
            remedies += result.ledger.remedies
            solution = _solution(result, remedies, is_spent=not context.model.left)
            longest = max(longest, solution.trace.tokens)
            number += 1
            answers = not solution.gave_up and question.answer(solution.trace) is not None
            if answers or solution.failed or number > self.restarts or not context.affords(longest):
                return solution

    async def _run(self, question: Question, context: StrategyContext, number: int) -> Result:
        async with run(
            context.model,
            question.prompt,
            monitors=self.remedied(question.watchers(acting=True)),
            sampling=context.greedy if self.is_greedy(number) else context.sampled(self.seed_of(number)),
            starts_in=question.starts_in,
            workers=context.workers,
        ) as running:
            return await running.drain()

    def remedied(self, monitors: Iterable[Monitor]) -> tuple[Monitor, ...]:
        """Return *monitors* with the remedy of this strategy, if it has one.

        A monitor that concludes keeps its own remedy. If both remedies give feedback, the monitor keeps its options of
        feedback.
        """
        return tuple(self._remedied(one) for one in monitors)

    def is_greedy(self, number: int) -> bool:
        return not number and not isinstance(self.remedy, Resample)

    def seed_of(self, number: int) -> int:
        """Return the number that is added to the seed for run *number* (from 0)."""
        # Each run has its own range of seeds: a resumed stream increments its seed.
        return 1000 * number

    def _remedied(self, monitor: Monitor) -> Monitor:
        if self.remedy is None or isinstance(monitor.remedy, Conclude):
            return monitor
        return replace(monitor, remedy=_fitting(self.remedy, monitor.remedy))


def _fitting(remedy: Remedy, own: Remedy) -> Remedy:
    fallback = own.otherwise if isinstance(own, Repair) else own
    if isinstance(remedy, Feedback):
        return fallback if isinstance(fallback, Feedback) else remedy
    if isinstance(remedy, Repair) and isinstance(remedy.otherwise, Feedback) and isinstance(fallback, Feedback):
        return Repair(otherwise=fallback)
    return remedy


def _solution(result: Result, remedies: int, *, is_spent: bool) -> Solution:
    trace = Trace((Chunk(result.text, tokens=result.ledger.kept),), result.finish_reason)
    match result:
        case Verified() | Unverified():
            return Solution(trace=trace, result=result, remedies=remedies)
        case Abstained(reason=reason):
            return Solution(trace=trace, result=result, remedies=remedies, gave_up=reason)
        case Failed(error=error):
            if is_spent:
                return Solution(trace=trace, result=result, remedies=remedies, gave_up="the budget is spent")
            return Solution(trace=trace, result=result, remedies=remedies, failed=error)
        case _:
            assert_never(result)
