"""Strategies that search step by step: samples of the next step, of which the verifiers keep the best."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

from interwhen.strategies.base import Question, Solution
from interwhen.strategies.judging import Judgement, merit
from interwhen.strategies.means import Means
from interwhen.strategies.tracing import Trace


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

    async def solve(self, question: Question, means: Means) -> Solution:
        """Answer with the best text that was found."""
        await means.need_prefix(self.name)
        search = _Search(self, question, means)
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
    def __init__(self, shape: StepSearch, question: Question, means: Means) -> None:
        self._shape = shape
        self._question = question
        self._means = means
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
                if self._means.affords(self._longest)
            ]
            grown += more or [beam]
        return self._best(grown)

    def is_short(self, forest: list[list[_Beam]]) -> bool:
        """Tell whether what is left must be kept to bring a beam to its end, or is less than a step."""
        meter = self._means.model
        reserve = meter.budget // 4 if all(beam.is_open for tree in forest for beam in tree) else 0
        return not self._means.affords(self._longest + reserve)

    async def finish(self, beam: _Beam) -> _Beam:
        """Return *beam* at its end, or as far as the budget goes."""
        trace = beam.trace
        if self._means.affords(1):
            trace = await self._means.write(self._question, self._means.greedy, trace)
        else:
            trace = Trace(trace.chunks, "length")
        return _Beam(trace, await self._means.judge(self._question, trace))

    async def _step(self, trace: Trace) -> _Beam:
        means = self._means
        sampling = means.sampled(next(self._numbers))
        grown = trace
        if means.affords(1):
            grown = await means.write(self._question, sampling, trace, until=self._shape.step)
        self._longest = max(self._longest, grown.tokens - trace.tokens)
        if grown.finish_reason is None and sampling.max_tokens is not None and grown.tokens >= sampling.max_tokens:
            grown = Trace(grown.chunks, "length")
        return _Beam(grown, await means.judge(self._question, grown, partial=grown.finish_reason is None))

    def _best(self, beams: Iterable[_Beam]) -> list[_Beam]:
        """Return the best of *beams*, each text once, the earlier one of equals."""
        apart: dict[tuple[str, bool], _Beam] = {}
        for beam in beams:
            apart.setdefault((beam.trace.text, beam.is_open), beam)
        return sorted(apart.values(), key=_Beam.rank, reverse=True)[: self._shape.width]
