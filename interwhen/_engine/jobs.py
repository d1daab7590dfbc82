"""The extractions, checks and forks of one run, from order to fact."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
from anyio.abc import TaskGroup

from interwhen._core.messages import Check, Extract, Extracted, Fact, Settled
from interwhen._engine.checks import check_aside, check_inline, parse
from interwhen._engine.forks import ForkMeter, infer
from interwhen._engine.processes import ProcessPool
from interwhen._log import log_warning
from interwhen.models.base import Model, Prompt, Sampling
from interwhen.monitors import Fork, Monitor
from interwhen.verdicts import Errored, Outcome, TimedOut


class Jobs:
    """Runs what the core orders beside the stream; whoever waits for an end is told through *tell*."""

    def __init__(
        self,
        group: TaskGroup,
        monitors: Sequence[Monitor],
        tell: Callable[[Fact], None],
        clock: Callable[[], float],
        *,
        threads: int,
        processes: int,
    ) -> None:
        self._group = group
        self._monitors = monitors
        self._tell = tell
        self._clock = clock
        self._threads = anyio.CapacityLimiter(threads)
        self._processes = ProcessPool(processes)
        self._scopes: dict[int, anyio.CancelScope] = {}
        self.forks = ForkMeter()

    def extract(self, order: Extract) -> Fact:
        """Run a parser, here and now."""
        monitor = self._monitors[order.monitor]
        claims = parse(monitor, order.segment)
        if isinstance(claims, Errored):
            log_warning("extractor.failed", monitor=monitor.name)
            return Settled(order.job, claims)
        return Extracted(order.job, claims)

    def check(self, order: Check) -> Fact | None:
        """Run an inline check and return its fact, or start any other."""
        verifier = self._monitors[order.monitor].verifier
        begun = self._clock()
        if verifier.worker == "inline":
            outcome = check_inline(verifier, order.claim)
            if isinstance(outcome, Errored):
                log_warning("verifier.failed", verifier=verifier.name)
            return Settled(order.job, outcome, self._clock() - begun)
        # The scope exists from now on: a job may be dropped before its task has run at all.
        scope = self._scopes[order.job] = anyio.CancelScope(deadline=begun + verifier.deadline)
        self._group.start_soon(self._check, order, scope, begun, name=f"check {order.job}")
        return None

    def fork(self, order: Extract, model: Model, prompt: Prompt, sampling: Sampling) -> None:
        """Start a side inference."""
        monitor = self._monitors[order.monitor]
        fork = monitor.extractor
        assert isinstance(fork, Fork)
        begun = self._clock()
        scope = self._scopes[order.job] = anyio.CancelScope(deadline=begun + fork.deadline)

        async def task() -> None:
            fact: Fact | None = None
            if order.job not in self._scopes:
                return
            with scope:
                reply = await infer(model, prompt, order, fork, sampling, self.forks)
                claims = reply if isinstance(reply, Errored) else parse(monitor, order.segment, reply)
                seconds = self._clock() - begun
                if isinstance(claims, Errored):
                    fact = Settled(order.job, claims, seconds)
                else:
                    fact = Extracted(order.job, claims, seconds, reply if isinstance(reply, str) else None)
            if self._scopes.pop(order.job, None) is None:
                return  # dropped: nobody waits for it
            if fact is None:
                log_warning("extractor.timed_out", monitor=monitor.name, seconds=fork.deadline)
            elif isinstance(fact, Settled):
                log_warning("extractor.failed", monitor=monitor.name)
            self._tell(fact or Settled(order.job, TimedOut(fork.deadline), self._clock() - begun))

        self._group.start_soon(task, name=f"fork {order.job}")

    def drop(self, job: int) -> None:
        """Call off a job that nobody waits for any more."""
        scope = self._scopes.pop(job, None)
        if scope is not None:
            scope.cancel()

    async def close(self) -> None:
        """End the worker processes; the tasks end with their group."""
        await self._processes.close()

    async def _check(self, order: Check, scope: anyio.CancelScope, begun: float) -> None:
        if order.job not in self._scopes:
            return
        verifier = self._monitors[order.monitor].verifier
        outcome: Outcome = TimedOut(verifier.deadline)
        with scope:
            outcome = await check_aside(
                verifier, order.claim, threads=self._threads, processes=self._processes, scope=scope
            )
        if self._scopes.pop(order.job, None) is None:
            return  # dropped: nobody waits for it
        if isinstance(outcome, TimedOut):
            log_warning("verifier.timed_out", verifier=verifier.name, seconds=verifier.deadline)
        elif isinstance(outcome, Errored):
            log_warning("verifier.failed", verifier=verifier.name)
        self._tell(Settled(order.job, outcome, self._clock() - begun))
