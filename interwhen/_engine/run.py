"""One supervised generation: the thin shell around the pure core.

The reader's task reads the model's stream itself, so that no task, timer or queue stands between a token and
its reader. Checks run beside it in one task group. Whoever learns a fact tells the core and does at once what
the core orders; closing the stream is what ends a read that a violation made pointless.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

import anyio

from interwhen._core.core import Core
from interwhen._core.messages import (
    Abandoned,
    Broken,
    Check,
    Close,
    Drop,
    Ended,
    Extract,
    Extracted,
    Fact,
    Finish,
    Open,
    Opened,
    Order,
    OutOfTime,
    Settled,
)
from interwhen._engine.checks import check_aside, check_inline, parse
from interwhen._engine.clock import loop_clock
from interwhen._engine.forks import ForkMeter, infer
from interwhen._engine.outcome import build_result, log_result, prompt_sha256
from interwhen._engine.processes import ProcessPool
from interwhen._engine.watch import Meter, keep_time
from interwhen._log import log_warning
from interwhen.budgets import Budgets
from interwhen.errors import ModelError, StreamClosed, StreamTimeout, UsageError
from interwhen.events import Event, Finished
from interwhen.feedback import FeedbackTemplate
from interwhen.models.base import Capabilities, Model, Prompt, Request, Sampling, Stream, Usage
from interwhen.models.transport import Timeouts
from interwhen.monitors import Fork, Monitor
from interwhen.results import Result
from interwhen.segments import Phase
from interwhen.verdicts import Errored, Outcome, TimedOut

_CLOSE_SECONDS = 0.5
"""How long closing a stream may take before we go on without it."""
_MODEL_CLOSE_SECONDS = 5.0
_AHEAD = 512
"""How many events may wait for a reader before reading ahead of it stops."""


class Run:
    """One run: ``async with`` it, iterate over its events, then read ``result``.

    Leaving the ``async with`` block closes the stream, calls off every check and leaves no task behind.
    Iterating from another task than the one that entered is allowed; from two tasks at once is not.
    """

    def __init__(
        self,
        model: Model,
        prompt: Prompt,
        *,
        monitors: Sequence[Monitor] = (),
        sampling: Sampling | None = None,
        budgets: Budgets | None = None,
        feedback: FeedbackTemplate | None = None,
        starts_in: Phase = "answer",
        threads: int = 8,
        processes: int = 2,
        owns_model: bool = False,
    ) -> None:
        self._model = model
        self._prompt = prompt
        self._monitors = tuple(monitors)
        self._sampling = sampling or Sampling()
        self._budgets = budgets or Budgets()
        self._template = feedback
        self._starts_in: Phase = starts_in
        self._sizes = (threads, processes)
        self._owns_model = owns_model
        self._result: Result | None = None
        self._events: deque[Event] = deque()
        self._stream: Stream | None = None
        self._to_open: Open | None = None
        self._scopes: dict[int, anyio.CancelScope] = {}
        self._usages: list[Usage] = []
        self._close_latency: list[float] = []
        self._ended_at: float | None = None
        self._entered = False
        self._reads_ahead = any(monitor.delivery == "gate" for monitor in self._monitors)
        self._stall: StreamTimeout | None = None
        self._opening: anyio.CancelScope | None = None
        self.error: ModelError | None = None
        """The exception behind a result that is ``failed``."""

    # ------------------------------------------------------------------ the reader's side

    async def __aenter__(self) -> Self:
        if self._entered:
            raise UsageError("a run can be entered only once; make a new one with interwhen.run(...)")
        self._entered = True
        self._clock = loop_clock()
        self._meter = Meter(self._clock)
        self._wake = anyio.Event()
        self._news = anyio.Event()
        self._drained = anyio.Event()
        self._closed = anyio.Event()
        self._closed.set()
        self._forks = ForkMeter()
        self._threads = anyio.CapacityLimiter(self._sizes[0])
        self._processes = ProcessPool(self._sizes[1])
        capabilities: Capabilities | None = None
        try:
            capabilities = await self._model.capabilities()
        except ModelError as error:
            self.error = error
        self._core = core = Core(
            self._monitors,
            budgets=self._budgets,
            template=self._template,
            think_tags=capabilities.think_tags if capabilities else None,
            starts_in=self._starts_in,
            max_tokens=self._sampling.max_tokens,
            prompt_sha256=prompt_sha256(self._prompt),
        )
        self._mode = capabilities.resume if capabilities else "prefix"
        self._events = core.events
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        if self.error is not None:
            self._tell(Broken(str(self.error), retryable=False))
            return self
        self._do(core.begin())
        timeouts = getattr(self._model, "timeouts", None) or Timeouts(first_token=None, inter_token=None)
        timers = (timeouts.first_token, timeouts.inter_token, timeouts.total, self._budgets.seconds)
        if any(timer is not None for timer in timers):
            self._group.start_soon(
                keep_time, self._meter, timeouts, self._budgets.seconds, self._stalled, self._spent, name="timers"
            )
        if self._reads_ahead:
            self._group.start_soon(self._read_ahead, name="reader")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if self._result is None:
            self._tell(Abandoned())
        self._group.cancel_scope.cancel()
        try:
            return await self._group.__aexit__(kind, error, traceback)
        finally:
            await self._shut(self._stream)
            self._stream = None
            self._processes.close()
            if self._owns_model:
                with anyio.move_on_after(_MODEL_CLOSE_SECONDS, shield=True):
                    await self._model.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        events = self._events
        while not events:
            stream = self._stream
            if stream is not None and not self._reads_ahead:
                await self._receive(stream)  # nothing stands between the model and its reader
            elif self._result is not None:
                raise StopAsyncIteration
            else:
                await self._wait_for_events()
        if self._reads_ahead and len(events) < _AHEAD:
            self._drained.set()
        return events.popleft()

    async def _wait_for_events(self) -> None:
        if not self._entered:
            raise UsageError("enter the run first: async with interwhen.run(...) as run")
        if self._reads_ahead:
            self._news = anyio.Event()
            await self._news.wait()
        else:
            await self._advance()

    @property
    def result(self) -> Result:
        """How the run ended. Raises :class:`UsageError` before it has."""
        if self._result is None:
            raise UsageError("the run has no result yet: read its events to the end, or leave its `async with` block")
        return self._result

    @property
    def text(self) -> str:
        """The trace that stands now."""
        transcript = self._core.transcript
        return transcript.slice(0, transcript.length)

    async def drain(self) -> Result:
        """Read all events, keep none, return the result."""
        async for _ in self:
            pass
        return self.result

    # ------------------------------------------------------------------ the model's side

    async def _advance(self) -> None:
        """Wait for the next thing that can bring an event, and take it in."""
        if self._stream is not None:
            await self._receive(self._stream)
        elif self._to_open is not None:
            await self._open(self._to_open)
        else:
            await self._woken()

    async def _receive(self, stream: Stream) -> None:
        """Read once from the model: the hot path, a few microseconds for a token."""
        meter = self._meter
        if meter.waiting:
            raise UsageError("two tasks read the same run at once")
        meter.since = self._clock()
        meter.waiting = True
        try:
            chunks = await stream.receive()
        except ModelError as error:
            await self._not_received(stream, error)
            return
        finally:
            meter.waiting = False
        if stream is not self._stream:
            return  # closed meanwhile: what still came is not looked at
        if not chunks:
            await self._at_end(stream)
            return
        meter.arrived(self._clock())
        step = self._core.step
        for chunk in chunks:
            orders = step(chunk)
            if orders:
                self._do(orders)
            if chunk.usage is not None:
                self._usages.append(chunk.usage)

    async def _not_received(self, stream: Stream, error: ModelError) -> None:
        if stream is not self._stream:
            return  # we closed it, and whoever did has told the core why
        if isinstance(error, StreamClosed):
            stall, self._stall = self._stall, None
            self._lost(stall or error)
            return
        await self._shut(stream)
        self._lost(error)

    async def _at_end(self, stream: Stream) -> None:
        self._stream = None
        self._ended_at = self._clock()
        await self._shut(stream)
        self._tell(Ended())

    async def _open(self, order: Open) -> None:
        with anyio.move_on_after(_CLOSE_SECONDS):
            await self._closed.wait()
        meter = self._meter
        meter.opened()
        request = Request(self._prompt, order.pieces, self._sampling_for(order))
        meter.wait()
        with anyio.CancelScope() as scope:
            self._opening = scope
            try:
                stream = await self._model.stream(request)
            except ModelError as error:
                self._to_open = None
                self._lost(error)
                return
            finally:
                self._opening = None
                meter.waiting = False
        if scope.cancelled_caught:  # called off: by the core, or by a timer, which has told the core
            return
        if self._to_open is not order:  # the run ended or changed its mind while the server made up its own
            await self._shut(stream)
            return
        self._to_open = None
        self._stream = stream
        self._tell(Opened(self._mode if order.pieces else None))

    def _sampling_for(self, order: Open) -> Sampling:
        sampling = self._sampling
        changes: dict[str, int] = {}
        if sampling.max_tokens is not None:
            changes["max_tokens"] = max(sampling.max_tokens - order.spent, 1)
        if sampling.seed is not None and order.attempt:
            changes["seed"] = sampling.seed + order.attempt
        return replace(sampling, **changes) if changes else sampling  # type: ignore[arg-type]

    def _lost(self, error: ModelError) -> None:
        self._stream = None
        self.error = error
        log_warning("stream.broken", error=type(error).__name__, retryable=error.retryable)
        self._tell(Broken(str(error), retryable=error.retryable))

    async def _read_ahead(self) -> None:
        """Read whether or not the reader is there, so that a gate opens while the model is silent."""
        while self._result is None:
            await self._advance()
            self._news.set()
            if len(self._events) >= _AHEAD:
                self._drained = anyio.Event()
                await self._drained.wait()

    async def _woken(self) -> None:
        """Wait for a fact that another task tells the core."""
        self._wake = anyio.Event()
        await self._wake.wait()

    # ------------------------------------------------------------------ facts and orders

    def _tell(self, fact: Fact) -> None:
        self._do(self._core.step(fact))
        self._wake.set()
        self._news.set()

    def _do(self, orders: list[Order]) -> None:
        """Do what the core ordered. What can be answered on the spot is, in order."""
        pending = deque(orders)
        while pending:
            order = pending.popleft()
            match order:
                case Extract(pieces=None):
                    pending.extend(self._core.step(self._extract(order)))
                case Check():
                    self._check(order, pending)
                case Close():
                    self._close()
                case Open():
                    self._to_open = order
                case Extract():
                    self._group.start_soon(self._fork, order, name=f"fork {order.job}")
                case Drop(job=job):
                    scope = self._scopes.pop(job, None)
                    if scope is not None:
                        scope.cancel()
                case Finish():
                    self._finish(order)

    def _extract(self, order: Extract) -> Fact:
        claims = parse(self._monitors[order.monitor], order.segment)
        return Settled(order.job, claims) if isinstance(claims, Errored) else Extracted(order.job, claims)

    def _check(self, order: Check, pending: deque[Order]) -> None:
        verifier = self._monitors[order.monitor].verifier
        if verifier.worker != "inline":
            self._group.start_soon(self._check_aside, order, name=f"check {order.job}")
            return
        begun = self._clock()
        outcome = check_inline(verifier, order.claim)
        pending.extend(self._core.step(Settled(order.job, outcome, self._clock() - begun)))

    async def _check_aside(self, order: Check) -> None:
        verifier = self._monitors[order.monitor].verifier
        begun = self._clock()
        with anyio.CancelScope(deadline=begun + verifier.deadline) as scope:
            self._scopes[order.job] = scope
            outcome: Outcome = await check_aside(
                verifier, order.claim, threads=self._threads, processes=self._processes
            )
        if self._scopes.pop(order.job, None) is None:
            return  # dropped: nobody waits for it
        if scope.cancelled_caught:
            outcome = TimedOut(verifier.deadline)
            log_warning("verifier.timed_out", verifier=verifier.name, seconds=verifier.deadline)
        elif isinstance(outcome, Errored):
            log_warning("verifier.failed", verifier=verifier.name)
        self._tell(Settled(order.job, outcome, self._clock() - begun))

    async def _fork(self, order: Extract) -> None:
        monitor = self._monitors[order.monitor]
        fork = monitor.extractor
        assert isinstance(fork, Fork)
        begun = self._clock()
        fact: Fact | None = None
        with anyio.CancelScope(deadline=begun + fork.deadline) as scope:
            self._scopes[order.job] = scope
            reply = await infer(self._model, self._prompt, order, fork, self._sampling, self._forks)
            claims = reply if isinstance(reply, Errored) else parse(monitor, order.segment, reply)
            seconds = self._clock() - begun
            if isinstance(claims, Errored):
                fact = Settled(order.job, claims, seconds)
            else:
                fact = Extracted(order.job, claims, seconds)
        if self._scopes.pop(order.job, None) is None:
            return
        self._tell(fact or Settled(order.job, TimedOut(fork.deadline), self._clock() - begun))

    def _close(self) -> None:
        """Close the stream now, whoever is reading it."""
        found = self._meter.stopped()
        self._to_open = None
        if self._opening is not None:
            self._opening.cancel()
        stream, self._stream = self._stream, None
        if stream is not None:
            self._closed = anyio.Event()
            self._group.start_soon(self._close_aside, stream, found, self._closed, name="close")

    async def _close_aside(self, stream: Stream, found: float, closed: anyio.Event) -> None:
        await self._shut(stream)
        self._close_latency.append(self._clock() - found)
        closed.set()

    async def _shut(self, stream: Stream | None) -> None:
        if stream is None:
            return
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True) as scope:
            try:
                await stream.aclose()
            except ModelError as error:
                log_warning("stream.close_failed", error=type(error).__name__)
        if scope.cancelled_caught:
            log_warning("stream.close_timed_out", seconds=_CLOSE_SECONDS)

    def _stalled(self, timer: str, seconds: float) -> None:
        """Give up waiting for the model: a timer ran out."""
        error = StreamTimeout(timer, seconds)
        if self._opening is not None:
            self._opening.cancel()
            self._to_open = None
            self._lost(error)
        elif self._stream is not None:
            self._stall = error
            self._group.start_soon(self._shut, self._stream, name="close")

    def _spent(self, seconds: float) -> None:
        self._tell(OutOfTime(seconds))

    def _finish(self, order: Finish) -> None:
        now = self._clock()
        self._result = result = build_result(
            order.outline,
            model=self._model.name,
            requests=self._core.tally.requests,
            usages=self._usages,
            forks=self._forks,
            timing=self._meter.timing(now, self._ended_at, tuple(self._close_latency)),
        )
        log_result(result)
        self._events.append(Finished(result))
