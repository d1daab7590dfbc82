"""Judging a text by the monitors of its question: the real engine reads it again, as if it were being written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import anyio.lowlevel

from interwhen.models.base import Capabilities, Chunk, Completion, Model, Request, Stream
from interwhen.models.streams import GuardedStream
from interwhen.monitors import Fork, Monitor
from interwhen.results import Result
from interwhen.running import run
from interwhen.strategies.tracing import Trace
from interwhen.triggers import Answer
from interwhen.verdicts import Judged, Pass, Violation
from interwhen.worker_pool import WorkerPool

if TYPE_CHECKING:
    from interwhen.strategies.base import Question

_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the monitors say of a text."""

    result: Result
    passed: int = 0
    refuted: int = 0
    open: int = 0
    """Checks that came to no verdict of pass or violation."""

    @property
    def verified(self) -> bool:
        """Whether the engine verified it, and a check that knows the task judged the answer itself."""
        return self.result.answer_verified

    @property
    def rank(self) -> tuple[bool, int, float]:
        """Orders texts, the best one last: answer verified, then by how little was refuted, then by what passed."""
        return self.verified, -self.refuted, self.share

    @property
    def share(self) -> float:
        """The share of its checks that passed, by the rule of succession: a half where there are none."""
        return (self.passed + 1) / (self.passed + self.refuted + self.open + 2)


def judgement(result: Result) -> Judgement:
    """Count what *result* tells of its checks, those of text that was cut included."""
    passed = unclear = 0
    for check in result.checks:
        verdict = check.outcome.verdict if isinstance(check.outcome, Judged) else None
        passed += isinstance(verdict, Pass)
        unclear += not isinstance(verdict, Pass | Violation)
    return Judgement(result, passed, len(result.violations), unclear)


async def judge(
    question: Question, trace: Trace, model: Model, *, workers: WorkerPool | None = None, partial: bool = False
) -> Judgement:
    """Let the monitors of *question* look at *trace*; none of them acts. Forks are asked of *model*.

    With *partial* more is to come, so that monitors of the whole answer do not look.
    """
    monitors = question.watchers(acting=False)
    if partial:
        monitors = tuple(one for one in monitors if not isinstance(one.trigger, Answer))
    reader = _Rereading(trace, model)
    async with run(
        reader, question.prompt, monitors=monitors, starts_in=question.starts_in, workers=workers
    ) as rereading:
        return judgement(await rereading.drain())


def merit(question: Question, trace: Trace, found: Judgement) -> tuple[bool, bool, int, float]:
    """Order finished texts, the best one last: answer verified, with an answer, then as :attr:`Judgement.rank` says."""
    verified, unrefuted, share = found.rank
    return verified, question.answer(trace) is not None, unrefuted, share


def needs_tokens(monitors: Sequence[Monitor]) -> bool:
    """Tell whether judging by *monitors* asks the model."""
    return any(isinstance(monitor.extractor, Fork) for monitor in monitors)


class _Rereading:
    """A model that says what was said, and leaves forks to the one that said it."""

    def __init__(self, trace: Trace, model: Model) -> None:
        self._trace = trace
        self._model = model

    @property
    def name(self) -> str:
        return self._model.name

    async def capabilities(self) -> Capabilities:
        return replace(await self._model.capabilities(), resume="prefix", context_tokens=None)

    async def stream(self, _request: Request) -> Stream:
        reason = self._trace.finish_reason or "truncated"
        return _Again((*self._trace.chunks, Chunk("", tokens=0, finish_reason=reason)))

    async def complete(self, request: Request) -> Completion:
        return await self._model.complete(request)

    async def aclose(self) -> None:
        pass


class _Again(GuardedStream):
    def __init__(self, chunks: Sequence[Chunk]) -> None:
        super().__init__()
        self._left = iter(chunks)

    async def fetch(self) -> Sequence[Chunk]:
        await anyio.lowlevel.checkpoint()
        return tuple(islice(self._left, _AT_ONCE))
