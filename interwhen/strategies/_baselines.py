"""Baseline strategies: greedy, best-of-N, voting, revision, budget forcing and search over steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
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
"""The largest number of samples, rounds, trees or branches that an option of a shipped strategy may have."""


@dataclass(frozen=True, slots=True)
class Greedy:
    """The baseline strategy: it answers with one trace at temperature 0."""

    name: str = "greedy"
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """Answer with the text that the model writes at temperature 0.

        Raises :class:`~interwhen.ModelError` if the model fails.
        """
        return Solution(trace=await context.write(question, context.greedy))


@dataclass(frozen=True, slots=True)
class BestOf:
    """Best-of-N: draws at most ``samples`` samples, and answers with the one that the verifiers rate best.

    A further sample is drawn only if the budget still has the tokens of the longest sample so far. With
    ``until_verified``, the strategy stops at the first sample with a verified answer.
    """

    name: str = "best-of-n"
    samples: int = MOST_SAMPLES
    until_verified: bool = False
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """Draw and judge samples, and answer with the best one, the earliest of equally good ones.

        Raises :class:`~interwhen.ModelError` if the model fails at the first sample.
        """
        return await best_sample(
            question, context, self.samples, lambda _number, _trace, found: self.until_verified and found.verified
        )


async def best_sample(
    question: Question, context: StrategyContext, most: int, judged: Callable[[int, Trace, Judgement], bool]
) -> Solution:
    """Draw and judge at most *most* samples, as the budget allows, and return the one that the verifiers rate best.

    *judged* is called with the number of each sample (from 0), its trace and its judgement. If it returns true, no
    further sample is drawn. Raises :class:`~interwhen.ModelError` if the model fails at the first sample; a later
    failure ends the drawing.
    """
    best: tuple[Trace, Judgement] | None = None
    longest = 0
    for number in range(most):
        if number and not context.affords(longest):
            break
        trace = await context.sample(question, number)
        if trace is None:
            break
        longest = max(longest, trace.tokens)
        found = await context.judge(question, trace)
        if best is None or merit(question, trace, found) > merit(question, *best):
            best = trace, found
        if judged(number, trace, found):
            break
    assert best is not None  # the first sample is always drawn
    return Solution(trace=best[0], result=best[1].result)


@dataclass(frozen=True, slots=True)
class Vote:
    """Voting: draws at most ``samples`` samples, as the budget allows, and gives the answer with the most votes.

    ``weighted="not"`` is self-consistency (Wang et al. 2022, arXiv 2203.11171). With ``"by verifiers"`` a sample with a
    verified answer weighs 2, and another one the estimated share of its checks that pass (:attr:`Judgement.share`), or
    a tenth of that if something was refuted (after Li et al. 2022, arXiv 2206.02336).
    """

    name: str = "self-consistency"
    samples: int = MOST_SAMPLES
    weighted: Literal["not", "by verifiers"] = "not"
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """Draw samples, and return the one that :func:`elected` chooses.

        Raises :class:`~interwhen.ModelError` if the model fails at the first sample; a later failure ends the drawing.
        """
        drawn: list[_Voter] = []
        while len(drawn) < self.samples:
            if drawn and not context.affords(max(one.trace.tokens for one in drawn)):
                break
            trace = await context.sample(question, len(drawn))
            if trace is None:
                break
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
    """Return the voter (a sample with its answer) with the largest weight among those that give the winning answer.

    The winning answer has the largest total weight. Of equals, the earliest wins, as it does if no voter has an answer.
    """
    weights: defaultdict[str, float] = defaultdict(float)
    for one in voters:
        if one.answer is not None:
            weights[one.answer] += one.weight
    if not weights:
        return voters[0]
    most = max(weights.values())
    # If answers have equal weights, the first one wins, so that the result is the same on each machine.
    answer = next(one.answer for one in voters if one.answer is not None and weights[one.answer] == most)
    return max((one for one in voters if one.answer == answer), key=lambda one: one.weight)


# Sequential revision: judge a complete text, and ask again with feedback.

_ASK = "Work it out again from the start, and give the whole solution."
_MOST = 3
"""The largest number of violations that one feedback mentions."""


@dataclass(frozen=True, slots=True)
class Revision:
    """Asks again with feedback until a text is finished, has an answer and no refuted claim; at most ``rounds`` texts.

    (LLM-Modulo: Kambhampati et al. 2024, arXiv 2402.01817.) The feedback has the words of a supervised run, and the
    level that its monitor sets. With ``tell=False`` there is no feedback. The first text is greedy. The strategy
    abstains if no text within the budget succeeds.
    """

    name: str = "revision"
    rounds: int = 16
    tell: bool = True
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """Ask until a text is finished, has an answer and is not refuted, and answer with it; or give up in the end.

        Raises :class:`~interwhen.ModelError` if the model fails, or if the question alone exceeds the context window.
        """
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
                return Solution(trace=trace, result=found.result, given=said)
            if self.tell:
                said = (*said, criticism(question, found, template))
                prompt = asked_again(question, trace, said[-1])
        return Solution(trace=trace, gave_up="each text was refuted, or gave no answer")


def criticism(question: Question, found: Judgement, template: FeedbackTemplate) -> str:
    """Return feedback about the first three violations in *found*, with the request to answer again.

    The level of each monitor limits what its part reveals. Without a violation, it says that there is no answer.
    """
    levels = {monitor.name: monitor.level for monitor in question.watchers(acting=False)}
    lines = [
        template.render(levels[one.monitor], Violation(why=one.why, witness=one.witness), one.quote)
        for one in found.result.violations[:_MOST]
    ]
    return "\n".join([*dict.fromkeys(lines), _ASK] if lines else ["There is no answer.", _ASK])


def asked_again(question: Question, trace: Trace, said: str) -> Prompt:
    """Return a prompt with the question, the text of *trace* as the reply of the model, and the feedback *said*."""
    if isinstance(question.prompt, str):
        return f"{question.prompt}{trace.text}\n\n{said}\n\n"
    return (*question.prompt, Message("assistant", trace.text), Message("user", said))


# Budget forcing: make a model think longer if it stops too early, and answer if it thinks too long.


@dataclass(frozen=True, slots=True)
class BudgetForcing:
    """Makes the model think longer or shorter, at temperature 0 (Muennighoff et al. 2025, arXiv 2501.19393).

    If the thinking ends before ``minimum`` tokens, its end is removed and ``wait`` is appended, at most ``waits``
    times. At ``maximum`` tokens, open thinking is closed, and ``lead`` begins the answer. For a model without thinking
    tags, all of its text counts as thinking.
    """

    name: str = "budget-forcing"
    minimum: int | None = None
    """The number of thinking tokens below which ``wait`` is appended. ``None``: it is appended as often as ``waits``,
    ``maximum`` and the budget allow."""
    maximum: int | None = None
    """The largest number of thinking tokens. ``None``: three quarters of the token limit of a trace, or of the budget
    if that is less."""
    waits: int = 2
    wait: str = "\nWait,"
    lead: str = "\nAnswer:"
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """Generate a trace whose thinking is made longer or shorter, let the model answer, and return the trace.

        Raises :class:`UsageError` if the model cannot continue a partial text, and :class:`~interwhen.ModelError` if it
        fails.
        """
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
        """Let the model finish *trace*. After a token limit, close the thinking and write ``lead`` first."""
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
    """Return *trace* up to the end of its thinking: before the tag *closing*, or to the end of the reasoning phase."""
    text = trace.text
    end = text.find(closing) if closing else -1
    if end < 0:
        end = _end_of_phase(trace)
    return trace.cut(len(text[:end].rstrip()))


def _end_of_phase(trace: Trace) -> int:
    """Return the offset at which the reasoning ends, if the server marks it; otherwise the length of the text."""
    end = reasoned = 0
    for chunk in trace.chunks:
        end += len(chunk.text)
        if chunk.phase == "reasoning":
            reasoned = end
    return reasoned or end


def _has_thought(trace: Trace, question: Question) -> bool:
    return question.starts_in == "reasoning" or "<think" in trace.text


# Search over steps: sample several next steps, and keep those that the verifiers rate best.


@dataclass(frozen=True, slots=True)
class StepSearch:
    """Beam search over steps, in one or several independent trees.

    A beam is a partial text. Each round samples ``expansions`` next steps (lines) for each unfinished beam, as the
    budget allows, and keeps in each tree the ``width`` beams that the verifiers rate best. One tree is step-level beam
    search (Snell et al. 2024, arXiv 2408.03314); several trees with ``width=1`` are diverse verifier tree search
    (Beeching, Tunstall, Rush 2024). The strategy answers with the best finished text, also if it is refuted.
    """

    name: str = "step-beam"
    trees: int = 1
    width: int = 2
    expansions: int = 2
    step: str = "\n"
    """The text that ends a step."""
    meets_model: ClassVar[bool] = False

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """Grow partial texts step by step, and answer with the best finished text.

        Raises :class:`UsageError` if the model cannot continue a partial text, and :class:`~interwhen.ModelError` if it
        fails.
        """
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
        """The length of the longest step so far, in tokens."""

    async def plant(self) -> list[_Beam]:
        """Start a tree: sample ``width`` times ``expansions`` first steps, if affordable, and return the best."""
        found = [await self._step(Trace()) for _ in range(self._shape.width * self._shape.expansions)]
        return self._best(found)

    async def grow(self, tree: list[_Beam]) -> list[_Beam]:
        """Extend the open beams of *tree* by one step, as far as the budget allows, and return the best beams."""
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
        """Tell whether less is left than the longest step plus, until a beam is finished, a quarter of the budget."""
        meter = self._context.model
        reserve = meter.budget // 4 if all(beam.is_open for tree in forest for beam in tree) else 0
        return not self._context.affords(self._longest + reserve)

    async def finish(self, beam: _Beam) -> _Beam:
        """Let the model write the partial text *beam* to its end at temperature 0, as far as the budget allows."""
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
        """Return the best of *beams*, at most ``width``, without duplicates. Of equals, the earlier wins."""
        apart: dict[tuple[str, bool], _Beam] = {}
        for beam in beams:
            apart.setdefault((beam.trace.text, beam.is_open), beam)
        return sorted(apart.values(), key=_Beam.rank, reverse=True)[: self._shape.width]
