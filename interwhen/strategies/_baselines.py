"""Strategies that draw whole traces and choose: the likeliest one, the best of many, what most of them say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import ClassVar, Literal

from interwhen._types.errors import ContextOverflow
from interwhen._types.models import Message, Prompt
from interwhen._types.remedies import FeedbackTemplate
from interwhen._types.verdicts import Violation
from interwhen.strategies._strategy import Judgement, Question, Solution, StrategyContext, merit
from interwhen.strategies._traces import Trace

MOST_SAMPLES = 64
"""Samples of one question, whatever the budget."""


@dataclass(frozen=True, slots=True)
class Greedy:
    """One trace at temperature 0: the baseline."""

    name: str = "greedy"
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """Answer with the likeliest trace."""
        return Solution(trace=await context.write(question, context.greedy))


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

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """Answer with the best sample, the first one of equals."""
        best: tuple[Trace, Judgement] | None = None
        longest = 0
        for number in range(self.samples):
            if number and not context.affords(longest):
                break
            trace = await context.write(question, context.sampled(number))
            longest = max(longest, trace.tokens)
            found = await context.judge(question, trace)
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

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """Answer with a sample that gives the answer with the most votes: the best one of them, or else the first."""
        drawn: list[_Voter] = []
        while len(drawn) < self.samples:
            if drawn and not context.affords(max(one.trace.tokens for one in drawn)):
                break
            trace = await context.write(question, context.sampled(len(drawn)))
            found = await context.judge(question, trace) if self.weighted != "not" else None
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


# Sequential revision: a whole text is judged, and asked for again with what is wrong with it.

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

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """Answer with the first text that has an answer and is not refuted."""
        template = getattr(context.model, "feedback", None) or FeedbackTemplate()
        prompt, longest = question.prompt, 0
        trace, said = Trace(), tuple[str, ...]()
        for number in range(self.rounds):
            if number and not context.affords(longest):
                break
            sampling = context.sampled(number) if number else context.greedy
            try:
                trace = await context.write_to(prompt, sampling)
            except ContextOverflow as error:
                if not number:
                    raise
                return Solution(trace=trace, gave_up=str(error))
            longest = max(longest, trace.tokens)
            found = await context.judge(question, trace)
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


# Budget forcing: a model that is done too early is told to wait, and one that goes on too long to answer.


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

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """Answer with the trace at its forced length."""
        await context.need_prefix(self.name)
        tags = (await context.model.capabilities()).think_tags
        closing = tags[1] if tags else ""
        maximum = self._maximum(context)
        thinking = replace(context.greedy, max_tokens=maximum)
        trace = Trace()
        for waited in range(self.waits + 1):
            trace = await context.write(question, thinking, trace, until=closing)
            if trace.tokens >= maximum or not context.affords(2):
                break
            if waited == self.waits or (self.minimum is not None and trace.tokens >= self.minimum):
                break
            trace = _thought(trace, closing).write(self.wait)
        return Solution(trace=await self._answered(question, context, trace, closing))

    async def _answered(self, question: Question, context: StrategyContext, trace: Trace, closing: str) -> Trace:
        """Bring *trace* to its answer."""
        if trace.finish_reason not in (None, "length") or not context.affords(1):
            return trace if trace.finish_reason is not None else Trace(trace.chunks, "length")
        if trace.finish_reason == "length":
            is_thinking = bool(closing) and closing not in trace.text and _has_thought(trace, question)
            trace = trace.write(f"\n{closing}{self.lead}" if is_thinking else self.lead)
        most = trace.tokens + context.model.left
        return await context.write(question, replace(context.greedy, max_tokens=most), trace)

    def _maximum(self, context: StrategyContext) -> int:
        if self.maximum is not None:
            return self.maximum
        whole = context.model.budget
        if context.sampling.max_tokens is not None:
            whole = min(whole, context.sampling.max_tokens)
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


# Strategies that search step by step: samples of the next step, of which the verifiers keep the best.


@dataclass(frozen=True, slots=True)
class StepSearch:
    """Beam search over steps, in one tree or in several that know nothing of each other.

    Each round samples ``expansions`` next steps (lines) of each beam, and keeps the ``width`` best texts of each tree:
    those in which the verifiers refute least. With one tree it is step-level beam search (Snell et al. 2024, arXiv
    2408.03314), with ``width=1`` and several trees diverse verifier tree search (Beeching, Tunstall, Rush 2024). A
    quarter of the budget is left to bring the best beam to its end, if none has come to it by then. It answers with the
    best text that is at its end, and never abstains.
    """

    name: str = "step-beam"
    trees: int = 1
    width: int = 2
    expansions: int = 2
    step: str = "\n"
    """What ends a step."""
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """Answer with the best text that was found."""
        await context.need_prefix(self.name)
        search = _Search(self, question, context)
        forest = [await search.plant() for _ in range(self.trees)]
        while any(beam.is_open for tree in forest for beam in tree):
            if search.is_short(forest):
                break
            forest = [await search.grow(tree) for tree in forest]
        beams = [beam for tree in forest for beam in tree]
        if all(beam.is_open for beam in beams):
            beams.append(await search.finish(max(beams, key=_Beam.rank)))
        ended = [beam for beam in beams if not beam.is_open]
        best = max(ended, key=lambda beam: merit(question, beam.trace, beam.found))
        return Solution(trace=best.trace, result=best.found.result)


@dataclass(frozen=True, slots=True)
class _Beam:
    trace: Trace
    found: Judgement

    @property
    def is_open(self) -> bool:
        return self.trace.finish_reason is None

    def rank(self) -> tuple[int, bool, float]:
        return -self.found.refuted, self.found.verified, self.found.share


class _Search:
    def __init__(self, shape: StepSearch, question: Question, context: StrategyContext) -> None:
        self._shape = shape
        self._question = question
        self._context = context
        self._numbers = count()
        self._longest = 1
        """The most tokens that a step has cost."""

    async def plant(self) -> list[_Beam]:
        """Return the beams behind the first step."""
        found = [await self._step(Trace()) for _ in range(self._shape.width * self._shape.expansions)]
        return self._best(found)

    async def grow(self, tree: list[_Beam]) -> list[_Beam]:
        """Return the best of what the beams of *tree* come to with one more step, as far as that can be afforded."""
        grown = [beam for beam in tree if not beam.is_open]
        for beam in tree:
            if not beam.is_open:
                continue
            more = [
                await self._step(beam.trace)
                for _ in range(self._shape.expansions)
                if self._context.affords(self._longest)
            ]
            grown += more or [beam]
        return self._best(grown)

    def is_short(self, forest: list[list[_Beam]]) -> bool:
        """Tell whether what is left must be kept to bring a beam to its end, or is less than a step."""
        meter = self._context.model
        reserve = meter.budget // 4 if all(beam.is_open for tree in forest for beam in tree) else 0
        return not self._context.affords(self._longest + reserve)

    async def finish(self, beam: _Beam) -> _Beam:
        """Return *beam* at its end, or as far as the budget goes."""
        trace = beam.trace
        if self._context.affords(1):
            trace = await self._context.write(self._question, self._context.greedy, trace)
        else:
            trace = Trace(trace.chunks, "length")
        return _Beam(trace, await self._context.judge(self._question, trace))

    async def _step(self, trace: Trace) -> _Beam:
        context = self._context
        sampling = context.sampled(next(self._numbers))
        grown = trace
        if context.affords(1):
            grown = await context.write(self._question, sampling, trace, until=self._shape.step)
        self._longest = max(self._longest, grown.tokens - trace.tokens)
        if grown.finish_reason is None and sampling.max_tokens is not None and grown.tokens >= sampling.max_tokens:
            grown = Trace(grown.chunks, "length")
        return _Beam(grown, await context.judge(self._question, grown, partial=grown.finish_reason is None))

    def _best(self, beams: Iterable[_Beam]) -> list[_Beam]:
        """Return the best of *beams*, each text once, the earlier one of equals."""
        apart: dict[tuple[str, bool], _Beam] = {}
        for beam in beams:
            apart.setdefault((beam.trace.text, beam.is_open), beam)
        return sorted(apart.values(), key=_Beam.rank, reverse=True)[: self._shape.width]
