"""The interface of a strategy: one Protocol, and the records for its input and output."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from interwhen._run.run import run
from interwhen._types.errors import ModelError
from interwhen._types.extensions import WorkerPool
from interwhen._types.ledger import Ledger
from interwhen._types.log import log_warning
from interwhen._types.models import FinishReason, Model, Prompt, Sampling
from interwhen._types.monitors import Fork, Monitor
from interwhen._types.results import Result
from interwhen._types.segments import Phase
from interwhen._types.strategies import BudgetedModel
from interwhen._types.triggers import Answer
from interwhen._types.verdicts import Judged, Pass, Scope, Violation
from interwhen.models._replay import Recording, ReplayModel
from interwhen.registry import MonitorSpec, load_monitor, load_monitors
from interwhen.strategies._answers import without_open_thoughts
from interwhen.strategies._traces import Trace, go_on

Claimed = Literal["verified", "unverified", "abstained", "failed"]
"""The status of an answer. ``verified``: there is a certificate for this text (see ``Outcome.scope``); ``unverified``:
there is an answer without a certificate; ``abstained``: there is no answer; ``failed``: the model failed."""

Reader: TypeAlias = Callable[[str], str | None]
"""A function that takes the text of a trace and returns the answer in it, in a form that can be compared; ``None`` if
there is no answer."""

Watching: TypeAlias = Callable[[bool], Iterable[MonitorSpec]]
"""A function that makes the monitors of one run. Its argument is True if they act, False if they only observe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question for a strategy. It does not contain the correct answer."""

    name: str
    """Its name, unique within its task."""
    prompt: Prompt
    """The text or the chat that the model gets."""
    read: Reader
    """Finds the answer in a text, which may have ended reasoning in it; ``None`` if there is no answer."""
    monitors: tuple[MonitorSpec, ...] | Watching = ()
    """The monitors for steps, finished texts and runs. Monitors that keep state of a trace need a function, which makes
    new ones for each run."""
    starts_in: Phase = "answer"
    """The phase of the first text of a trace, unless the model or the server marks another one."""

    def watchers(self, *, acting: bool) -> tuple[Monitor, ...]:
        """Return the monitors for one run. If *acting* is false, they only observe.

        Raises :class:`~interwhen.registry.PluginError` if a monitor cannot be loaded, and
        :class:`~interwhen.UsageError` if two have the same name.
        """
        specs = self.monitors(acting) if callable(self.monitors) else self.monitors
        monitors = load_monitors([_named(one) if isinstance(one, str) else one for one in specs])
        return monitors if acting else tuple(replace(one, delivery="observe") for one in monitors)

    def answer(self, trace: Trace) -> str | None:
        """Return the answer of *trace*; ``None`` if it has none.

        ``read`` gets the text without an incomplete last line, unless the model has ended the text, and without
        reasoning that has not ended: from a ``<think>`` that is not closed, or all of a trace of nothing but reasoning.
        """
        phases = {chunk.phase for chunk in trace.chunks if chunk.text}
        if phases == {"reasoning"} and "</think>" not in trace.text:
            return None
        return self.read(without_open_thoughts(trace.said))


@lru_cache(maxsize=64)
def _named(spec: str) -> Monitor:
    # Cached: a search judges each step, and finding the plug-in takes longer than judging.
    return load_monitor(spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """What a strategy returns for one question: its text, or the reason why it gives none."""

    trace: Trace = field(default_factory=Trace)
    """The trace with the answer. If the strategy gave up, its last trace, which may be empty."""
    result: Result | None = None
    """The result of the engine for this text; ``None`` if the strategy has none."""
    gave_up: str = ""
    """The reason why the strategy gives no answer; empty if it gives one."""
    failed: str = ""
    """The error of the model that ended the attempt; empty if there was none."""
    remedies: int = 0
    """The number of remedies after which the model continued, in all runs of the strategy."""
    given: tuple[str, ...] = ()
    """Texts of the strategy that may tell the model the answer: feedback. Insertions of a run are not included."""


@runtime_checkable
class Strategy(Protocol):
    """A way to answer questions with a model: it decides what is generated, and which text is the answer."""

    @property
    def name(self) -> str:
        """The name of the strategy in tables, and for the option ``--strategies``."""
        ...

    @property
    def meets_model(self) -> bool:
        """Whether the cost of this strategy depends on the time at which text arrives.

        If so, it must not share text with other attempts.
        """
        ...

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        """Answer *question* with the resources of *context*. When these are used up, return the best answer so far.

        Use only the model, the judge and the random numbers of *context*. May raise
        :class:`~interwhen.models.ModelError`, and :class:`~interwhen.UsageError` if the strategy cannot work with this
        model.
        """
        ...


class CheckCounts(msgspec.Struct):
    """Counts all checks in one attempt: on runs, on steps and on finished texts."""

    passed: int = 0
    refuted: int = 0
    open: int = 0
    """Checks that ended without a pass and without a violation."""

    @property
    def could_act(self) -> bool:
        return self.passed + self.refuted > 0

    def add(self, one: Judgement) -> None:
        self.passed += one.passed
        self.refuted += one.refuted
        self.open += one.open


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one strategy on one question, with its cost."""

    strategy: str
    question: str
    budget: int
    """In tokens, as :func:`~interwhen.strategies.attempt` counts it."""
    seed: int
    """The seed of the comparison."""
    status: Claimed
    answer: str | None
    """The answer in its normal form; ``None`` if the text has none, or the strategy abstained or failed."""
    text: str
    ledger: Ledger
    """The tokens: ``kept`` in ``text``, ``discarded`` in other samples, branches and cut text."""
    seconds: float
    """The time of the attempt by its clock. In a comparison this includes the time that shared text saved."""
    checks: CheckCounts = msgspec.field(default_factory=CheckCounts)
    uncounted: int = 0
    """The number of requests whose prompt the server did not count. Their prompts are estimated, and not in
    ``ledger.prompt_tokens``."""
    warm: int = 0
    """The cached tokens of the first prompt that the server counted: earlier requests left them in its cache."""
    handed: bool = False
    """Whether the answer occurs in text that was given to the model: a repair, feedback, or ``Solution.given``."""
    why: str = ""
    """What failed, or why the strategy abstained; empty if there is an answer."""
    scope: Scope | None = None
    """The scope of the certificate; ``None`` if the text is not verified."""

    @property
    def answer_verified(self) -> bool:
        """Whether a check that knows the task verified the answer itself. Checks of steps alone do not."""
        return self.status == "verified" and self.scope == "answer"

    @property
    def answered(self) -> bool:
        return self.answer is not None and self.status in {"verified", "unverified"}


# The resources of a strategy: a metered model, a judge, sampling and random numbers.


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyContext:
    """The resources that a strategy may use on one question."""

    model: BudgetedModel
    """Counts tokens: ``model.left`` is the rest of the budget."""
    sampling: Sampling
    """The settings for samples; ``max_tokens`` limits one trace."""
    seed: int
    """The seed of the question (see `seed_of`)."""
    workers: WorkerPool | None = None
    """The workers that run the checks; ``None``: each run starts its own."""
    tally: CheckCounts = field(default_factory=CheckCounts)
    """The counts of the checks so far."""

    @property
    def rng(self) -> random.Random:
        """A new random number generator that depends only on the seed."""
        return random.Random(self.seed)  # noqa: S311  (sampling, not secrets)

    @property
    def greedy(self) -> Sampling:
        """The sampling settings for greedy text: temperature 0 and the seed of the question."""
        return replace(self.sampling, temperature=0.0, seed=self.seed)

    def sampled(self, number: int) -> Sampling:
        """Return the settings for sample *number* (from 0), whose seed is that of the question plus *number*."""
        return replace(self.sampling, seed=self.seed + number)

    def affords(self, tokens: int) -> bool:
        """Return whether at least *tokens* tokens, and at least one, are left in the budget."""
        return self.model.left >= max(tokens, 1)

    async def write(
        self, question: Question, sampling: Sampling, trace: Trace | None = None, *, until: str = ""
    ) -> Trace:
        """Let the model write a trace for *question*, or continue *trace*, and return it.

        With *until*, stop after that text, unless only white space comes before it. ``sampling.max_tokens`` limits the
        whole trace, but at least one new token is asked for. Raises :class:`~interwhen.models.ModelError` if the model
        fails, or no token is left.
        """
        begun = trace or Trace()
        most = sampling.max_tokens
        room = None if most is None else max(most - begun.tokens, 1)
        return await go_on(self.model, question.prompt, begun, sampling, until=until, most=room)

    async def sample(self, question: Question, number: int) -> Trace | None:
        """Draw the sample of *question* with the number *number* (from 0), and return it.

        If the model fails, number 0 raises the :class:`~interwhen.models.ModelError`; a later number logs a warning and
        returns ``None``.
        """
        try:
            return await self.write(question, self.sampled(number))
        except ModelError as error:
            if not number:
                raise
            # What the earlier samples cost is spent: an answer with them is worth more than an error.
            log_warning("strategy.sample_failed", number=number, error=type(error).__name__)
            return None

    async def judge(self, question: Question, trace: Trace, *, partial: bool = False) -> Judgement:
        """Let the monitors of *question* judge *trace*, and add the counts of their checks to ``tally``.

        With *partial*, the text is unfinished, and monitors with the trigger ``Answer`` are left out.
        """
        judged = await judge(question, trace, self.model, workers=self.workers, partial=partial)
        self.tally.add(judged)
        return judged


# Judges a text with the monitors of its question: the engine streams it again, as if a model were writing it.


@dataclass(frozen=True, slots=True)
class Judgement:
    """How monitors judged a text: the result of the engine, and the counts of passed, refuted and open checks."""

    result: Result
    passed: int = 0
    """Checks that passed."""
    refuted: int = 0
    """Violations."""
    open: int = 0
    """Checks that ended without a pass and without a violation."""

    @property
    def verified(self) -> bool:
        """Whether the answer itself is verified, and not only its steps."""
        return self.result.answer_verified

    @property
    def rank(self) -> tuple[bool, int, float]:
        """A sort key: the better a text, the larger the key.

        It compares whether the answer is verified, then the number of violations, then :attr:`share`.
        """
        return self.verified, -self.refuted, self.share

    @property
    def share(self) -> float:
        """The estimated share of checks that pass, by the rule of succession: 1/2 if there were no checks."""
        return (self.passed + 1) / (self.passed + self.refuted + self.open + 2)


def judgement(result: Result) -> Judgement:
    # Violations count also if their text was cut away.
    passed = unclear = 0
    for check in result.checks:
        verdict = check.outcome.verdict if isinstance(check.outcome, Judged) else None
        passed += isinstance(verdict, Pass)
        unclear += not isinstance(verdict, Pass | Violation)
    return Judgement(result, passed, len(result.violations), unclear)


async def judge(
    question: Question, trace: Trace, model: Model, *, workers: WorkerPool | None = None, partial: bool = False
) -> Judgement:
    """Let the monitors of *question* judge *trace*. They only observe, and *model* answers their forks.

    Raises :class:`~interwhen.registry.PluginError` or :class:`~interwhen.UsageError` if the monitors cannot be loaded.
    """
    monitors = question.watchers(acting=False)
    if partial:
        monitors = tuple(one for one in monitors if not isinstance(one.trigger, Answer))
    able = replace(await model.capabilities(), resume="prefix", context_tokens=None)
    # With "stop", a monitor that would wait for the next line reads the last line of the step now.
    ending: FinishReason = trace.finish_reason or ("stop" if partial else "truncated")
    recording = Recording.untimed(trace.chunks, finish_reason=ending)
    reader = ReplayModel([recording], forks=model, capabilities=able, name=model.name)
    async with run(
        reader, question.prompt, monitors=monitors, starts_in=question.starts_in, workers=workers
    ) as rereading:
        return judgement(await rereading.drain())


def merit(question: Question, trace: Trace, judged: Judgement) -> tuple[bool, bool, int, float]:
    # A sort key for a finished text: the better the text, the larger the key.
    verified, unrefuted, share = judged.rank
    return verified, question.answer(trace) is not None, unrefuted, share


def needs_tokens(monitors: Sequence[Monitor]) -> bool:
    # A fork asks the model for the claims of a text, so that judging costs tokens.
    return any(isinstance(monitor.extractor, Fork) for monitor in monitors)
