"""What a strategy is: one Protocol, and the frozen records that go in and come out."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import anyio.lowlevel
import msgspec

from interwhen._run import run
from interwhen._types.errors import ModelError, UsageError
from interwhen._types.extensions import WorkerPool
from interwhen._types.ledger import Ledger
from interwhen._types.models import Capabilities, Chunk, Completion, Model, Prompt, Request, Sampling, Stream, Usage
from interwhen._types.monitors import Fork, Monitor
from interwhen._types.results import Result
from interwhen._types.segments import Phase
from interwhen._types.triggers import Answer
from interwhen._types.verdicts import Judged, Pass, Scope, Violation
from interwhen.models._token_stream import GuardedStream
from interwhen.registry import MonitorSpec, load_monitor, load_monitors
from interwhen.strategies._traces import Trace, go_on

# What an attempt may spend and has spent: a meter around a model.


class BudgetSpent(ModelError):
    """A request came when no token was left."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        super().__init__(f"the budget of {budget} tokens is spent")


class Meter:
    """A model that generates at most *budget* tokens in all, and counts what every request used.

    Each request is told how many tokens it may have, a stream is ended as one that ran into its length limit when
    nothing is left, and a request that comes then raises :class:`BudgetSpent`. The tokens of a fork are set aside
    until it has answered. Tokens are counted as a run counts them: those that stand for text in a stream, and what the
    server says of a fork. Only a server that ignores ``max_tokens`` of a fork can overdraw.
    """

    def __init__(self, model: Model, budget: int) -> None:
        self._model = model
        self.budget = budget
        self.generated = 0
        """Tokens of streams that were taken."""
        self.fork_tokens = 0
        self.wasted = 0
        """Tokens that came in one read with the last one that could be afforded."""
        self.prompt_tokens = 0
        self.fork_prompt_tokens = 0
        self.cached_tokens = 0
        self.requests = 0
        self.forks = 0
        self.counted = 0
        """Streams whose prompt the server counted."""
        self._aside = 0

    def __getattr__(self, name: str) -> Any:
        """Pass on what only some models have: ``timeouts``, ``feedback``, ``retries``."""
        return getattr(self._model, name)

    @property
    def name(self) -> str:
        """The name of the metered model."""
        return self._model.name

    @property
    def spent(self) -> int:
        """All tokens that were generated."""
        return self.generated + self.fork_tokens

    @property
    def left(self) -> int:
        """Tokens that may still be generated."""
        return max(self.budget - self.spent - self._aside, 0)

    @property
    def uncounted(self) -> int:
        """Streams whose prompt the server did not count."""
        return self.requests - self.counted

    def ledger(self, kept: int, *, remedies: int = 0, reconnects: int = 0, inserted_chars: int = 0) -> Ledger:
        """Return all that was spent, *kept* tokens of which stand in what is returned.

        A run counts the token that ends a text where the server does; here it is nobody's, so that all pay the same.
        """
        kept = min(kept, self.generated)
        return Ledger(
            kept=kept,
            discarded=self.generated - kept,
            fork_tokens=self.fork_tokens,
            fork_prompt_tokens=self.fork_prompt_tokens,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            requests=self.requests,
            forks=self.forks,
            remedies=remedies,
            reconnects=reconnects,
            wasted_tokens=self.wasted,
            inserted_chars=inserted_chars,
        )

    async def capabilities(self) -> Capabilities:
        """Return those of the metered model."""
        return await self._model.capabilities()

    async def stream(self, request: Request) -> Stream:
        """Open a stream of at most what is left. Raises :class:`BudgetSpent` if that is nothing."""
        capped = self._capped(request)
        self.requests += 1
        return _MeteredStream(self, await self._model.stream(capped))

    async def complete(self, request: Request) -> Completion:
        """Answer a fork with at most what is left. Raises :class:`BudgetSpent` if that is nothing."""
        capped = self._capped(request)
        aside = capped.sampling.max_tokens or 0
        self.forks += 1
        self._aside += aside
        try:
            reply = await self._model.complete(capped)
        finally:
            self._aside -= aside
        self.fork_tokens += reply.usage.completion_tokens or len(reply.tokens)
        self.fork_prompt_tokens += reply.usage.prompt_tokens or 0
        self.cached_tokens += reply.usage.cached_tokens or 0
        return reply

    async def aclose(self) -> None:
        """Do nothing: the model belongs to whoever made it."""

    def take(self, tokens: int) -> bool:
        """Count *tokens* of a stream, if they can be afforded."""
        if tokens > self.left:
            self.wasted += tokens
            return False
        self.generated += tokens
        return True

    def settle(self, usage: Usage | None) -> None:
        """Count the prompt of a stream that is over, if the server did."""
        if usage is None or usage.prompt_tokens is None:
            return
        self.counted += 1
        self.prompt_tokens += usage.prompt_tokens
        self.cached_tokens += usage.cached_tokens or 0

    def _capped(self, request: Request) -> Request:
        left = self.left
        if not left:
            raise BudgetSpent(self.budget)
        asked = request.sampling.max_tokens
        most = left if asked is None else min(asked, left)
        return replace(request, sampling=replace(request.sampling, max_tokens=most))


class _MeteredStream:
    """Takes text while the meter can afford it."""

    def __init__(self, meter: Meter, stream: Stream) -> None:
        self._meter = meter
        self._stream = stream
        self._usage: Usage | None = None
        self._is_over = False
        self._is_settled = False

    def __getattr__(self, name: str) -> Any:
        """Pass on what only some streams have: ``resumed``, ``notes``, ``abort``."""
        return getattr(self._stream, name)

    async def receive(self) -> Sequence[Chunk]:
        if self._is_over:
            return ()
        chunks = await self._stream.receive()
        if not chunks:
            self._end()
            return ()
        taken: list[Chunk] = []
        for chunk in chunks:
            self._usage = chunk.usage or self._usage
            if self._is_over:
                self._meter.wasted += chunk.tokens
            elif self._meter.take(chunk.tokens):
                taken.append(chunk)
            else:
                self._is_over = True
                taken.append(Chunk("", tokens=0, finish_reason="length"))
        if self._is_over:
            await self._stream.aclose()
            self._end()
        return taken

    async def aclose(self) -> None:
        self._end()
        await self._stream.aclose()

    def _end(self) -> None:
        if not self._is_settled:
            self._is_settled = True
            self._meter.settle(self._usage)


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

    async def solve(self, question: Question, means: Means) -> Solution:
        """Answer *question* with *means*, and settle for what there is once nothing is left to spend.

        It asks no model but ``means.model``, judges with ``means.judge`` alone, and draws chance from ``means`` only,
        so that an equal seed gives an equal solution.
        """
        ...


class Checks(msgspec.Struct, frozen=True):
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
    checks: Checks = Checks()
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


# Judging a text by the monitors of its question: the real engine reads it again, as if it were being written.

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
