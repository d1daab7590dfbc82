"""What a strategy is: one Protocol, and the frozen records that go in and come out."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from interwhen._run import run
from interwhen._types.errors import UsageError
from interwhen._types.extensions import WorkerPool
from interwhen._types.ledger import Ledger
from interwhen._types.models import Model, Prompt, Sampling
from interwhen._types.monitors import Fork, Monitor
from interwhen._types.results import Result
from interwhen._types.segments import Phase
from interwhen._types.triggers import Answer
from interwhen._types.verdicts import Judged, Pass, Scope, Violation
from interwhen.models._metered import MeteredModel
from interwhen.models._replay import Recording, ReplayModel
from interwhen.registry import MonitorSpec, load_monitor, load_monitors
from interwhen.strategies._traces import Trace, go_on

Claimed = Literal["verified", "unverified", "abstained", "failed"]
"""What a strategy claims of its answer. ``verified``: the engine verified the very text, and the outcome's ``scope``
says whether that covers the answer; ``failed``: the model did."""

Reader: TypeAlias = Callable[[str], str | None]
"""From the text of a trace to the answer it gives, in a normal form that can be counted; ``None``: it gives none."""

Watching: TypeAlias = Callable[[bool], Iterable[MonitorSpec]]
"""Makes the monitors of one run; it is told whether they will act, or only observe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a strategy is asked. It holds nothing that knows the right answer."""

    name: str
    """Tells it from the others of its task."""
    prompt: Prompt
    read: Reader
    monitors: tuple[MonitorSpec, ...] | Watching = ()
    """What judges a step, a finished text and a run; or what makes it, where monitors remember their trace."""
    starts_in: Phase = "answer"

    def watchers(self, *, acting: bool) -> tuple[Monitor, ...]:
        """Return the monitors for one run, made anew; where they are not to be *acting*, they only observe."""
        specs = self.monitors(acting) if callable(self.monitors) else self.monitors
        monitors = load_monitors([_named(one) if isinstance(one, str) else one for one in specs])
        return monitors if acting else tuple(replace(one, delivery="observe") for one in monitors)

    def answer(self, trace: Trace) -> str | None:
        """Return the answer that *trace* gives. One that was cut short in its last line has not given what is there."""
        return self.read(trace.said)


@lru_cache(maxsize=64)
def _named(spec: str) -> Monitor:
    # A search judges at each step, and to look through what is installed takes longer than to judge.
    return load_monitor(spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """What a strategy settles for."""

    trace: Trace = field(default_factory=Trace)
    """The whole trace it answers with, or the best it had when it gave up."""
    result: Result | None = None
    """What the engine said of this very text; ``None``: it was not asked."""
    gave_up: str = ""
    """Why it gives no answer; empty: it gives one."""
    failed: str = ""
    """What was wrong with the model, where that ended it."""
    remedies: int = 0
    """Interrupts that led to a rewind or an insertion, in all of its runs."""
    told: tuple[str, ...] = ()
    """What was said to the model on the way to this text, besides what a run inserted."""


@runtime_checkable
class Strategy(Protocol):
    """A way of spending tokens on a question."""

    @property
    def name(self) -> str:
        """A name for tables and for ``--strategies``."""
        ...

    @property
    def meets_model(self) -> bool:
        """Whether its cost depends on when text arrives, so that it must not be given text that was generated before.

        False for a strategy that reads each stream to its end, or up to a place that the text alone decides.
        """
        ...

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """Answer *question* with the resources of *context*; once these are spent, return the best answer so far.

        Ask only ``context.model``, judge only with ``context.judge``, take random numbers only from ``context``: then
        equal seeds give equal solutions.
        """
        ...


class CheckCounts(msgspec.Struct, frozen=True):
    """How the checks went that a strategy paid for, on whatever text: those of a run, of steps, of finished texts."""

    passed: int = 0
    refuted: int = 0
    open: int = 0
    """Came to no verdict of pass or violation."""

    @property
    def could_act(self) -> bool:
        """Whether a verifier had anything to say."""
        return self.passed + self.refuted > 0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one strategy on one question: what it claims, and all it cost."""

    strategy: str
    question: str
    budget: int
    """The most tokens that might be generated."""
    seed: int
    status: Claimed
    answer: str | None
    """The answer as it was read; ``None``: there is none in the text, or none is given."""
    text: str
    ledger: Ledger
    """All tokens: ``kept`` stand in ``text``; what other samples, branches and cut text cost is ``discarded``."""
    seconds: float
    """Wall time, as if all text had been generated for this attempt alone."""
    checks: CheckCounts = CheckCounts()
    uncounted: int = 0
    """Requests whose prompt the server did not count, as they were cut short; ``prompt_tokens`` leaves them out."""
    handed: bool = False
    """Whether the answer stands in what was said to the model: in a repair, in feedback, or in ``Solution.told``."""
    why: str = ""
    """Why it gave up or failed."""
    scope: Scope | None = None
    """What the certificate covers; ``None``: it is not verified."""

    @property
    def answer_verified(self) -> bool:
        """Whether a check that knows the task judged the answer itself: only this counts as a right answer."""
        return self.status == "verified" and self.scope == "answer"

    @property
    def answered(self) -> bool:
        """Whether an answer was given."""
        return self.answer is not None and self.status in {"verified", "unverified"}


# What a strategy works with: a metered model, a judge, a way to sample, and chance.


@dataclass(slots=True)
class CheckTally:
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
class StrategyContext:
    """What a strategy may use on one question, and nothing else."""

    model: MeteredModel
    """Asks the model and counts: ``model.left`` is what may still be spent."""
    sampling: Sampling
    """How a sample is drawn; ``max_tokens`` is the most of one trace."""
    seed: int
    workers: WorkerPool | None = None
    tally: CheckTally = field(default_factory=CheckTally)

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


# Judging a text by the monitors of its question: the real engine reads it again, as if it were being written.


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
    able = replace(await model.capabilities(), resume="prefix", context_tokens=None)
    recording = Recording.untimed(trace.chunks, finish_reason=trace.finish_reason or "truncated")
    reader = ReplayModel([recording], forks=model, capabilities=able, name=model.name)
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
