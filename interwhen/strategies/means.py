"""What a strategy works with: a metered model, a judge, a way to sample, and chance."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from interwhen.errors import UsageError
from interwhen.models.base import Prompt, Sampling
from interwhen.strategies.judging import Judgement, judge
from interwhen.strategies.spending import Meter
from interwhen.strategies.tracing import Trace, go_on
from interwhen.worker_pool import WorkerPool

if TYPE_CHECKING:
    from interwhen.strategies.base import Question


@dataclass(slots=True)
class Tally:
    """How the checks went so far."""

    passed: int = 0
    refuted: int = 0
    open: int = 0

    def add(self, one: Judgement) -> None:
        """Count in the checks of *one*."""
        self.passed += one.passed
        self.refuted += one.refuted
        self.open += one.open


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a strategy may use on one question, and nothing else."""

    model: Meter
    """Asks the model and counts: ``model.left`` is what may still be spent."""
    sampling: Sampling
    """How a sample is drawn; ``max_tokens`` is the most of one trace."""
    seed: int
    workers: WorkerPool | None = None
    tally: Tally = field(default_factory=Tally)

    @property
    def rng(self) -> random.Random:
        """A source of chance that depends on the seed alone; each call gives a new one at its start."""
        return random.Random(self.seed)  # noqa: S311  (sampling, not secrets)

    @property
    def greedy(self) -> Sampling:
        """How the likeliest text is had."""
        return replace(self.sampling, temperature=0.0, seed=self.seed)

    def sampled(self, number: int) -> Sampling:
        """Return how sample *number* is drawn: equal numbers draw equal samples, in every strategy."""
        return replace(self.sampling, seed=self.seed + number)

    def affords(self, tokens: int) -> bool:
        """Tell whether *tokens* are left, and at least one."""
        return self.model.left >= max(tokens, 1)

    async def need_prefix(self, strategy: str) -> None:
        """Raise :class:`UsageError` where the model cannot go on in the middle of a text."""
        if (await self.model.capabilities()).resume == "turn":
            raise UsageError(
                f"strategy {strategy!r} goes on from the middle of a text, which {self.model.name!r} cannot: use an "
                "endpoint that continues a prefix or prefills the assistant's turn, or leave the strategy out"
            )

    async def write(
        self, question: Question, sampling: Sampling, trace: Trace | None = None, *, until: str = ""
    ) -> Trace:
        """Let the model write a trace, or go on with *trace* while the most of one is not reached."""
        begun = trace or Trace()
        most = sampling.max_tokens
        room = None if most is None else max(most - begun.tokens, 1)
        return await go_on(self.model, question.prompt, begun, sampling, until=until, most=room)

    async def write_to(self, prompt: Prompt, sampling: Sampling) -> Trace:
        """Let the model answer *prompt* whole."""
        return await go_on(self.model, prompt, Trace(), sampling)

    async def judge(self, question: Question, trace: Trace, *, partial: bool = False) -> Judgement:
        """Let the monitors of *question* look at *trace*, and count their checks."""
        found = await judge(question, trace, self.model, workers=self.workers, partial=partial)
        self.tally.add(found)
        return found
